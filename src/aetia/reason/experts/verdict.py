"""What an expert says of one candidate from what its own modality shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aetia.model.faults import FaultClass
from aetia.model.journal import ToolAnswer

Modality = Literal["metrics", "logs", "traces"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a candidate is abnormal by one modality (None: it has nothing to say), with the fault class that fits,
    how severe it is and how sure the expert is (both 0..1), when it began (s from the start of the incident) and the
    evidence it stands on. `own`: it can only have begun there."""

    candidate: str
    modality: Modality
    abnormal: bool | None
    strength: float = 0.0
    severity: float = 0.0
    own: bool = False
    fault_class: FaultClass | None = None
    onset_s: float | None = None
    evidence: tuple[str, ...] = ()
    reason: str = ""


def nothing(candidate: str, modality: Modality, answers: Sequence[ToolAnswer]) -> Verdict:
    """The verdict where no answer says anything, with the reason."""
    errors = [answer.error.message for answer in answers if answer.error is not None]
    return Verdict(candidate=candidate, modality=modality, abnormal=None, reason=errors[0] if errors else "no evidence")
