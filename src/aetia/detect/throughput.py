"""Throughput of an entry point: did requests stop coming through?"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from aetia.signals.frames import F64, Bool
from aetia.signals.stats import poisson_tail_p

MAX_SHARE = 0.5
"""A rate below half of its median is a loss (together with the quantile test)."""
ALPHA = 0.01
HISTORY = 30
"""Bins over which the usual rate is taken; load changes slower than that are no loss."""


def usual_rate(count: F64, history: int = HISTORY) -> F64:
    """Median count of the `history` bins before each bin, shape (groups, bins).

    The first bins use the median of the first `history` bins. A trailing median follows the day's load; it is
    held by the caller while a loss lasts.
    """
    bins = count.shape[1]
    if bins == 0:
        return count.copy()
    width = max(1, min(history, bins // 2))
    start = np.median(count[:, :width], axis=1, keepdims=True)
    if bins <= width:
        return np.repeat(start, bins, axis=1)
    trailing = np.median(sliding_window_view(count, width, axis=1), axis=2)[:, : bins - width]
    return np.concatenate([np.repeat(start, width, axis=1), trailing], axis=1)


def dispersion(count: F64, usual: F64) -> F64:
    """Robust variance-to-mean ratio per group, at least 1 (Poisson), shape (groups,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pearson = (count - usual) / np.sqrt(np.maximum(usual, 0.5))
    return np.maximum((1.4826 * np.median(np.abs(pearson), axis=1)) ** 2, 1.0) if count.size else np.ones(len(count))


def loss_p(seen: ArrayLike, expected: ArrayLike, spread: ArrayLike = 1.0) -> F64:
    """P(X <= seen) for an over-dispersed Poisson count of mean `expected` and variance `spread *
    expected`."""
    seen, expected, spread = (np.asarray(v, dtype=np.float64) for v in (seen, expected, spread))
    return poisson_tail_p(np.floor(seen / spread), expected / spread, lower=True)


def is_loss(seen: ArrayLike, expected: ArrayLike) -> Bool:
    """Where less than half of the usual requests came."""
    return np.asarray(np.asarray(seen) < MAX_SHARE * np.asarray(expected), dtype=np.bool_)
