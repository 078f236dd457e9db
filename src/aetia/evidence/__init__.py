"""Channels, one file per kind of evidence: a view in, bounded findings out."""
