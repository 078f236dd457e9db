"""Uncertainty of averages: 95 % cluster bootstrap, exact McNemar test, Wilson interval. Pure numpy.

Cases that repeat one fault on one service are not independent, so whole clusters are drawn (research on
randomness in agentic evaluations, arXiv 2602.07150, and the usual cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from aetia.bench.scoring import macro_f1

DRAWS = 2000
LEVEL = 0.95
_Z = 1.959963984540054


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95 % interval; all None when there was nothing to average."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class ClusterBootstrap:
    """Draws of clusters with replacement, shared by all metrics of one table so that pairs stay paired.

    `clusters`: one label per case, shape (n,). The order of cases does not matter.
    """

    def __init__(self, clusters: Sequence[str], *, draws: int = DRAWS, seed: int = 0) -> None:
        labels, index = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
        self.index: NDArray[np.int64] = index.astype(np.int64)
        self.size = len(labels)
        rng = np.random.default_rng(seed)
        share = np.full(max(self.size, 1), 1.0 / max(self.size, 1))
        self.weights: NDArray[np.float64] = rng.multinomial(self.size, share, size=draws).astype(np.float64)

    def _totals(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum per cluster, shape (clusters, ...)."""
        totals = np.zeros((self.size, *values.shape[1:]))
        np.add.at(totals, self.index, values)
        return totals

    def mean(self, values: NDArray[np.float64], *, share: bool = True) -> Estimate:
        """Interval of a mean, values of shape (n,). With `share` the values lie in 0..1, without
        it they are differences in -1..1. Where all draws agree (all hits, all misses, no difference) the
        bootstrap has no width, but twenty hits in a row do not prove perfection: Wilson's interval over the
        number of clusters takes its place, and for a difference a half-width of z² / (clusters + z²)."""
        if len(values) == 0:
            return Estimate()
        totals, sizes = self._totals(values), self._totals(np.ones(len(values)))
        drawn = (self.weights @ totals) / (self.weights @ sizes)
        point = float(values.mean())
        if np.ptp(drawn) > 1e-12:
            return _percentiles(point, drawn)
        if share:
            return Estimate(point, *wilson(point, self.size))
        half = _Z**2 / (self.size + _Z**2)
        return Estimate(point, max(-1.0, point - half), min(1.0, point + half))

    def class_f1(self, counts: NDArray[np.float64]) -> Estimate:
        """Interval of macro-F1, counts of shape (n, 3, classes)."""
        point = macro_f1(counts.sum(axis=0)) if len(counts) else np.array(np.nan)
        if len(counts) == 0 or np.isnan(point):
            return Estimate()
        totals = self._totals(counts)
        drawn = macro_f1(np.einsum("bc,cij->bij", self.weights, totals))
        return _percentiles(float(point), drawn[~np.isnan(drawn)])

    def statistic(self, point: float, of: Callable[[NDArray[np.float64]], float], draws: int = 200) -> Estimate:
        """Interval of any statistic of case weights, shape (n,)."""
        drawn = np.array([of(row[self.index]) for row in self.weights[:draws]])
        return _percentiles(point, drawn[~np.isnan(drawn)])


def _percentiles(value: float, drawn: NDArray[np.float64]) -> Estimate:
    if len(drawn) == 0:
        return Estimate(value, value, value)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # The percentile interval of a skewed statistic can miss its own point; the interval has to hold it.
    return Estimate(value, min(float(low), value), max(float(high), value))


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share over n trials."""
    if n <= 0:
        return 0.0, 1.0
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided exact p of McNemar's test: `wins` cases only we solved, `losses` only the rival did."""
    if wins + losses == 0:
        return 1.0
    from scipy.special import bdtr

    return min(1.0, 2.0 * float(bdtr(min(wins, losses), wins + losses, 0.5)))
