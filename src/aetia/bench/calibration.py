"""Whether probabilities mean what they say, and what abstaining buys: ECE, risk-coverage, utility. Pure
numpy."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from aetia.bench.scoring import Score

BINS = 10
CURVE_POINTS = 50


class Bin(msgspec.Struct, frozen=True):
    """One bin of the reliability diagram: mean stated probability, share that was right, number of
    answers."""

    stated: float
    right: float
    n: int


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """Expected calibration error over `n` answers that state a probability, with its bins."""

    ece: float
    n: int
    bins: tuple[Bin, ...]


class RiskCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """Risk (share of wrong answers) when only the most confident answers are given.

    `coverage` is the share of labelled cases that were answered at all; `aurc` the mean risk over the
    answered ones, most confident first; `coverage_at_5pct` the largest share of cases that can be answered
    with at most one wrong answer in twenty; `curve` holds (coverage, risk) points.
    """

    aurc: float
    coverage: float
    coverage_at_5pct: float
    curve: tuple[tuple[float, float], ...]


def labelled(scores: Sequence[Score]) -> list[Score]:
    return [score for score in scores if score.kind != "unlabelled" and score.outcome != "unapplied"]


def _stated(scores: Sequence[Score]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(confidence, correct) of the answers that state a probability; an answer to a fault-free case is
    wrong."""
    stated = [s for s in labelled(scores) if s.outcome == "answered" and s.confidence is not None]
    confidence = np.array([s.confidence for s in stated], dtype=np.float64)
    return np.clip(np.nan_to_num(confidence), 0, 1), np.array([s.correct for s in stated], dtype=np.float64)


def reliability(scores: Sequence[Score], bins: int = BINS) -> Reliability | None:
    """Expected calibration error over bins of equal mass (equal probabilities never straddle a border);
    None when no answer states a probability."""
    confidence, correct = _stated(scores)
    n = len(confidence)
    if n == 0:
        return None
    values, inverse, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    which = np.minimum((middle * bins / n).astype(np.int64), bins - 1)[inverse]
    del values
    size = np.bincount(which, minlength=bins)
    said = np.bincount(which, weights=confidence, minlength=bins)
    right = np.bincount(which, weights=correct, minlength=bins)
    error = float(np.abs(said - right).sum() / n)
    rows = tuple(Bin(float(said[b] / size[b]), float(right[b] / size[b]), int(size[b])) for b in np.flatnonzero(size))
    return Reliability(ece=error, n=n, bins=rows)


def risk_coverage(scores: Sequence[Score]) -> RiskCoverage | None:
    """The risk-coverage curve; answers of equal probability enter together. None without probabilities."""
    confidence, correct = _stated(scores)
    total = len(labelled(scores))
    if len(confidence) == 0:
        return None
    _, inverse = np.unique(-confidence, return_inverse=True)
    size = np.bincount(inverse)
    wrong = np.cumsum(np.bincount(inverse, weights=1.0 - correct))
    answered = np.cumsum(size)
    risk = wrong / answered
    safe = answered[risk <= 0.05]
    keep = np.unique(np.linspace(0, len(risk) - 1, CURVE_POINTS).astype(np.int64))
    return RiskCoverage(
        aurc=float((risk * size).sum() / size.sum()), coverage=float(answered[-1] / total),
        coverage_at_5pct=float(safe[-1] / total) if len(safe) else 0.0,
        curve=tuple((float(answered[i] / total), float(risk[i])) for i in keep),
    )  # fmt: skip


def utility(scores: Sequence[Score], wrong_cost: float) -> float | None:
    """Mean utility per labelled case: a right answer +1, saying nothing with a reason 0, everything else (a
    wrong answer, a crash, an empty answer without a reason) minus `wrong_cost`. Use 1 for triage and 4 where
    an automatic repair follows."""
    cases = labelled(scores)
    if not cases:
        return None
    silent = ("abstained", "no_incident")
    return float(np.mean([1.0 if s.correct else 0.0 if s.outcome in silent else -wrong_cost for s in cases]))
