"""Labelled incidents from the simulator, and language models on a script."""
