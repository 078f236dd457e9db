"""Metrics of a component that left their baseline, most telling first.

Two measures decide: how far the more extreme half of the incident lies outside of equally long parts of the baseline,
and how far the medians lie apart. Source: robust z-scores of blocks (ours) and as in BARO (Pham et al., FSE 2024); tool
list of section 15.2 of the agents survey. Rows: one per series. Cost: O(series) once the shifts are known.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from aetia.evidence._memo import once
from aetia.evidence._series import believed, series_name, shifts
from aetia.evidence.stray import strangeness
from aetia.model.diagnosis import Claim
from aetia.model.quantities import went
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said
from aetia.reason.tools._parts import (
    HEALTHY,
    Component,
    Kind,
    component,
    health,
    need,
    number,
    seconds_in,
    strongest_first,
)
from aetia.signals.frames import F64, I64
from aetia.signals.view import View

ANOMALOUS = 0.2
"""Belief in a movement from which on a series is told."""
FULL, CLEARED, ENOUGH = 0.6, 0.1, 3
UNFELT = 0.4
"""What is left of a movement at a service whose requests were recorded and went as before, or that had none."""
STRAY = 0.5
"""How far the distance of medians alone is believed."""


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`component`: a service, instance or node; for a service, metrics of its instances and of calls to it count."""

    component: str


@plugin(
    "tool", needs=("metrics",), summary="metrics of a component that left their baseline, most telling first",
    source="robust z-scores, as in BARO (Pham et al., FSE 2024)", cost="O(series)",
)  # fmt: skip
class MetricAnomalies(Tool[Args]):
    """Series with their levels in both windows and how surely they moved."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        need(view, "metrics")
        one = component(view, args.component)
        mine = series_of(view, one)
        if len(mine) == 0:
            raise NoAnswer("no_data", f"there are no metrics of {said(one.name)}.", "ask about another component",
                           category="permanent")  # fmt: skip
        belief = movement(view)[mine]
        moved = np.flatnonzero(belief >= ANOMALOUS)
        first = strongest_first(belief)
        labels = [sorted(series_name(view, int(row)).items()) for row in mine[moved].tolist()]
        order = sorted(range(len(moved)), key=lambda k: (first[moved[k]], labels[k]))
        rows = tuple(_row(view, int(mine[moved[k]]), float(belief[moved[k]])) for k in order)
        return _judged(view, one, mine, rows)


def series_of(view: View, one: Component) -> I64:
    """Rows of the metric frame that tell of a component."""
    frame, graph = view.metrics, view.topology
    if one.kind == "instance":
        return np.array([row for row, s in enumerate(frame.series) if s.instance == one.code], np.int64)
    if one.kind == "node":
        return np.array([r for r, s in enumerate(frame.series) if s.node == one.code and s.service < 0], np.int64)
    own = set(np.flatnonzero(graph.instance_service == one.code).tolist())
    return np.array(
        [row for row, s in enumerate(frame.series)
         if one.code in (s.service, s.callee) or (s.service < 0 and s.instance in own)],
        np.int64,
    )  # fmt: skip


def movement(view: View) -> F64:
    """How surely each series moved, 0..1, shape (s,)."""
    moved = shifts(view)
    return np.maximum(believed(moved.z, moved.usual_z), STRAY * believed(strangeness(view), 0.0))


def _row(view: View, row: int, belief: float) -> dict[str, Any]:
    moved, series = shifts(view), view.metrics.series[row]
    name = series_name(view, row)
    before, after = float(moved.base[row]), float(moved.level[row])
    onset = int(moved.onset_ns[row])
    return {
        "metric": series.raw,
        "statistic": series.statistic,
        "meaning": series.what,
        "of": name.get("instance") or name.get("node") or name.get("service"),
        "caller": name.get("caller"),
        "baseline": number(before),
        "incident": number(after),
        "unit": series.unit,
        "direction": "up" if after > before else "down",
        "harmful": bool(series.bad == 0 or (after - before) * series.bad > 0),
        "z": number(moved.z[row]),
        "belief": number(belief),
        "since_s": seconds_in(view, onset) if onset >= 0 else None,
        "stopped": bool(moved.gone[row]),
    }


def _specific(view: View, one: Component, mine: I64) -> float:
    """Share of the other components of its kind whose metrics moved less: what hits all of them is nobody's own."""
    best = strongest(view, one.kind)
    others = np.delete(best, one.code)
    others = others[others >= 0]
    return float(np.mean(others < 0.9 * movement(view)[mine].max())) if len(others) else 1.0


def strongest(view: View, kind: Kind) -> F64:
    """Belief in the movement of the most telling metric of each component of a kind; -1 where it has no metric."""

    def build(v: View) -> F64:
        series, names = v.metrics.series, v.names
        count = {"service": len(names.services), "instance": len(names.instances), "node": len(names.nodes)}[kind]
        owner = np.array([(s.node if s.service < 0 else -1) if kind == "node" else getattr(s, kind) for s in series])
        out, known = np.full(count, -1.0), np.flatnonzero(owner >= 0)
        np.maximum.at(out, owner[known], movement(v)[known])
        return out

    return once(view, f"strongest movement of {kind}s", build)


def _judged(view: View, one: Component, mine: I64, rows: tuple[dict[str, Any], ...]) -> Found:
    usable = int(shifts(view).usable[mine].sum())
    name = said(one.name)
    if not rows:
        claim = Claim(what="metrics", direction="changed", magnitude=0.0, unit="series",
                      text=f"none of {usable} metrics of {name} left its baseline")  # fmt: skip
        sure = CLEARED if usable >= ENOUGH else 0.0
        return Found(rows=(), total=0, about=one.entity, claim=claim, polarity="against", strength=sure)
    best = next((row for row in rows if row["harmful"]), rows[0])
    before, after = best["baseline"] or 0.0, best["incident"] or 0.0
    onset = None if best["since_s"] is None else view.incident.start_ns + round(best["since_s"] * 1e9)
    text = (
        f"{said(best['metric'])} of {name} {went(before, after, best['unit'])}; {len(rows)} of {usable} metrics moved"
    )
    claim = Claim(what=best["meaning"], direction=best["direction"], magnitude=round(after - before, 4),
                  unit=best["unit"], onset_ns=onset, text=text)  # fmt: skip
    strength = FULL * float(best["belief"]) * _specific(view, one, mine) if best["harmful"] else 0.0
    if one.kind == "service" and len(view.spans) and float(health(view, "service").trouble[one.code]) < HEALTHY:
        strength *= UNFELT
    return Found(rows=rows, total=len(rows), about=one.entity, claim=claim, strength=strength)
