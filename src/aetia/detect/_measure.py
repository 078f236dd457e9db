"""Measures the SLIs of requests in one window, compared with a baseline, and says which of them are broken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.detect._entries import Entries
from aetia.detect._once import once
from aetia.detect._requests import Harm, Sli
from aetia.detect._scan import densest
from aetia.detect.latency import MIN_SLOW_SHARE, QUANTILES, limit_ms
from aetia.detect.success import MIN_BASELINE, MIN_INCIDENT, harmful_share, share_p
from aetia.detect.throughput import is_loss, loss_p
from aetia.model.diagnosis import SliBreach
from aetia.model.window import Window, union_mask
from aetia.signals.frames import F64, Bool
from aetia.signals.red import grouped_quantiles

ALPHA = 0.05
MIN_EXPECTED = 8.0
"""A loss of throughput needs at least so many requests expected in the window."""
STATISTICS = tuple(f"p{quantile * 100:.0f}" for quantile in QUANTILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Every SLI of each of g entry points in the baseline and in the window.

    Counts of requests `before` and `now`, of failed ones, rates per second and their p-values are (g,); quantiles in
    ms, the limits that their load allows, requests beyond these and their p-values are (g, 3). `broken` is by SLI.
    """

    before: F64
    now: F64
    failed_before: F64
    failed: F64
    failed_p: F64
    usual_ms: F64
    now_ms: F64
    limit_ms: F64
    slow_before: F64
    slow: F64
    slow_p: F64
    rate: F64
    now_rate: F64
    expected: F64
    rate_p: F64
    broken: dict[Sli, Bool]

    def numbers(self, group: int, sli: Sli, statistic: str) -> dict[str, float | int | str]:
        """What was measured of one SLI: its value before and now, and the requests behind both."""
        g, q = group, STATISTICS.index(statistic) if sli == "latency" else 0
        by_sli: dict[Sli, tuple[float, float, str, float, float]] = {
            "success": (_left(self.failed_before[g], self.before[g]), _left(self.failed[g], self.now[g]), "share",
                        self.failed[g], self.failed_p[g]),
            "latency": (self.usual_ms[g, q], self.now_ms[g, q], "ms", self.slow[g, q], self.slow_p[g, q]),
            "throughput": (self.rate[g], self.now_rate[g], "req/s", max(self.expected[g] - self.now[g], 0.0),
                           self.rate_p[g]),
        }  # fmt: skip
        baseline, incident, unit, affected, p = by_sli[sli]
        found: dict[str, float | int | str] = {
            "baseline": float(baseline), "incident": float(incident), "unit": unit,
            "baseline_requests": int(self.before[g]), "requests": int(self.now[g]), "affected": round(float(affected)),
            "p_value": float(p),
        }  # fmt: skip
        if sli == "latency":
            found["limit"] = float(self.limit_ms[g, q])
        elif sli == "throughput":
            found["expected"] = float(self.expected[g])
        return found

    def is_broken(self, group: int, sli: Sli, statistic: str) -> bool:
        found = self.broken[sli]
        return bool(found[group, STATISTICS.index(statistic)] if sli == "latency" else found[group])


def _left(bad: float, count: float) -> float:
    return 1.0 - bad / count if count else 0.0


def measure(data: Entries, baseline: Window, window: Window, onsets: list[Harm] | None = None) -> tuple[SliBreach, ...]:
    """Broken SLIs of every entry point in the window, most affected requests first; at most one per entry
    and SLI.

    Success by the two-proportion test, latency by the quantile that exceeds its limit most, throughput by
    less than half of the usual rate; p-values are tested at .05 over 3 tests per entry (Bonferroni).
    `onsets` are harms already found, whose onset is taken over.
    """
    found = figures(data, (baseline,), window)
    known = {(harm.group, harm.sli): harm.onset_ns for harm in reversed(onsets or [])}
    breaches: list[SliBreach] = []
    for g in np.flatnonzero(found.broken["success"]).tolist():
        usual = float(found.failed_before[g] / found.before[g])
        onset = known.get((g, "success")) or _onset(data, g, data.failed[_rows(data, g)], window, usual)
        breaches.append(breach_of(data, found, g, "success", "share", onset))
    for g in np.flatnonzero(found.broken["latency"].any(axis=1)).tolist():
        ratio = np.where(found.broken["latency"][g], found.now_ms[g] / np.maximum(found.usual_ms[g], 1e-6), -np.inf)
        q = int(np.argmax(ratio))
        slow, usual = data.duration_ms[_rows(data, g)] > found.limit_ms[g, q], found.slow_before[g, q] / found.before[g]
        onset = known.get((g, "latency")) or _onset(data, g, slow, window, float(usual))
        breaches.append(breach_of(data, found, g, "latency", STATISTICS[q], onset))
    for g in np.flatnonzero(found.broken["throughput"]).tolist():
        onset = known.get((g, "throughput")) or window.start_ns
        breaches.append(breach_of(data, found, g, "throughput", "rate", onset))
    return tuple(sorted(breaches, key=lambda b: (-b.affected, b.entry.name, b.sli)))


def breach_of(data: Entries, found: Figures, group: int, sli: Sli, statistic: str, onset_ns: int) -> SliBreach:
    """The breach of one SLI as it was measured."""
    told = found.numbers(group, sli, statistic)
    return SliBreach(
        entry=data.entities[group], sli=sli, statistic=statistic, baseline=float(told["baseline"]),
        incident=float(told["incident"]), onset_ns=onset_ns, p_value=float(told["p_value"]),
        requests=int(told["requests"]), affected=int(told["affected"]),
    )  # fmt: skip


def figures(data: Entries, baselines: tuple[Window, ...], window: Window) -> Figures:
    """All SLIs of all entry points in the window, against what lies in the baselines; measured once."""
    return once(data, (baselines, window), lambda: _figures(data, baselines, window))


def _figures(data: Entries, baselines: tuple[Window, ...], window: Window) -> Figures:
    base, now = union_mask(baselines, data.time_ns), window.mask(data.time_ns)
    base_seconds, now_seconds = sum(_observed(data, item) for item in baselines), _observed(data, window)
    n0, n1 = _count(data, base), _count(data, now)
    alpha = ALPHA / (3 * max(data.groups, 1))
    judged = (n0 >= MIN_BASELINE) & (n1 >= MIN_INCIDENT)

    k0, k1 = _count(data, base & data.failed), _count(data, now & data.failed)
    failed_p = share_p(k0, n0, k1, n1)
    with np.errstate(divide="ignore", invalid="ignore"):
        failing = judged & (failed_p < alpha) & (k1 / n1 > harmful_share((k0 + 0.5) / (n0 + 1)))

    usual = grouped_quantiles(data.duration_ms[base], data.group[base], data.groups, QUANTILES)
    more = 1.0
    if base_seconds > 0 and now_seconds > 0 and n0.sum() > 0:
        more = float(np.clip((n1.sum() / now_seconds) / (n0.sum() / base_seconds), 1.0, 4.0))
    limit = limit_ms(usual, data.unsteadiness(base)[:, None]) * more
    beyond = [data.duration_ms > limit[data.group, q] for q in range(len(QUANTILES))]
    s0, s1 = (np.stack([_count(data, half & slow) for slow in beyond], axis=1) for half in (base, now))
    slow_p = share_p(s0, n0[:, None], s1, n1[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        slowed = s1 / n1[:, None] > np.array(MIN_SLOW_SHARE)
    slowed &= judged[:, None] & (s1 >= 2) & (slow_p < alpha)

    rate, spread = _rates(data, baselines, n0, base_seconds)
    expected = rate * now_seconds
    rate_p = loss_p(n1, expected, spread)
    lost = (n0 >= MIN_BASELINE) & (expected >= MIN_EXPECTED) & is_loss(n1, expected) & (rate_p < alpha)
    return Figures(
        before=n0, now=n1, failed_before=k0, failed=k1, failed_p=failed_p, usual_ms=usual,
        now_ms=grouped_quantiles(data.duration_ms[now], data.group[now], data.groups, QUANTILES), limit_ms=limit,
        slow_before=s0, slow=s1, slow_p=slow_p, rate=rate, now_rate=n1 / max(now_seconds, 1e-9), expected=expected,
        rate_p=rate_p, broken={"success": failing, "latency": slowed, "throughput": lost},
    )  # fmt: skip


def _rates(data: Entries, baselines: tuple[Window, ...], n0: F64, base_seconds: float) -> tuple[F64, F64]:
    """(usual requests per second, variance-to-mean ratio of their counts), each (groups,); no rate without a
    baseline."""
    rate, spread = n0 / base_seconds if base_seconds > 0 else np.zeros(data.groups), np.ones(data.groups)
    inside = np.zeros(data.bins, np.bool_)
    for item in baselines:
        inside |= (data.bin_start_ns >= item.start_ns) & (data.bin_start_ns + data.step_ns <= item.end_ns)
    whole = data.whole & inside
    if whole.sum() >= 3:
        per_bin = data.count()[:, whole]
        rate = np.minimum(rate, np.median(per_bin, axis=1) / (data.step_ns / 1e9))
        spread = np.maximum(per_bin.var(axis=1) / np.maximum(per_bin.mean(axis=1), 1e-9), 1.0)
    return rate, spread


def _observed(data: Entries, window: Window) -> float:
    """Observed seconds of a window (bins in which nothing was recorded do not count)."""
    start = np.maximum(data.bin_start_ns, window.start_ns)
    end = np.minimum(data.bin_start_ns + data.step_ns, window.end_ns)
    return float(np.maximum(end - start, 0).sum()) / 1e9


def _count(data: Entries, mask: Bool) -> F64:
    return np.bincount(data.group[mask], minlength=data.groups).astype(np.float64)


def _rows(data: Entries, group: int) -> slice:
    return slice(int(data.first[group]), int(data.first[group + 1]))


def _onset(data: Entries, group: int, bad: Bool, window: Window, usual: float) -> int:
    """Start of the densest run of bad requests of a group inside the window; `bad` is over its rows."""
    time = data.time_ns[_rows(data, group)]
    low, high = np.searchsorted(time, [window.start_ns, window.end_ns])
    inner = bad[low:high].astype(np.float64)
    begin, _ = densest(inner - (usual + max(float(inner.mean()), usual)) / 2 - 1e-6)
    return int(time[low + begin])
