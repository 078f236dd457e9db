"""Ranked hypotheses; one method per file."""
