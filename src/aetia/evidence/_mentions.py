"""Which services a log template speaks of by name."""

from __future__ import annotations

from aetia.evidence._memo import once_for_facts
from aetia.signals.view import Facts, View

MIN_NAME = 4
"""Shorter names are found in ordinary words."""


def mentions_another(view: View, template: int, own: int) -> bool:
    """Whether a template names a service other than `own`: then that one is the cause, or discovery is."""
    named = once_for_facts(view, "services named in templates", _named)[template]
    return any(code != own for code in named)


def _named(facts: Facts) -> list[tuple[int, ...]]:
    """Codes of the services that each template names."""
    names = [(code, name) for code, name in enumerate(facts.names.services) if len(name) >= MIN_NAME]
    return [tuple(code for code, name in names if name in item.text) for item in facts.logs.templates]
