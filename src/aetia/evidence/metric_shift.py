"""Metric shift: any metric of a service that left its baseline, whatever it means.

The last resort where nothing more specific is recorded; network counters and metrics of unknown meaning come here.
Source: robust shift as in BARO (Pham et al., FSE 2024), two-sided and with floors. Score: 0.6 times effect size times
the belief in z; higher = more suspicious. Cost: O(series x bins).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.evidence._places import place
from aetia.evidence._series import believed, measure_series, series_name, shifts
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.quantities import went
from aetia.plugins import plugin
from aetia.signals.frames import Series
from aetia.signals.view import View

FULL = 0.6
FULL_EFFECT = float(np.log(4.0))
MIN_SCORE = 0.05
READ_ELSEWHERE = (
    "cpu",
    "memory",
    "disk",
    "saturation",
    "pool",
    "gc",
    "threads",
    "clock",
    "latency",
    "errors",
    "success",
    "restarts",
)
PER_ENTITY = 2


@plugin(
    "channel",
    needs=("metrics",),
    summary="any other metric that left its baseline",
    source="BARO (Pham et al., FSE 2024), two-sided, with floors",
    cost="O(series x bins)",
)
class MetricShift:
    """Shifts of metrics that no other channel reads; not the entity's own as long as a callee can explain them."""

    def observe(self, view: View) -> Reading:
        if len(view.metrics) == 0:
            return Reading(silent="no metrics")
        moved = shifts(view)
        other = np.array([not _read_elsewhere(s) for s in view.metrics.series], dtype=bool)
        score = FULL * believed(moved.z, moved.usual_z) * np.minimum(1.0, moved.effect / FULL_EFFECT)
        score = np.where(other & moved.usable, score, 0.0)
        kept: dict[str, int] = {}
        findings: list[Finding] = []
        for row in np.argsort(-score, kind="stable").tolist():
            if score[row] < MIN_SCORE:
                break
            series = view.metrics.series[row]
            where = place(view, service=series.service, instance=series.instance, node=series.node)
            if where is None or series.caller >= 0 or kept.get(where.name, 0) >= PER_ENTITY:
                continue
            kept[where.name] = kept.get(where.name, 0) + 1
            before, after = float(moved.base[row]), float(moved.level[row])
            onset = int(moved.onset_ns[row]) if moved.onset_ns[row] >= 0 else None
            findings.append(
                Finding(
                    entity=where,
                    score=float(score[row]),
                    own=False,
                    args=series_name(view, row),
                    onset_ns=onset,
                    claim=Claim(
                        what=series.what,
                        direction="up" if after > before else "down",
                        magnitude=round(after - before, 4),
                        unit=series.unit,
                        onset_ns=onset,
                        text=f"{series.raw} of {where} {went(before, after, series.unit)}",
                    ),
                )
            )
        silent = None if findings else "no metric that only this channel reads left its baseline"
        return Reading(findings=tuple(findings), silent=silent)

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        return measure_series(view, args)


def _read_elsewhere(series: Series) -> bool:
    return series.what in READ_ELSEWHERE or (series.what == "network" and series.bad != 0)
