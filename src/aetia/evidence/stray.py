"""Stray: how far the middle of an entity's metrics lies from its baseline, in units of what is usual for that metric.

The weakest of the channels, and the only one that looks at every metric whatever its meaning and however small the
movement: it puts those in order of whom nothing else accuses. Source: robust z-score as in BARO (Pham et al., FSE
2024), of medians instead of single samples and with floors. Score: z / (z + 10); higher = more suspicious. Cost:
O(series x bins log bins).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.evidence._memo import once, once_for_facts
from aetia.evidence._places import place, service_or_external
from aetia.evidence._series import believed, find_series, measure_series, metric_codes, row_medians, series_name
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.entity import Entity
from aetia.model.quantities import went
from aetia.plugins import plugin
from aetia.signals.frames import F64
from aetia.signals.view import View

MIN_Z = 0.5
FLOOR, TYPICAL = 0.05, 0.01
"""Shares of the series' own level, and of the typical level of the same metric over all entities, that count as usual
however steady the baseline was."""
OF_CALLER = 0.5
"""Share of a call's strangeness that is laid on its caller: both ends can be behind it."""
MAD_OF_NORMAL, IQR_OF_NORMAL = 1.4826, 1.349


@plugin(
    "channel",
    needs=("metrics",),
    summary="whose metrics lie furthest from their baseline, however little; orders what nothing else accuses",
    source="robust z-score as in BARO (Pham et al., FSE 2024), of medians",
    cost="O(series x bins log bins)",
)
class Stray:
    """The strangest series of each entity, never the entity's own evidence."""

    def observe(self, view: View) -> Reading:
        if len(view.metrics) == 0:
            return Reading(silent="no metrics")
        z = strangeness(view)
        found: dict[str, Finding] = {}
        for row in np.argsort(-z, kind="stable").tolist():
            if z[row] < MIN_Z:
                break
            for where, share in _owners(view, row):
                score = share * float(believed(float(z[row]), 0.0))
                if where.name not in found or found[where.name].score < score:
                    found[where.name] = self._finding(view, row, where, score)
        findings = sorted(found.values(), key=lambda f: (-f.score, f.entity.name))
        return Reading(findings=tuple(findings), silent=None if findings else "no metric lies away from its baseline")

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        row = find_series(view, args)
        before, after = (float(level[row]) for level in _levels(view))
        return measure_series(view, args) | {"baseline": before, "incident": after, "z": float(strangeness(view)[row])}

    def _finding(self, view: View, row: int, where: Entity, score: float) -> Finding:
        series = view.metrics.series[row]
        before, after = (float(level[row]) for level in _levels(view))
        call = "" if series.caller < 0 else f" for calls of {view.names.services[series.caller]}"
        text = f"the median of {series.raw} of {_callee(view, row) or where}{call} {went(before, after, series.unit)}"
        return Finding(
            entity=where, score=score, own=False, args=series_name(view, row),
            claim=Claim(
                what=series.what, direction="up" if after > before else "down", magnitude=round(after - before, 4),
                unit=series.unit, text=text,
            ),
        )  # fmt: skip


def strangeness(view: View) -> F64:
    """Distance of each series' median in the incident from that of its baseline, in robust standard deviations plus
    FLOOR of its level, shape (s,); 0 where either window is empty."""
    return once(view, "strangeness", _strangeness)


def _strangeness(view: View) -> F64:
    before, after = _levels(view)
    baseline = view.metrics.values[:, view.bin_masks[0]]
    if baseline.shape[1] == 0:
        return np.zeros(len(before))
    away = row_medians(np.abs(baseline - before[:, None]))
    low, high = _quartiles(baseline)
    spread = np.fmax(MAD_OF_NORMAL * away, (high - low) / IQR_OF_NORMAL)
    with np.errstate(invalid="ignore"):
        z = np.abs(after - before) / (spread + FLOOR * np.abs(before) + TYPICAL * _typical(view, before, after) + 1e-12)
    return np.where(np.isfinite(z), z, 0.0)


def _typical(view: View, before: F64, after: F64) -> F64:
    """Mean level of the same metric over all entities, in the larger of both windows, shape (s,): a first error among
    thousands of requests is not infinitely strange."""
    level = np.nan_to_num(np.fmax(np.abs(before), np.abs(after)))
    group = once_for_facts(view, "metric codes", lambda facts: metric_codes(facts.metrics))
    count = np.maximum(np.bincount(group), 1)
    return (np.bincount(group, level) / count)[group]


def _levels(view: View) -> tuple[F64, F64]:
    """(baseline, incident) medians of every series, each (s,); NaN where a window is empty."""

    def build(v: View) -> tuple[F64, F64]:
        base, incident = v.bin_masks
        return row_medians(v.metrics.values[:, base]), row_medians(v.metrics.values[:, incident])

    return once(view, "medians of metrics", build)


def _quartiles(values: F64) -> tuple[F64, F64]:
    """Lower and upper quartile of each row's finite values (nearest rank); NaN for empty rows."""
    ordered = np.sort(values, axis=1)
    last = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)
    rows = np.arange(len(ordered))
    return ordered[rows, np.rint(0.25 * last).astype(np.int64)], ordered[rows, np.rint(0.75 * last).astype(np.int64)]


def _callee(view: View, row: int) -> Entity | None:
    series = view.metrics.series[row]
    return service_or_external(view, series.callee) if series.callee >= 0 else None


def _owners(view: View, row: int) -> list[tuple[Entity, float]]:
    """Who may be behind a series, each with its share of the suspicion."""
    series = view.metrics.series[row]
    own = place(view, service=series.service, instance=series.instance, node=series.node) or _callee(view, row)
    owners = [(own, 1.0)] if own is not None else []
    if series.caller >= 0:
        owners.append((service_or_external(view, series.caller), OF_CALLER))
    return owners
