"""Finds the stretches of a count series in which too many of the units are bad: windows of several lengths,
hysteresis, and the change points at both ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from aetia.signals.frames import F64, Bool
from aetia.signals.stats import binomial_p

SCALES = (3, 6, 12, 24, 48)
"""Window lengths in bins: a burst is found by the short ones, a weak but lasting harm by the long ones."""
GOOD_BINS_TO_CLOSE = 4
MIN_REQUESTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Bins [low, high) of one group in which an SLI is broken; `p` of its best window."""

    group: int
    low: int
    high: int
    p: float


def scan_share(bad: F64, count: F64, usual: F64, least: F64, alpha: float) -> list[Stretch]:
    """Stretches in which the bad share is above `least` and improbable at the `usual` share.

    bad, count: (groups, bins); usual, least: (groups,). Opens when a window of 3 to 48 bins is
    broken, also without its worst bin (so one bad bin never opens), closes after 4 bins without such a
    window.
    """
    groups, bins = count.shape
    best = np.ones((groups, bins))
    active = np.zeros((groups, bins), np.bool_)
    for width in SCALES:
        if width > max(bins // 2, 3) or width > bins:
            continue
        k, n = _rolling(bad, width), _rolling(count, width)
        padded = np.concatenate([np.zeros((groups, width - 1)), bad], axis=1)
        worst = sliding_window_view(padded, width, axis=1).max(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = k / n
            rest = (k - worst) / (n - np.minimum(n / width, n))
        hot = (n >= MIN_REQUESTS) & (share > least[:, None]) & (rest > least[:, None] * 0.75) & (k - worst >= 2)
        if not hot.any():
            continue
        p = np.ones((groups, bins))
        g, b = np.nonzero(hot)
        p[g, b] = binomial_p(k[g, b], n[g, b], usual[g])
        # Windows overlap; those of one length make about bins / width independent tests.
        hit = p < alpha * width / max(bins, width)
        best = np.minimum(best, np.where(hit, p, 1.0))
        active |= _spread_back(hit, width)
    return stretches(active, best)


def scan_flags(bad: Bool, known: Bool, p: F64) -> list[Stretch]:
    """Stretches of a series whose bins are bad or good by themselves: opens after 2 bad of 3 known bins."""
    window = (_rolling(bad & known, 3) >= 2) if bad.shape[1] >= 3 else np.zeros_like(bad)
    active = _spread_back(window, 3) & (bad | ~known)
    return stretches(active, np.where(bad, p, 1.0))


def stretches(active: Bool, p: F64) -> list[Stretch]:
    """Runs of active bins per group, joined over gaps of less than 4 bins."""
    found: list[Stretch] = []
    for group in np.flatnonzero(active.any(axis=1)).tolist():
        on = np.flatnonzero(active[group])
        cut = np.flatnonzero(np.diff(on) > GOOD_BINS_TO_CLOSE)
        lows = np.concatenate([[on[0]], on[cut + 1]])
        highs = np.concatenate([on[cut], [on[-1]]]) + 1
        for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
            found.append(Stretch(group=group, low=low, high=high, p=float(p[group, low:high].min())))
    return found


def densest(excess: F64) -> tuple[int, int]:
    """The contiguous slice [low, high) with the largest sum of `excess`, shape (n,): the likeliest begin
    and end of a change (two-sided CUSUM). (0, 0) when no element is positive."""
    total = np.concatenate([[0.0], np.cumsum(excess)])
    lowest = np.minimum.accumulate(total)
    high = int(np.argmax(total - lowest))
    if high == 0:
        return 0, 0
    # The last minimum: a late onset is preferred to an early one.
    low = high - 1 - int(np.argmin(total[:high][::-1]))
    return low, high


def sharpened(bad: F64, usual: float, rounds: int = 6) -> tuple[int, int]:
    """The slice of units (n,) with a raised bad share, its level estimated along with its ends.

    Starts from the mean of all units and repeats: likeliest slice at the level half way between the usual share
    and that of the slice, until the slice stays. A burst inside a long stretch is thereby cut out of it.
    """
    begin, end = 0, len(bad)
    for _ in range(rounds):
        level = float(bad[begin:end].mean()) if end > begin else 1.0
        found = densest(bad - max((usual + level) / 2, 1e-3))
        if found == (begin, end) or found[1] <= found[0]:
            break
        begin, end = found
    return begin, end


def _rolling(values: F64 | Bool, width: int) -> F64:
    """Trailing sums over `width` bins, the first bins over what there is."""
    total = np.cumsum(values, axis=1, dtype=np.float64)
    out = total.copy()
    out[:, width:] -= total[:, :-width]
    return out


def _spread_back(hit: Bool, width: int) -> Bool:
    """A hit at bin b marks bins b - width + 1 .. b."""
    mark = np.zeros((hit.shape[0], hit.shape[1] + 1), np.int64)
    g, b = np.nonzero(hit)
    np.add.at(mark, (g, np.maximum(b - width + 1, 0)), 1)
    np.add.at(mark, (g, b + 1), -1)
    return np.cumsum(mark, axis=1)[:, :-1] > 0
