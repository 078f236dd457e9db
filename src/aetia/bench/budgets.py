"""Solved against budget and abstention: what a policy changes of its localizer beyond the final answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aetia.bench.anytime import Resource, area, right_at
from aetia.bench.calibration import labelled
from aetia.bench.intervals import ClusterBootstrap
from aetia.bench.messages import Stood
from aetia.bench.result import Abstention, Budgeted, Row
from aetia.bench.scoring import counts_in_recall
from aetia.reason.policy import Limits

SECONDS = 60.0
GRIDS: dict[Resource, tuple[float, ...]] = {
    "seconds": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, SECONDS),
    "calls": (0, 5, 10, 20, 50, 100, Limits().max_calls),
    "tokens": (0, 3_000, 10_000, 30_000, 100_000, Limits().max_tokens),
}
"""Where the share of solved cases is looked at; the last is the budget."""
Place = tuple[str, str, str]
Values = NDArray[np.float64]


class _Course(NamedTuple):
    """The answers at hand of one row, and what passes before the first."""

    stood: tuple[Stood, ...]
    before_s: float

    def before(self, of: Resource) -> float:
        return self.before_s if of == "seconds" else 0.0


def _course(row: Row) -> _Course:
    """Of a localizer, and where nothing was investigated, the one answer that there is."""
    if row.investigated is None or not row.investigated.course:
        return _Course((Stood(0.0, 0, 0, row.correct),), row.seconds or 0.0)
    return _Course(row.investigated.course, max((row.seconds or 0.0) - row.investigated.added_s, 0.0))


def _area(row: Row, of: Resource) -> float:
    course = _course(row)
    return area(course.stood, of, GRIDS[of][-1], before=course.before(of))


def effectiveness(rows: Sequence[Row]) -> float | None:
    """Mean share of the first minute over which the answer at hand was right, over the cases with a fault; of a
    localizer 1 − t/60 s where it is right, 0 where not (SWE-Effi, arXiv 2509.09853, step form)."""
    cases = [row for row in rows if counts_in_recall(row)]
    return float(np.mean([_area(row, "seconds") for row in cases])) if cases else None


def budgeted(cases: dict[Place, list[Row]], prior: dict[Place, list[Row]], draws: int) -> dict[str, Budgeted]:
    """Solved against each budget from the repeats per case of a policy and of the localizer under it; without tokens
    where none were spent."""
    if not cases:
        return {}
    every = [row for case in cases.values() for row in case]
    spends = any(row.investigated is not None and row.investigated.tokens for row in every)
    bootstrap = ClusterBootstrap([case[0].cluster for case in cases.values()], draws=draws)
    found: dict[str, Budgeted] = {}
    for of, grid in GRIDS.items():
        if of == "tokens" and not spends:
            continue
        ours = {key: _mean(case, of) for key, case in cases.items()}
        shared = [key for key in cases if key in prior]
        gained = np.array([ours[key] - _mean(prior[key], of) for key in shared])
        paired = ClusterBootstrap([cases[key][0].cluster for key in shared], draws=draws)
        found[of] = Budgeted(
            budget=grid[-1], area=bootstrap.mean(np.array(list(ours.values()))),
            added=paired.mean(gained, share=False),
            curve=tuple((float(at), _solved(cases, of, at)) for at in grid),
        )  # fmt: skip
    return found


def _mean(case: Sequence[Row], of: Resource) -> float:
    return float(np.mean([_area(row, of) for row in case]))


def _solved(cases: dict[Place, list[Row]], of: Resource, at: float) -> float:
    """Share of the cases whose answer at hand is right when so much has been spent."""
    shares: list[float] = []
    for case in cases.values():
        courses = [_course(row) for row in case]
        shares.append(float(np.mean([right_at(c.stood, of, at, before=c.before(of)) for c in courses])))
    return float(np.mean(shares))


# ----------------------------------------------------------------------------------------- abstention


def abstention(rows: Sequence[Row], prior: Sequence[Row], draws: int) -> Abstention | None:
    """A policy (first repeats) against its localizer on the labelled cases that both were asked; None without any."""
    ours, theirs = _by_place(rows), _by_place(prior)
    shared = [key for key in sorted(ours) if key in theirs]
    if not shared:
        return None
    us, them = [ours[key] for key in shared], [theirs[key] for key in shared]
    bootstrap = ClusterBootstrap([row.cluster for row in us], draws=draws)
    answered = _answered(us) - _answered(them)
    silenced = [row for row, one in zip(them, us, strict=True) if row.outcome == "answered" != one.outcome]

    def difference(of: Callable[[Sequence[Row], Values], float]) -> Callable[[Values], float]:
        return lambda weights: of(us, weights) - of(them, weights)

    flat = np.ones(len(shared))
    risk, aurc = difference(_risk), difference(_aurc)
    return Abstention(
        n=len(shared), coverage=bootstrap.mean(answered, share=False),
        risk=bootstrap.statistic(risk(flat), risk), aurc=bootstrap.statistic(aurc(flat), aurc),
        silenced_wrong=sum(not row.correct for row in silenced), silenced_right=sum(row.correct for row in silenced),
    )  # fmt: skip


def _by_place(rows: Sequence[Row]) -> dict[Place, Row]:
    known = {id(score) for score in labelled(rows)}
    return {(row.suite, row.system, row.case): row for row in rows if row.repeat == 0 and id(row) in known}


def _answered(rows: Sequence[Row]) -> Values:
    return np.array([float(row.outcome == "answered") for row in rows])


def _risk(rows: Sequence[Row], weights: Values) -> float:
    """Share of the answers that are wrong; 0 without any."""
    given = weights * _answered(rows)
    wrong = given * np.array([float(not row.correct) for row in rows])
    return float(wrong.sum() / given.sum()) if given.sum() else 0.0


def _aurc(rows: Sequence[Row], weights: Values) -> float:
    """Mean risk over the stated answers, most confident first; equal probabilities enter together; 0 without any."""
    stated = np.array([row.outcome == "answered" and row.confidence is not None for row in rows])
    confidence = np.nan_to_num(np.array([row.confidence or 0.0 for row in rows]))[stated]
    size = weights[stated]
    if not size.sum():
        return 0.0
    wrong = size * np.array([float(not row.correct) for row in rows])[stated]
    _, inverse = np.unique(-confidence, return_inverse=True)
    mass, missed = np.bincount(inverse, weights=size), np.bincount(inverse, weights=wrong)
    risk = np.cumsum(missed) / np.maximum(np.cumsum(mass), 1e-12)
    return float((risk * mass).sum() / mass.sum())
