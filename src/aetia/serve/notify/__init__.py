"""Incidents told to the outside: a notice, the places that take it, and the outbox that keeps trying."""
