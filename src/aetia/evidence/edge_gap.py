"""Edge gap: time between a client span and the server span it called, which neither end accounts for.

Finds network delay, loss with retransmission, connection queues and slow externals; exclusive time is blind to them.
Source: section 4.1 of the label-free study on Nezha. Score: rank test times log ratio per edge, F-score of the edges
that touch a service; higher = more suspicious. Cost: O(calls log calls).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from aetia.evidence._blame import edge_blame
from aetia.evidence._edges import Calls, calls_of
from aetia.evidence._material import material
from aetia.evidence._memo import once
from aetia.evidence._places import service_or_external
from aetia.evidence._samples import NS_PER_MS, GroupShift, group_shift
from aetia.evidence._series import Shifts, believed, measure_series, series_name, shifts
from aetia.evidence._timeline import quantile_over_time
from aetia.evidence.channel import Finding, Reading
from aetia.model import entity
from aetia.model.diagnosis import Claim
from aetia.model.errors import SignalError
from aetia.model.quantities import quantity
from aetia.plugins import plugin
from aetia.signals.frames import F64, I32, I64
from aetia.signals.keys import dense_rows, run_starts
from aetia.signals.stats import fisher_p
from aetia.signals.view import View

MIN_CALLS = 4
MIN_POOL = 8
LATE_FACTOR, LATE_MS = 5.0, 50.0
FULL_LATE_SHARE = 0.1
FULL_EFFECT = float(np.log(2.0))
MIN_SCORE = 0.03
SERVER_SIDE = re.compile(r"server|destination|inbound", re.IGNORECASE)
"""Words by which per-edge metrics name the side that served the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edges:
    """Per edge (caller, callee): score 0..1, mass (extra ms per trace), the group or series that shows it best."""

    caller: I32
    callee: I32
    score: F64
    mass: F64
    best: I64
    """Call group of the largest share of the score (spans) or metric row (metrics)."""


@plugin(
    "channel",
    summary="time lost between caller and callee that neither of them accounts for",
    source="label-free study on Nezha, section 4.1",
    cost="O(calls log calls)",
)
class EdgeGap:
    """Shift of the client-server gap per edge, blamed on the endpoint that owns all shifted edges."""

    def observe(self, view: View) -> Reading:
        from_spans, from_metrics = _span_edges(view), _metric_edges(view)
        if from_spans is None and from_metrics is None:
            return Reading(silent="no calls between services, neither as spans nor as edge metrics")
        findings = [
            *(_findings(view, from_spans, metric=False) if from_spans else ()),
            *(_findings(view, from_metrics, metric=True) if from_metrics else ()),
        ]
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(findings=tuple(findings), silent=None if findings else "no edge lost time between its ends")

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        if "metric" in args:
            return measure_series(view, args)
        _, shift, key = _groups(view)
        names = view.names
        for group in range(len(key)):
            if _group_args(view, key[group]) == args:
                return {
                    "baseline": float(shift.base_median[group]),
                    "incident": float(shift.incident_median[group]),
                    "baseline_p90": float(shift.base_p90[group]),
                    "incident_p90": float(shift.incident_p90[group]),
                    "baseline_calls": int(shift.base_count[group]),
                    "incident_calls": int(shift.incident_count[group]),
                    "unit": "ms",
                    "series": _chart(view, group),
                }
        raise SignalError(f"no calls {args} among the {len(names.services)} services of this telemetry.")


def _chart(view: View, group: int) -> dict[str, Any]:
    """Median gap of one group of calls over time."""
    calls, _, _, of = once(view, "edge groups", _group_calls)
    own = of == group
    return quantile_over_time(view, view.spans.start_ns[calls.row[own]], calls.gap_ns[own] / NS_PER_MS, "ms")


def _groups(view: View) -> tuple[Calls, GroupShift, I64]:
    """Calls, their shift per (caller, callee, operation), and those keys, shape (groups, 3)."""
    calls, shift, key, _ = once(view, "edge groups", _group_calls)
    return calls, shift, key


def _group_calls(view: View) -> tuple[Calls, GroupShift, I64, I64]:
    calls = calls_of(view)
    # The calls come in order of these three, so each group is one run.
    new = run_starts(calls.caller) | run_starts(calls.callee) | run_starts(calls.operation)
    first, group = np.flatnonzero(new), np.cumsum(new) - 1
    key = np.stack([calls.caller[first], calls.callee[first], calls.operation[first]], axis=1).astype(np.int64)
    return calls, group_shift(calls.gap_ns, group, calls.incident, len(key)), key, group


def _span_edges(view: View) -> _Edges | None:
    calls = calls_of(view)
    if len(calls.caller) == 0 or calls.incident.all() or not calls.incident.any():
        return None
    _, shift, key = _groups(view)
    bounded, base_median = _with_pools(view)
    n = shift.incident_count
    rise = np.maximum(shift.incident_median - base_median, 0.0)
    late, late_ms = _late_share(view, shift)
    mass = n * np.maximum(rise, late_ms * late)
    edge_key, edge = dense_rows(key[:, 0], key[:, 1])
    bounded = np.maximum(bounded * material(view, rise), late * material(view, late_ms))
    weight = np.sqrt(n)
    total = np.bincount(edge, weight, len(edge_key))
    score = np.bincount(edge, weight * bounded, len(edge_key)) / np.maximum(total, 1e-9)
    order = np.lexsort((weight * bounded, edge))
    best = np.zeros(len(edge_key), np.int64)
    best[edge[order]] = order
    active = total > 0
    return _Edges(
        caller=edge_key[active, 0].astype(np.int32),
        callee=edge_key[active, 1].astype(np.int32),
        score=score[active],
        mass=np.bincount(edge, mass.astype(np.float64), len(edge_key))[active].astype(np.float64),
        best=best[active],
    )


def _late_share(view: View, shift: GroupShift) -> tuple[F64, F64]:
    """(score 0..1, delay in ms) per group for calls far beyond the usual gap: loss delays a few calls by a
    retransmission or a time-out and leaves the median alone."""
    calls, _, _, group = once(view, "edge groups", _group_calls)
    limit = LATE_FACTOR * shift.base_p90 + LATE_MS
    late = calls.gap_ns / NS_PER_MS > limit[group]
    n = len(limit)
    before = np.bincount(group[late & ~calls.incident], minlength=n)
    after = np.bincount(group[late & calls.incident], minlength=n)
    excess = after / np.maximum(shift.incident_count, 1) - before / np.maximum(shift.base_count, 1)
    p = fisher_p(before, shift.base_count, after, shift.incident_count)
    sure = np.minimum(1.0, -np.log10(np.maximum(p, 1e-300)) / 3.0)
    score = np.where((after >= MIN_CALLS) & (excess > 0), sure * np.minimum(1.0, excess / FULL_LATE_SHARE), 0.0)
    return np.maximum(score, 0.0), limit


def _with_pools(view: View) -> tuple[F64, F64]:
    """(bounded, baseline median in ms) per group; a group with few baseline calls is compared with a pool: all
    baseline calls into that callee, or all baseline calls at all."""
    calls, shift, key, group_of = once(view, "edge groups", _group_calls)
    bounded, median = shift.bounded.copy(), shift.base_median.copy()
    poor = np.flatnonzero((shift.base_count < MIN_CALLS) & (shift.incident_count > 0))
    if len(poor) == 0:
        return bounded, median
    base = ~calls.incident
    for group in poor.tolist():
        pool = calls.gap_ns[base & (calls.callee == key[group, 1])]
        if len(pool) < MIN_POOL:
            pool = calls.gap_ns[base]
        first, last = np.searchsorted(group_of, [group, group + 1])  # groups are runs of calls
        own = calls.gap_ns[first:last][calls.incident[first:last]]
        values = np.concatenate([pool, own])
        side = np.arange(len(values)) >= len(pool)
        alone = group_shift(values, np.zeros(len(values), np.int64), side, 1)
        bounded[group], median[group] = alone.bounded[0], alone.base_median[0]
    enough = shift.incident_count >= MIN_CALLS
    return np.where(enough | (bounded > 0), bounded * np.minimum(1.0, shift.incident_count / MIN_CALLS), 0.0), median


def _metric_edges(view: View) -> _Edges | None:
    """Edges from per-edge latency metrics: what the client waits beyond what the server takes, or, where only one side
    is recorded, beyond what the callee's own calls take."""
    frame, moved = view.metrics, shifts(view)
    rows = [r for r, s in enumerate(frame.series) if s.caller >= 0 and s.callee >= 0 and s.what == "latency"]
    if not rows:
        return None
    client: dict[tuple[int, int], int] = {}
    served: dict[tuple[int, int], float] = {}
    for row in rows:
        series = frame.series[row]
        pair = (series.caller, series.callee)
        if SERVER_SIDE.search(series.raw):
            served[pair] = max(served.get(pair, 0.0), _rise(moved, row))
        elif pair not in client or moved.z[row] > moved.z[client[pair]]:
            client[pair] = row
    if not client:
        return None
    below: dict[int, float] = {}
    for (caller, _), row in client.items():
        below[caller] = max(below.get(caller, 0.0), _rise(moved, row))
    pairs = sorted(client)
    score, mass = np.zeros(len(pairs)), np.zeros(len(pairs))
    for at, pair in enumerate(pairs):
        row, rise = client[pair], _rise(moved, client[pair])
        if rise > 0:
            mass[at] = max(rise - served.get(pair, below.get(pair[1], 0.0)), 0.0)
            sure = float(believed(moved.z[row], moved.usual_z[row])) * min(1.0, float(moved.effect[row]) / FULL_EFFECT)
            score[at] = sure * mass[at] / rise
    return _Edges(
        caller=np.array([p[0] for p in pairs], np.int32),
        callee=np.array([p[1] for p in pairs], np.int32),
        score=score,
        mass=mass,
        best=np.array([client[p] for p in pairs], np.int64),
    )


def _rise(moved: Shifts, row: int) -> float:
    """How much one series rose, 0 when it fell or has no baseline."""
    if not moved.usable[row] or moved.direction[row] < 0:
        return 0.0
    return max(float(moved.level[row] - moved.base[row]), 0.0)


def _findings(view: View, edges: _Edges, *, metric: bool) -> list[Finding]:
    blame = edge_blame(edges.caller, edges.callee, edges.score, edges.mass, len(view.names.services))
    out: list[Finding] = []
    for service in np.flatnonzero(blame >= MIN_SCORE).tolist():
        touching = np.flatnonzero((edges.caller == service) | (edges.callee == service))
        shifted = touching[edges.score[touching] >= 0.5 * edges.score[touching].max()]
        strongest = int(touching[np.argmax(edges.score[touching])])
        where = service_or_external(view, service)
        names = view.names.services
        if len(shifted) == 1 and len(touching) > 1 and where.level == "service":
            caller, callee = names[edges.caller[strongest]], names[edges.callee[strongest]]
            where = entity.edge(caller, callee, blamed=names[service])
        out.append(_finding(view, edges, strongest, where, float(blame[service]), metric=metric))
    return out


def _finding(view: View, edges: _Edges, edge: int, where: entity.Entity, score: float, *, metric: bool) -> Finding:
    names, best = view.names.services, int(edges.best[edge])
    caller, callee = names[edges.caller[edge]], names[edges.callee[edge]]
    if metric:
        moved = shifts(view)
        args, unit = series_name(view, best), view.metrics.series[best].unit
        before, after, onset = float(moved.base[best]), float(moved.level[best]), int(moved.onset_ns[best])
    else:
        _, shift, key = _groups(view)
        args, unit = _group_args(view, key[best]), "ms"
        before, after, onset = float(shift.base_median[best]), float(shift.incident_median[best]), -1
    slow_external = where.level == "external"
    lost, usual = quantity(after, unit), quantity(before, unit)
    text = f"calls {caller} → {callee} lose {lost} between the two ends, {usual} before"
    return Finding(
        entity=where,
        score=min(score, 1.0),
        fault_class="D",
        fault="slow_dependency" if slow_external else "network_delay",
        args=args,
        onset_ns=onset if onset >= 0 else None,
        claim=Claim(
            what="client-server gap",
            direction="up",
            magnitude=round(after - before, 4),
            unit=unit,
            onset_ns=onset if onset >= 0 else None,
            text=text,
        ),
    )


def _group_args(view: View, key: I64) -> dict[str, Any]:
    names = view.names
    owner, operation = names.operations[int(key[2])]
    return {
        "caller": names.services[int(key[0])],
        "callee": names.services[int(key[1])],
        "operation": f"{names.services[owner]} {operation}",
    }
