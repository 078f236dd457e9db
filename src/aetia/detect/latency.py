"""Latency quantiles of requests: how much slower is slower than users should bear?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from aetia.signals.frames import F64

QUANTILES = (0.5, 0.9, 0.99)
MIN_SLOW_SHARE = (0.5, 0.12, 0.03)
"""Share of requests beyond the limit of each quantile from which on it is broken; 1 % of requests beyond the
limit of the p99 is what a p99 means, but 3 points are the smallest harm that the success rule counts."""
LOWEST, HIGHEST = 1.2, 6.0
MIN_RISE_MS = 20.0
"""Nobody notices 20 ms, whatever the ratio."""
HARD_TIMEOUT_MS = 15_000.0


def tolerance(base_ms: ArrayLike, cv: ArrayLike) -> F64:
    """Multiple of the baseline's latency that is still borne; broadcasts.

    `(1.25 + min(4 cv, 3)) (200 ms / base)^0.3`, clipped to [1.2, 6]: fast and unsteady baselines tolerate
    larger ratios. PAVE, RCABench's path verifier, has `(1.5 + 3 (1 - e^(-cv/.15))) (200 ms / base)^0.6`, which
    bears 4 times 120 ms and 24 times 2 ms; on simulated faults that hid a quarter of what users felt. `cv` is
    the variation between bins beyond chance, so a steady baseline does not look unsteady for being short.
    """
    base, cv = np.maximum(np.asarray(base_ms, dtype=np.float64), 1e-3), np.asarray(cv, dtype=np.float64)
    raw = (1.25 + np.minimum(4.0 * cv, 3.0)) * (200.0 / base) ** 0.3
    return np.asarray(np.clip(raw, LOWEST, HIGHEST), dtype=np.float64)


def limit_ms(base_ms: ArrayLike, cv: ArrayLike) -> F64:
    """Latency from which on a quantile counts as broken: the tolerated multiple, at least 20 ms more, at most
    the hard timeout of 15 s unless the baseline is slower itself."""
    base = np.asarray(base_ms, dtype=np.float64)
    limit = np.maximum(base * tolerance(base, cv), base + MIN_RISE_MS)
    return np.asarray(np.where(base < HARD_TIMEOUT_MS / 2, np.minimum(limit, HARD_TIMEOUT_MS), limit))


def unsteadiness(medians: F64, spread: F64, count: F64) -> F64:
    """Variation of the median between bins beyond what sampling explains, shape (groups,); 0.05 where unknown.

    medians, count: (groups, bins) median and number of requests per bin, NaN and 0 where empty; spread: (groups,)
    robust standard deviation of single requests. The median of n requests varies by 1.2533 spread / sqrt(n).
    """
    out = np.full(len(medians), 0.05)
    known = np.sum(np.isfinite(medians), axis=1) >= 4
    if known.any():
        rows = medians[known]
        middle = np.nanmedian(rows, axis=1)
        deviation = 1.4826 * np.nanmedian(np.abs(rows - middle[:, None]), axis=1)
        seen = np.where(count[known] > 0, count[known], np.nan)
        chance = 1.2533 * spread[known] / np.sqrt(np.nanmedian(seen, axis=1))
        # The MAD of a dozen medians errs by a third; 2.3 is one such error above chance, squared and rounded up.
        excess = np.sqrt(np.maximum(deviation**2 - 2.3 * chance**2, 0.0))
        out[known] = excess / np.maximum(middle, 1e-9)
    return out
