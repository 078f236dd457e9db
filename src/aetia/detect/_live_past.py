"""The healthy past of a stream: the base that the latest requests are compared with, refreshed every minute, the rates
and the hours of the week that it was told by, and all of that on disk."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from aetia.detect._entries import Entries
from aetia.detect._live_memory import Operations
from aetia.detect._live_tracks import Episode, Track, Tracks
from aetia.detect._live_usual import BLOCK_NS, MIN_BLOCK_REQUESTS, Base, Block, Grouping, HoursOfWeek, grouped, kept
from aetia.detect._live_window import RollingWindow
from aetia.detect._requests import Usual, usual_of
from aetia.detect.latency import QUANTILES
from aetia.model.entity import Entity
from aetia.signals.frames import F64, I64, Bool
from aetia.signals.red import grouped_quantiles

SECOND = 1_000_000_000
MINUTE_NS = 60 * SECOND
RATES = 180
"""Minutes of which the rate is remembered: a surge of up to three hours ends without a loss."""
SUSTAINED = 3
"""Minutes in a row by which a rate counts as usual."""
REFERENCE_ROWS = 300_000
STALE_NS = 24 * 3600 * SECOND
MARGIN_NS = 10 * SECOND
"""Time before an onset that is not healthy for sure."""
FILE = "usual.json"


class Known(msgspec.Struct, kw_only=True):
    """The base of one entry point as it is saved."""

    entity: Entity
    failed: float | None
    quantile_ms: list[float | None]
    limit_ms: list[float | None]
    beyond: list[float | None]
    least: float
    requests: float
    share: float = 0.0
    rates: list[float | None] = []


class Saved(msgspec.Struct, kw_only=True):
    """What a restart goes on with."""

    version: int = 1
    at_ns: int
    level: float = 0.0
    known: list[Known] = []
    hours: HoursOfWeek = msgspec.field(default_factory=HoursOfWeek)
    tracks: list[Track] = []
    episodes: list[Episode] = []

    def write(self, folder: Path) -> None:
        """Atomically; a server that is killed keeps the file before."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{FILE}.new"
        with path.open("wb") as file:
            file.write(msgspec.json.encode(self))
            file.flush()
            os.fsync(file.fileno())
        path.replace(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> Saved | None:
        """What was saved; None without it. A damaged file is as none: all of it can be learned again."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((folder / FILE).read_bytes(), type=cls)
        return None


class Past:
    """What is usual, told from the window's healthy bins and from what was learned before."""

    def __init__(self, refresh_ns: int, warmup_ns: int, guard_ns: int) -> None:
        self.base: Base | None = None
        self.hours = HoursOfWeek()
        self.first_ns = 0
        self._harmed: dict[tuple[Entity, str, int], tuple[Entity, int, int]] = {}
        self._refresh_ns, self._warmup_ns, self._guard_ns = refresh_ns, warmup_ns, guard_ns
        self._rates: dict[Entity, deque[float]] = {}
        self._minute = self._block = -1

    def refresh(self, window: RollingWindow, operations: Operations, tracks: Tracks, now_ns: int) -> None:
        """Bring the base up to date when its time has come."""
        self._note(window, tracks, now_ns)
        if self.base is not None and now_ns - self.base.made_ns < self._refresh_ns:
            return
        bins, whole = window.observed(0, now_ns)
        if len(bins):
            self.first_ns = max(self.first_ns, 0) or int(bins[0]) * window.step_ns
        used = whole & ((bins + 1) * window.step_ns <= now_ns - self._guarded(len(bins) * window.step_ns))
        bins = bins[used]
        if len(bins) * window.step_ns < self._warmup_ns // 2 or len(operations) == 0:
            return
        if self.base is None and now_ns - int(bins[0]) * window.step_ns < self._warmup_ns:
            return
        made = self._made(window, operations, bins, tracks, now_ns)
        if made is not None:
            self.base = kept(made, self.base, [track.entity for track in tracks.open])

    def _guarded(self, seen_ns: int) -> int:
        return min(self._guard_ns, seen_ns // 3)

    def _note(self, window: RollingWindow, tracks: Tracks, now_ns: int) -> None:
        """Remember when entry points were hurt: their requests of that time are not usual."""
        horizon = now_ns - window.bins * window.step_ns
        self._harmed = {key: harm for key, harm in self._harmed.items() if harm[2] > horizon}
        for track in tracks.tracks.values():
            if track.confirmed_ns is not None:
                key = track.entity, track.sli, track.confirmed_ns
                self._harmed[key] = track.entity, track.onset_ns, track.ended_ns or now_ns

    @property
    def harmed(self) -> list[tuple[Entity, int, int]]:
        """Entry points and when they were hurt, as long as the window knows of it."""
        return list(self._harmed.values())

    def _healthy(self, grouping: Grouping, bins: I64, step_ns: int) -> Bool:
        """(groups, bins) without harm to the group."""
        out = np.ones((len(grouping.entities), len(bins)), np.bool_)
        for one, start, end in self.harmed:
            at = grouping.index.get(one)
            if at is not None:
                out[at] &= ((bins + 1) * step_ns <= start - MARGIN_NS) | (bins * step_ns >= end + MARGIN_NS)
        return out

    def _made(
        self, window: RollingWindow, operations: Operations, bins: I64, tracks: Tracks, now_ns: int
    ) -> Base | None:
        single = np.arange(len(operations))
        requests = window.counts(single, len(operations), bins).sum(axis=1)
        for track in tracks.open:  # a loss of all requests must not make the entry point unknown
            code = operations.find(track.entity)
            if code >= 0:
                requests[code] = max(requests[code], 30.0)
        grouping = grouped(operations, requests)
        if not grouping.entities:
            return None
        group, groups, step = grouping.of(operations), len(grouping.entities), window.step_ns
        healthy = self._healthy(grouping, bins, step)
        count, failed = (window.counts(group, groups, bins, failed=f) * healthy for f in (False, True))
        data = window.entries(group, grouping.entities, bins, np.ones(len(bins), np.bool_), most=REFERENCE_ROWS)
        healthy_data = _only(data, healthy[data.group, data.bin])
        usual = usual_of(healthy_data, np.ones(len(bins), np.bool_))
        n, k = count.sum(axis=1), failed.sum(axis=1)
        drawn = np.bincount(healthy_data.group, minlength=groups).astype(np.float64)
        usual = replace(
            usual, failed=possible(k, n), beyond=possible(usual.beyond * (drawn[:, None] + 1), drawn[:, None])
        )
        self._learn(window, grouping, operations, now_ns)
        median = np.array([np.median(row[ok]) if ok.any() else 0.0 for row, ok in zip(count, healthy, strict=True)])
        return Base(
            grouping=grouping, usual=usual, least=self._least(grouping, median, step),
            level=float(np.median(window.counts(group, groups, bins).sum(axis=0))), requests=n,
            share=k / np.maximum(n, 1.0), made_ns=now_ns,
        )  # fmt: skip

    # --- rates and hours ----------------------------------------------------------------------------------

    def _least(self, grouping: Grouping, median: F64, step_ns: int) -> F64:
        """The lowest rate that lasted three minutes, in requests per bin, and never more than the median."""
        least = median.copy()
        for at, one in enumerate(grouping.entities):
            rates = np.array(self._rates.get(one, ()), np.float64)
            rates = rates[np.isfinite(rates)]
            if len(rates) >= SUSTAINED:
                lowest = np.convolve(rates, np.ones(SUSTAINED) / SUSTAINED, "valid").min()
                least[at] = min(least[at], float(lowest) * step_ns / MINUTE_NS)
        return least

    def _learn(self, window: RollingWindow, grouping: Grouping, operations: Operations, now_ns: int) -> None:
        """Add the minutes and the blocks of five that are complete by now."""
        last = (now_ns - self._guard_ns) // MINUTE_NS
        first = max(self._minute, last - window.bins * window.step_ns // MINUTE_NS + 1)
        for minute in range(first, last):
            found = self._counted(window, grouping, operations, minute * MINUTE_NS, MINUTE_NS, now_ns)
            if found is not None:
                _, count, healthy = found
                for at, one in enumerate(grouping.entities):
                    rates = self._rates.setdefault(one, deque(maxlen=RATES))
                    rates.append(float(count[at].sum()) if healthy[at].all() else np.nan)
        self._minute = last
        last = (now_ns - self._guard_ns) // BLOCK_NS
        first = max(self._block, last - window.bins * window.step_ns // BLOCK_NS + 1)
        for block in range(first, last):
            self._learn_block(window, grouping, operations, block * BLOCK_NS, now_ns)
        self._block = last
        for one in set(self._rates) - set(grouping.entities):
            if len(self._rates) > 4 * len(grouping.entities):
                del self._rates[one]

    def _counted(
        self,
        window: RollingWindow,
        grouping: Grouping,
        operations: Operations,
        start_ns: int,
        length_ns: int,
        now_ns: int,
    ) -> tuple[I64, F64, Bool] | None:
        """(bins, requests (groups, bins), healthy (groups, bins)) of some time; None unless all of it was observed."""
        step = window.step_ns
        wanted = np.arange(start_ns // step, (start_ns + length_ns) // step)
        bins, whole = window.observed(int(wanted[0]), now_ns)
        if not np.isin(wanted, bins[whole]).all():
            return None
        group = grouping.of(operations)
        count = window.counts(group, len(grouping.entities), wanted)
        return wanted, count, self._healthy(grouping, wanted, step)

    def _learn_block(
        self, window: RollingWindow, grouping: Grouping, operations: Operations, start_ns: int, now_ns: int
    ) -> None:
        found = self._counted(window, grouping, operations, start_ns, BLOCK_NS, now_ns)
        if found is None:
            return
        bins, count, healthy = found
        group, groups = grouping.of(operations), len(grouping.entities)
        failed = window.counts(group, groups, bins, failed=True).sum(axis=1)
        data = window.entries(group, grouping.entities, bins, np.ones(len(bins), np.bool_), most=REFERENCE_ROWS)
        quantile = grouped_quantiles(data.duration_ms, data.group, groups, QUANTILES)
        n = count.sum(axis=1)
        for at in np.flatnonzero(healthy.all(axis=1) & (n >= MIN_BLOCK_REQUESTS)).tolist():
            block = Block(
                start_ns=start_ns, per_s=float(n[at]) / (BLOCK_NS / 1e9), failed=float(failed[at] / n[at]),
                quantile_ms=quantile[at].tolist(),
            )  # fmt: skip
            self.hours.learn(grouping.entities[at].name, block)
        self.hours.keep(one.name for one in grouping.entities)

    # --- on disk ------------------------------------------------------------------------------------------

    def saved(self, tracks: Tracks, now_ns: int) -> Saved:
        """All of it as a value."""
        found = Saved(at_ns=now_ns, hours=self.hours)
        found.tracks = [track for track in tracks.tracks.values() if track.confirmed_ns is not None]
        found.episodes = tracks.episodes
        if self.base is not None:
            usual = self.base.usual
            found.level = self.base.level
            found.known = [
                Known(
                    entity=one, failed=_number(usual.failed[at]), quantile_ms=_numbers(usual.quantile_ms[at]),
                    limit_ms=_numbers(usual.limit_ms[at]), beyond=_numbers(usual.beyond[at]),
                    least=float(self.base.least[at]), requests=float(self.base.requests[at]),
                    share=float(self.base.share[at]),
                    rates=_numbers(np.array(self._rates.get(one, ()), np.float64)),
                )
                for at, one in enumerate(self.base.grouping.entities)
            ]  # fmt: skip
        return found

    def restore(self, saved: Saved) -> None:
        """Go on with what was saved; its latencies stand for those of now until the window knows better."""
        self.hours = saved.hours
        if not saved.known:
            return
        grouping = Grouping(known.entity for known in saved.known)
        known = sorted(saved.known, key=lambda item: grouping.index[item.entity])
        usual = Usual(
            failed=_array([[item.failed] for item in known])[:, 0], quantile_ms=_array([k.quantile_ms for k in known]),
            limit_ms=_array([k.limit_ms for k in known]), beyond=_array([k.beyond for k in known]), load=np.ones(1),
        )  # fmt: skip
        self.base = Base(
            grouping=grouping, usual=usual, least=np.array([item.least for item in known]), level=saved.level,
            requests=np.array([item.requests for item in known]), made_ns=saved.at_ns,
            share=np.array([item.share for item in known]),
        )  # fmt: skip
        self._rates = {k.entity: deque(_array([k.rates])[0].tolist(), maxlen=RATES) for k in known}


def possible(bad: F64, count: F64) -> F64:
    """The highest share of bad requests that so many of so many leave possible (Wilson's bound at two standard errors);
    NaN without any. A reference that happened to see no failure must not make the first few an incident."""
    z = 2.0
    with np.errstate(invalid="ignore"):
        bound = (bad + z * z / 2 + z * np.sqrt(np.maximum(bad + z * z / 4, 0.0))) / (count + z * z)
    return np.where(count > 0, np.minimum(bound, 1.0), np.nan)


def _only(data: Entries, mask: Bool) -> Entries:
    group = data.group[mask]
    return Entries(
        group=group, time_ns=data.time_ns[mask], duration_ms=data.duration_ms[mask], failed=data.failed[mask],
        bin=data.bin[mask], first=np.searchsorted(group, np.arange(data.groups + 1)), entities=data.entities,
        bin_start_ns=data.bin_start_ns, whole=data.whole, step_ns=data.step_ns,
    )  # fmt: skip


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: F64) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _array(rows: list[list[float | None]]) -> F64:
    return np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)
