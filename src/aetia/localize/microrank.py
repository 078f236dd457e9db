"""MicroRank: PageRank of operations over normal and abnormal traces, joined by spectrum analysis."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import by_name, largest, missing
from aetia.localize.localizer import Localization, ranked
from aetia.localize.tracerca import operation_moments
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import F64, I64, Bool, SpanFrame
from aetia.signals.view import View

DAMPING = 0.85
CALL_WEIGHT = 0.01
ITERATIONS = 25
SIGMAS = 1.5


@plugin(
    "localizer",
    summary="PageRank over operations and traces, then a Dstar2 spectrum",
    needs=("spans",),
    source="Yu et al., MicroRank, WWW 2021",
    cost="O(25 spans)",
)
class MicroRank:
    """Inputs: spans. A trace is abnormal when it lasts longer than the sum over its operations of mean + 1.5
    std of their *exclusive* baseline time (the paper sums durations; nested spans would count twice).
    PageRank on the operation-trace graph (damping .85, call weight .01, 25 rounds) weighs operations for
    abnormal and normal traces; Dstar2 joins both. A service scores as its best operation. Higher is more
    suspicious; blind to failures that are not slow."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        reason = missing(view, ("spans",))
        if reason:
            return ranked({}, nothing=reason)
        spans, operations = view.spans, len(view.names.operations)
        if not operations:
            return ranked({}, nothing="no span names a service")
        base, now = view.span_masks
        slow = slow_traces(spans, base, operations)[spans.root] & now & (spans.operation >= 0)
        fast = now & ~slow & (spans.operation >= 0)
        if not slow.any():
            return ranked({}, nothing="no trace is slower than its operations explain")
        # Too few normal traces in the incident: those of the baseline are normal by definition.
        if not fast.any():
            fast = base & (spans.operation >= 0)
        in_slow, slow_count, slow_traces_n = _weights(spans, slow, operations)
        in_fast, fast_count, fast_traces_n = _weights(spans, fast, operations)
        ef, nf = in_slow * slow_count, in_slow * (slow_traces_n - slow_count)
        ep = in_fast * fast_count
        # Both PageRanks sum to 1, but the two sets of traces differ in size; shares make them comparable.
        ef, nf, ep = ef / slow_traces_n, nf / slow_traces_n, ep / max(fast_traces_n, 1)
        dstar = ef**2 / np.maximum(ep + nf, 1e-9)
        owner = np.array([service for service, _ in view.names.operations])
        return ranked(by_name(view, largest(view, owner, dstar)))


def slow_traces(spans: SpanFrame, baseline: Bool, operations: int) -> Bool:
    """True at the top of each trace that lasts longer than its operations explain, shape (n,)."""
    own = spans.exclusive_ns / 1e6
    rows = baseline & (spans.operation >= 0)
    code = spans.operation[rows]
    count = np.maximum(np.bincount(code, minlength=operations), 1)
    mean = np.bincount(code, own[rows], minlength=operations) / count
    std = np.sqrt(np.bincount(code, (own[rows] - mean[code]) ** 2, minlength=operations) / count)
    seen, _ = operation_moments(spans, baseline, operations)
    allowed = np.where(np.isfinite(seen), mean + SIGMAS * std, np.inf)
    owned = spans.operation >= 0
    each = np.where(owned, allowed[np.maximum(spans.operation, 0)], 0.0)
    # An operation without baseline explains as much time as it takes.
    each = np.where(np.isfinite(each), each, own)
    expected = np.bincount(spans.root, each, minlength=len(spans))
    actual = spans.duration_ns / 1e6
    return np.asarray((spans.parent < 0) & (actual > expected + 1.0), dtype=np.bool_)


def _weights(spans: SpanFrame, mask: Bool, operations: int) -> tuple[F64, F64, int]:
    """(PageRank weight, traces through it) of each operation and the number of traces, over the masked
    spans."""
    rows = np.flatnonzero(mask)
    if len(rows) == 0:
        return np.zeros(operations), np.zeros(operations), 0
    roots, trace = np.unique(spans.root[rows], return_inverse=True)
    pair = np.unique(trace.astype(np.int64) * operations + spans.operation[rows])
    t, o = pair // operations, pair % operations
    calls = rows[spans.parent[rows] >= 0]
    caller, callee = spans.operation[spans.parent[calls]], spans.operation[calls]
    edge = np.unique(caller[caller >= 0].astype(np.int64) * operations + callee[caller >= 0])
    weight = _pagerank((t, o), (edge // operations, edge % operations), len(roots), operations)
    return weight, np.bincount(o, minlength=operations).astype(np.float64), len(roots)


def _pagerank(pairs: tuple[I64, I64], edge: tuple[I64, I64], traces: int, operations: int) -> F64:
    """PageRank of operations on the graph of traces and operations, shape (operations,), summing to 1.

    Traces that are alike (same number of distinct operations) share their preference, as in the paper.
    """
    t, o = pairs
    per_trace = np.bincount(t, minlength=traces).astype(np.float64)
    per_operation = np.bincount(o, minlength=operations).astype(np.float64)
    out_degree = np.maximum(np.bincount(edge[0], minlength=operations), 1)
    _, kind, alike = np.unique(per_trace, return_inverse=True, return_counts=True)
    preference = 1.0 / alike[kind]
    preference /= preference.sum()
    operation = np.full(operations, 1.0 / operations) * (per_operation > 0)
    trace = np.full(traces, 1.0 / traces)
    for _ in range(ITERATIONS):
        into = np.bincount(o, trace[t] / per_trace[t], minlength=operations)
        along = np.bincount(edge[1], operation[edge[0]] / out_degree[edge[0]], minlength=operations)
        updated = DAMPING * (into + CALL_WEIGHT * along)
        trace = DAMPING * np.bincount(t, operation[o] / per_operation[o], minlength=traces)
        trace += (1 - DAMPING) * preference
        operation = updated / max(float(updated.sum()), 1e-300)
        trace /= trace.sum()
    return operation
