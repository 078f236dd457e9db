"""The expert on traces: whether requests of a candidate went wrong, and whether that began in it."""

from __future__ import annotations

from aetia.model.journal import ToolAnswer, ToolCall
from aetia.reason.experts.verdict import Verdict, nothing
from aetia.reason.hops import ENOUGH_WRONG, SICK, seen

OWN = 0.5
FEW = 20


def questions(candidate: str) -> tuple[ToolCall, ...]:
    """What this expert asks of one candidate."""
    return (ToolCall(tool="hop", args={"target": candidate}, agent="traces", why="where did its trouble come from?"),)


def verdict(candidate: str, answer: ToolAnswer) -> Verdict:
    """What the requests say of the candidate."""
    one = seen(answer)
    if one is None or one.own is None or one.requests < FEW or answer.evidence is None:
        return nothing(candidate, "traces", (answer,))
    evidence, text = (answer.evidence.id,), answer.evidence.claim.text
    if one.sick < SICK or one.wrong < ENOUGH_WRONG:
        return Verdict(candidate=candidate, modality="traces", abnormal=False, strength=answer.evidence.strength,
                       evidence=evidence, reason=text)  # fmt: skip
    return Verdict(
        candidate=candidate, modality="traces", abnormal=True, strength=max(one.own, 1.0 - one.own), severity=one.sick,
        own=one.own >= OWN, onset_s=answer.rows[0]["target_began_s"], evidence=evidence, reason=text,
    )  # fmt: skip
