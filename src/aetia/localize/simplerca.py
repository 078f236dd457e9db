"""SimpleRCA: three plain rules for metrics, traces and logs, combined in order of trust."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import (
    by_name,
    largest,
    observed_seconds,
    service_series,
    services,
)
from aetia.localize.localizer import Localization, ranked
from aetia.localize.nsigma import moments
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import F64, SEVERITY_ERROR
from aetia.signals.red import grouped_quantiles
from aetia.signals.view import View

METRIC_WEIGHT = {"cpu": 1.0, "network": 0.5, "latency": 0.2}
"""100, 50 and 20 points per sample in the original."""
SPIKE = 3.0


@plugin(
    "localizer",
    summary="plain rules on CPU and latency metrics, P90 latency and error lines",
    source="SimpleRCA (arXiv 2510.04711), with rates and ratios for raw counts and no name rules",
    cost="O(spans log spans + lines + series x bins)",
)
class SimpleRca:
    """Inputs: metrics, spans, logs, each optional. Each part is a number in 0..1: the share of samples above
    mean + 6 sigma (CPU 1, network .5, latency .2), the P90 latency of an operation beyond three times its
    baseline, the rise of the error-line rate or the fall of the line rate. A metric above one half adds .3 of
    the logs, any metric .5, else a latency spike .7, else the logs alone. Higher is more suspicious."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        metric, trace, log = metric_part(view), trace_part(view), log_part(view)
        score = np.where(metric > 0, metric + 0.5 * log, np.where(trace > 0, trace + 0.7 * log, log))
        score = np.where(metric >= 0.5, 1.0 + metric + 0.3 * log, score)
        return ranked(by_name(view, score), nothing="no rule fires")


def metric_part(view: View) -> F64:
    """Weighted share of incident samples above mean + 6 sigma of the baseline, shape (services,)."""
    if len(view.metrics) == 0:
        return np.zeros(services(view))
    series = service_series(view)
    weight = np.array([METRIC_WEIGHT.get(kind, 0.0) for kind in series.kind])
    if not series.baseline.any() or not series.incident.any() or not weight.any():
        return np.zeros(services(view))
    mean, std = moments(series.values[:, series.baseline])
    now = series.values[:, series.incident]
    known = np.isfinite(now)
    # A floor of 5 % of the mean: the original's sigma of 0 makes any jitter of a constant series an anomaly.
    limit = mean + 6 * np.maximum(std, 0.05 * np.abs(mean))
    above = (known & (now > limit[:, None])).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return largest(view, series.service, weight * above)


def trace_part(view: View) -> F64:
    """How far the P90 of any operation exceeds three times its baseline, in 0..1, shape (services,)."""
    spans = view.spans
    if len(spans) == 0 or not len(view.names.operations):
        return np.zeros(services(view))
    n = len(view.names.operations)
    ninety = [
        grouped_quantiles(spans.duration_ns[mask] / 1e6, spans.operation[mask], n, (0.9,))[:, 0]
        for mask in view.span_masks
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = ninety[1] / np.maximum(ninety[0], 1.0)
    # SPIKE itself stands in for smaller ratios, zero among them: an operation may take no time at all.
    bounded = 1.0 - SPIKE / np.fmax(ratio, SPIKE)
    owner = np.array([service for service, _ in view.names.operations])
    return largest(view, owner, bounded)


def log_part(view: View) -> F64:
    """Rise of the error-line rate, or fall of the line rate, in 0..1, shape (services,)."""
    logs, n = view.logs, services(view)
    base, now = view.log_masks
    if len(logs) == 0 or not now.any() or not base.any():
        return np.zeros(n)
    bad, owned = logs.severity >= SEVERITY_ERROR, logs.service >= 0
    seconds = [observed_seconds(logs.time_ns, mask) for mask in (base, now)]
    errors = [
        np.bincount(logs.service[bad & owned & mask], minlength=n) / s
        for mask, s in zip((base, now), seconds, strict=True)
    ]
    lines = [
        np.bincount(logs.service[owned & mask], minlength=n) / s for mask, s in zip((base, now), seconds, strict=True)
    ]
    rise = np.where(errors[0] > 0, 0.5 * np.clip(errors[1] / np.maximum(errors[0], 1e-9) - 1, 0, 2), 1.0)
    rise = np.where(errors[1] > errors[0], np.minimum(rise, 1.0), 0.0)
    quiet = np.where(lines[0] > 0, 0.3 * np.clip(1 - lines[1] / np.maximum(lines[0], 1e-9), 0, 1), 0.0)
    quiet = np.where(quiet >= 0.15, quiet, 0.0)
    return np.maximum(rise, np.maximum(quiet, np.where((lines[0] == 0) & (lines[1] > 0), 0.2, 0.0)))
