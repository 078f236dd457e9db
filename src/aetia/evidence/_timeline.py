"""What a piece of evidence looked like over time: short series around the incident, for charts and sparklines."""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.model.window import NS_PER_SECOND
from aetia.signals.frames import F64, I64, Bool
from aetia.signals.red import Bins, grouped_quantiles
from aetia.signals.view import View

POINTS = 48
BEFORE = 1.0
"""Length of what is shown before the incident, in lengths of the incident."""
MIN_BEFORE_NS = 120 * NS_PER_SECOND


def _bins(view: View) -> Bins:
    start, end = view.incident.start_ns, view.incident.end_ns
    first = start - max(int(BEFORE * (end - start)), MIN_BEFORE_NS)
    step = max((end - first) // POINTS + 1, NS_PER_SECOND)
    return Bins(start_ns=first, step_ns=int(step), n=int(-(-(end - first) // step)))


def _chart(bins: Bins, values: F64, unit: str) -> dict[str, Any]:
    shown = [round(float(v), 6) if np.isfinite(v) else None for v in values]
    return {"start_ns": bins.start_ns, "step_ns": bins.step_ns, "unit": unit, "values": shown}


def share_over_time(view: View, times_ns: I64, hit: Bool, unit: str) -> dict[str, Any]:
    """Share of hits among the items per bin; None where there were no items."""
    bins = _bins(view)
    at = bins.bin_of(times_ns)
    count = np.bincount(at[at >= 0], minlength=bins.n)
    hits = np.bincount(at[(at >= 0) & hit], minlength=bins.n)
    return _chart(bins, np.divide(hits, count, out=np.full(bins.n, np.nan), where=count > 0), unit)


def rate_over_time(view: View, times_ns: I64, unit: str, per_seconds: float) -> dict[str, Any]:
    """Items per `per_seconds` seconds and bin."""
    bins = _bins(view)
    at = bins.bin_of(times_ns)
    count = np.bincount(at[at >= 0], minlength=bins.n)
    return _chart(bins, count / (bins.step_ns / NS_PER_SECOND) * per_seconds, unit)


def quantile_over_time(view: View, times_ns: I64, values: F64, unit: str, q: float = 0.5) -> dict[str, Any]:
    """A quantile of the values per bin; None where there were no items."""
    bins = _bins(view)
    return _chart(bins, grouped_quantiles(values, bins.bin_of(times_ns), bins.n, (q,))[:, 0], unit)
