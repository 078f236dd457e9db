"""Errors where they began: failed spans without a failed span below, and failed calls that nobody answered.

Source: deepest error and link blame as in TraceBackA10 (RCABench); F-score over services and edges by us. Score:
excess error rate times its significance and the share of all extra errors; higher = more suspicious. Without spans:
error metrics, less those of the callees. Cost: O(spans).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.evidence._blame import edge_blame
from aetia.evidence._edge_failures import edge_failures
from aetia.evidence._edges import calls_of, errors_began, is_waiting
from aetia.evidence._memo import once
from aetia.evidence._places import service_or_external
from aetia.evidence._residual import callers_and_callees, residual
from aetia.evidence._series import measure_series, series_name, shifts
from aetia.evidence._timeline import share_over_time
from aetia.evidence._units import trace_share, units_of
from aetia.evidence._victims import explained_rows, slow_answers
from aetia.evidence._violations import violating_rows
from aetia.evidence.channel import Finding, Reading
from aetia.model import entity
from aetia.model.diagnosis import Claim
from aetia.model.errors import SignalError
from aetia.model.faults import FaultClass
from aetia.model.quantities import percent, went
from aetia.plugins import plugin
from aetia.signals.frames import F64, I32, I64, Bool
from aetia.signals.keys import dense_rows
from aetia.signals.stats import fisher_p
from aetia.signals.view import View

FULL_RATE = 0.2
FULL_LOG_P = 3.0
MIN_SCORE = 0.03
UNTRACED = 0.5
"""How far an error metric is believed of a service without spans where others have some."""
MIN_FAILURES = 5
SLOW_FACTOR, SLOW_NS = 3.0, 50e6


@plugin(
    "channel",
    summary="errors that began here: no failed span below, or a failed call that nobody answered",
    source="deepest error and link blame, TraceBackA10 (RCABench)",
    cost="O(spans)",
)
class Errors:
    """Excess of originating errors per operation, and of unanswered calls per edge."""

    def observe(self, view: View) -> Reading:
        findings = [*_from_operations(view), *_from_edges(view), *_from_metrics(view), *_from_edge_metrics(view)]
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(
            findings=tuple(findings), silent=None if findings else "no more errors began anywhere than before"
        )

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        if "metric" in args:
            return measure_series(view, args)
        table, names = (_edge_table(view) if "callee" in args else _operation_table(view)), view.names
        for row, key in enumerate(table.key.tolist()):
            found = _edge_args(view, key) if "callee" in args else _operation_args(view, key[0])
            if found == args:
                return {
                    "baseline": float(table.base_hits[row] / max(table.base_units[row], 1)),
                    "incident": float(table.hits[row] / max(table.units[row], 1)),
                    "baseline_calls": int(table.base_units[row]),
                    "incident_calls": int(table.units[row]),
                    "unit": "error share",
                    "series": _chart(view, key),
                }
        raise SignalError(f"no calls {args} among the {len(names.services)} services of this telemetry.")


def _chart(view: View, key: list[int]) -> dict[str, Any]:
    """Share of failed calls over time, of one operation or of one edge."""
    spans = view.spans
    if len(key) == 1:
        rows = np.flatnonzero(spans.operation == key[0])
    else:
        calls = calls_of(view)
        rows = calls.row[(calls.caller == key[0]) & (calls.callee == key[1])]
    return share_over_time(view, spans.start_ns[rows], spans.error[rows], "error share")


class _Table:
    """Errors and calls per key in both windows, with the bounded excess rate."""

    def __init__(self, key: I64, base_hits: I64, base_units: I64, hits: I64, units: I64) -> None:
        self.key, self.base_hits, self.base_units, self.hits, self.units = key, base_hits, base_units, hits, units
        base_rate = base_hits / np.maximum(base_units, 1)
        self.excess_rate: F64 = np.maximum(hits / np.maximum(units, 1) - base_rate, 0.0)
        # A key without a baseline is judged against an ideal of 0 errors in as many calls.
        p = fisher_p(base_hits, np.where(base_units > 0, base_units, np.maximum(units, 1)), hits, units)
        sure = np.minimum(1.0, -np.log10(np.maximum(p, 1e-300)) / FULL_LOG_P)
        self.bounded: F64 = sure * np.minimum(1.0, self.excess_rate / FULL_RATE) * (hits > 0)
        self.mass: F64 = self.excess_rate * units * (self.bounded > 0)
        self.refused: I64 = np.zeros(len(key), np.int64)
        """Of the hits in the incident, those that the callee answered with a bad code."""


def _tabulate(columns: tuple[I32, ...], failed: np.ndarray, incident: np.ndarray) -> _Table:
    distinct, group = dense_rows(*columns)
    cell = group * 4 + incident * 2 + failed
    count = np.bincount(cell, minlength=4 * len(distinct)).reshape(len(distinct), 4)
    return _Table(distinct, count[:, 1], count[:, 0] + count[:, 1], count[:, 3], count[:, 2] + count[:, 3])


def _operation_table(view: View) -> _Table:
    """Originating errors per operation; spans that wait for another party belong to edges."""

    def build(v: View) -> _Table:
        spans = v.spans
        base, incident = v.span_masks
        rows = np.flatnonzero((base | incident) & ~is_waiting(v) & (spans.operation >= 0))
        failed = errors_began(v)
        own = 1.0 - _explained_share(v, failed)
        table = _tabulate((spans.operation[rows],), failed[rows], incident[rows])
        hits = np.round(table.hits * own[table.key[:, 0]]).astype(np.int64)
        return _Table(table.key, table.base_hits, table.base_units, hits, table.units)

    return once(view, "operation errors", build)


def _explained_share(view: View, failed: Bool) -> F64:
    """Per operation: share of its failures below which another service answered far too late or left something out.

    A caller that fails for that reason is a victim. Violations are known for sampled traces only, so the share is
    measured on those that are sampled everywhere.
    """
    spans, units = view.spans, units_of(view)
    explained = explained_rows(view, slow_answers(view) | violating_rows(view))
    rows = units.row[units.incident]
    rows = rows[failed[rows]]
    n = len(view.names.operations)
    out = np.zeros(n)
    for chosen in (rows, rows[trace_share(view)[rows] < units.everywhere]):
        count = np.bincount(spans.operation[chosen], minlength=n)
        share = np.bincount(spans.operation[chosen], explained[chosen], n) / np.maximum(count, 1)
        out = np.where(count >= MIN_FAILURES, share, out)
    return out


def _edge_table(view: View) -> _Table:
    """Failed calls per (caller, callee) whose callee shows no error of its own."""

    def build(v: View) -> _Table:
        calls = calls_of(v)
        began = errors_began(v)[calls.row]
        ends = (calls.caller, calls.callee)
        table = _tabulate(ends, began & calls.failed, calls.incident)
        if calls.refused.any():
            table.refused = _tabulate(ends, began & calls.refused, calls.incident).hits
        return table

    return once(view, "edge errors", build)


def _from_operations(view: View) -> list[Finding]:
    table = _operation_table(view)
    if len(table.key) == 0:
        return []
    n = len(view.names.services)
    service = np.array([view.names.operations[code][0] for code in table.key[:, 0].tolist()], dtype=np.int64)
    mass = np.bincount(service, table.mass, n)
    total = float(mass.sum()) + float(_edge_table(view).mass.sum())
    if total <= 0:
        return []
    best = np.zeros(n)
    np.maximum.at(best, service, table.bounded)
    share = mass / total
    f_score = np.divide(2 * best * share, best + share, out=np.zeros(n), where=best + share > 0)
    score = np.sqrt(best * f_score)
    return [
        _operation_finding(view, table, code, service, float(score[code]))
        for code in np.flatnonzero(score >= MIN_SCORE).tolist()
    ]


def _operation_finding(view: View, table: _Table, code: int, service: I64, score: float) -> Finding:
    groups = np.flatnonzero(service == code)
    row = int(groups[np.argmax(table.mass[groups])])
    args = _operation_args(view, int(table.key[row, 0]))
    before, after = (
        float(table.base_hits[row] / max(table.base_units[row], 1)),
        float(table.hits[row] / max(table.units[row], 1)),
    )
    share = table.mass[row] / max(float(table.mass[groups].sum()), 1e-9)
    single = share > 0.9 and len(groups) > 1
    slow = _fails_slowly(view, int(table.key[row, 0]))
    return Finding(
        entity=entity.operation(args["service"], args["operation"]) if single else service_or_external(view, code),
        score=min(score, 1.0),
        fault_class="D" if slow else "C",
        fault="latency" if slow else "wrong_code",
        args=args,
        claim=Claim(
            what="originating errors",
            direction="up",
            magnitude=round(after - before, 4),
            unit="error share",
            text=f"{percent(after)} of {args['operation']} of {args['service']} fail with nothing failing below, "
            f"{percent(before)} before",
        ),
    )


def _fails_slowly(view: View, operation: int) -> bool:
    """Whether the failures of an operation take far longer than its calls used to: then time ran out."""
    spans = view.spans
    base, incident = view.span_masks
    own = spans.operation == operation
    usual, failing = spans.duration_ns[own & base], spans.duration_ns[own & incident & spans.error]
    if len(usual) == 0 or len(failing) == 0:
        return False
    return float(np.median(failing)) > SLOW_FACTOR * float(np.quantile(usual, 0.9)) + SLOW_NS


def _from_edges(view: View) -> list[Finding]:
    table = _edge_table(view)
    if len(table.key) == 0 or table.mass.sum() <= 0:
        return []
    caller, callee = table.key[:, 0].astype(np.int32), table.key[:, 1].astype(np.int32)
    share = float(table.mass.sum()) / float(table.mass.sum() + _operation_table(view).mass.sum())
    blame = edge_blame(caller, callee, table.bounded, table.mass, len(view.names.services)) * np.sqrt(share)
    out: list[Finding] = []
    for code in np.flatnonzero(blame >= MIN_SCORE).tolist():
        touching = np.flatnonzero((caller == code) | (callee == code))
        row = int(touching[np.argmax(table.mass[touching])])
        out.append(_edge_finding(view, table, row, code, len(touching), float(blame[code])))
    return out


def _edge_finding(view: View, table: _Table, row: int, code: int, degree: int, score: float) -> Finding:
    args = _edge_args(view, table.key[row].tolist())
    touching = (table.key[:, 0] == code) | (table.key[:, 1] == code)
    broken = int((touching & (table.bounded >= 0.5 * table.bounded[row])).sum())
    where = service_or_external(view, code)
    refused = 2 * int(table.refused[row]) > int(table.hits[row])
    if broken == 1 and degree > 1 and where.level == "service" and not refused:
        where = entity.edge(args["caller"], args["callee"], blamed=view.names.services[code])
    before, after = (
        float(table.base_hits[row] / max(table.base_units[row], 1)),
        float(table.hits[row] / max(table.units[row], 1)),
    )
    fault_class, fault = _edge_fault(where, refused=refused)
    how = "are answered with an error" if refused else "fail without an answer"
    return Finding(
        entity=where,
        score=min(score, 1.0),
        fault_class=fault_class,
        fault=fault,
        args=args,
        claim=Claim(
            what="refused calls" if refused else "unanswered calls",
            direction="up",
            magnitude=round(after - before, 4),
            unit="error share",
            text=f"{percent(after)} of the calls {args['caller']} → {args['callee']} {how} and the callee records no "
            f"error of its own, {percent(before)} before",
        ),
    )


def _edge_fault(where: entity.Entity, *, refused: bool) -> tuple[FaultClass, str]:
    """What a broken call means: an external that does not answer is down as far as anyone can see."""
    if refused:
        return "C", "wrong_code"
    return ("A", "dependency_down") if where.level == "external" else ("E", "partition")


def _operation_args(view: View, code: int) -> dict[str, Any]:
    service, name = view.names.operations[code]
    return {"service": view.names.services[service], "operation": name}


def _edge_args(view: View, key: list[int]) -> dict[str, Any]:
    return {"caller": view.names.services[key[0]], "callee": view.names.services[key[1]]}


def _from_metrics(view: View) -> list[Finding]:
    moved, left = shifts(view), residual(view, "errors")
    trust = UNTRACED if len(view.spans) else 1.0
    traced = np.bincount(view.spans.service[view.spans.service >= 0], minlength=len(left.score)) > 0
    out: list[Finding] = []
    for service in np.flatnonzero((left.score >= MIN_SCORE) & ~traced).tolist():
        row = int(left.row[service])
        series = view.metrics.series[row]
        where, common = service_or_external(view, service), left.common[service] > 0
        before, after = float(moved.base[row]), float(moved.level[row])
        onset = int(moved.onset_ns[row]) if moved.onset_ns[row] >= 0 else None
        fault_class, fault = _edge_fault(where, refused=False) if common else ("C", "wrong_code")
        text = f"{series.raw} of {view.names.services[series.service]} {went(before, after, series.unit)}"
        text += callers_and_callees(view, common=common)
        out.append(
            Finding(
                entity=where,
                score=trust * float(left.score[service]),
                fault_class=fault_class,
                fault=fault,
                args=series_name(view, row),
                onset_ns=onset,
                own=trust == 1.0 and len(view.topology.caller) > 0,
                claim=Claim(
                    what=series.what,
                    direction="up" if after > before else "down",
                    magnitude=round(after - before, 4),
                    unit=series.unit,
                    onset_ns=onset,
                    text=text,
                ),
            )
        )
    return out


def _from_edge_metrics(view: View) -> list[Finding]:
    """Failures that callers count and the callee does not."""
    edges, moved, names = edge_failures(view), shifts(view), view.names.services
    out: list[Finding] = []
    for code in np.flatnonzero(edges.blame >= MIN_SCORE).tolist():
        touching = np.flatnonzero((edges.caller == code) | (edges.callee == code))
        at = int(touching[np.argmax(edges.score[touching])])
        row, broken = int(edges.row[at]), int((edges.score[touching] >= 0.5 * edges.score[at]).sum())
        answered, where = edges.delivered[at], service_or_external(view, code)
        caller, callee = names[edges.caller[at]], names[edges.callee[at]]
        if broken == 1 and len(touching) > 1 and where.level == "service" and not answered:
            where = entity.edge(caller, callee, blamed=names[code])
        before, after = float(moved.base[row]), float(moved.level[row])
        onset = int(moved.onset_ns[row]) if moved.onset_ns[row] >= 0 else None
        fault_class, fault = _edge_fault(where, refused=answered)
        series = view.metrics.series[row]
        out.append(
            Finding(
                entity=where, score=float(edges.blame[code]), fault_class=fault_class, fault=fault,
                args=series_name(view, row), onset_ns=onset,
                claim=Claim(
                    what="failed calls", direction="up", magnitude=round(abs(after - before), 4), unit="error share",
                    onset_ns=onset,
                    text=f"{series.raw} of the calls {caller} → {callee} {went(before, after, series.unit)}, and the "
                    "callee counts no such failure",
                ),
            )
        )  # fmt: skip
    return out
