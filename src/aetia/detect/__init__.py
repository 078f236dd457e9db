"""SLI breaches become incidents; one detector per file."""
