"""The telemetry simulator."""
