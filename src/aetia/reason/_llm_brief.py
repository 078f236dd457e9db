"""Who is examined, and what an agent is told to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from aetia.reason._llm_board import Board, place_of
from aetia.reason.models.wire import CHARACTERS_PER_TOKEN
from aetia.reason.policy import Desk

SURE = 0.9
"""Belief of the leader from which on nobody is asked: the prior is right then."""
MOST_AGENTS, LEAST_AGENTS, DOUBTED = 32, 3, 0.01
"""Agents of one investigation, at most and where there are so many candidates at least, and the belief below which a
candidate is looked at only to reach the least."""
NO_EVIDENCE = "remembered, and no evidence: look for the same signs here, and cite what tools answer, never a memory"
MOST_BRIEF, MOST_SYMPTOMS = 1_600, 400
"""Tokens of what an agent is told to begin with, and of what users felt within it."""
MOST_BROKEN = 5
"""Broken SLIs of a document; and facts of the severity."""


def in_doubt(desk: Desk) -> list[str]:
    """Components to examine, most believed first; those that a person wants looked at come before all others. None
    where the prior abstained, or is sure and nobody wished anything."""
    ranked = [(name, entry) for name, entry in desk.ledger.ranked() if name not in desk.excluded]
    if desk.prior.abstained is not None or not ranked:
        return []
    wished = [name for name in desk.wished if name not in desk.excluded]
    if ranked[0][1].belief >= SURE and not wished:
        return []
    places = dict.fromkeys(
        place_of(desk.ledger.entries[name].entity) if name in desk.ledger.entries else name for name in wished
    )
    for _, entry in ranked:
        if entry.belief >= DOUBTED or len(places) < LEAST_AGENTS:
            places.setdefault(place_of(entry.entity))
    return list(places)[:MOST_AGENTS]


def brief(node: str, nodes: Sequence[str], board: Board) -> dict[str, Any]:
    """What one agent is told: the symptoms, its component with what is known of it, its neighbours, the others."""
    ledger = board.desk.ledger
    mine = [(name, entry.belief) for name, entry in ledger.ranked() if place_of(entry.entity) == node]
    document: dict[str, Any] = {
        "component": node,
        "candidates_here": [{"entity": name, "belief": round(belief, 3)} for name, belief in mine[:3]],
        "symptoms": symptoms(board.desk),
        "known_evidence": board.facts(board.about(node)),
        "calls": sorted(board.calls.get(node, ()))[:15],
        "called_by": sorted(other for other, callees in board.calls.items() if node in callees)[:15],
        "other_suspects": [other for other in nodes if other != node][:15],
        "examined_before": board.examined(6),
    }
    lists = ("examined_before", "other_suspects", "called_by", "calls", "known_evidence")
    if told := earlier(node, board.desk):
        document |= {"earlier_incidents_like_this": told, "earlier_incidents_are": NO_EVIDENCE}
        lists = ("earlier_incidents_like_this", *lists)
    return fit(document, MOST_BRIEF, lists)


def earlier(node: str, desk: Desk) -> list[dict[str, Any]]:
    """What a memory holds for one component: structure, age and remedies, without names, which may be those of another
    system that must not be told."""
    at_ns = desk.prior.incident.onset_ns if desk.prior.incident is not None else 0
    entries = desk.ledger.entries
    return [
        {
            "memory": item.id, "where": "this component" if item.component == node else "a component like it",
            "fault_class": item.fault_class, "fault": item.fault, "likeness": round(item.likeness, 2),
            "days_between": abs(at_ns - item.happened_ns) // (86_400 * 10**9),
            "done": [{"what": one.action, "helped": one.worked} for one in item.remedies],
        }
        for item in desk.precedents
        if item.candidate in entries and place_of(entries[item.candidate].entity) == node
    ]  # fmt: skip


def symptoms(desk: Desk) -> dict[str, Any]:
    """What users felt: how severe it is, and which SLIs broke, entry by entry, each with its evidence where there is
    some. It speaks for nobody's guilt."""
    prior = desk.prior
    breaches = prior.incident.breaches if prior.incident is not None else ()
    document: dict[str, Any] = {
        "broken": [
            {"entry": item.entry.name, "sli": item.sli, "statistic": item.statistic,
             "baseline": item.baseline, "incident": item.incident} | _cited(item.evidence, desk)
            for item in breaches[:MOST_BROKEN]
        ]
    }  # fmt: skip
    if prior.severity is not None:
        says = [fact.text for fact in prior.severity.facts[:MOST_BROKEN]]
        document["severity"] = {"level": prior.severity.level, "says": says} | _cited(prior.impact.evidence, desk)
    return fit(document, MOST_SYMPTOMS, ("broken",))


def _cited(evidence: str | None, desk: Desk) -> dict[str, str]:
    """The id of evidence that is there to be cited."""
    return {"evidence": evidence} if evidence is not None and evidence in desk.evidence else {}


def fit(document: dict[str, Any], tokens: int, lists: Sequence[str]) -> dict[str, Any]:
    """The document within so many tokens: the lists lose their last items, the first named one first."""
    fitted = {key: list(cast("list[Any]", value)) if key in lists else value for key, value in document.items()}
    for name in lists:
        while fitted[name] and len(msgspec.json.encode(fitted)) > tokens * CHARACTERS_PER_TOKEN:
            fitted[name].pop()
    return fitted
