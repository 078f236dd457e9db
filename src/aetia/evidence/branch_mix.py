"""Branch mix: the share of a context's requests that take each branch moved, although none is compulsory.

Finds early returns and wrong decisions in operations that always had several legal ways to end. It reacts to the
load mix too, so its weight is low. Source: section 4.3 of the label-free study on Nezha. Score: |shift| times
significance, higher = more suspicious. Cost: O(contexts x events).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.evidence._units import Units, column_args, column_chart, find_column, units_of
from aetia.evidence._violations import REQUIRED
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.entity import operation
from aetia.model.quantities import went
from aetia.plugins import plugin
from aetia.signals.frames import F64
from aetia.signals.view import View

MIN_UNITS = 10
MIN_SHIFT = 0.05
FULL_Z = 6.0
PER_SERVICE = 2


@plugin(
    "channel",
    needs=("spans",),
    summary="the share of requests that take each branch of an operation moved",
    source="label-free study on Nezha, section 4.3",
    cost="O(contexts x events)",
)
class BranchMix:
    """Shifts of event shares per in-service context."""

    def observe(self, view: View) -> Reading:
        if len(view.spans) == 0:
            return Reading(silent="no spans")
        units = units_of(view)
        score = _scores(units)
        columns = np.flatnonzero(score > 0.01)
        if len(columns) == 0:
            return Reading(silent="no context changed its mix of branches")
        kept: dict[int, int] = {}
        findings: list[Finding] = []
        for column in columns[np.argsort(-score[columns], kind="stable")]:
            service = int(units.context_service[units.column_context[column]])
            if kept.get(service, 0) < PER_SERVICE:
                kept[service] = kept.get(service, 0) + 1
                findings.append(_finding(view, units, int(column), float(score[column])))
        return Reading(findings=tuple(findings))

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        units = units_of(view)
        column = find_column(view, units, args)
        context = units.column_context[column]
        return {
            "baseline": float(units.base_rate[column]),
            "incident": float(units.incident_rate[column]),
            "baseline_units": int(units.base_units[context]),
            "incident_units": int(units.incident_units[context]),
            "unit": "share of units",
            "series": column_chart(view, units, column),
        }


def _scores(units: Units) -> F64:
    """|shift| * (1-p)^2 * min(1, z/6) per column; 0 for compulsory events and contexts with few units."""
    context = units.column_context
    n_base, n_incident = units.base_units[context], units.incident_units[context]
    before, after = units.base_rate, units.incident_rate
    shift = np.abs(after - before)
    pooled = (units.base_hits + units.incident_hits) / np.maximum(n_base + n_incident, 1)
    variance = pooled * (1 - pooled) * (1 / np.maximum(n_base, 1) + 1 / np.maximum(n_incident, 1))
    z = shift / np.sqrt(np.maximum(variance, 1e-12))
    confident = np.clip(1.0 - np.exp(-0.5 * z * z), 0.0, 1.0) ** 2
    counts = (n_base >= MIN_UNITS) & (n_incident >= MIN_UNITS) & (shift >= MIN_SHIFT)
    healing = units.is_severe() & (after < before)
    compulsory = (before >= REQUIRED) & (after >= REQUIRED)
    return np.where(counts & ~healing & ~compulsory, shift * confident * np.minimum(1.0, z / FULL_Z), 0.0)


def _finding(view: View, units: Units, column: int, score: float) -> Finding:
    args = column_args(view, units, column)
    before, after = float(units.base_rate[column]), float(units.incident_rate[column])
    where = f"the {args['operation']} requests of {args['service']}"
    text = f"“{args['event']}” {went(before, after, 'share')} of {where}"
    return Finding(
        entity=operation(args["service"], args["operation"]),
        score=min(score, 1.0),
        fault_class="C",
        fault="early_return",
        args=args,
        claim=Claim(
            what="branch share",
            direction="up" if after > before else "down",
            magnitude=round(after - before, 4),
            unit="share of units",
            text=text,
        ),
    )
