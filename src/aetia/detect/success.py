"""Success share of requests: is the share of failed requests higher than the baseline explains?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from aetia.signals.frames import F64
from aetia.signals.stats import binomial_p, two_proportion_p

MIN_DROP = 0.03
"""A drop of the success share by less than 3 percentage points hurts nobody measurably (RCABench's rule)."""
MIN_RELATIVE_DROP = 0.10
RELIABLE, MIN_DROP_RELIABLE = 0.001, 0.01
MIN_BASELINE, MIN_INCIDENT = 10, 5


def share_p(bad_base: ArrayLike, n_base: ArrayLike, bad_now: ArrayLike, n_now: ArrayLike) -> F64:
    """One-sided p-value that the bad share now is above that of the baseline; broadcasts, 1 where an n is 0.

    The larger of the pooled two-proportion z-test and the binomial tail at the baseline's share (Laplace
    smoothed): the z-test alone calls 1 failure in 5 requests certain when the baseline has none.
    """
    k0, n0, k1, n1 = (np.asarray(value, dtype=np.float64) for value in (bad_base, n_base, bad_now, n_now))
    p = np.maximum(two_proportion_p(k0, n0, k1, n1), binomial_p(k1, n1, (k0 + 1) / (n0 + 2)))
    return np.asarray(np.where((n0 > 0) & (n1 > 0), p, 1.0), dtype=np.float64)


def harmful_share(usual: ArrayLike) -> F64:
    """Failure share from which on users notice, given the usual one (smoothed, so that it is never 0); broadcasts.

    More than 3 points above, and either a tenth of the successes or twice the failures. Where less than 1 in 1000
    fails, 1 point is enough: tenfold the failures burn the error budget of a month in three days.
    """
    usual = np.asarray(usual, dtype=np.float64)
    relative = np.minimum(MIN_RELATIVE_DROP * (1 - usual), usual)
    least = np.maximum(MIN_DROP, relative)
    return np.asarray(usual + np.where(usual < RELIABLE, MIN_DROP_RELIABLE, least), dtype=np.float64)
