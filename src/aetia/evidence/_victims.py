"""Span rows above something abnormal in another service: what they show is explained below them."""

from __future__ import annotations

import numpy as np

from aetia.evidence._edges import calls_of
from aetia.evidence._memo import once, once_for_facts
from aetia.evidence._samples import NS_PER_MS
from aetia.signals.frames import I32, SEVERITY_ERROR, Bool
from aetia.signals.paths import deepest_error
from aetia.signals.red import grouped_quantiles
from aetia.signals.trees import climb
from aetia.signals.view import Facts, View

SLOW_FACTOR = 5.0
SLOW_MS = 50.0
MIN_BASELINE_CALLS = 4


def explained_rows(view: View, abnormal: Bool, unanswered: Bool | None = None) -> Bool:
    """Mask (n,) of spans with an abnormal descendant in another service. An `unanswered` call is such a descendant of
    itself: whatever the caller shows from there on up comes from the other end."""
    rows, seeds = np.flatnonzero(abnormal).astype(np.int32), np.zeros(0, np.int32)
    parent = view.spans.parent
    if len(rows):
        # Inside one service an anomaly climbs unchanged until it crosses into a caller.
        within, called = once_for_facts(view, "parents within a service", _within)
        seeds = parent[np.flatnonzero(climb(within, rows) & called)]
    if unanswered is not None:
        seeds = np.concatenate([seeds, np.flatnonzero(unanswered).astype(np.int32)])
    return climb(parent, seeds)


def _within(facts: Facts) -> tuple[I32, Bool]:
    """Parent of each span where it is of the same service, else -1, and which spans another service called."""
    spans = facts.spans
    foreign = spans.service != spans.service[spans.parent]
    return np.where(foreign, np.int32(-1), spans.parent), foreign & (spans.parent >= 0)


def slow_answers(view: View) -> Bool:
    """Mask (n,) of server spans whose call took far longer than calls of that operation did in the baseline: whatever
    the caller reports about it (time-outs, retries, failures) is a consequence."""
    return once(view, "slow answers", _slow_answers)


def _slow_answers(view: View) -> Bool:
    spans, calls = view.spans, calls_of(view)
    slow = np.zeros(len(spans), np.bool_)
    known = np.flatnonzero(~calls.blind)
    if len(known) == 0:
        return slow
    duration_ns = spans.duration_ns[calls.row]
    duration = duration_ns / NS_PER_MS
    operations = len(view.names.operations)
    base = np.where(calls.incident, -1, calls.operation)
    usual = grouped_quantiles(duration_ns, base, operations, (0.9,), unit=NS_PER_MS)[:, 0]
    count = np.bincount(base[base >= 0], minlength=operations)
    before = np.flatnonzero(~calls.incident)
    overall = float(np.quantile(duration[before], 0.9)) if len(before) else np.inf
    usual = np.where(count >= MIN_BASELINE_CALLS, usual, overall)
    late = calls.incident & (duration > SLOW_FACTOR * usual[calls.operation] + SLOW_MS) & ~calls.blind
    slow[calls.server[late]] = True
    return slow


def severe_lines(view: View) -> Bool:
    """Mask (n,) of spans that printed a line of severity error or worse."""

    def build(v: View) -> Bool:
        logs = v.logs
        mask = np.zeros(len(v.spans), np.bool_)
        mask[logs.span[(logs.span >= 0) & (logs.severity >= SEVERITY_ERROR)]] = True
        return mask

    return once(view, "severe lines", build)


def unanswered_calls(view: View) -> Bool:
    """Mask (n,) of calls that failed at the caller while nothing failed below them."""

    def mark(v: View) -> Bool:
        calls = calls_of(v)
        mask = np.zeros(len(v.spans), np.bool_)
        mask[calls.row[calls.failed]] = True
        return mask & deepest_error(v.spans)

    return once(view, "unanswered calls", mark)
