"""Latency quantiles of requests: how much slower is slower than users should bear?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from aetia.signals.frames import F64

QUANTILES = (0.5, 0.9, 0.99)
MIN_SLOW_SHARE = (0.5, 0.12, 0.03)
"""Share of requests beyond the limit of each quantile from which on it is broken; 1 % of requests beyond the
limit of the p99 is what a p99 means, but 3 points are the smallest harm that the success rule counts."""
LOWEST, HIGHEST = 1.3, 6.0
MIN_RISE_MS = 10.0
HARD_TIMEOUT_MS = 15_000.0


def tolerance(base_ms: ArrayLike, cv: ArrayLike) -> F64:
    """Multiple of the baseline's latency that is still borne; broadcasts.

    `(1.5 + 3 (1 - e^(-cv/.15))) (200 ms / base)^0.6` after RCABench's path verifier (PAVE): fast and unsteady
    baselines tolerate larger ratios. Clipped to [1.3, 6], since the power law alone asks for the 24-fold of
    2 ms and would call half of a 2 s baseline slow.
    """
    base, cv = np.maximum(np.asarray(base_ms, dtype=np.float64), 1e-3), np.asarray(cv, dtype=np.float64)
    raw = (1.5 + 3.0 * (1.0 - np.exp(-cv / 0.15))) * (200.0 / base) ** 0.6
    return np.asarray(np.clip(raw, LOWEST, HIGHEST), dtype=np.float64)


def limit_ms(base_ms: ArrayLike, cv: ArrayLike) -> F64:
    """Latency from which on a quantile counts as broken: the tolerated multiple, at least 10 ms more, at most
    the hard timeout of 15 s unless the baseline is slower itself."""
    base = np.asarray(base_ms, dtype=np.float64)
    limit = np.maximum(base * tolerance(base, cv), base + MIN_RISE_MS)
    return np.asarray(np.where(base < HARD_TIMEOUT_MS / 2, np.minimum(limit, HARD_TIMEOUT_MS), limit))


def median_cv(per_bin: F64) -> F64:
    """Robust variation of a quantile over bins: 1.4826 MAD / median over the last axis, 0.1 where unknown."""
    out = np.full(per_bin.shape[:-1], 0.1)
    known = np.sum(np.isfinite(per_bin), axis=-1) >= 4
    if known.any():
        rows = per_bin[known]
        middle = np.nanmedian(rows, axis=-1)
        mad = np.nanmedian(np.abs(rows - middle[..., None]), axis=-1)
        out[known] = 1.4826 * mad / np.maximum(middle, 1e-9)
    return out
