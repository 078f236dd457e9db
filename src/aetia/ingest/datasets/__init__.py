"""Readers of public datasets' own layouts, one file each."""
