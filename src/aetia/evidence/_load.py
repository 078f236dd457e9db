"""How much more or less work each service gets in the incident than in the baseline."""

from __future__ import annotations

import numpy as np

from aetia.evidence._memo import once
from aetia.evidence._series import shifts
from aetia.signals.frames import F64, Bool
from aetia.signals.keys import distinct
from aetia.signals.view import View

COVERAGE_BIN_NS = 5_000_000_000


def covered_seconds(times_ns: np.ndarray, mask: Bool) -> float:
    """Seconds in which anything was observed: 5 s bins that hold at least one time. Data may have gaps of hours."""
    if not mask.any():
        return 0.0
    return len(distinct(times_ns[np.flatnonzero(mask)] // COVERAGE_BIN_NS)) * COVERAGE_BIN_NS / 1e9


def span_seconds(view: View) -> tuple[float, float]:
    """Seconds in which any span of the baseline and of the incident began."""

    def measure(v: View) -> tuple[float, float]:
        base, incident = v.span_masks
        return covered_seconds(v.spans.start_ns, base), covered_seconds(v.spans.start_ns, incident)

    return once(view, "seconds with spans", measure)


def traffic_ratio(view: View) -> F64:
    """Incident over baseline traffic per service, shape (services,); NaN where nothing is known.

    From spans where there are any, else from traffic metrics.
    """
    return once(view, "traffic ratio", _traffic_ratio)


def _traffic_ratio(view: View) -> F64:
    count = len(view.names.services)
    ratio = np.full(count, np.nan)
    spans = view.spans
    if len(spans):
        base, incident = view.span_masks
        seconds = span_seconds(view)
        if min(seconds) > 0:
            named = spans.service >= 0
            before, after = (
                np.bincount(spans.service[np.flatnonzero(mask & named)], minlength=count) / length
                for mask, length in zip((base, incident), seconds, strict=True)
            )
            np.divide(after, before, out=ratio, where=before > 0)
    moved = shifts(view)
    for row, series in enumerate(view.metrics.series):
        if series.what == "traffic" and series.service >= 0 and series.caller < 0 and np.isnan(ratio[series.service]):
            base_level = moved.base[row]
            if base_level > 0 and moved.usable[row]:
                ratio[series.service] = moved.level[row] / base_level
    return ratio
