"""A small HTTP client for connectors and webhooks: time limits, size limits, address checks."""
