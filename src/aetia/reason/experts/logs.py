"""The expert on logs: what a component began to say, and of whom."""

from __future__ import annotations

from aetia.model.faults import FaultClass
from aetia.model.journal import ToolAnswer, ToolCall
from aetia.reason.experts.verdict import Verdict, nothing

SEVERE = ("error", "fatal")
ABNORMAL = 0.3


def questions(candidate: str) -> tuple[ToolCall, ...]:
    """What this expert asks of one candidate."""
    return (ToolCall(tool="log_templates", args={"component": candidate, "least": "warn"}, agent="logs",
                     why="what did it begin to say?"),)  # fmt: skip


def verdict(candidate: str, answer: ToolAnswer) -> Verdict:
    """What the logs say of the candidate; an exception of its own is its own, a complaint of others is not."""
    if answer.evidence is None:
        return nothing(candidate, "logs", (answer,))
    evidence, text = (answer.evidence.id,), answer.evidence.claim.text
    rising = [row for row in answer.rows if row["change"] in ("new", "up") and row["telling"] is not None]
    if answer.evidence.polarity == "against" or not rising:
        return Verdict(candidate=candidate, modality="logs", abnormal=False, strength=answer.evidence.strength,
                       evidence=evidence, reason=text)  # fmt: skip
    best = max(rising, key=lambda row: row["telling"])
    if best["telling"] < ABNORMAL:
        return nothing(candidate, "logs", (answer,))  # what speaks for trouble, however softly, is no sign of health
    thrown: FaultClass | None = "C" if best["exception"] else None
    return Verdict(
        candidate=candidate, modality="logs", abnormal=True, strength=answer.evidence.strength,
        severity=best["telling"] if best["severity"] in SEVERE else best["telling"] / 2, own=False, fault_class=thrown,
        onset_s=best["first_s"], evidence=evidence, reason=text,
    )  # fmt: skip
