"""Success share of requests: is the share of failed requests higher than the baseline explains?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from aetia.signals.frames import F64, Bool
from aetia.signals.stats import binomial_p, two_proportion_p

MIN_DROP = 0.03
"""A drop of the success share by less than 3 percentage points hurts nobody measurably (RCABench's rule)."""
MIN_RELATIVE_DROP = 0.10
MIN_BASELINE, MIN_INCIDENT = 10, 5


def share_p(bad_base: ArrayLike, n_base: ArrayLike, bad_now: ArrayLike, n_now: ArrayLike) -> F64:
    """One-sided p-value that the bad share now is above that of the baseline; broadcasts, 1 where an n is 0.

    The larger of the pooled two-proportion z-test and the binomial tail at the baseline's share (Laplace
    smoothed): the z-test alone calls 1 failure in 5 requests certain when the baseline has none.
    """
    k0, n0, k1, n1 = (np.asarray(value, dtype=np.float64) for value in (bad_base, n_base, bad_now, n_now))
    p = np.maximum(two_proportion_p(k0, n0, k1, n1), binomial_p(k1, n1, (k0 + 1) / (n0 + 2)))
    return np.asarray(np.where((n0 > 0) & (n1 > 0), p, 1.0), dtype=np.float64)


def success_hurt(base_share: ArrayLike, now_share: ArrayLike) -> Bool:
    """Where the success share fell by an amount that users notice: > 3 points and > 10 % of what it was.

    The relative rule compares failures too: where a third of all requests fails anyway, 3 points are noise.
    """
    base, now = np.asarray(base_share, dtype=np.float64), np.asarray(now_share, dtype=np.float64)
    drop = base - now
    relative = drop > MIN_RELATIVE_DROP * np.maximum(base, 1e-9)
    doubled = (1 - now) > 2 * (1 - base)
    return np.asarray((drop > MIN_DROP) & (relative | doubled), dtype=np.bool_)
