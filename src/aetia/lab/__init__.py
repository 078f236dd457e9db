"""Labelled incidents: the simulator."""
