"""The contract of evidence channels.

A channel looks at a view for one kind of evidence. It returns bounded findings for entities that show it, and
is silent (with a reason) where it has nothing to say. `measure` re-computes the numbers behind one finding, so
that anyone can run the evidence again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from aetia.model.diagnosis import Claim
from aetia.model.entity import Entity
from aetia.model.faults import FaultClass
from aetia.signals.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One entity that shows this channel's kind of evidence.

    `score` is in 0..1 (higher = more suspicious). `own` is True when the evidence can only originate at the
    entity (resources, restarts, exclusive time, deepest error); False when a callee or a host may explain it.
    `args` are the arguments with which `Channel.measure` shows the evidence again.
    """

    entity: Entity
    score: float
    claim: Claim
    args: dict[str, Any]
    fault_class: FaultClass | None = None
    fault: str | None = None
    own: bool = True
    onset_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All findings of one channel on one view; `silent` says why there are none."""

    findings: tuple[Finding, ...] = field(default=())
    silent: str | None = None


class Channel(Protocol):
    """One kind of evidence. Same view in, same reading out; the view is never changed."""

    def observe(self, view: View) -> Reading:
        """Findings on the view, strongest first."""
        ...

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        """The numbers behind one finding: plain JSON values, with `baseline` and `incident` among the keys where
        the evidence compares the two, and optionally `series` ({"start_ns", "step_ns", "unit", "values"}, at most
        64 points) for a chart. Raises SignalError when the entity is not in the view."""
        ...
