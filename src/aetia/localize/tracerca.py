"""TraceRCA: services that abnormal traces have in common and normal ones have not."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import by_name, missing, services
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import F64, Bool, SpanFrame
from aetia.signals.view import View

SIGMAS = 3.0


@plugin(
    "localizer",
    summary="support and confidence of services in abnormal traces",
    needs=("spans",),
    source="Li et al., TraceRCA, IWQoS 2021",
    cost="O(spans log spans)",
)
class TraceRca:
    """Inputs: spans. A span is abnormal when it fails, or lasts 3 standard deviations longer than its
    operation does in the baseline; a trace is when any of its spans is. Score of a service: harmonic mean
    of support (share of abnormal traces in which it has an abnormal span) and confidence (share of abnormal
    traces among those through it), times the share of its spans that are abnormal *and* have no abnormal
    child, which is the in-degree rule of the paper. Higher is more suspicious."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        reason = missing(view, ("spans",))
        if reason:
            return ranked({}, nothing=reason)
        spans, n = view.spans, services(view)
        base, now = view.span_masks
        abnormal = abnormal_spans(spans, base, len(view.names.operations)) & now & (spans.service >= 0)
        if not abnormal.any():
            return ranked({}, nothing="no abnormal span in the incident")
        bad_trace = np.zeros(len(spans), np.bool_)
        bad_trace[spans.root[abnormal]] = True
        through = _traces_through(spans, now & (spans.service >= 0), n)
        bad_through = _traces_through(spans, now & (spans.service >= 0) & bad_trace[spans.root], n)
        with_abnormal = _traces_through(spans, abnormal, n)
        support = with_abnormal / bad_trace.sum()
        confidence = bad_through / np.maximum(through, 1)
        harmonic = 2 * support * confidence / np.maximum(support + confidence, 1e-12)
        first = abnormal.copy()
        inner = np.flatnonzero(abnormal & (spans.parent >= 0))
        first[spans.parent[inner]] = False
        own = np.bincount(spans.service[first], minlength=n)
        every = np.bincount(spans.service[now & (spans.service >= 0)], minlength=n)
        return ranked(by_name(view, harmonic * own / np.maximum(every, 1)))


def abnormal_spans(spans: SpanFrame, baseline: Bool, operations: int) -> Bool:
    """Spans that fail, or last longer than mean + 3 std (at least 1 ms) of their operation's baseline,
    (n,)."""
    mean, std = operation_moments(spans, baseline, operations)
    code = np.maximum(spans.operation, 0)
    limit = mean[code] + SIGMAS * np.maximum(std[code], 0.05 * mean[code]) + 1.0
    slow = spans.duration_ns / 1e6 > limit  # an operation without baseline has NaN: never slow
    return np.asarray(spans.error | (slow & (spans.operation >= 0)), dtype=np.bool_)


def operation_moments(spans: SpanFrame, mask: Bool, operations: int) -> tuple[F64, F64]:
    """Mean and standard deviation in ms of each operation's duration, shapes (operations,); NaN where
    unseen."""
    rows = mask & (spans.operation >= 0)
    code, value = spans.operation[rows], spans.duration_ns[rows] / 1e6
    count = np.bincount(code, minlength=max(operations, 1)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(code, value, minlength=max(operations, 1)) / count
        square = np.bincount(code, (value - mean[code]) ** 2, minlength=max(operations, 1)) / count
    return mean, np.sqrt(square)


def _traces_through(spans: SpanFrame, mask: Bool, n: int) -> F64:
    """Number of traces that have a span of the mask in each service, shape (services,)."""
    rows = np.flatnonzero(mask)
    pairs = np.unique(spans.root[rows].astype(np.int64) * n + spans.service[rows])
    return np.bincount(pairs % n, minlength=n).astype(np.float64)
