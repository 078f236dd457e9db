"""Own time: how long each operation of a service works itself, in both windows, and how much of all extra time that is.

Own time is what no child and no other party takes. Says also how often calls failed with nothing failing below them.
Source: exclusive-time rule of the label-free study on Nezha (section 4.5), tool list of section 15.2 of the agents
survey. Rows: one per operation, most extra time first. Cost: O(operations) once own times are grouped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from aetia.evidence._edges import by_own_time, errors_began
from aetia.evidence._material import material
from aetia.evidence._memo import once
from aetia.evidence._places import service_or_external
from aetia.evidence._samples import GroupShift, group_shift
from aetia.model.diagnosis import Claim
from aetia.model.quantities import percent, quantity
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said, service_code
from aetia.reason.tools._parts import ENOUGH, SURE_P, health, need, number, strongest_first
from aetia.signals.frames import F64, I64, KIND_CLIENT, KIND_PRODUCER
from aetia.signals.stats import fisher_p
from aetia.signals.view import View

CLEARED, MANY = 0.25, 100
"""How surely a service is cleared that works as before, from MANY calls in each window on: many faults cost no time."""
MINOR = 0.05
"""Share of all extra time, or of own failures, that is nothing."""


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`service`: whose operations are wanted."""

    service: str


@plugin(
    "tool", needs=("spans",), summary="own time and own failures of a service's operations, and their share of all",
    source="exclusive-time rule", cost="O(operations)",
)  # fmt: skip
class SpanSelfTime(Tool[Args]):
    """Time and failures that began in a service itself."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        need(view, "spans")
        code, table = service_code(view, args.service), own_times(view)
        mine = np.flatnonzero((table.service == code) & (table.shift.base_count + table.shift.incident_count > 0))
        if len(mine) == 0:
            raise NoAnswer("no_data", f"{said(args.service)} has no spans in these windows.",
                           "ask link for the calls to it, or metric_anomalies", category="permanent")  # fmt: skip
        names = [view.names.operations[at][1] for at in mine.tolist()]
        first = strongest_first(table.extra_ms[mine])
        order = sorted(range(len(mine)), key=lambda k: (first[k], -int(table.failed[1][mine[k]]), names[k]))
        rows = tuple(table.row(int(mine[k]), names[k]) for k in order)
        return _judged(view, table, code, mine, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTimes:
    """Own time and own failures of all operations of the telemetry, arrays over operation codes."""

    service: I64
    shift: GroupShift
    extra_ms: F64
    """Extra own time of all calls in the incident together; 0 where the rise is no more than chance."""
    bounded: F64
    failed: tuple[I64, I64]
    calls: tuple[I64, I64]

    def row(self, code: int, name: str) -> dict[str, Any]:
        shift, total = self.shift, float(self.extra_ms.sum())
        return {
            "operation": name,
            "baseline_calls": int(self.calls[0][code]),
            "incident_calls": int(self.calls[1][code]),
            "baseline_ms": number(shift.base_median[code]) if shift.base_count[code] else None,
            "incident_ms": number(shift.incident_median[code]) if shift.incident_count[code] else None,
            "baseline_p90_ms": number(shift.base_p90[code]) if shift.base_count[code] else None,
            "incident_p90_ms": number(shift.incident_p90[code]) if shift.incident_count[code] else None,
            "extra_ms": number(self.extra_ms[code]),
            "share_of_extra": number(self.extra_ms[code] / total) if total > 0 else 0.0,
            "baseline_own_failures": int(self.failed[0][code]),
            "incident_own_failures": int(self.failed[1][code]),
        }


def own_times(view: View) -> OwnTimes:
    """The table of all operations, computed once."""
    return once(view, "own times of operations", _build)


def _build(view: View) -> OwnTimes:
    spans, n = view.spans, len(view.names.operations)
    base, incident = view.span_masks
    rows = by_own_time(view)
    rows = rows[(base | incident)[rows]]
    shift = group_shift(spans.exclusive_ns[rows], spans.operation[rows].astype(np.int64), incident[rows], n)
    rise = np.maximum(shift.incident_median - shift.base_median, (shift.incident_p90 - shift.base_p90) / 2)
    bounded = shift.bounded * material(view, rise)
    began = errors_began(view) & (spans.kind != KIND_CLIENT) & (spans.kind != KIND_PRODUCER) & (spans.operation >= 0)

    def count(chosen: np.ndarray) -> I64:
        return np.bincount(spans.operation[np.flatnonzero(chosen)], minlength=n).astype(np.int64)

    named = spans.operation >= 0
    return OwnTimes(
        service=np.array([owner for owner, _ in view.names.operations], np.int64),
        shift=shift,
        extra_ms=np.where(bounded > 0.01, np.maximum(rise, 0.0) * shift.incident_count, 0.0),
        bounded=bounded,
        failed=(count(began & base), count(began & incident)),
        calls=(count(named & base), count(named & incident)),
    )  # fmt: skip


def _judged(view: View, table: OwnTimes, code: int, mine: I64, rows: tuple[dict[str, Any], ...]) -> Found:
    about, total = service_or_external(view, code), float(table.extra_ms.sum())
    share = float(table.extra_ms[mine].sum()) / total if total > 0 else 0.0
    calls = [int(side[mine].sum()) for side in table.calls]
    # A request may fail in several spans of a service, and is one failure all the same.
    requests = [int(side[code]) for side in health(view, "service").counts]
    failed = [min(int(side[mine].sum()), asked) for side, asked in zip(table.failed, requests, strict=True)]
    rates = [bad / asked if asked else 0.0 for bad, asked in zip(failed, requests, strict=True)]
    fails = rates[1] - rates[0] if float(fisher_p(failed[0], requests[0], failed[1], requests[1])) < SURE_P else 0.0
    best = int(mine[np.argmax((table.extra_ms * table.bounded)[mine])])
    slow = float(np.sqrt(share * table.bounded[best])) if share > 0 else 0.0
    strength, name = max(slow, float(np.sqrt(max(fails, 0.0)))), said(about.name)
    words: list[str] = []
    if share > MINOR:
        before, after = (quantity(float(side[best]), "ms") for side in (table.shift.base_p90, table.shift.incident_p90))
        words.append(
            f"{name} spends {percent(share)} of all extra time itself, most in {said(view.names.operations[best][1])}"
            f" (p90 {after}, {before} before)"
        )
    if fails > 0:
        words.append(f"{percent(rates[1])} of the requests of {name} fail with nothing failing below, "
                     f"{percent(rates[0])} before")  # fmt: skip
    clear = share <= MINOR and fails <= MINOR**2
    if clear and min(calls) >= ENOUGH:
        words = [f"{name} works itself no longer than before and its requests do not begin to fail in it"]
        strength = CLEARED * min(min(calls) / MANY, 1.0)
    elif not words:
        words, strength = [f"{name} itself hardly changed, by {calls[0]} calls before and {calls[1]} now"], 0.0
    claim = Claim(
        what="own time" if slow >= strength or not fails else "own failures", text="; ".join(words), direction="up",
        magnitude=round(float(table.extra_ms[mine].sum()), 4), unit="ms",
    )  # fmt: skip
    against = clear and min(calls) >= ENOUGH
    return Found(rows=rows, total=len(rows), about=about, claim=claim, strength=min(strength, 1.0),
                 polarity="against" if against else "for")  # fmt: skip
