"""Which services a log template speaks of by name."""

from __future__ import annotations

import re

from aetia.evidence._memo import once_for_facts
from aetia.signals.view import Facts, View

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
MIN_NAME = 4
"""Shorter names are found in ordinary words."""
_WORD = re.compile(r"[A-Za-z][a-z]+")
_COMPONENT = re.compile(r"(service|svc|server|gateway|proxy|queue|cache|store|api|db)$", re.IGNORECASE)
_ADDRESSED = (
    r"(?:\b(?:to|from|at|via|host|service|upstream|backend|server|dependency|peer|target|endpoint|resolve|resolving|"
    r"reach|reaching|call|calling|contact|contacting|connecting|dialing)\b[\s:='\"“‘(\[]*|://|@)"
)
_SPOKEN_OF = (
    r"(?::\d|/|\.[a-z]|\s+(?:is )?(?:service|server|down|unavailable|unreachable|timed out|timeout|connection|refused|"
    r"returned|responded|not (?:available|reachable|responding)|(?:did|does) not (?:answer|respond|reply))\b)"
)


def mentions_another(view: View, template: int, own: int) -> bool:
    """Whether a template names a service other than `own`: then that one is the cause, or discovery is."""
    return any(code != own for code in mentioned(view, template))


def mentioned(view: View, template: int) -> tuple[int, ...]:
    """Codes of the services that a template names."""
    return once_for_facts(view, "services named in templates", _named)[template]


def _named(facts: Facts) -> list[tuple[int, ...]]:
    """Codes of the services that each template names. A name that is a plain word, such as `reserve`, is also what an
    operation or a table may be called: it has to be spoken of as somebody who is called."""
    names = [(code, name) for code, name in enumerate(facts.names.services) if len(name) >= MIN_NAME]
    plain = {code: _as_somebody(name) for code, name in names if _WORD.fullmatch(name) and not _COMPONENT.search(name)}
    found: list[tuple[int, ...]] = []
    for item in facts.logs.templates:
        words = {w for run in _NAME.findall(item.text) for w in (run, run.split(".", 1)[0])}
        said = (code for code, name in names if name in words)
        found.append(tuple(code for code in said if code not in plain or plain[code].search(item.text)))
    return found


def _as_somebody(name: str) -> re.Pattern[str]:
    """Where a text says a word as the name of somebody who is called, or who answers or does not."""
    return re.compile(rf"{_ADDRESSED}{name}\b|\b{name}{_SPOKEN_OF}", re.IGNORECASE)
