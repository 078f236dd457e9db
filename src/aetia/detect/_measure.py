"""Measures which SLIs of requests are broken in one window, compared with a baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.detect._entries import Entries
from aetia.detect._requests import Harm
from aetia.detect._scan import densest
from aetia.detect.latency import MIN_SLOW_SHARE, QUANTILES, limit_ms
from aetia.detect.success import MIN_BASELINE, MIN_INCIDENT, harmful_share, share_p
from aetia.detect.throughput import is_loss, loss_p
from aetia.model.diagnosis import SliBreach
from aetia.model.window import Window
from aetia.signals.frames import F64, Bool
from aetia.signals.red import grouped_quantiles

ALPHA = 0.05
MIN_EXPECTED = 8.0
"""A loss of throughput needs at least so many requests expected in the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """Rows of the baseline and of the incident, and the seconds of each that were observed."""

    baseline: Window
    base: Bool
    now: Bool
    base_seconds: float
    now_seconds: float


def measure(data: Entries, baseline: Window, window: Window, onsets: list[Harm] | None = None) -> tuple[SliBreach, ...]:
    """Broken SLIs of every entry point in the window, most affected requests first; at most one per entry
    and SLI.

    Success by the two-proportion test, latency by the quantile that exceeds its limit most, throughput by
    less than half of the usual rate; p-values are tested at .05 over 3 tests per entry (Bonferroni).
    `onsets` are harms already found, whose onset is taken over.
    """
    halves = Halves(
        baseline=baseline,
        base=baseline.mask(data.time_ns),
        now=window.mask(data.time_ns),
        base_seconds=_observed(data, baseline),
        now_seconds=_observed(data, window),
    )
    known = {(harm.group, harm.sli): harm.onset_ns for harm in reversed(onsets or [])}
    alpha = ALPHA / (3 * max(data.groups, 1))
    breaches = [
        *_success(data, halves, alpha, window, known),
        *_latency(data, halves, alpha, window, known),
        *_throughput(data, halves, alpha, window, known),
    ]
    return tuple(sorted(breaches, key=lambda b: (-b.affected, b.entry.name, b.sli)))


def _observed(data: Entries, window: Window) -> float:
    """Observed seconds of a window (bins in which nothing was recorded do not count)."""
    start = np.maximum(data.bin_start_ns, window.start_ns)
    end = np.minimum(data.bin_start_ns + data.step_ns, window.end_ns)
    return float(np.maximum(end - start, 0).sum()) / 1e9


def _count(data: Entries, mask: Bool) -> F64:
    return np.bincount(data.group[mask], minlength=data.groups).astype(np.float64)


def _success(
    data: Entries, halves: Halves, alpha: float, window: Window, known: dict[tuple[int, str], int]
) -> list[SliBreach]:
    n0, n1 = _count(data, halves.base), _count(data, halves.now)
    k0, k1 = _count(data, halves.base & data.failed), _count(data, halves.now & data.failed)
    with np.errstate(divide="ignore", invalid="ignore"):
        before, after = 1 - k0 / n0, 1 - k1 / n1
    p = share_p(k0, n0, k1, n1)
    broken = (
        (n0 >= MIN_BASELINE) & (n1 >= MIN_INCIDENT) & (p < alpha) & (1 - after > harmful_share((k0 + 0.5) / (n0 + 1)))
    )
    return [
        SliBreach(
            entry=data.entities[g],
            sli="success",
            statistic="share",
            baseline=float(before[g]),
            incident=float(after[g]),
            onset_ns=known.get((g, "success")) or _onset(data, g, data.failed, window, float(1 - before[g])),
            p_value=float(p[g]),
            requests=int(n1[g]),
            affected=int(k1[g]),
        )
        for g in np.flatnonzero(broken).tolist()
    ]


def _latency(
    data: Entries, halves: Halves, alpha: float, window: Window, known: dict[tuple[int, str], int]
) -> list[SliBreach]:
    n0, n1 = _count(data, halves.base), _count(data, halves.now)
    before = grouped_quantiles(data.duration_ms[halves.base], data.group[halves.base], data.groups, QUANTILES)
    after = grouped_quantiles(data.duration_ms[halves.now], data.group[halves.now], data.groups, QUANTILES)
    limit = limit_ms(before, data.unsteadiness(halves.base)[:, None])
    more = 1.0
    if halves.base_seconds > 0 and halves.now_seconds > 0 and n0.sum() > 0:
        more = float(np.clip((n1.sum() / halves.now_seconds) / (n0.sum() / halves.base_seconds), 1.0, 4.0))
    limit = limit * more
    best: dict[int, tuple[float, SliBreach]] = {}
    for q, quantile in enumerate(QUANTILES):
        slow = data.duration_ms > limit[data.group, q]
        k0, k1 = _count(data, halves.base & slow), _count(data, halves.now & slow)
        p = share_p(k0, n0, k1, n1)
        enough = (n0 >= MIN_BASELINE) & (n1 >= MIN_INCIDENT) & (k1 >= 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            broken = enough & (p < alpha) & (k1 / n1 > MIN_SLOW_SHARE[q])
        for g in np.flatnonzero(broken).tolist():
            ratio = float(after[g, q] / max(before[g, q], 1e-6))
            if g in best and best[g][0] >= ratio:
                continue
            onset = known.get((g, "latency")) or _onset(data, g, slow, window, float(k0[g] / n0[g]))
            best[g] = (
                ratio,
                SliBreach(
                    entry=data.entities[g],
                    sli="latency",
                    statistic=f"p{quantile * 100:.0f}",
                    baseline=float(before[g, q]),
                    incident=float(after[g, q]),
                    onset_ns=onset,
                    p_value=float(p[g]),
                    requests=int(n1[g]),
                    affected=int(k1[g]),
                ),
            )
    return [breach for _, breach in best.values()]


def _throughput(
    data: Entries, halves: Halves, alpha: float, window: Window, known: dict[tuple[int, str], int]
) -> list[SliBreach]:
    if halves.base_seconds <= 0 or halves.now_seconds <= 0:
        return []
    n0, n1 = _count(data, halves.base), _count(data, halves.now)
    rate = n0 / halves.base_seconds
    expected = rate * halves.now_seconds
    whole = data.whole & (data.bin_start_ns >= halves.baseline.start_ns)
    whole &= data.bin_start_ns + data.step_ns <= halves.baseline.end_ns
    spread = np.ones(data.groups)
    if whole.sum() >= 3:
        per_bin = data.count()[:, whole]
        rate = np.minimum(rate, np.median(per_bin, axis=1) / (data.step_ns / 1e9))
        expected = rate * halves.now_seconds
        spread = np.maximum(per_bin.var(axis=1) / np.maximum(per_bin.mean(axis=1), 1e-9), 1.0)
    p = loss_p(n1, expected, spread)
    broken = (n0 >= MIN_BASELINE) & (expected >= MIN_EXPECTED) & is_loss(n1, expected) & (p < alpha)
    return [
        SliBreach(
            entry=data.entities[g],
            sli="throughput",
            statistic="rate",
            baseline=float(rate[g]),
            incident=float(n1[g] / halves.now_seconds),
            onset_ns=known.get((g, "throughput")) or window.start_ns,
            p_value=float(p[g]),
            requests=int(n1[g]),
            affected=round(float(expected[g] - n1[g])),
        )
        for g in np.flatnonzero(broken).tolist()
    ]


def _onset(data: Entries, group: int, bad: Bool, window: Window, usual: float) -> int:
    """Start of the densest run of bad requests inside the window."""
    a, b = int(data.first[group]), int(data.first[group + 1])
    time = data.time_ns[a:b]
    low, high = np.searchsorted(time, [window.start_ns, window.end_ns])
    inner = bad[a:b][low:high].astype(np.float64)
    begin, _ = densest(inner - (usual + max(float(inner.mean()), usual)) / 2 - 1e-6)
    return int(time[low + begin])
