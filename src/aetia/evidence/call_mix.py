"""Call mix: a service makes fewer calls to a callee for each request it serves, told from traffic metrics of calls.

What `branch_mix` and `span_events` read from spans, for meshes and service graphs that count calls and keep no trace:
an operation that returns early, fails before it asks others, or takes a branch that it never took. Source: offered-load
rule of algorithms section 13.2 (PAVE), turned round. Score: belief in z times effect; higher = more suspicious. It is a
symptom: a caller also stops asking when somebody else failed it. Cost: O(edges x bins).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aetia.evidence._memo import once
from aetia.evidence._places import service_or_external
from aetia.evidence._series import believed, find_series, measure_series, row_medians, series_name
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.quantities import number
from aetia.plugins import plugin
from aetia.signals.frames import F64, I64
from aetia.signals.view import View

MIN_SCORE = 0.05
MAD_OF_NORMAL = 1.4826
FLOOR = 0.1
"""Share of the usual number of calls per request that is no change."""
FULL_EFFECT = float(np.log(2.0))
MIN_BINS = 3
"""Baseline bins without which nobody knows how many calls per request are usual."""


@plugin(
    "channel",
    needs=("metrics",),
    summary="a service makes fewer calls per request than it used to, by traffic metrics of calls",
    source="offered-load rule (PAVE), calls per request",
    cost="O(edges x bins)",
)
class CallMix:
    """Loss of outgoing calls beyond the loss of requests, per caller; services with spans are left to `branch_mix`."""

    def observe(self, view: View) -> Reading:
        mix = calls_per_request(view)
        if len(mix.row) == 0:
            return Reading(silent="no traffic metrics of calls")
        found: dict[int, Finding] = {}
        for at in np.argsort(-mix.score, kind="stable").tolist():
            caller = view.metrics.series[int(mix.row[at])].caller
            if mix.score[at] >= MIN_SCORE and caller not in found:
                found[caller] = _finding(view, mix, at)
        silent = None if found else "everybody makes as many calls per request as before"
        return Reading(findings=tuple(found.values()), silent=silent)

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        row, mix = find_series(view, args), calls_per_request(view)
        numbers = measure_series(view, args)
        at = np.flatnonzero(mix.row == row)
        if len(at):
            numbers |= {
                "baseline": float(mix.before[at[0]]),
                "incident": float(mix.after[at[0]]),
                "unit": "calls/request",
            }
        return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """e outgoing edges with a traffic metric, each (e,): the metric's row, usual calls per request in the baseline and
    in the incident, and the score 0..1 of what was lost."""

    row: I64
    before: F64
    after: F64
    score: F64


def calls_per_request(view: View) -> Mix:
    """Calls per request of every edge with a traffic metric, computed once."""
    return once(view, "calls per request", _build)


def _build(view: View) -> Mix:
    frame, spans = view.metrics, view.spans
    traced = np.bincount(spans.service[spans.service >= 0], minlength=len(view.names.services)) > 0
    rows = [
        r for r, s in enumerate(frame.series)
        if s.what == "traffic" and s.caller >= 0 and s.callee >= 0 and s.caller != s.callee and not traced[s.caller]
    ]  # fmt: skip
    row = np.array(rows, dtype=np.int64)
    base, incident = view.bin_masks
    if len(row) == 0 or base.sum() < MIN_BINS or not incident.any():
        none = np.zeros(0)
        return Mix(row=row[:0], before=none, after=none, score=none)
    served = np.stack([_requests(view, frame.series[r].caller, row) for r in rows])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(served > 0, frame.values[row] / served, np.nan)
    before, after = row_medians(ratio[:, base]), row_medians(ratio[:, incident])
    spread = MAD_OF_NORMAL * row_medians(np.abs(ratio[:, base] - before[:, None]))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.maximum(before - after, 0.0) / (spread + FLOOR * before)
        effect = np.log((before + FLOOR * before) / (after + FLOOR * before))
    score = np.nan_to_num(believed(z, 0.0) * np.clip(effect / FULL_EFFECT, 0.0, 1.0))
    enough = np.isfinite(ratio[:, base]).sum(axis=1) >= MIN_BINS
    return Mix(row=row, before=before, after=after, score=np.where(enough, score, 0.0))


def _requests(view: View, caller: int, edges: I64) -> F64:
    """Requests that a service serves, per bin: its own traffic metric, else the calls of its callers, else all calls it
    makes itself, so that at least their mix can be told."""
    frame = view.metrics
    own = [
        r for r, s in enumerate(frame.series)
        if s.what == "traffic" and s.service == caller and s.caller < 0 and s.instance < 0
    ]  # fmt: skip
    if own:
        return frame.values[own[0]]
    ends = [(int(r), frame.series[int(r)]) for r in edges.tolist()]
    inward = [r for r, s in ends if s.callee == caller]
    chosen = inward or [r for r, s in ends if s.caller == caller]
    values = frame.values[chosen]
    known = np.isfinite(values)
    return np.where(known.any(axis=0), np.where(known, values, 0.0).sum(axis=0), np.nan)


def _finding(view: View, mix: Mix, at: int) -> Finding:
    row = int(mix.row[at])
    series, names = view.metrics.series[row], view.names.services
    before, after = float(mix.before[at]), float(mix.after[at])
    caller, callee = names[series.caller], names[series.callee]
    return Finding(
        entity=service_or_external(view, series.caller), score=float(mix.score[at]), fault_class="C",
        fault="early_return", own=False, args=series_name(view, row),
        claim=Claim(
            what="calls per request", direction="down", magnitude=round(after - before, 4), unit="calls/request",
            text=f"{caller} calls {callee} {number(after)} times per request, {number(before)} before",
        ),
    )  # fmt: skip
