"""Pressure on what an entity itself consumes, judged beyond what its load explains; shared by several channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from aetia.evidence._load import traffic_ratio
from aetia.evidence._places import place
from aetia.evidence._series import Shifts, believed, measure_series, series_name, shifts
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.faults import FaultClass
from aetia.model.quantities import went
from aetia.signals.frames import F64, Series
from aetia.signals.view import View

FULL_EFFECT = float(np.log(2.0))
MIN_SCORE = 0.05
Meaning = Mapping[str, tuple[FaultClass, str, float]]
"""Per recognised meaning of a metric: fault class, fault, and how far the kind is to be trusted."""


class Pressure:
    """A channel over the metrics of some meanings; such evidence is always the entity's own.

    Source: the metric channel of the label-free study on Nezha (section 4.4), with block-wise baselines in place of
    single samples. Score: effect size times belief in z, higher = more suspicious. Cost: O(series x bins).
    """

    meaning: ClassVar[Meaning] = {}
    calm = "no such metric moved beyond its baseline"
    harmful_only = False
    """Whether only metrics count whose rise hurts by itself (errors, drops), not those that merely move."""

    def observe(self, view: View) -> Reading:
        if len(view.metrics) == 0:
            return Reading(silent="no metrics")
        moved = shifts(view)
        if not moved.usable.any():
            return Reading(silent="no metric has a baseline and an incident value")
        score = self.scores(view)
        rows = np.flatnonzero(score >= MIN_SCORE)
        rows = rows[np.argsort(-score[rows], kind="stable")]
        found = [f for row in rows.tolist() if (f := self._finding(view, row, float(score[row]), moved)) is not None]
        return Reading(findings=tuple(found), silent=None if found else self.calm)

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        return measure_series(view, args)

    def scores(self, view: View) -> F64:
        """Score 0..1 of each metric series, shape (s,)."""
        moved = shifts(view)
        meaning = self.meaning
        weight = np.array([meaning[s.what][2] if s.what in meaning else 0.0 for s in view.metrics.series])
        upward = (moved.direction > 0) | np.array([s.bad < 0 for s in view.metrics.series], dtype=bool)
        if self.harmful_only:
            upward &= np.array([s.bad != 0 for s in view.metrics.series], dtype=bool)
        z, effect = _beyond_load(view, moved)
        score = weight * believed(z, moved.usual_z) * np.minimum(1.0, effect / FULL_EFFECT)
        return np.where(upward & moved.usable, score, 0.0)

    def _finding(self, view: View, row: int, score: float, moved: Shifts) -> Finding | None:
        series = view.metrics.series[row]
        where = place(view, service=series.service, instance=series.instance, node=series.node)
        if where is None:
            return None
        fault_class, fault, _ = self.meaning[series.what]
        onset = int(moved.onset_ns[row]) if moved.onset_ns[row] >= 0 else None
        return Finding(
            entity=where,
            score=score,
            fault_class=fault_class,
            fault=fault,
            onset_ns=onset,
            args=series_name(view, row),
            claim=_claim(series, float(moved.base[row]), float(moved.level[row]), onset, str(where)),
        )


def _beyond_load(view: View, moved: Shifts) -> tuple[F64, F64]:
    """z and effect of the movement beyond the one that more traffic explains (resources follow load linearly)."""
    ratio = traffic_ratio(view)
    load = np.array([ratio[s.service] if s.service >= 0 else np.nan for s in view.metrics.series])
    load = np.where(np.isfinite(load), np.maximum(load, 1.0), 1.0)
    with np.errstate(all="ignore"):
        change = np.exp(moved.effect)
        beyond = np.where(moved.direction > 0, np.maximum(change / load, 1.0), change)
        share = np.where(change > 1, (beyond - 1) / np.maximum(change - 1, 1e-9), 0.0)
    return moved.z * np.clip(share, 0.0, 1.0), np.log(beyond)


def _claim(series: Series, base: float, level: float, onset: int | None, where: str) -> Claim:
    text = f"{series.raw} of {where} {went(base, level, series.unit)}"
    ratio = level / base if base else float("inf")
    return Claim(
        what=series.what,
        direction="up" if level > base else "down",
        unit="ratio",
        onset_ns=onset,
        text=text,
        magnitude=round(ratio, 4) if np.isfinite(ratio) else round(level, 4),
    )
