"""Rules: the investigation of an experienced engineer without a model. The default policy.

Looks at the candidates that the prior leaves in doubt, asks where each of them stands in the call graph, and moves
beliefs by what it finds. Source: section 15.1 of the agents survey: a prior, and questions where it is in doubt.
Cost: a handful of questions per candidate in doubt.
"""

from __future__ import annotations

from aetia.model.journal import ToolCall
from aetia.plugins import plugin
from aetia.reason.policy import Desk, Steps

SURE, DOUBTED = 0.9, 3
"""Belief above which nobody asks further, and the candidates that are looked at below it."""


@plugin("policy", summary="asks by rules, without a model", source="agents survey, section 15.1", cost="no model")
class Rules:
    """Deterministic questions and beliefs."""

    def steps(self, desk: Desk) -> Steps:
        ranked = desk.ledger.ranked()
        if not ranked or ranked[0][1].belief >= SURE:
            return
        doubted = [entry.entity.service for _, entry in ranked[:DOUBTED] if entry.entity.service is not None]
        names = tuple(dict.fromkeys(doubted))
        yield tuple(ToolCall(tool="topology", args={"service": name}, why="who depends on it") for name in names)
