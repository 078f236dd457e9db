"""What is left of each service's symptom metric when the movement of its callees has been taken off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.evidence._memo import once
from aetia.evidence._series import believed, shifts
from aetia.signals.frames import F64, I64
from aetia.signals.view import View

FULL_EFFECT = float(np.log(2.0))
HUGE_EFFECT, HUGE_SHARE = float(np.log(16.0)), 0.5
"""The same added delay is a larger factor where less was usual, so deeper down: half of a rise's score waits for a
sixteenfold one."""
COMMON_CALLEE = 0.9
EXPLAINS = 0.8
MIN_CALLERS = 2
MIN_RESIDUAL = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Per service code, shape (services,): score 0..1 of its worst symptom series after explaining away, the metric
    row that shows it (-1 none), and whether it is blamed as the common callee of services that suffer."""

    score: F64
    row: I64
    common: F64


def residual(view: View, what: str) -> Residual:
    """Residual symptoms of kind `what` (`latency`, or `errors` together with `success`), computed once.

    A callee's rise is taken off its callers' rise: latency adds up along calls and errors are passed on. What is left
    with two or more callers of the same healthy-looking callee is laid on that callee or the link to it: it may not
    see its own failure, or have no telemetry at all.
    """
    return once(view, f"residual {what}", lambda v: _build(v, what))


def _build(view: View, what: str) -> Residual:
    n = len(view.names.services)
    moved = shifts(view)
    row_of, strength, delta = _worst(view, what)
    kept = delta - explained_by_callees(view, delta)
    share = np.divide(np.maximum(kept, 0.0), delta, out=np.zeros(n), where=delta > 0)
    score = strength * share
    common, shown_by = _common_callee(view, score)
    topology = view.topology
    relieved = np.zeros(n)
    if len(topology.caller):
        np.maximum.at(relieved, topology.caller, common[topology.callee])
    score = np.maximum(score * (1.0 - EXPLAINS * relieved), COMMON_CALLEE * common)
    blamed = common * COMMON_CALLEE >= score - 1e-12
    row = np.where(blamed & (common > 0), row_of[np.maximum(shown_by, 0)], row_of)
    usable = row >= 0
    usable[usable] &= moved.usable[row[usable]]
    return Residual(
        score=np.where(usable, score, 0.0), row=np.where(usable, row, -1), common=np.where(blamed, common, 0.0)
    )


def _worst(view: View, what: str) -> tuple[I64, F64, F64]:
    """(row, strength 0..1, rise) of the worst series of each service. Error shares are preferred to error rates."""
    kinds = ("errors", "success") if what == "errors" else (what,)
    frame, moved, n = view.metrics, shifts(view), len(view.names.services)
    row_of, strength, delta = np.full(n, -1, np.int64), np.zeros(n), np.zeros(n)
    usable = [(r, s) for r, s in enumerate(frame.series) if s.what in kinds and s.service >= 0 and moved.usable[r]]
    own = {s.service for _, s in usable if s.caller < 0}
    # What callers see of a service stands for the service where it records nothing itself.
    chosen = [(r, s) for r, s in usable if s.caller < 0 or (s.callee == s.service and s.service not in own)]
    shares = {s.service for _, s in chosen if s.unit == "share"} if what == "errors" else set[int]()
    for row, series in chosen:
        if series.service in shares and series.unit != "share":
            continue
        rising = moved.direction[row] * (series.bad or 1) > 0
        z = float(moved.z[row]) if rising else 0.0
        effect = float(moved.effect[row])
        score = float(believed(z, float(moved.usual_z[row]))) * min(1.0, effect / FULL_EFFECT)
        score *= 1.0 - HUGE_SHARE * (1.0 - min(1.0, effect / HUGE_EFFECT))
        if row_of[series.service] < 0 or score > strength[series.service]:
            row_of[series.service], strength[series.service] = row, score
            delta[series.service] = abs(float(moved.level[row] - moved.base[row])) if rising else 0.0
    return row_of, strength, delta


def _common_callee(view: View, score: F64) -> tuple[F64, I64]:
    """(blame 0..1, the caller that shows it best) of services whose callers all suffer for no reason of their own."""
    n, topology = len(score), view.topology
    blame, best = np.zeros(n), np.full(n, -1, np.int64)
    keep = topology.caller != topology.callee
    caller, callee = topology.caller[keep], topology.callee[keep]
    for code in np.unique(callee).tolist():
        above = np.unique(caller[callee == code])
        if len(above) >= MIN_CALLERS and float(np.min(score[above])) >= MIN_RESIDUAL:
            blame[code] = float(score[above].mean())
            best[code] = int(above[np.argmax(score[above])])
    return blame, best


def callers_and_callees(view: View, *, common: bool) -> str:
    """The end of a claim: what was taken off, which is nothing where no calls are known."""
    if common:
        return ", like that of every caller"
    return ", more than its callees explain" if len(view.topology.caller) else ""


def explained_by_callees(view: View, delta: F64) -> F64:
    """Largest rise among the direct callees of each service, never more than its own, shape (services,)."""
    topology = view.topology
    explained = np.zeros(len(delta))
    if len(topology.caller):
        keep = topology.caller != topology.callee
        np.maximum.at(explained, topology.caller[keep], delta[topology.callee[keep]])
    return np.minimum(explained, delta)
