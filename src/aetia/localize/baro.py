"""BARO: the service whose metric strays furthest from its baseline's median, in interquartile ranges."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import by_name, largest, service_series
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import F64, Bool
from aetia.signals.view import View


@plugin(
    "localizer",
    summary="largest robust deviation (median, IQR) of any metric of a service",
    source="Pham et al., BARO, FSE 2024 (arXiv 2405.09330): RobustScorer",
    cost="O(series x bins log bins)",
)
class Baro:
    """Inputs: metrics (requests, errors and latency of spans when there are none). Score: the largest
    (x - median) / IQR of any series of the service in the incident; an IQR of 0 counts as 1, as in the
    published code. Only rises count, as there. Higher is more suspicious."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        series = service_series(view)
        if len(series) == 0 or not series.baseline.any() or not series.incident.any():
            return ranked({}, nothing="no series of a service in both windows")
        deviation = largest_deviation(series.values, series.baseline, series.incident)
        return ranked(by_name(view, largest(view, series.service, deviation)))


def largest_deviation(values: F64, baseline: Bool, incident: Bool) -> F64:
    """Largest (x - median) / IQR of each series, shape (s,); NaN where either window is empty."""
    usable = np.isfinite(values[:, baseline]).any(axis=1) & np.isfinite(values[:, incident]).any(axis=1)
    out = np.full(len(values), np.nan)
    if usable.any():
        quartiles = np.nanquantile(values[usable][:, baseline], (0.25, 0.5, 0.75), axis=1)
        iqr = quartiles[2] - quartiles[0]
        scale = np.where(iqr > 1e-9 * np.abs(quartiles[1]), iqr, 1.0)
        out[usable] = np.nanmax((values[usable][:, incident] - quartiles[1][:, None]) / scale[:, None], axis=1)
    return out
