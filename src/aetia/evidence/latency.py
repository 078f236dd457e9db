"""Own time: how much longer an operation itself takes, without what it waits for.

With spans: exclusive time of spans that do not wait for another party. Without: latency metrics, less the rise of the
callees' latency along the call graph. Source: exclusive-time rule of the label-free study on Nezha (section 4.5) and
TraceBackA10 of RCABench; residual form for metrics by us. Score: rank test times log ratio, times share of all extra
time; higher = more suspicious. Cost: O(spans log spans).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.evidence._edges import by_own_time, is_waiting
from aetia.evidence._material import material
from aetia.evidence._memo import once
from aetia.evidence._places import service_or_external
from aetia.evidence._residual import callers_and_callees, residual
from aetia.evidence._samples import NS_PER_MS, GroupShift, group_shift
from aetia.evidence._series import measure_series, series_name, shifts
from aetia.evidence._timeline import quantile_over_time
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.entity import operation
from aetia.model.errors import SignalError
from aetia.model.quantities import quantity, went
from aetia.plugins import plugin
from aetia.signals.frames import I64
from aetia.signals.keys import run_starts
from aetia.signals.view import View

MIN_SCORE = 0.03
MIN_CALLS = 4
TAIL = "p90"
UNTRACED = 0.5
"""How far a latency metric is believed of a service without spans where others have some."""


@plugin(
    "channel",
    summary="time that an operation spends itself, not waiting for others, rose",
    source="exclusive-time rule; residual latency along the call graph for metrics",
    cost="O(spans log spans)",
)
class Latency:
    """Extra own time per service, by operation."""

    def observe(self, view: View) -> Reading:
        findings = sorted([*_from_spans(view), *_from_metrics(view)], key=lambda f: (-f.score, f.entity.name))
        if not findings:
            return Reading(silent="no operation takes longer by itself")
        return Reading(findings=tuple(findings))

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        if "metric" in args:
            return measure_series(view, args)
        shift, key = _groups(view)
        for group, code in enumerate(key.tolist()):
            service, name = view.names.operations[code]
            if (view.names.services[service], name) == (args["service"], args["operation"]):
                tail = args.get("statistic") == TAIL
                before, after = _levels(shift, group, tail=tail)
                return {
                    "baseline": before,
                    "incident": after,
                    "baseline_calls": int(shift.base_count[group]),
                    "incident_calls": int(shift.incident_count[group]),
                    "unit": "ms",
                    "series": _chart(view, code, 0.9 if tail else 0.5),
                }
        raise SignalError(f"no spans of {args['service']} {args['operation']} in the windows of this telemetry.")


def _levels(shift: GroupShift, group: int, *, tail: bool) -> tuple[float, float]:
    """Own time in the baseline and in the incident: medians, or 90th percentiles of the `tail`."""
    if tail:
        return float(shift.base_p90[group]), float(shift.incident_p90[group])
    return float(shift.base_median[group]), float(shift.incident_median[group])


def _chart(view: View, operation: int, q: float) -> dict[str, Any]:
    """A quantile of the own time of one operation over time."""
    spans = view.spans
    rows = np.flatnonzero((spans.operation == operation) & ~is_waiting(view))
    return quantile_over_time(view, spans.start_ns[rows], spans.exclusive_ns[rows] / NS_PER_MS, "ms", q)


def _groups(view: View) -> tuple[GroupShift, I64]:
    """Shift of own time per operation, and the operation codes."""

    def build(v: View) -> tuple[GroupShift, I64]:
        spans = v.spans
        base, incident = v.span_masks
        rows = by_own_time(v)
        rows = rows[(base | incident)[rows]]
        operation = spans.operation[rows]
        new = run_starts(operation)  # the rows come in order of it
        key, group = operation[new].astype(np.int64), np.cumsum(new) - 1
        return group_shift(spans.exclusive_ns[rows], group, incident[rows], len(key)), key

    return once(view, "own time", build)


def _from_spans(view: View) -> list[Finding]:
    shift, key = _groups(view)
    if len(key) == 0:
        return []
    operations = view.names.operations
    service = np.array([operations[code][0] for code in key.tolist()], dtype=np.int64)
    enough = (shift.base_count >= MIN_CALLS) & (shift.incident_count > 0)
    confidence = np.minimum(1.0, shift.incident_count / MIN_CALLS)
    bounded = np.where(enough, shift.bounded * confidence, 0.0)
    rise = np.maximum(shift.incident_median - shift.base_median, (shift.incident_p90 - shift.base_p90) / 2)
    bounded = bounded * material(view, rise)
    mass = np.where(bounded > 0, np.maximum(rise, 0.0) * shift.incident_count, 0.0)
    n = len(view.names.services)
    total = float(mass.sum())
    if total <= 0:
        return []
    mass_of = np.bincount(service, mass, n)
    level = np.divide(np.bincount(service, mass * bounded, n), mass_of, out=np.zeros(n), where=mass_of > 0)
    score = np.sqrt(level * mass_of / total)
    out: list[Finding] = []
    for code in np.flatnonzero(score >= MIN_SCORE):
        groups = np.flatnonzero(service == code)
        best = int(groups[np.argmax((mass * bounded)[groups])])
        name = operations[int(key[best])][1]
        own = view.names.services[int(code)]
        before, after = _levels(shift, best, tail=False)
        tail = after - before < shift.incident_p90[best] / 2 - shift.base_p90[best] / 2
        if tail:
            before, after = _levels(shift, best, tail=True)
        slowest = "in the slowest tenth at least " if tail else ""
        text = f"{name} of {own} spends {slowest}{quantity(after, 'ms')} itself, {quantity(before, 'ms')} before"
        share = mass[best] / max(float(mass_of[code]), 1e-9)
        where = operation(own, name) if share > 0.9 and len(groups) > 1 else service_or_external(view, int(code))
        out.append(
            Finding(
                entity=where,
                score=float(score[code]),
                fault_class="D",
                fault="latency",
                args={"service": own, "operation": name} | ({"statistic": TAIL} if tail else {}),
                claim=Claim(what="own time", direction="up", magnitude=round(after - before, 4), unit="ms", text=text),
            )
        )
    return sorted(out, key=lambda f: (-f.score, f.entity.name))


def _from_metrics(view: View) -> list[Finding]:
    moved, left = shifts(view), residual(view, "latency")
    trust = UNTRACED if len(view.spans) else 1.0
    traced = np.bincount(view.spans.service[view.spans.service >= 0], minlength=len(left.score)) > 0
    out: list[Finding] = []
    for service in np.flatnonzero((left.score >= MIN_SCORE) & ~traced).tolist():
        row = int(left.row[service])
        series = view.metrics.series[row]
        before, after = float(moved.base[row]), float(moved.level[row])
        onset = int(moved.onset_ns[row]) if moved.onset_ns[row] >= 0 else None
        text = f"{series.raw} of {view.names.services[series.service]} {went(before, after, series.unit)}"
        text += callers_and_callees(view, common=left.common[service] > 0)
        out.append(
            Finding(
                entity=service_or_external(view, service),
                score=trust * float(left.score[service]),
                fault_class="D",
                fault="network_delay" if left.common[service] > 0 else "latency",
                args=series_name(view, row),
                onset_ns=onset,
                own=trust == 1.0 and len(view.topology.caller) > 0,
                claim=Claim(
                    what="latency",
                    direction="up",
                    magnitude=round(after - before, 4),
                    unit=series.unit,
                    onset_ns=onset,
                    text=text,
                ),
            )
        )
    return sorted(out, key=lambda f: (-f.score, f.entity.name))
