"""A diagnosis as text, Markdown, JSON or one HTML page; and its re-check."""
