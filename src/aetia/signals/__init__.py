"""From telemetry to facts: spans, logs and metrics as dense arrays, and the view of one incident."""
