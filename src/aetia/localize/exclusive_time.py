"""Exclusive time: the service that spends most extra time of its own per trace."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import by_name, missing, services, traces_in
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.view import View


@plugin(
    "localizer",
    summary="extra exclusive milliseconds per trace",
    needs=("spans",),
    source="the latency rule of TraceBackA10 (OperationsPAI): largest increase of exclusive duration",
    cost="O(spans)",
)
class ExclusiveTime:
    """Inputs: spans. Score: exclusive milliseconds of the service per trace in the incident less those in the
    baseline. Higher is more suspicious. Blind to errors, silence and time lost between services."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        reason = missing(view, ("spans",))
        if reason:
            return ranked({}, nothing=reason)
        spans, n = view.spans, services(view)
        per_trace = []
        for mask, traces in zip(view.span_masks, traces_in(view), strict=True):
            rows = mask & (spans.service >= 0)
            total = np.bincount(spans.service[rows], spans.exclusive_ns[rows] / 1e6, minlength=n)
            per_trace.append(total / max(traces, 1))
        return ranked(by_name(view, per_trace[1] - per_trace[0]), nothing="no service takes longer than before")
