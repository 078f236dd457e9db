"""What an investigation may ask of the telemetry: one tool a file, read-only, bounded, answered with evidence."""
