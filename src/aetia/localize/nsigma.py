"""N-sigma: the service whose metric strays furthest from its baseline, in standard deviations."""

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
    summary="largest z-score of any metric of a service",
    source="N-Sigma as in RCAEval (arXiv 2412.17015), after Lin et al., ICSE-SEIP 2018",
    cost="O(series x bins)",
)
class NSigma:
    """Inputs: metrics (requests, errors and latency of spans when there are none). Score: the largest
    |x - mean| / std of any series of the service in the incident, mean and std of its baseline; a constant
    baseline has std 1, as in the published code. Higher is more suspicious. Cost: one pass."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        series = service_series(view)
        if len(series) == 0 or not series.baseline.any() or not series.incident.any():
            return ranked({}, nothing="no series of a service in both windows")
        z = largest_z(series.values, series.baseline, series.incident)
        return ranked(by_name(view, largest(view, series.service, z)))


def largest_z(values: F64, baseline: Bool, incident: Bool) -> F64:
    """Largest |z| of each series in the incident, shape (s,); NaN where either window is empty."""
    mean, std = moments(values[:, baseline])
    away = np.abs(values[:, incident] - mean[:, None])
    # The mean of equal numbers differs from them by rounding.
    away = np.where(away > 1e-9 * np.abs(mean)[:, None], away, 0.0 * away) / np.where(std > 0, std, 1.0)[:, None]
    out = np.max(np.where(np.isfinite(away), away, -1.0), axis=1, initial=-1.0)
    return np.where(out >= 0, out, np.nan)


def moments(values: F64) -> tuple[F64, F64]:
    """Mean and standard deviation of each row without NaN, shapes (s,); mean is NaN in empty rows."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    filled = np.where(known, values, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = filled.sum(axis=1) / count
        spread = np.where(known, values - mean[:, None], 0.0)
        std = np.sqrt((spread**2).sum(axis=1) / count)
    # Rounding leaves 1e-17 for a constant series, which would make any change infinitely significant.
    return mean, np.where(std > 1e-9 * np.abs(mean), std, 0.0)
