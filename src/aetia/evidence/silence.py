"""Silence: work that a service no longer does although it is still asked, and telemetry that stopped.

A service whose callers do less too is starved, not silent. Source: class E (traffic isolation) and the offered-load
rule of algorithms section 13.2 (PAVE's silent and missing states). Score: lost share of the expected work times its
significance; higher = more suspicious. Cost: O(spans + series).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.evidence._edges import calls_of, service_entries
from aetia.evidence._load import span_seconds
from aetia.evidence._memo import once
from aetia.evidence._places import place, service_or_external
from aetia.evidence._presence import presence
from aetia.evidence._series import shifts
from aetia.evidence._timeline import rate_over_time
from aetia.evidence.channel import Finding, Reading
from aetia.model import entity
from aetia.model.diagnosis import Claim
from aetia.model.errors import SignalError
from aetia.model.quantities import number, percent, quantity
from aetia.model.window import NS_PER_SECOND
from aetia.plugins import plugin
from aetia.signals.frames import F64, I32, I64, KIND_CLIENT
from aetia.signals.view import View

TOLERATED_LOSS = 0.4
"""Share of the work that may go missing before it counts: load shifts and sampling lose that much without a fault."""
MIN_EXPECTED = 8.0
UNSEEN_DEMAND = 0.5
RECENT_NS = 600 * NS_PER_SECOND
MIN_SERIES = 2


@plugin(
    "channel",
    summary="a service or instance does far less than it is asked to, or its telemetry stopped",
    source="class E of PAVE (RCABench); offered-load rule",
    cost="O(spans + series)",
)
class Silence:
    """Loss of served work beyond the loss of demand, per service and instance; series that went missing."""

    def observe(self, view: View) -> Reading:
        findings = [*_services(view), *_instances(view), *_gone(view)]
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(findings=tuple(findings), silent=None if findings else "nobody does less than is asked of them")

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        names = view.names
        if args["what"] == "telemetry":
            return _measure_gone(view, args)
        vocabulary = names.instances if args["what"] == "instance" else names.services
        if args["name"] not in vocabulary:
            raise SignalError(f"no {args['what']} {args['name']} in this telemetry.")
        code = vocabulary.index(args["name"])
        served = _served(view, of=args["what"])
        spans = view.spans
        own = (spans.instance if args["what"] == "instance" else spans.service) == code
        rows = np.flatnonzero(own & service_entries(view))
        return {
            "baseline": float(served[0][code]),
            "incident": float(served[1][code]),
            "unit": "calls/s",
            "series": rate_over_time(view, spans.start_ns[rows], "calls/s", 1.0),
        }


def _served(view: View, of: str) -> tuple[F64, F64]:
    """Served calls per second and service (or instance) code in the baseline and the incident."""

    def build(v: View) -> tuple[F64, F64]:
        spans = v.spans
        if len(spans) == 0:
            return _served_by_metrics(v, of)
        code, n = (
            (spans.service, len(v.names.services)) if of == "service" else (spans.instance, len(v.names.instances))
        )
        base, incident = v.span_masks
        entry = service_entries(v) & (code >= 0)
        rates: list[F64] = []
        for mask, observed in zip((base, incident), span_seconds(v), strict=True):
            seconds = max(observed, 1e-9)
            rates.append(np.bincount(code[np.flatnonzero(entry & mask)], minlength=n) / seconds)
        return rates[0], rates[1]

    return once(view, f"served by {of}", build)


def _served_by_metrics(view: View, of: str) -> tuple[F64, F64]:
    """Traffic metrics in place of spans; 0 where none is recorded."""
    moved = shifts(view)
    n = len(view.names.services if of == "service" else view.names.instances)
    before, after = np.zeros(n), np.zeros(n)
    for row, series in enumerate(view.metrics.series):
        code = series.service if of == "service" else series.instance
        own = series.what == "traffic" and series.caller < 0 and (of == "instance" or series.instance < 0)
        if own and code >= 0 and moved.usable[row] and moved.base[row] > before[code]:
            before[code], after[code] = moved.base[row], moved.level[row]
    return before, after


def _lost(before: F64, after: F64, demand: F64, seconds: float) -> F64:
    """Lost share of the expected work beyond tolerance, 0..1, given the demand ratio of each entity."""
    expected = before * np.minimum(demand, 1.0) * seconds
    lost = 1.0 - np.divide(after * seconds, expected, out=np.ones_like(expected), where=expected > 0)
    beyond = np.clip((lost - TOLERATED_LOSS) / (1.0 - TOLERATED_LOSS), 0.0, 1.0)
    # Poisson: a loss of the expected count by its own square root is noise.
    sure = np.clip((lost * expected / np.sqrt(np.maximum(expected, 1.0)) - 2.0) / 3.0, 0.0, 1.0)
    return np.where(expected >= MIN_EXPECTED, beyond * sure, 0.0)


def _demand(view: View, before: F64, after: F64) -> tuple[F64, bool]:
    """(incident over baseline demand per service, whether it was seen at the callers).

    Client spans show what callers asked for, answered or not. Without them the callers' own work stands for it, and a
    caller that decides to call less looks like a silent callee. Services that nobody calls have a demand of 1.
    """
    n = len(before)
    calls = calls_of(view) if len(view.spans) else None
    told = view.spans.kind[calls.row] == KIND_CLIENT if calls is not None else np.zeros(0, np.bool_)
    if calls is not None and told.any():
        seconds = [max(observed, 1e-9) for observed in span_seconds(view)]
        asked = np.bincount(calls.callee[np.flatnonzero(told & ~calls.incident)], minlength=n) / seconds[0]
        now = np.bincount(calls.callee[np.flatnonzero(told & calls.incident)], minlength=n) / seconds[1]
        return np.divide(now, asked, out=np.ones(n), where=asked > 0), True
    counted = _asked_by_metrics(view, n) if len(view.spans) == 0 else None
    if counted is not None:
        return counted, True
    topology = view.topology
    keep = topology.caller != topology.callee
    caller, callee = topology.caller[keep], topology.callee[keep]
    weight = np.maximum(topology.calls[keep], 1).astype(np.float64)
    ratio = np.divide(after, before, out=np.ones(n), where=before > 0)
    total = np.bincount(callee, weight, n)
    asked = np.bincount(callee, weight * ratio[caller], n)
    return np.divide(asked, total, out=np.ones(n), where=total > 0), False


def _asked_by_metrics(view: View, n: int) -> F64 | None:
    """Incident over baseline calls of each service as its callers count them; None without traffic metrics of calls."""
    moved = shifts(view)
    asked, now = np.zeros(n), np.zeros(n)
    for row, series in enumerate(view.metrics.series):
        if series.what == "traffic" and series.caller >= 0 and series.callee >= 0 and moved.usable[row]:
            asked[series.callee] += moved.base[row]
            now[series.callee] += moved.level[row]
    return np.divide(now, asked, out=np.ones(n), where=asked > 0) if asked.any() else None


def _incident_seconds(view: View) -> float:
    if len(view.spans):
        return span_seconds(view)[1]
    return float(view.bin_masks[1].sum()) * view.metrics.step_ns / NS_PER_SECOND


def _services(view: View) -> list[Finding]:
    if len(view.spans) and not view.span_masks[1].any():
        return []
    before, after = _served(view, "service")
    demand, seen = _demand(view, before, after)
    lost = _lost(before, after, demand, _incident_seconds(view)) * (1.0 if seen else UNSEEN_DEMAND)
    out: list[Finding] = []
    for code in np.flatnonzero(lost > 0.05).tolist():
        name = view.names.services[code]
        out.append(
            _finding(
                view,
                service_or_external(view, code),
                float(lost[code]),
                {"what": "service", "name": name},
                float(before[code]),
                float(after[code]),
                f"while its callers do {percent(min(float(demand[code]), 9.99))} of their work",
            )
        )
    return out


def _instances(view: View) -> list[Finding]:
    """Instances that fell silent while their service goes on."""
    owner = view.topology.instance_service
    if len(view.spans) == 0 or not np.any(owner >= 0) or not view.span_masks[1].any():
        return []
    before, after = _served(view, "instance")
    service_before, service_after = _served(view, "service")
    ratio = np.divide(service_after, service_before, out=np.ones(len(service_before)), where=service_before > 0)
    siblings = np.bincount(owner[owner >= 0], minlength=len(service_before))
    demand = np.where(owner >= 0, ratio[np.maximum(owner, 0)], 1.0)
    lost = _lost(before, after, demand, _incident_seconds(view))
    heard = presence(view)
    # An instance that left long before the incident, or came after it, was replaced and did not fall silent now.
    recent = (heard.first_ns < view.incident.start_ns) & (heard.last_ns >= view.incident.start_ns - RECENT_NS)
    lost = np.where(recent & (owner >= 0) & (siblings[np.maximum(owner, 0)] > 1), lost, 0.0)
    out: list[Finding] = []
    for code in np.flatnonzero(lost > 0.05).tolist():
        where = place(view, instance=code)
        if where is not None:
            args = {"what": "instance", "name": view.names.instances[code]}
            out.append(
                _finding(
                    view,
                    where,
                    float(lost[code]),
                    args,
                    float(before[code]),
                    float(after[code]),
                    "while its siblings go on",
                )
            )
    return out


def _finding(
    view: View, where: entity.Entity, score: float, args: dict[str, Any], before: float, after: float, contrast: str
) -> Finding:
    return Finding(
        entity=where,
        score=score,
        fault_class="E",
        fault="silence",
        args=args,
        claim=Claim(
            what="served calls",
            direction="down",
            magnitude=round(after - before, 4),
            unit="calls/s",
            text=f"{where} serves {quantity(after, 'calls/s')}, {number(before)} before, {contrast}",
        ),
    )


def _owners(view: View) -> tuple[I32, I32]:
    """(service, instance) code per metric series; the instance's own service where the series names none."""
    frame, owner = view.metrics, view.topology.instance_service
    instance = np.array([s.instance for s in frame.series], dtype=np.int32)
    service = np.array([s.service for s in frame.series], dtype=np.int32)
    if len(owner):
        service = np.where((service < 0) & (instance >= 0), owner[np.maximum(instance, 0)], service)
    edge = np.array([s.caller >= 0 for s in frame.series], dtype=bool)
    return np.where(edge, -1, service).astype(np.int32), np.where(edge, -1, instance).astype(np.int32)


def _gone(view: View) -> list[Finding]:
    """Instances, then services, most of whose metric series stopped while others go on."""
    if len(view.metrics) == 0 or not view.bin_masks[1].any():
        return []
    gone = shifts(view).gone
    if gone.mean() > 0.5:
        return []  # the collector stopped, not a component
    service, instance = _owners(view)
    return _gone_by(view, gone, instance, "instance") or _gone_by(view, gone, service, "service")


def _gone_by(view: View, gone: np.ndarray, code: I32, level: str) -> list[Finding]:
    known = code >= 0
    n = int(code.max()) + 1 if known.any() else 0
    total = np.bincount(code[known], minlength=n)
    lost = np.bincount(code[known & gone], minlength=n)
    out: list[Finding] = []
    for item in np.flatnonzero((total >= MIN_SERIES) & (lost > 0.5 * total)).tolist():
        where = place(view, instance=item) if level == "instance" else place(view, service=item)
        if where is None:
            continue
        name = (view.names.instances if level == "instance" else view.names.services)[item]
        out.append(
            Finding(
                entity=where,
                score=0.9 * lost[item] / total[item],
                fault_class="A",
                fault="crash",
                args={"what": "telemetry", "level": level, "name": name},
                claim=Claim(
                    what="telemetry",
                    direction="gone",
                    magnitude=float(lost[item] / total[item]),
                    unit="share of series",
                    text=f"{lost[item]} of {total[item]} metric series of {where} stopped",
                ),
            )
        )
    return out


def _measure_gone(view: View, args: dict[str, Any]) -> dict[str, Any]:
    service, instance = _owners(view)
    code, vocabulary = (
        (instance, view.names.instances) if args["level"] == "instance" else (service, view.names.services)
    )
    if args["name"] not in vocabulary:
        raise SignalError(f"no {args['level']} {args['name']} in this telemetry.")
    own: I64 = np.flatnonzero(code == vocabulary.index(args["name"]))
    return {"baseline": len(own), "incident": int(len(own) - shifts(view).gone[own].sum()), "unit": "series"}
