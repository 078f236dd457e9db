"""What the broken SLIs of a stream come to: the breaches in numbers, and how severe they are now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aetia.detect._harm import WEIGHTS
from aetia.detect._live_tracks import Look, Track, bad_rows
from aetia.detect._measure import STATISTICS
from aetia.model.diagnosis import SliBreach

RECENT_NS = 300_000_000_000
"""Severity is that of the last five minutes of the harm."""


def breach_of(look: Look, track: Track, end_ns: int) -> SliBreach:
    """One broken SLI in numbers, over that part of its time which is looked at (the last minutes of a long one)."""
    if track.promised is not None:
        return track.promised
    group = look.base.grouping.index.get(track.entity)
    bins = _bins(look, track.onset_ns, end_ns)
    seconds = max(len(bins), 1) * look.data.step_ns / 1e9
    if group is None:
        gone = round(track.level * len(bins))
        return _made(track, "rate", track.level / (look.data.step_ns / 1e9), 0.0, gone, gone)
    requests = int(look.count[group, bins].sum())
    if track.sli == "throughput":
        bins = bins[look.data.whole[bins]]
        requests, seconds = int(look.count[group, bins].sum()), max(len(bins), 1) * look.data.step_ns / 1e9
        expected = track.level * len(bins)
        rate = track.level / (look.data.step_ns / 1e9)
        return _made(track, "rate", rate, requests / seconds, requests, round(max(expected - requests, 0.0)))
    rows, bad = bad_rows(look, group, track.sli, track.quantile)
    inside = np.isin(look.data.bin[rows], bins) & (look.data.time_ns[rows] <= end_ns)
    share = float(bad[inside].mean()) if inside.any() else 0.0
    if track.sli == "success":
        usual = 1.0 - float(look.base.share[group])
        return _made(track, "share", usual, 1.0 - share, requests, round(share * requests))
    q = track.quantile
    taken = look.data.duration_ms[rows][inside]
    level = float(np.quantile(taken, (0.5, 0.9, 0.99)[q])) if len(taken) else float("nan")
    usual_ms = float(look.usual.quantile_ms[group, q])
    return _made(track, STATISTICS[q], usual_ms, level, requests, round(share * requests))


def _made(track: Track, statistic: str, baseline: float, incident: float, requests: int, affected: int) -> SliBreach:
    return SliBreach(
        entry=track.entity, sli=track.sli, statistic=statistic, baseline=float(np.nan_to_num(baseline)),
        incident=float(np.nan_to_num(incident)), onset_ns=track.onset_ns, p_value=track.p, requests=requests,
        affected=affected,
    )  # fmt: skip


def _bins(look: Look, start_ns: int, end_ns: int) -> np.ndarray:
    starts = look.data.bin_start_ns
    return np.flatnonzero((starts + look.data.step_ns > start_ns) & (starts < end_ns))


def weighed_share(look: Look, tracks: Sequence[Track], start_ns: int, end_ns: int) -> float | None:
    """The weighed share of all users' requests that these harms hurt, over their last five minutes at most; None where
    no request was seen. A request that failed and was slow counts once, as failed."""
    bins = _bins(look, max(start_ns, end_ns - RECENT_NS), end_ns)
    total = float(look.count[:, bins].sum())
    lost = weighed = 0.0
    for one in {track.entity for track in tracks}:
        group = look.base.grouping.index.get(one)
        mine = {track.sli: track for track in tracks if track.entity == one and track.promised is None}
        requests = float(look.count[group, bins].sum()) if group is not None else 0.0
        if "throughput" in mine:
            told = bins[look.data.whole[bins]]
            seen = float(look.count[group, told].sum()) if group is not None else 0.0
            gone = max(mine["throughput"].level * len(told) - seen, 0.0)
            lost += gone
            weighed += WEIGHTS["missing"] * gone
        if group is None:
            continue
        rows = slice(int(look.data.first[group]), int(look.data.first[group + 1]))
        inside = np.isin(look.data.bin[rows], bins)
        failed = slow = np.zeros(len(inside), np.bool_)
        if "success" in mine:
            failed = look.data.failed[rows]
        if "latency" in mine:
            _, slow = bad_rows(look, group, "latency", mine["latency"].quantile)
        if inside.any():
            weighed += requests * WEIGHTS["failed"] * float(failed[inside].mean())
            weighed += requests * WEIGHTS["slow"] * float((slow & ~failed)[inside].mean())
    return weighed / (total + lost) if total + lost > 0 else None
