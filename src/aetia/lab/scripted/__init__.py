"""Scripted language models for measuring investigations: a server on loopback, and the roles that it plays."""
