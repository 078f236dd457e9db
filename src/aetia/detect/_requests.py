"""Broken SLIs of entry points in requests: found anywhere in the data, or measured in a given window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aetia.detect._entries import Entries
from aetia.detect._scan import GOOD_BINS_TO_CLOSE, SCALES, Stretch, scan_share, sharpened, stretches
from aetia.detect.latency import MIN_SLOW_SHARE, QUANTILES, limit_ms
from aetia.detect.success import harmful_share
from aetia.detect.throughput import dispersion, is_loss, loss_p, usual_rate
from aetia.signals.frames import F64, Bool
from aetia.signals.red import grouped_quantiles

Sli = Literal["latency", "success", "throughput"]
ALPHA = 0.05
TESTS = 5 * len(SCALES)
"""SLIs per group (failures, three latency quantiles, throughput) times window lengths."""
MIN_HARM_NS = 10_000_000_000
"""Shorter harm is over before anyone could act; it falls into two bins of 5 s by the luck of their edges."""
RECOVERED = 0.7
SURE_OF_RATE = 0.9
"""The median of 30 Poisson counts of 16 errs by 6 %; the test must not take it for exact."""
MAX_LOAD_FACTOR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """One SLI of one group broken in [onset_ns, end_ns); `quantile` indexes QUANTILES for latency, else
    -1."""

    group: int
    sli: Sli
    quantile: int
    onset_ns: int
    end_ns: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What is usual for each group: failure share (groups,), latency quantiles and limits in ms (groups, 3),
    share of requests beyond each limit (groups, 3), load relative to the usual per bin (bins,)."""

    failed: F64
    quantile_ms: F64
    limit_ms: F64
    beyond: F64
    load: F64


def usual(data: Entries, reference: Bool | None) -> Usual:
    """The usual behaviour over the reference bins (bins,); without them the healthier of the first third
    and all.

    An incident may lie in either; taking the healthier one needs no knowledge of where it is.
    """
    if reference is not None and reference.any():
        return usual_of(data, reference)
    first = np.arange(data.bins) < max(1, data.bins // 3)
    every = np.ones(data.bins, np.bool_)
    a, b = usual_of(data, first), usual_of(data, every)
    # One limit for both, since a share is only comparable beyond the same limit.
    limit = np.fmin(a.limit_ms, b.limit_ms)
    return Usual(
        failed=np.fmin(a.failed, b.failed),
        quantile_ms=np.fmin(a.quantile_ms, b.quantile_ms),
        limit_ms=limit,
        beyond=np.fmin(_beyond(data, first, limit), _beyond(data, every, limit)),
        load=np.minimum(a.load, b.load),
    )


def _beyond(data: Entries, reference: Bool, limit: F64) -> F64:
    """Share of the reference's requests beyond each limit, (groups, 3), NaN where there are none."""
    inside = reference[data.bin]
    group, duration = data.group[inside], data.duration_ms[inside]
    count = np.bincount(group, minlength=data.groups)[:, None]
    slow = [np.bincount(group[duration > limit[group, q]], minlength=data.groups) for q in range(limit.shape[1])]
    return np.where(count > 0, (np.stack(slow, axis=1) + 0.5) / (count + 1), np.nan)


def usual_of(data: Entries, reference: Bool) -> Usual:
    """The usual behaviour over the reference bins (bins,)."""
    inside = reference[data.bin]
    group, duration = data.group[inside], data.duration_ms[inside]
    count = np.bincount(group, minlength=data.groups)
    failed = np.bincount(group[data.failed[inside]], minlength=data.groups)
    quantile = grouped_quantiles(duration, group, data.groups, QUANTILES)
    limit = limit_ms(quantile, data.unsteadiness(inside)[:, None])
    total = np.bincount(data.bin, minlength=data.bins).astype(np.float64)
    known = total[reference & data.whole]
    level = np.median(known) if len(known) else np.median(total)
    smooth = np.convolve(total, np.ones(3), "same") / np.convolve(np.ones(data.bins), np.ones(3), "same")
    load = np.clip(smooth[: data.bins] / max(float(level), 1.0), 1.0, MAX_LOAD_FACTOR)
    seen = count > 0
    return Usual(
        failed=np.where(seen, (failed + 0.5) / (count + 1), np.nan),
        quantile_ms=quantile,
        limit_ms=limit,
        beyond=_beyond(data, reference, limit),
        load=load,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What is known of the latest bins of a stream, which are looked at again and again: `looks` bins over which chance
    may raise one false alarm in 20, the exact `count` of requests (groups, bins), of which the data hold a sample,
    and `least` (groups,), the fewest requests per bin that are usual: a fall back to them is no loss."""

    looks: int
    count: F64
    least: F64


def find_in_stream(data: Entries, base: Usual, stream: Stream) -> list[Harm]:
    """Stretches in which an SLI is broken, by a usual behaviour that is known already."""
    return _find(data, base, stream)


def find(data: Entries, reference: Bool | None) -> list[Harm]:
    """All stretches of time in which an SLI of a group is broken; twice when no reference is given, the
    second time against what the first left over."""
    found = _find(data, usual(data, reference))
    if reference is not None or not found:
        return found
    healthy = np.ones(data.bins, np.bool_)
    for harm in found:
        healthy &= (data.bin_start_ns + data.step_ns <= harm.onset_ns) | (data.bin_start_ns >= harm.end_ns)
    return _find(data, usual(data, healthy)) if healthy.sum() >= max(3, data.bins // 10) else found


def _find(data: Entries, base: Usual, stream: Stream | None = None) -> list[Harm]:
    alpha = ALPHA / (max(data.groups, 1) * TESTS)
    if stream is not None:
        alpha *= data.bins / max(stream.looks, data.bins)
    count = data.count()
    failed = np.nan_to_num(base.failed, nan=0.5 / 10)
    least = harmful_share(failed)
    harms = [
        _refine(data, stretch, base, bad=data.failed, share=float(failed[stretch.group]), sli="success", quantile=-1)
        for stretch in scan_share(data.count(data.failed), count, failed, least, alpha)
    ]
    for q in range(len(QUANTILES)):
        limit = base.limit_ms[data.group, q] * base.load[data.bin]
        slow = data.duration_ms > limit  # NaN limits (no reference) are never exceeded
        beyond = np.nan_to_num(base.beyond[:, q], nan=0.05)
        least = np.maximum(MIN_SLOW_SHARE[q], 1.5 * beyond + 0.02)
        harms += [
            _refine(data, stretch, base, bad=slow, share=float(beyond[stretch.group]), sli="latency", quantile=q)
            for stretch in scan_share(data.count(slow), count, beyond, least, alpha)
        ]
    harms += _find_losses(data, count, alpha, base, stream)
    return sorted(
        (harm for harm in harms if harm.end_ns - harm.onset_ns >= MIN_HARM_NS),
        key=lambda h: (h.onset_ns, h.group, h.sli),
    )


def _refine(data: Entries, stretch: Stretch, base: Usual, *, bad: Bool, share: float, sli: Sli, quantile: int) -> Harm:
    """The stretch cut to its change points, by request time.

    A request that runs when the fault strikes suffers although it began before; the usual median latency is
    added to the first bad request's start, so that the onset is late rather than early.
    """
    low, high = max(stretch.low - 1, 0), min(stretch.high + 1, data.bins)
    a, b = int(data.first[stretch.group]), int(data.first[stretch.group + 1])
    a, b = a + np.searchsorted(data.bin[a:b], [low, high])
    inner = bad[a:b].astype(np.float64)
    begin, end = sharpened(inner, share)
    time = data.time_ns[a:b]
    typical = base.quantile_ms[stretch.group, 0]
    onset = int(time[begin]) + (int(min(typical, 5_000.0) * 1e6) if np.isfinite(typical) else 0)
    last = _tail(data, int(time[end - 1]), int(data.bin[a + end - 1]))
    return Harm(
        group=stretch.group,
        sli=sli,
        quantile=quantile,
        onset_ns=min(onset, last - 1),
        end_ns=last,
        p=stretch.p,
    )


def _tail(data: Entries, last_ns: int, last_bin: int) -> int:
    """End of a stretch; the end of the data when too few bins follow to see a recovery."""
    if last_bin >= data.bins - GOOD_BINS_TO_CLOSE // 2:
        return int(data.bin_start_ns[-1]) + data.step_ns
    return last_ns + 1


def _find_losses(data: Entries, count: F64, alpha: float, base: Usual, stream: Stream | None = None) -> list[Harm]:
    """Stretches in which less than half of the usual requests came, in windows of 3, 6 and 12 bins."""
    count = count if stream is None else stream.count
    usually = expected = usual_rate(count)
    known = np.broadcast_to(data.whole, count.shape).copy()
    if stream is None:
        tail = np.nan_to_num(base.quantile_ms[:, 2], nan=0.0) * 1e6
        end = data.bin_start_ns + data.step_ns
        known &= end[None, :] <= (int(data.bin_start_ns[-1]) + data.step_ns - tail[:, None])
    else:
        expected = np.minimum(usually, stream.least[:, None])
    seen = np.where(known, count, usually)
    spread = dispersion(seen, usually)[:, None]
    active = np.zeros(count.shape, np.bool_)
    best = np.ones(count.shape)
    for width in (3, 6, 12):
        if width * 2 > data.bins:
            break
        k, rate = _window_sum(seen, width), expected * width
        p = np.where(is_loss(k, rate), loss_p(k, SURE_OF_RATE * rate, spread), 1.0)
        hit = (p < alpha * width / data.bins) & known
        hit[:, : width - 1] = False
        best = np.minimum(best, np.where(hit, p, 1.0))
        for back in range(width):
            active[:, : data.bins - back] |= hit[:, back:]
    active &= is_loss(seen, expected) | ~known
    return [
        _loss(data, stretch, seen, usually) for stretch in stretches(active, best) if stretch.high - stretch.low >= 2
    ]


def _loss(data: Entries, stretch: Stretch, seen: F64, expected: F64) -> Harm:
    """A loss with the rate before it held until the traffic is back at 70 %; onset inside the first bin by
    share."""
    row, level = seen[stretch.group], float(expected[stretch.group, stretch.low])
    back = row[stretch.low :] >= RECOVERED * level
    run = np.convolve(back, np.ones(2), "valid") >= 2
    after = np.flatnonzero(run)
    high = max(stretch.high, stretch.low + int(after[0])) if len(after) else data.bins
    high = stretch.low + int(after[0]) if len(after) and stretch.low + int(after[0]) > stretch.low else high
    first = stretch.low
    if first > 0 and row[first - 1] < RECOVERED * level:
        first -= 1
    residual = float(np.median(row[first:high])) if high > first else 0.0
    part = np.clip((row[first] - residual) / max(level - residual, 1e-9), 0.0, 0.95)
    onset = int(data.bin_start_ns[first] + part * data.step_ns)
    end = int(data.bin_start_ns[min(high, data.bins) - 1]) + data.step_ns
    return Harm(group=stretch.group, sli="throughput", quantile=-1, onset_ns=onset, end_ns=end, p=stretch.p)


def _window_sum(values: F64, width: int) -> F64:
    total = np.cumsum(values, axis=1)
    out = total.copy()
    out[:, width:] -= total[:, :-width]
    return out
