"""What is left of a service's symptom metric when the movement of its callees has been taken off."""

from __future__ import annotations

import numpy as np

from aetia.evidence._series import believed, shifts
from aetia.signals.frames import F64
from aetia.signals.view import View

FULL_EFFECT = float(np.log(2.0))


def residual_scores(view: View, what: str) -> dict[int, tuple[float, int]]:
    """Per service code, (score 0..1, metric row) of its worst series of kind `what` after explaining away.

    `what` is `latency` or `errors`. A callee's rise is taken off its callers' rise once: latency adds up along calls
    and errors are passed on. Edge series count for the service they describe only when it has none of its own.
    """
    frame, moved = view.metrics, shifts(view)
    n = len(view.names.services)
    row_of = np.full(n, -1, np.int64)
    delta, strength = np.zeros(n), np.zeros(n)
    for row, series in enumerate(frame.series):
        if series.what != what or series.service < 0 or not moved.usable[row]:
            continue
        rising = moved.direction[row] * (series.bad or 1) > 0
        z = float(moved.z[row]) if rising else 0.0
        score = float(believed(np.float64(z), moved.usual_z[row])) * min(1.0, float(moved.effect[row]) / FULL_EFFECT)
        if row_of[series.service] < 0 or score > strength[series.service]:
            row_of[series.service], strength[series.service] = row, score
            delta[series.service] = abs(float(moved.level[row] - moved.base[row])) if rising else 0.0
    kept = delta - explained_by_callees(view, delta)
    share = np.divide(np.maximum(kept, 0.0), delta, out=np.zeros(n), where=delta > 0)
    return {int(s): (float(strength[s] * share[s]), int(row_of[s])) for s in np.flatnonzero(row_of >= 0)}


def explained_by_callees(view: View, delta: F64) -> F64:
    """Largest rise among the direct callees of each service, never more than its own, shape (services,)."""
    topology = view.topology
    explained = np.zeros(len(delta))
    if len(topology.caller):
        keep = topology.caller != topology.callee
        np.maximum.at(explained, topology.caller[keep], delta[topology.callee[keep]])
    return np.minimum(explained, delta)
