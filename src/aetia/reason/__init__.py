"""The investigation: questions asked of the telemetry, hypotheses weighed, an answer that can be checked."""
