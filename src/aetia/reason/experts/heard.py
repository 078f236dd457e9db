"""What the experts say of a candidate from the answers that an investigation has, whoever asked and why."""

from __future__ import annotations

from collections.abc import Iterable

from aetia.model.diagnosis import Assessment
from aetia.model.journal import ToolAnswer, ToolCall
from aetia.reason.experts import logs, metrics, traces
from aetia.reason.experts.collaborate import Joint, collaborate
from aetia.reason.policy import key_of

_EXPERTS = (metrics, logs, traces)


def heard(names: Iterable[str], answered: Iterable[tuple[ToolCall, ToolAnswer]]) -> dict[str, Assessment]:
    """Assessments of the components of which an expert's question was answered, by name. Nothing is asked for it."""
    known = {key_of(call): answer for call, answer in answered if answer.evidence is not None}
    found: dict[str, Assessment] = {}
    for name in dict.fromkeys(names):
        told = [(expert, known.get(key_of(call))) for expert in _EXPERTS for call in expert.questions(name)]
        joint = collaborate(name, [expert.verdict(name, answer) for expert, answer in told if answer is not None])
        if joint.evidence:
            found[name] = assessment(joint)
    return found


def assessment(joint: Joint) -> Assessment:
    """Detection, triage and localization as the experts agree on them."""
    return Assessment(
        abnormal=joint.abnormal, abnormal_by=joint.abnormal_by, fault_class=joint.fault_class,
        severity=round(joint.severity, 4) if joint.abnormal else None, triage_by=joint.triage_by,
        origin=True if joint.origin_by else None, origin_by=joint.origin_by, conflicts=joint.conflicts,
    )  # fmt: skip
