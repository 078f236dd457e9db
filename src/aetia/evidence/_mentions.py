"""Which services a log template speaks of by name."""

from __future__ import annotations

import re

from aetia.evidence._memo import once_for_facts
from aetia.signals.view import Facts, View

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
MIN_NAME = 4
"""Shorter names are found in ordinary words."""


def mentions_another(view: View, template: int, own: int) -> bool:
    """Whether a template names a service other than `own`: then that one is the cause, or discovery is."""
    return any(code != own for code in mentioned(view, template))


def mentioned(view: View, template: int) -> tuple[int, ...]:
    """Codes of the services that a template names."""
    return once_for_facts(view, "services named in templates", _named)[template]


def _named(facts: Facts) -> list[tuple[int, ...]]:
    """Codes of the services that each template names."""
    names = [(code, name) for code, name in enumerate(facts.names.services) if len(name) >= MIN_NAME]
    words = [
        {w for run in _NAME.findall(item.text) for w in (run, run.split(".", 1)[0])} for item in facts.logs.templates
    ]
    return [tuple(code for code, name in names if name in found) for found in words]
