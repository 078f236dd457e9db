"""Whether what a service fails with came back from one that it calls, though no call of it failed.

Pure functions over answers of the tools `before_failure` and `workload`. A callee can break its caller without an error
of its own: it comes back too soon and empty-handed, or cannot be reached and leaves no span. Source: wrong answers
without an error and the offered-load rule, section 13.2 of the algorithms survey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from aetia.model.journal import ToolAnswer

MOST_OF = 0.6
"""Share of the failures that have to hold a call to a callee before it can account for them."""
SOONER, SURE_Z = 0.65, 4.0
"""Chance that a call in a failing request came back sooner than a healthy one, half without any difference; and how
many standard errors of the rank test it has to lie beyond that."""
ENOUGH = 20
LESS = 0.05
"""Work per request that a callee does no longer, times how sure that is."""
PLAINLY = 3.0
"""How many times more than any other service nearby."""
STILL_ASKED = 0.85
"""Share of the requests that its caller's load lets expect which a callee still has to get: one that is asked less does
other work, and less of it."""
CUT_OFF, ELSEWHERE = 0.8, 0.3
"""Share of its requests that a callee lost, and most that any other callee may have lost."""
BEYOND = 0.2
"""Share of its requests that a callee lost beyond those that failed in the caller, which may have failed before it."""
WAITED = 2.0
"""How many times longer the caller takes: who cannot reach a callee waits, who breaks by itself does not."""


class Handed(NamedTuple):
    """A callee that broke its caller, with the evidence for it."""

    service: str
    evidence: str
    reason: str


def came_back_too_soon(service: str, answer: ToolAnswer) -> Handed | None:
    """The callee whose calls came back sooner in the requests that failed, by `before_failure`."""
    if answer.evidence is None or not answer.rows:
        return None
    first = answer.rows[0]
    told = min(first["failures"], first["healthy_calls"]) >= ENOUGH
    if not told or first["share"] < MOST_OF or first["sooner"] < SOONER or _distance(first) < SURE_Z:
        return None
    reason = f"{first['callee']} came back too soon in {first['share']:.0%} of the requests that failed in {service}"
    return Handed(first["callee"], answer.evidence.id, reason)


def _distance(row: dict[str, Any]) -> float:
    """z of the rank test (Mann and Whitney) behind `sooner`."""
    failing, healthy = row["failures"], row["healthy_calls"]
    return (row["sooner"] - 0.5) / math.sqrt((failing + healthy + 1) / (12 * failing * healthy))


def does_less(service: str, answer: ToolAnswer) -> Handed | None:
    """The callee that is asked as before, fails nobody and does plainly less for each request, by `workload`."""
    if answer.evidence is None:
        return None
    ranked = sorted(answer.rows, key=lambda row: -(row["less"] or 0.0))
    first, less = ranked[0], ranked[0]["less"] or 0.0
    # The caller itself does less too, since it fails before it is done.
    others = [row["less"] or 0.0 for row in ranked[1:] if row is not answer.rows[0]]
    if first is answer.rows[0] or less < LESS or less < PLAINLY * max(others, default=0.0):
        return None
    asked = 1.0 - _lost(first) >= STILL_ASKED * min(1.0 - _lost(answer.rows[0]), 1.0)
    failed = (first["incident_failed"] or 0.0) - (first["baseline_failed"] or 0.0) > LESS
    if not asked or failed:
        return None
    reason = f"{first['name']} is asked as before and does less for each request, {service} fails over what it gets"
    return Handed(first["name"], answer.evidence.id, reason)


def cut_off(service: str, answer: ToolAnswer) -> Handed | None:
    """The one callee that hardly gets requests any more while the caller waits for it, by `workload`. Where calls leave
    spans, those that were lost on the way are seen, and calls that are missing were not made."""
    if answer.evidence is None or not _waits(answer.rows[0]):
        return None
    lost = sorted(((_lost(row), row["name"]) for row in answer.rows[1:]), reverse=True)
    if not lost or lost[0][0] < CUT_OFF or any(share > ELSEWHERE for share, _ in lost[1:]):
        return None
    if lost[0][0] - (answer.rows[0]["incident_failed"] or 0.0) < BEYOND:
        return None
    name = lost[0][1]
    reason = f"{service} waits and fails, and of those it calls {name} alone gets hardly a request any more"
    return Handed(name, answer.evidence.id, reason)


def handed(service: str, answers: Sequence[ToolAnswer]) -> Handed | None:
    """What the answers of `before_failure` and `workload`, in this order, say of a service."""
    soon, load = answers
    found = came_back_too_soon(service, soon) or does_less(service, load)
    return found or (cut_off(service, load) if soon.error is not None else None)


def _lost(row: dict[str, Any]) -> float:
    before, after = row["baseline_per_s"], row["incident_per_s"]
    return 1.0 - after / before if before and after is not None else 0.0


def _waits(row: dict[str, Any]) -> bool:
    before, after = row["baseline_ms"], row["incident_ms"]
    return bool(before and after and after >= WAITED * before)
