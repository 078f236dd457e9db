"""Before failure: which calls of the failing requests of a service came back too soon.

A callee that returns early, or empty-handed, fails nobody by itself: it answers without an error and sooner than usual,
and the caller breaks over what is missing. The calls of requests that failed while none of their calls did are compared
with the same calls of requests that went well. A service that breaks by itself breaks after calls that took as long as
always. Source: wrong answers without an error, section 13.2 of the algorithms survey; rank test of Mann and Whitney.
Rows: one per callee, the most surprising first. Cost: O(calls of the service).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from aetia.evidence._edges import calls_of, service_entries
from aetia.model.diagnosis import Claim
from aetia.model.quantities import percent, quantity
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said, service_code
from aetia.reason.tools._hops import request_of
from aetia.reason.tools._parts import entity_of, need, number
from aetia.signals.frames import F64, I64, Bool
from aetia.signals.keys import dense_rows
from aetia.signals.stats import grouped_auc
from aetia.signals.view import View

ENOUGH = 10
"""Failures after one kind of call, and healthy calls beside them, from which both are compared."""
NO_MATTER = 0.5


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`service`: the service whose failing requests are looked at."""

    service: str


@plugin(
    "tool", needs=("spans",), summary="calls that came back too soon in the failures of a service",
    source="algorithms survey, section 13.2", cost="O(calls of the service)",
)  # fmt: skip
class BeforeFailure(Tool[Args]):
    """Calls of requests that failed although none of their calls did."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        need(view, "spans")
        service = service_code(view, args.service)
        made = _made(view, service)
        if made is None:
            raise NoAnswer(
                "no_data", f"no call of {said(args.service)} was recorded in these windows.", "ask log_templates",
                category="permanent",
            )  # fmt: skip
        failures = np.unique(made.entry[made.failing]).size
        rows = sorted(_rows(view, made, failures), key=lambda row: (-row["share"] * row["sooner"], row["callee"]))
        return _judged(view, view.names.services[service], failures, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """c calls that requests of one service made: row of the request's span, callee, kind of call (the request's
    operation, the callee and the operation called), duration in ms, whether the request failed in the incident with
    none of its calls (`failing`), or went well, and whether it was in the incident."""

    entry: I64
    callee: I64
    kind: I64
    ms: F64
    failing: Bool
    well: Bool
    incident: Bool


def _made(view: View, service: int) -> _Made | None:
    spans, calls = view.spans, calls_of(view)
    mine = np.flatnonzero(calls.caller == service)
    row = calls.row[mine]
    entry = request_of(view)[row]
    known = service_entries(view)[entry] & (spans.service[entry] == service)
    mine, row, entry = mine[known], row[known], entry[known]
    if len(row) == 0:
        return None
    n = len(spans)
    call_failed = np.zeros(n, np.bool_)
    call_failed[entry[calls.failed[mine]]] = True
    incident = view.span_masks[1][entry]
    failing = spans.error[entry] & ~call_failed[entry] & incident
    operation = spans.operation[entry].astype(np.int64)
    kind = dense_rows(operation, calls.callee[mine].astype(np.int64), calls.operation[mine].astype(np.int64))[1]
    return _Made(
        entry=entry, callee=calls.callee[mine].astype(np.int64), kind=kind, ms=spans.duration_ns[row] / 1e6,
        failing=failing, well=~spans.error[entry], incident=incident,
    )  # fmt: skip


def _rows(view: View, made: _Made, failures: int) -> list[dict[str, Any]]:
    """Per callee the failures with a call to it, and how likely such a call came back sooner than one of a request that
    went well; healthy calls of the incident where there are enough, else of the baseline too."""
    found: list[dict[str, Any]] = []
    kinds = int(made.kind.max()) + 1
    enough = np.bincount(made.kind[made.well & made.incident], minlength=kinds) >= ENOUGH
    healthy = made.well & (made.incident | ~enough[made.kind])
    for callee in np.unique(made.callee[made.failing]).tolist():
        bad = made.failing & (made.callee == callee)
        broken = np.bincount(made.kind[bad], minlength=kinds) > 0
        others = healthy & broken[made.kind]
        if not others.any():
            continue
        chosen = np.flatnonzero(bad | others)
        sooner = 1.0 - _later(made.ms[chosen], made.kind[chosen], bad[chosen])
        held = int(np.unique(made.entry[bad]).size)
        times = [number(float(np.median(made.ms[side]))) for side in (bad, others)]
        found.append({
            "callee": view.names.services[callee], "failures": held, "share": number(held / failures),
            "healthy_calls": int(others.sum()), "failed_p50_ms": times[0], "healthy_p50_ms": times[1],
            "sooner": number(sooner),
        })  # fmt: skip
    return found


def _later(ms: F64, kind: I64, bad: Bool) -> float:
    """Chance that a call before a failure took longer than a healthy one of its kind, mean over kinds by failures."""
    groups = np.unique(kind, return_inverse=True)[1]
    n = int(groups.max()) + 1
    auc = np.asarray(grouped_auc(ms, groups, bad, n).auc)
    weight = np.bincount(groups[bad], minlength=n).astype(np.float64)
    told = np.isfinite(auc) & (weight > 0)
    return float(np.average(auc[told], weights=weight[told])) if told.any() else NO_MATTER


def _judged(view: View, name: str, failures: int, rows: list[dict[str, Any]]) -> Found:
    total = len(rows)
    if not rows or rows[0]["failures"] < ENOUGH or rows[0]["healthy_calls"] < ENOUGH:
        return Found(rows=tuple(rows), total=total)
    first = rows[0]
    callee = view.names.services.index(first["callee"])
    text = (
        f"{percent(first['share'])} of the {failures} requests of {said(name)} that failed with no failed call held a "
        f"call to {said(first['callee'])} of {quantity(first['failed_p50_ms'], 'ms')}, "
        f"{quantity(first['healthy_p50_ms'], 'ms')} in those that went well"
    )
    surprise = max(2.0 * (first["sooner"] - NO_MATTER), 0.0)
    claim = Claim(what="calls before failures", direction="down", magnitude=first["sooner"], unit="share", text=text)
    return Found(rows=tuple(rows), total=total, about=entity_of(view, "service", callee), claim=claim,
                 strength=round(first["share"] * surprise, 4))  # fmt: skip
