"""Experts: one per modality, each with its own view of a candidate, and the step that reconciles them."""
