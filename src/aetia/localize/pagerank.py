"""Personalised PageRank: a random walk on the call graph towards what moves with the broken SLI."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import ServiceSeries, by_name, service_series, services
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import F64
from aetia.signals.view import View

DAMPING = 0.85
BACKWARD = 0.2
ITERATIONS = 200
SCALE = 10.0


@plugin(
    "localizer",
    summary="random walk on the call graph, weighted by correlation with the entry's series",
    source="Kim et al., MonitorRank, SIGMETRICS 2013; Wu et al., MicroRCA, NOMS 2020",
    cost="O(series x bins + services^2)",
)
class PageRank:
    """Inputs: a call graph, and metrics or spans. The anomaly of a service over time is the largest bounded
    deviation of its series from the baseline. The walk goes from callers to callees by the correlation of the
    callee's anomaly with that of the entry services, back with a fifth of it, stays where no neighbour
    correlates better, and restarts at services in proportion to their anomaly. Score: stationary probability
    of services that are anomalous at all. Higher is more suspicious."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        series = service_series(view)
        if len(series) == 0 or not series.baseline.any() or not series.incident.any():
            return ranked({}, nothing="no series of a service in both windows")
        if len(view.topology.caller) == 0:
            return ranked({}, nothing="no call graph")
        anomaly = _anomaly(view, series)
        strength = anomaly[:, series.incident].max(axis=1, initial=0.0)
        if not (strength > 0.2).any():
            return ranked({}, nothing="no service is anomalous")
        visits = _walk(view, _correlation(view, anomaly), strength)
        return ranked(by_name(view, np.where(strength > 0.2, visits, 0.0)))


def _anomaly(view: View, series: ServiceSeries) -> F64:
    """Bounded deviation of each service over time, (services, bins): d / (d + 10) of the largest
    deviation."""
    away = np.zeros((services(view), series.values.shape[1]))
    base = series.values[:, series.baseline]
    usable = np.isfinite(base).any(axis=1)
    quartiles = np.nanquantile(base[usable], (0.25, 0.5, 0.75), axis=1)
    scale = np.maximum(quartiles[2] - quartiles[0], 0.05 * np.abs(quartiles[1]) + 1e-3)
    deviation = np.abs(series.values[usable] - quartiles[1][:, None]) / scale[:, None]
    deviation = np.where(np.isfinite(deviation), deviation, 0.0)
    np.maximum.at(away, series.service[usable], np.maximum(deviation - 3.0, 0.0))
    return away / (away + SCALE)


def _correlation(view: View, anomaly: F64) -> F64:
    """|correlation| of each service's anomaly with the mean of the entry services, shape (services,)."""
    entry = view.topology.entry
    at = anomaly[entry] if len(entry) == len(anomaly) and entry.any() else anomaly
    front = at.mean(axis=0)
    a, b = anomaly - anomaly.mean(axis=1, keepdims=True), front - front.mean()
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum())
    return np.abs(np.divide(a @ b, norm, out=np.zeros(len(a)), where=norm > 1e-12))


def _walk(view: View, correlation: F64, strength: F64) -> F64:
    """Stationary distribution of the walk, shape (services,)."""
    n, graph = len(strength), view.topology
    step = np.zeros((n, n))
    step[graph.caller, graph.callee] = correlation[graph.callee]
    back = np.zeros((n, n))
    back[graph.callee, graph.caller] = BACKWARD * correlation[graph.caller]
    stay = np.maximum(correlation - step.max(axis=1, initial=0.0), 0.0)
    step = np.maximum(step, back)
    np.fill_diagonal(step, stay)
    total = step.sum(axis=1, keepdims=True)
    restart = strength / strength.sum()
    step = np.where(total > 0, step / np.where(total > 0, total, 1.0), restart[None, :])
    visits = restart.copy()
    for _ in range(ITERATIONS):
        updated = DAMPING * (visits @ step) + (1 - DAMPING) * restart
        if np.abs(updated - visits).sum() < 1e-9:
            return updated
        visits = updated
    return visits
