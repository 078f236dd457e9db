"""Readers: one file per source; each yields Arrow tables in the model's schemas."""
