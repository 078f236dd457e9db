"""Robust statistics that all channels share, vectorised over many series, groups or tables at once.

Only numpy and scipy.special are used. All p-values are in 0..1; NaN in means "nothing recorded" and is skipped.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aetia.signals.frames import F64, I64, Bool

MAD_TO_SIGMA = 1.4826
IQR_TO_SIGMA = 0.7413


class RobustZ(NamedTuple):
    """Per series: centre and spread of the baseline, centre of the incident and its distance in spreads."""

    z: F64
    baseline: F64
    incident: F64
    spread: F64
    n_baseline: I64
    n_incident: I64


@functools.cache
def _special() -> Any:
    """scipy.special, which takes 0.1 s to import: it is fetched beside the reading of files, not before it."""
    from scipy import special

    return special


def row_quantile(values: F64, q: float) -> F64:
    """The q-quantile of each row, shape (s,), NaN skipped; NaN where a row is empty. Linear interpolation."""
    if values.size == 0:
        return np.full(values.shape[0], np.nan)
    ordered = np.sort(values, axis=1)  # NaN sorts last
    count = np.isfinite(ordered).sum(axis=1)
    place = q * np.maximum(count - 1, 0)
    low = np.floor(place).astype(np.int64)
    rows = np.arange(len(ordered))
    first = ordered[rows, low]
    second = ordered[rows, np.minimum(low + 1, np.maximum(count - 1, 0))]
    out = first + (second - first) * (place - low)
    return np.where(count > 0, out, np.nan)


def robust_z(
    values: F64,
    baseline_mask: Bool,
    incident_mask: Bool,
    *,
    relative_floor: float = 0.05,
    absolute_floor: ArrayLike = 0.0,
    incident_quantile: float = 0.5,
) -> RobustZ:
    """Distance of the incident from the baseline in robust standard deviations, per series of `values` (s, b).

    The spread is the largest of 1.4826 MAD, 0.7413 IQR, `relative_floor` times the absolute baseline median and
    `absolute_floor` (scalar or (s,)); a floor keeps flat series from exploding. `incident_quantile` picks the
    statistic of the incident bins. z is NaN when one side is empty, and signed (positive: above the baseline).
    """
    before, during = values[:, baseline_mask], values[:, incident_mask]
    centre = row_quantile(before, 0.5)
    mad = row_quantile(np.abs(before - centre[:, None]), 0.5)
    iqr = row_quantile(before, 0.75) - row_quantile(before, 0.25)
    spread = np.fmax(MAD_TO_SIGMA * mad, IQR_TO_SIGMA * iqr)
    spread = np.fmax(spread, relative_floor * np.abs(centre))
    spread = np.fmax(spread, np.asarray(absolute_floor, np.float64))
    level = row_quantile(during, incident_quantile)
    change = level - centre
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(change == 0.0, 0.0, change / spread)
    n_before, n_during = (np.isfinite(side).sum(axis=1).astype(np.int64) for side in (before, during))
    return RobustZ(z, centre, level, spread, n_before, n_during)


class GroupedAuc(NamedTuple):
    """Per group: probability that an incident value exceeds a baseline value (ties half), the Mann-Whitney z
    (tie and continuity corrected), the one-sided p-value for `greater`, and the sizes of both sides."""

    auc: F64
    z: F64
    p_greater: F64
    n_incident: I64
    n_baseline: I64


def grouped_auc(values: F64, group: NDArray[np.integer], is_incident: Bool, n_groups: int) -> GroupedAuc:
    """Mann-Whitney of incident against baseline values for many groups by one sort; O(n log n).

    `values`, `group` (0..n_groups-1) and `is_incident` have shape (n,). Where one side is empty, auc, z and p are NaN.
    The normal approximation is that of Mann and Whitney (1947) with correction for ties.
    """
    order = np.lexsort((values, group))
    return auc_of_sorted(values[order], group[order].astype(np.int64), is_incident[order], n_groups)


def auc_of_sorted(v: F64, g: I64, inc: Bool, n_groups: int) -> GroupedAuc:
    """`grouped_auc` of values, groups and sides (n,) that are sorted by (group, value) already."""
    size = np.bincount(g, minlength=n_groups).astype(np.int64)
    rows_in = np.flatnonzero(inc)
    g_in = g[rows_in]
    ones = np.bincount(g_in, minlength=n_groups).astype(np.int64)
    zeros = size - ones
    rank_sum, ties = np.zeros(n_groups), np.zeros(n_groups)
    if len(v):
        before = np.cumsum(size) - size
        rank = np.arange(1.0, len(v) + 1) - np.repeat(before, size)
        tied = np.flatnonzero((v[1:] == v[:-1]) & (g[1:] == g[:-1]))
        if len(tied):  # only rows in runs of equal values need the mean rank of their run
            start = tied[np.append(True, np.diff(tied) > 1)]
            length = np.diff(np.append(np.flatnonzero(np.append(True, np.diff(tied) > 1)), len(tied))) + 1
            rows = np.repeat(start - np.cumsum(length) + length, length) + np.arange(int(length.sum()))
            rank[rows] = np.repeat(rank[start] + (length - 1) / 2.0, length)
            ties = np.bincount(g[start], length.astype(np.float64) ** 3 - length, n_groups)
        rank_sum = np.bincount(g_in, rank[rows_in], n_groups)
    n1, n0, n = ones.astype(np.float64), zeros.astype(np.float64), size.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = rank_sum - n1 * (n1 + 1) / 2
        auc = u / (n1 * n0)
        sigma = np.sqrt(np.maximum(n1 * n0 / 12 * ((n + 1) - ties / (n * (n - 1))), 0.0))
        gap = u - n1 * n0 / 2
        z = np.where(sigma > 0, np.sign(gap) * np.maximum(np.abs(gap) - 0.5, 0.0) / sigma, 0.0)
        p = np.where(sigma > 0, _special().ndtr(-(gap - 0.5) / sigma), 1.0)
    empty = (ones == 0) | (zeros == 0)
    return GroupedAuc(np.where(empty, np.nan, auc), np.where(empty, np.nan, z), np.where(empty, np.nan, p), ones, zeros)


def rank_auc(values: F64, baseline_mask: Bool, incident_mask: Bool) -> GroupedAuc:
    """`grouped_auc` for each row of `values` (s, b), NaN skipped."""
    chosen = (baseline_mask | incident_mask)[None, :] & np.isfinite(values)
    row, column = np.nonzero(chosen)
    return grouped_auc(values[row, column], row, incident_mask[column], len(values))


def normal_cdf(z: ArrayLike) -> F64:
    """Standard normal distribution function; shape is kept."""
    return np.asarray(_special().ndtr(z), np.float64)


def two_proportion_p(hits_a: ArrayLike, n_a: ArrayLike, hits_b: ArrayLike, n_b: ArrayLike) -> F64:
    """One-sided p-value that proportion b exceeds proportion a (pooled z test); 1 where a side is empty."""
    ha, na, hb, nb = (np.asarray(x, np.float64) for x in (hits_a, n_a, hits_b, n_b))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (ha + hb) / (na + nb)
        error = np.sqrt(pooled * (1 - pooled) * (1 / na + 1 / nb))
        z = (hb / nb - ha / na) / error
    return np.where(np.isfinite(z), _special().ndtr(-z), 1.0)


def fisher_p(hits_a: ArrayLike, n_a: ArrayLike, hits_b: ArrayLike, n_b: ArrayLike) -> F64:
    """One-sided Fisher exact p-value that proportion b exceeds proportion a; broadcasts, exact for any counts.

    The hypergeometric tail is summed over at most 512 terms away from its middle, where terms fall at least
    geometrically: from the observed table on where b exceeds a, else as what the other tail leaves. 1 where a side is
    empty.
    """
    ha, na, hb, nb = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(x, np.float64)) for x in (hits_a, n_a, hits_b, n_b))
    )
    p = np.ones(ha.shape)
    more = (na > 0) & (nb > 0) & (hb * na > ha * nb)
    less = (na > 0) & (nb > 0) & ~more & (hb > 0)
    p[more] = _upper_tail(hb[more], nb[more], na[more], (ha + hb)[more])
    p[less] = 1.0 - _upper_tail(ha[less] + 1, na[less], nb[less], (ha + hb)[less])
    return p.reshape(np.broadcast_shapes(*(np.shape(x) for x in (hits_a, n_a, hits_b, n_b))))


def _upper_tail(observed: F64, size: F64, rest: F64, hits: F64) -> F64:
    """P(X >= observed) for X hypergeometric: hits among `size` units when `hits` fall on `size` + `rest`; not below
    the mean."""
    top = np.minimum(hits, size)
    log_first = _log_choose(size, observed) + _log_choose(rest, hits - observed) - _log_choose(size + rest, hits)
    out = np.zeros(observed.shape)
    term = np.where(observed <= top, 1.0, 0.0)
    k = observed.copy()
    live = observed <= top
    for _ in range(512):
        out = np.where(live, out + term, out)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (size - k) * (hits - k) / ((k + 1) * (rest - hits + k + 1))
        term = np.where(live, term * ratio, 0.0)
        k = k + 1
        live = live & (k <= top) & (term > 1e-17 * out)
        if not live.any():
            break
    return np.where(out > 0, np.minimum(np.exp(np.minimum(log_first, 0.0)) * out, 1.0), 0.0)


def _log_choose(n: F64, k: F64) -> F64:
    return _special().gammaln(n + 1) - _special().gammaln(k + 1) - _special().gammaln(n - k + 1)


def binomial_p(hits: ArrayLike, n: ArrayLike, rate: ArrayLike) -> F64:
    """P(X >= hits) for X binomial(n, rate)."""
    h, m, p = (np.asarray(x, np.float64) for x in (hits, n, rate))
    tail = _special().betainc(np.maximum(h, 1.0), np.maximum(m - h + 1, 1.0), np.clip(p, 0.0, 1.0))
    return np.where(h <= 0, 1.0, np.where(h > m, 0.0, tail))


def poisson_rate_p(count_a: ArrayLike, time_a: ArrayLike, count_b: ArrayLike, time_b: ArrayLike) -> F64:
    """One-sided p-value that the Poisson rate of b exceeds that of a (conditional binomial test; Przyborowski and
    Wilenski 1940). 1 where an exposure is not positive. With `count_a` = 0 the exact test still holds."""
    ca, ta, cb, tb = (np.asarray(x, np.float64) for x in (count_a, time_a, count_b, time_b))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = tb / (ta + tb)
    p = binomial_p(cb, ca + cb, np.where(np.isfinite(share), share, 1.0))
    return np.where((ta > 0) & (tb > 0), p, 1.0)


def poisson_tail_p(count: ArrayLike, mean: ArrayLike, *, lower: bool = False) -> F64:
    """P(X >= count), or P(X <= count) with `lower`, for X Poisson(mean)."""
    c, m = np.asarray(count, np.float64), np.maximum(np.asarray(mean, np.float64), 0.0)
    if lower:
        return np.where(c < 0, 0.0, _special().gammaincc(np.maximum(np.floor(c) + 1, 1.0), m))
    return np.where(c <= 0, 1.0, _special().gammainc(np.maximum(np.ceil(c), 1.0), m))


def adjust_p(p: F64) -> F64:
    """Benjamini-Hochberg adjusted p-values (step-up, monotone), shape kept; NaN stays NaN."""
    flat = np.asarray(p, np.float64).ravel()
    out = np.full(flat.shape, np.nan)
    known = np.flatnonzero(np.isfinite(flat))
    if len(known):
        order = known[np.argsort(flat[known], kind="stable")]
        scaled = flat[order] * len(order) / np.arange(1, len(order) + 1)
        out[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return out.reshape(np.shape(p))


def first_crossing(values: F64, threshold: ArrayLike, *, above: bool = True, bins: int = 2, start: int = 0) -> I64:
    """Per series of `values` (s, b): first bin >= `start` from which `bins` recorded bins in a row lie beyond the
    threshold (scalar or (s,)); -1 when never. Bins without a value neither count nor break a run."""
    if values.shape[1] == 0:
        return np.full(len(values), -1, np.int64)
    limit = np.broadcast_to(np.asarray(threshold, np.float64), (len(values),))[:, None]
    known = np.isfinite(values)
    known[:, :start] = False
    with np.errstate(invalid="ignore"):
        beyond = known & ((values > limit) if above else (values < limit))
    place = np.cumsum(known, axis=1)
    # Length of the current run of crossings, counted in recorded bins: since the last recorded non-crossing.
    last_clear = np.maximum.accumulate(np.where(known & ~beyond, place, 0), axis=1)
    done = beyond & (place - last_clear >= bins)
    hit = done.any(axis=1)
    end = done.argmax(axis=1)
    rows = np.arange(len(values))
    first_place = place[rows, end] - bins + 1
    onset = (place >= first_place[:, None]).argmax(axis=1)
    return np.where(hit, onset, -1).astype(np.int64)


class QuantileThreshold(NamedTuple):
    """Per series: the baseline quantile, and whether the baseline is long enough to trust it."""

    threshold: F64
    trusted: Bool
    spread: F64


def quantile_threshold(
    baseline: F64,
    *,
    alpha: float = 0.01,
    upper: bool = False,
    rounds: int = 200,
    opt_out: float = 0.10,
    seed: int = 0,
) -> QuantileThreshold:
    """One-class threshold from each row of `baseline` (s, b), NaN skipped: the alpha quantile (1 - alpha with `upper`).

    The quantile is bootstrapped `rounds` times; where the standard deviation of the quantile exceeds `opt_out` of
    the interquartile range the baseline cannot say, and `trusted` is False (opt-out rule of PAVE, RCABench 2026).
    A constant baseline is trusted: its quantile does not vary. O(s b rounds); seeded.
    """
    q = 1 - alpha if upper else alpha
    threshold = row_quantile(baseline, q)
    iqr = row_quantile(baseline, 0.75) - row_quantile(baseline, 0.25)
    s, b = baseline.shape
    rng = np.random.default_rng(seed)
    ordered = np.sort(baseline, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(s)[:, None]
    drawn = np.full((rounds, s), np.nan)
    for k in range(rounds if b else 0):
        pick = (rng.random((s, b)) * np.maximum(count, 1)[:, None]).astype(np.int64)
        pick = np.where(np.arange(b)[None, :] < count[:, None], pick, b)
        sample = np.sort(pick, axis=1)  # ranks order as values do; places beyond the data sort last
        place = q * np.maximum(count - 1, 0)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        first = ordered[rows[:, 0], np.minimum(sample[rows[:, 0], low], b - 1)]
        second = ordered[rows[:, 0], np.minimum(sample[rows[:, 0], high], b - 1)]
        drawn[k] = first + (second - first) * (place - low)
    spread = drawn.std(axis=0) if b else np.full(s, np.nan)
    trusted = (count >= 2) & (spread <= opt_out * np.where(np.isfinite(iqr), iqr, 0.0))
    return QuantileThreshold(threshold, trusted, spread)


def tail_score(z: ArrayLike, null_z: ArrayLike, *, worst_p: float = 1e-6) -> F64:
    """Bounded score 0..1 of how far `z` (any shape) lies in the upper tail of the fault-free values `null_z`.

    The tail probability is empirical, (1 + #{null >= z}) / (n + 1), inside the null; beyond its upper tenth it
    continues as a Pareto tail fitted there (Hill's estimator, exponent clipped to 1..8), so that scores keep growing
    past the worst fault-free value instead of saturating. The score is log(p) / log(worst_p), at most 1.
    An empty null gives p = 1/(1 + max(z, 0)²) (Chebyshev): without data, no strong claim. NaN z scores 0.
    """
    x = np.asarray(z, np.float64)
    null = np.sort(np.asarray(null_z, np.float64).ravel())
    null = null[np.isfinite(null)]
    n = len(null)
    if n == 0:
        with np.errstate(invalid="ignore"):
            p = 1.0 / (1.0 + np.maximum(x, 0.0) ** 2)
    else:
        p = (1.0 + n - np.searchsorted(null, x, side="left")) / (n + 1.0)
        p = np.minimum(p, _pareto_tail(x, null))
    score = np.log(np.clip(p, worst_p, 1.0)) / np.log(worst_p)
    return np.where(np.isfinite(x), score, np.where(x == np.inf, 1.0, 0.0))


def _pareto_tail(x: F64, null: F64) -> F64:
    """Tail probability beyond the upper tenth of `null` (sorted); 1 inside it."""
    n = len(null)
    k = max(min(n // 10, 500), min(n, 3))
    at = null[n - k]
    # A Pareto tail needs a positive scale; excesses are measured from the median by the null's own spread.
    centre = null[n // 2]
    unit = max(float(at - centre), 1e-3 * abs(float(centre)), 1e-9)
    excess = np.log1p((null[n - k :] - at) / unit)
    mean = float(excess.mean())
    exponent = float(np.clip(1.0 / mean if mean > 0 else 8.0, 1.0, 8.0))
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.log1p(np.maximum(x - at, 0.0) / unit)
        tail = (k / (n + 1.0)) * np.exp(-exponent * beyond)
    return np.where(x > null[-1], np.minimum(tail, 1.0), 1.0)
