"""All harm of an incident together: whose requests were hurt and how, whether that goes on, and where it is heading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from aetia.detect._entries import Entries
from aetia.detect._measure import STATISTICS, Figures, figures
from aetia.detect._requests import Sli
from aetia.detect._scan import GOOD_BINS_TO_CLOSE, MIN_REQUESTS
from aetia.model.window import Window
from aetia.signals.frames import F64, Bool
from aetia.signals.stats import two_proportion_p

WEIGHTS: dict[str, float] = {"failed": 1.0, "slow": 0.5, "missing": 0.3}
"""What a hurt request counts. One that fails is lost to its user; one that is slow is answered in the end; of those
that did not come nobody knows whether anyone wanted to send them, yet a loss of all must still count as an outage."""
OTHERWISE = 0.05
"""p-value below which the last third of the harm differs from the first by more than chance."""
MUCH = 1.25
"""And the ratio from which on anyone cares."""
LEAST_BINS = 6
"""Bins of harm without which there are no thirds to compare."""

Slis = Sequence[tuple[int, Sli, str]]
"""Broken SLIs: (entry point, SLI, statistic)."""


class _Rows(NamedTuple):
    """Per observed bin (bins,): requests of the broken entry points (with those that did not come), how many were hurt,
    the same weighed, and requests of all entry points (with those that did not come)."""

    asked: F64
    hurt: F64
    weighed: F64
    every: F64

    def among(self, bins: Bool) -> tuple[float, float]:
        """(requests, hurt ones) of the broken entry points in the bins of a mask."""
        return float(self.asked[bins].sum()), float(self.hurt[bins].sum())


def harm(data: Entries, slis: Slis, baselines: tuple[Window, ...], window: Window) -> dict[str, Any]:
    """Whose requests were hurt in a window, by the SLIs that broke in it; a request is counted once.

    `requests` are those of the broken entry points, with the `missing` ones that should have come, `all_requests` those
    of all entry points; of them `failed`, were `slow` (and did not fail) or are missing. `weighed` is the share of all
    requests that was hurt, by WEIGHTS, `weighed_last` the same of the last third. `first_third` and `last_third` are
    shares of the broken entry points' requests. Where the harm goes on is `going_on` of the data's end.
    """
    found = figures(data, baselines, window)
    by_group: dict[int, list[tuple[Sli, str]]] = {}
    for group, sli, statistic in slis:
        by_group.setdefault(group, []).append((sli, statistic))
    counts = dict.fromkeys(WEIGHTS, 0)
    asked = hurt = weighed = np.zeros(data.bins)
    for group, broken in by_group.items():
        rows = slice(int(data.first[group]), int(data.first[group + 1]))
        inside, place = window.mask(data.time_ns[rows]), data.bin[rows]
        asked = asked + np.bincount(place, minlength=data.bins)
        for kind, mask in _hurt(data, found, group, rows, broken).items():
            counts[kind] += int((mask & inside).sum())
            per_bin = np.bincount(place[mask], minlength=data.bins)
            hurt, weighed = hurt + per_bin, weighed + WEIGHTS[kind] * per_bin
        if any(sli == "throughput" for sli, _ in broken):
            counts["missing"] += max(round(float(found.expected[group] - found.now[group])), 0)
            gone = _missing(data, found, group)
            asked, hurt, weighed = asked + gone, hurt + gone, weighed + WEIGHTS["missing"] * gone
    every = np.bincount(data.bin, minlength=data.bins) + (asked - _requests(data, list(by_group)))
    requests = int(found.now[list(by_group)].sum()) + counts["missing"]
    total, lost = int(found.now.sum()) + counts["missing"], sum(counts.values())
    return {
        "requests": requests, "affected": lost, **counts, "all_requests": total,
        "share": lost / requests if requests else None, "of_all": lost / total if total else None,
        "weighed": sum(WEIGHTS[kind] * count for kind, count in counts.items()) / total if total else None,
        "broken": len(by_group), "entry_points": int(np.sum(found.before + found.now > 0)),
        **_course(data, _Rows(asked, hurt, weighed, every), baselines, window),
    }  # fmt: skip


def _hurt(data: Entries, found: Figures, group: int, rows: slice, broken: list[tuple[Sli, str]]) -> dict[str, Bool]:
    """Which requests of an entry point failed, and which others were slow, as far as these SLIs broke."""
    failed = slow = np.zeros(rows.stop - rows.start, np.bool_)
    for sli, statistic in broken:
        if sli == "success":
            failed = data.failed[rows]
        elif sli == "latency":
            slow = data.duration_ms[rows] > found.limit_ms[group, STATISTICS.index(statistic)]
    return {"failed": failed, "slow": slow & ~failed}


def _requests(data: Entries, groups: list[int]) -> F64:
    chosen = np.isin(data.group, groups)
    return np.bincount(data.bin[chosen], minlength=data.bins).astype(np.float64)


def _missing(data: Entries, found: Figures, group: int) -> F64:
    """Requests that did not come, per bin; none in a bin that was observed in part, or whose slowest requests the data
    may end before."""
    rows = slice(int(data.first[group]), int(data.first[group + 1]))
    seen = np.bincount(data.bin[rows], minlength=data.bins)
    end = data.bin_start_ns + data.step_ns
    told = data.whole & (end <= int(end[-1]) - np.nan_to_num(found.usual_ms[group, -1]) * 1e6)
    return np.where(told, np.maximum(found.rate[group] * data.step_ns / 1e9 - seen, 0.0), 0.0)


def _course(data: Entries, rows: _Rows, baselines: tuple[Window, ...], window: Window) -> dict[str, Any]:
    """Whether the harm goes on where the data end, when it was last seen, and how its last third compares with its
    first. Bins above half way between the usual share of hurt requests and that of the window are bad."""
    starts, ends = data.bin_start_ns, data.bin_start_ns + data.step_ns
    inside = (ends > window.start_ns) & (starts < window.end_ns)
    healthy = np.zeros(data.bins, np.bool_)
    for item in baselines:
        healthy |= (starts >= item.start_ns) & (ends <= item.end_ns)
    found: dict[str, Any] = {"lasts": None, "until_ns": None, "data_end_ns": int(ends[-1]), "first_third": None,
                             "last_third": None, "weighed_last": None, "trend": None}  # fmt: skip
    usual, now = _share(*rows.among(healthy & ~inside)) or 0.0, _share(*rows.among(inside))
    if now is None or now <= usual:
        return found
    level = (usual + now) / 2
    bad = np.flatnonzero(_hot(rows, level) & (ends > window.start_ns))
    if len(bad) == 0:
        return found
    found["lasts"] = _going_on(data, rows, window, level)
    last = data.bins - 1 if found["lasts"] else int(bad[-1])
    found["until_ns"] = int(ends[last]) if found["lasts"] is not None else None
    first = int(np.searchsorted(ends, window.start_ns, side="right"))
    span = np.arange(first, last + 1)
    if len(span) < LEAST_BINS:
        return found
    thirds = [np.isin(np.arange(data.bins), part) for part in (span[: len(span) // 3], span[-(len(span) // 3) :])]
    (n0, k0), (n1, k1) = (rows.among(part) for part in thirds)
    before, after = _share(n0, k0), _share(n1, k1)
    if before is None or after is None:
        return found
    total = float(rows.every[thirds[1]].sum())
    grew = float(two_proportion_p(k0, n0, k1, n1)) < OTHERWISE and after >= MUCH * before
    fell = float(two_proportion_p(k1, n1, k0, n0)) < OTHERWISE and before >= MUCH * after
    trend = "growing" if grew else "easing" if fell else "steady"
    weighed = float(rows.weighed[thirds[1]].sum()) / total if total else None
    return found | {"first_third": before, "last_third": after, "weighed_last": weighed, "trend": trend}


def _hot(rows: _Rows, level: float) -> Bool:
    """Bad bins that have a bad one beside them or next but one: one alone is chance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bad = (rows.asked > 0) & (rows.hurt / rows.asked > level)
    near = np.convolve(bad, np.ones(5), "full")[2 : 2 + len(bad)]
    return bad & (near >= 2)


def _going_on(data: Entries, rows: _Rows, window: Window, level: float) -> bool | None:
    """Whether the last bins are bad: as many as a detected harm must be over for, and three times that where few
    requests come. None where even these hold too few."""
    within = data.bin_start_ns + data.step_ns > window.start_ns
    for bins in (GOOD_BINS_TO_CLOSE, 3 * GOOD_BINS_TO_CLOSE):
        asked, hurt = rows.among(within & (np.arange(data.bins) >= data.bins - bins))
        if asked >= MIN_REQUESTS:
            return hurt / asked > level
    return None


def _share(count: float, part: float) -> float | None:
    return part / count if count > 0 else None
