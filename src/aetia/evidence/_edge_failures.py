"""Calls that fail at the caller although the callee counts none, from metrics of meshes and service graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.evidence._blame import edge_blame
from aetia.evidence._residual import FULL_EFFECT
from aetia.evidence._series import Shifts, believed, shifts
from aetia.signals.frames import F64, I32, I64, Series
from aetia.signals.view import View

DELIVERED = 0.6
"""Share of its usual requests that a callee must still count for its answers, not the link, to be at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFailures:
    """Per edge with a failure metric, each (e,): service codes of both ends, score 0..1, the metric's row and whether
    the callee still counts its requests. `blame` (services,) is the score laid on whoever owns the failing edges."""

    caller: I32
    callee: I32
    score: F64
    row: I64
    delivered: list[bool]
    blame: F64


def edge_failures(view: View) -> EdgeFailures:
    """Failures that only callers see, of callees that count failures themselves and record no spans."""
    frame, moved, n = view.metrics, shifts(view), len(view.names.services)
    own: dict[int, float] = {}
    for row, series in enumerate(frame.series):
        if series.caller < 0 and series.service >= 0 and _is_share(series) and moved.usable[row]:
            own[series.service] = max(own.get(series.service, 0.0), _worse(moved, row, series))
    traced = np.bincount(view.spans.service[view.spans.service >= 0], minlength=n) > 0
    best: dict[tuple[int, int], tuple[float, float, int]] = {}
    for row, series in enumerate(frame.series):
        known = series.caller >= 0 and series.callee in own and _is_share(series) and moved.usable[row]
        if not known or traced[series.callee]:
            continue
        worse = _worse(moved, row, series)
        hidden = max(worse - own[series.callee], 0.0)
        sure = float(believed(moved.z[row], moved.usual_z[row])) * min(1.0, float(moved.effect[row]) / FULL_EFFECT)
        score = sure * hidden / worse if worse > 0 else 0.0
        pair = (series.caller, series.callee)
        if pair not in best or score > best[pair][0]:
            best[pair] = (score, hidden, row)
    pairs = sorted(best)
    caller, callee = np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int32)
    score, mass = np.array([best[p][0] for p in pairs]), np.array([best[p][1] for p in pairs])
    arrives = _arriving(view)
    return EdgeFailures(
        caller=caller, callee=callee, score=score, row=np.array([best[p][2] for p in pairs], np.int64),
        delivered=[arrives.get(p[1], 0.0) >= DELIVERED for p in pairs],
        blame=edge_blame(caller, callee, score, mass, n) if pairs else np.zeros(n),
    )  # fmt: skip


def _is_share(series: Series) -> bool:
    return series.what in ("errors", "success") and series.unit == "share"


def _worse(moved: Shifts, row: int, series: Series) -> float:
    """Rise of the failed share, 0 when it fell."""
    hurts = moved.direction[row] * (series.bad or 1) > 0
    return abs(float(moved.level[row] - moved.base[row])) if hurts else 0.0


def _arriving(view: View) -> dict[int, float]:
    """Incident over baseline requests that each callee counts itself."""
    moved = shifts(view)
    out: dict[int, float] = {}
    for row, series in enumerate(view.metrics.series):
        counts = series.what == "traffic" and series.service >= 0 and series.caller < 0
        if counts and moved.usable[row] and moved.base[row] > 0:
            ratio = float(moved.level[row] / moved.base[row])
            out[series.service] = max(out.get(series.service, 0.0), ratio)
    return out
