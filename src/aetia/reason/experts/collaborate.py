"""Collaboration: the verdicts of several modalities on one candidate, weighed and reconciled.

Detection (is it abnormal), triage (fault class and severity) and localization (does it speak for the candidate as the
origin) are answered together, each with its evidence. Source: TrioXpert, section 8 of the agents survey; weights of
evidence add up as log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aetia.model.faults import FaultClass
from aetia.reason.experts.verdict import Modality, Verdict

RELIABILITY: dict[Modality, float] = {"traces": 1.0, "metrics": 0.6, "logs": 0.4}
"""How much a verdict of each modality weighs: requests show what users felt, metrics what may have caused it, lines
what somebody thought worth saying."""
OWN, SYMPTOM, WELL = 1.0, -0.5, -0.5
"""Log-odds of a verdict at full strength: it began there; it shows trouble that may come from elsewhere; it is well."""
MOST = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """What the experts agree on. `log_odds` speak for (+) or against (-) the candidate as the origin; `conflicts` name
    modalities that contradict one another."""

    candidate: str
    abnormal: bool
    fault_class: FaultClass | None
    severity: float
    onset_s: float | None
    log_odds: float
    evidence: tuple[str, ...]
    conflicts: tuple[str, ...]
    reason: str
    abnormal_by: tuple[str, ...] = ()
    triage_by: tuple[str, ...] = ()
    origin_by: tuple[str, ...] = ()
    """Evidence for the answer to each of the three questions: of those who say that it is ill, of the one whose fault
    class and of the one whose severity is taken, and of those to whom it can only have begun there."""


def collaborate(candidate: str, verdicts: Sequence[Verdict]) -> Joint:
    """Reconcile what the experts say of one candidate; the order of the verdicts does not matter."""
    spoken = sorted((v for v in verdicts if v.abnormal is not None), key=lambda v: v.modality)
    weights = [(_weight(verdict), verdict) for verdict in spoken]
    total = sum(weight for weight, _ in weights)
    sick = [verdict for verdict in spoken if verdict.abnormal]
    best = max(sick, key=lambda v: (v.own, RELIABILITY[v.modality] * v.severity), default=None)
    worst = max(sick, key=lambda v: v.severity, default=None)
    onsets = [verdict.onset_s for verdict in sick if verdict.onset_s is not None]
    conflicts = tuple(
        f"{a.modality} say that it is ill, {b.modality} that it is well"
        for a in sick for b in spoken if not b.abnormal
    )  # fmt: skip
    if conflicts:
        total /= 2  # who contradicts one another is believed half
    return Joint(
        candidate=candidate, abnormal=bool(sick), severity=max((v.severity for v in sick), default=0.0),
        fault_class=best.fault_class if best is not None else None, onset_s=min(onsets, default=None),
        log_odds=max(-MOST, min(MOST, total)), evidence=tuple(dict.fromkeys(e for v in spoken for e in v.evidence)),
        conflicts=conflicts, reason="; ".join(f"{v.modality}: {v.reason}" for v in spoken),
        abnormal_by=_ids(*(sick or spoken)), origin_by=_ids(*(v for v in sick if v.own)),
        triage_by=_ids(*(v for v in (best, worst) if v is not None)),
    )  # fmt: skip


def _ids(*verdicts: Verdict) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for verdict in verdicts for item in verdict.evidence))


def _weight(verdict: Verdict) -> float:
    side = WELL if not verdict.abnormal else OWN if verdict.own else SYMPTOM if verdict.modality == "traces" else 0.0
    return side * RELIABILITY[verdict.modality] * verdict.strength
