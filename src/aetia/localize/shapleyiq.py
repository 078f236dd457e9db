"""ShapleyIQ: how much of the extra latency of traces each service accounts for."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import by_name, missing, services
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import F64, I64, Bool, SpanFrame
from aetia.signals.view import View


@plugin(
    "localizer",
    summary="Shapley share of the extra latency of traces",
    needs=("spans",),
    source="Li et al., ShapleyIQ, ASPLOS 2023",
    cost="O(spans log spans)",
)
class ShapleyIq:
    """Inputs: spans. The latency of a trace is the sum of what its spans contribute: exclusive time, shared
    evenly where spans run at the same time, so that the contributions add up to the latency (efficiency)
    and a span cut in two contributes the same (splitting invariance). Score: contribution of the service
    per trace in the incident less that in the baseline, compared within the same entry operation (a change
    of the request mix is no fault) and averaged over the incident's traces, in ms. Higher is more
    suspicious."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        reason = missing(view, ("spans",))
        if reason:
            return ranked({}, nothing=reason)
        spans, n = view.spans, services(view)
        share = contributions(spans)
        kind = np.maximum(spans.operation[spans.root], 0).astype(np.int64)
        kinds = int(kind.max()) + 1
        tables = [_per_trace(spans, share, kind, mask, (kinds, n)) for mask in view.span_masks]
        (base, base_traces), (now, now_traces) = tables
        both = (base_traces > 0) & (now_traces > 0)
        if not both.any():
            return ranked({}, nothing="no entry operation has traces in both windows")
        weight = now_traces * both / (now_traces * both).sum()
        return ranked(by_name(view, weight @ (now - base)), nothing="no service takes longer than before")


def contributions(spans: SpanFrame) -> F64:
    """Milliseconds of its trace's latency that each span accounts for, shape (n,).

    The efficient form of the paper: exclusive time scaled so that the spans of a tree add up to the
    duration of its top; parallel spans thereby share the time in which they overlap.
    """
    own = spans.exclusive_ns / 1e6
    total = np.bincount(spans.root, own, minlength=len(spans))
    top = spans.duration_ns / 1e6
    scale = np.divide(top, total, out=np.ones(len(spans)), where=total > 0)
    return own * np.minimum(scale, 1.0)[spans.root]


def _per_trace(spans: SpanFrame, share: F64, kind: I64, mask: Bool, shape: tuple[int, int]) -> tuple[F64, F64]:
    """(mean contribution per trace (kinds, services), traces (kinds,)) by entry operation over the mask."""
    kinds, n = shape
    traces = np.bincount(kind[mask & (spans.parent < 0)], minlength=kinds).astype(np.float64)
    rows = mask & (spans.service >= 0)
    total = np.bincount(kind[rows] * n + spans.service[rows], share[rows], minlength=kinds * n)
    return total.reshape(kinds, n) / np.maximum(traces, 1.0)[:, None], traces
