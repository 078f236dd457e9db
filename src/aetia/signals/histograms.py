"""Quantiles from cumulative histogram buckets; the readers bring every histogram into that form."""

from __future__ import annotations

import numpy as np

from aetia.signals.frames import F64

QUANTILES = (0.5, 0.95, 0.99)


def quantiles_from_cumulative(bounds: F64, cumulative: F64, quantiles: tuple[float, ...] = QUANTILES) -> F64:
    """Quantiles (q, ...) of histograms with shared upper `bounds` (k,), ascending, and counts `cumulative` (k, ...).

    A last bound of +inf holds the total; without it the last bucket does. Inside a bucket observations are spread
    evenly, the lowest bucket begins at 0 (or at its bound, if that is not positive), and a quantile in the +inf
    bucket is the highest finite bound, as Prometheus' `histogram_quantile` has it. Counts that are not monotone
    (scrapes race) are made so; NaN where a histogram is empty.
    """
    counts = np.maximum.accumulate(np.where(np.isfinite(cumulative), cumulative, 0.0), axis=0)
    total = counts[-1]
    finite = bounds[np.isfinite(bounds)]
    if len(finite) == 0:
        return np.full((len(quantiles), *total.shape), np.nan)
    lower_bounds = np.concatenate([[min(0.0, finite[0])], finite])[: len(bounds)]
    out = np.empty((len(quantiles), *total.shape))
    for place, q in enumerate(quantiles):
        wanted = q * total
        bucket = np.minimum((counts < wanted).sum(axis=0), len(bounds) - 1)
        upper = np.minimum(bounds, finite[-1])[bucket]
        lower = np.minimum(lower_bounds[bucket], upper)
        above = np.take_along_axis(counts, bucket[None], axis=0)[0]
        below = np.where(bucket > 0, np.take_along_axis(counts, np.maximum(bucket - 1, 0)[None], axis=0)[0], 0.0)
        inside = above - below
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(inside > 0, (wanted - below) / inside, 0.0)
        out[place] = np.where(total > 0, lower + (upper - lower) * np.clip(share, 0.0, 1.0), np.nan)
    return out
