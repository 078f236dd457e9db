"""The last minutes of entry requests on bins of 5 s: exact counts, a fair sample of durations, and which bins are
complete although senders batch, are late, or have clocks of their own.

A request belongs to the bin in which it *ended*: spans are sent when they end, so slow requests are not missing from
the newest bins, and failures and durations can be judged there before all senders have reported. Only counts wait for
the watermark.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from aetia.detect._entries import Entries
from aetia.detect._live_entries import Taken
from aetia.model.entity import Entity
from aetia.signals.frames import F64, I32, I64, Bool
from aetia.signals.ids import U64, mix

SECOND = 1_000_000_000
LOOKS = 12
"""Ticks over which a sender's clock is judged."""
MIN_LOOKS = 4
STEADY_NS, OFF_NS, AHEAD_NS = 20 * SECOND, 30 * SECOND, 5 * SECOND
"""A sender whose freshest spans are more than 30 s old, or from more than 5 s ahead, by an amount that stays
within 20 s, has a clock that is off; what is late by other amounts is only late."""
COMPLETE = 0.9
"""Share of the requests by which a bin counts as complete; a loss is one of more than half."""
USUAL_DELAY_NS, MOST_DELAY_NS = 10 * SECOND, 60 * SECOND
TICKS = 36
PATIENCE = 3
"""Bins within which somebody is heard of again; who sends less often is no witness."""


class Clocks:
    """How far the clock of each sender is off, told from the age of the freshest span it sends at a time."""

    def __init__(self) -> None:
        self._age = np.full((0, LOOKS), np.nan)
        self._turn = 0
        self._offset = np.zeros(0, np.int64)

    def offsets(self, end_ns: I64, source: I32, now_ns: int, sources: int) -> I64:
        """What has to be added to the times of each source (sources,), by what it just sent and sent before."""
        more = max(sources - len(self._age), 0)
        self._age = np.concatenate([self._age, np.full((more, LOOKS), np.nan)])
        self._offset = np.concatenate([self._offset, np.zeros(more, np.int64)])
        freshest = np.full(len(self._age), np.inf)
        np.minimum.at(freshest, source, (now_ns - end_ns).astype(np.float64))
        sent = np.flatnonzero(np.isfinite(freshest))
        if len(sent) == 0:
            return self._offset
        # Each sender has its own last looks, however rarely it sends.
        self._age[sent] = np.roll(self._age[sent], -1, axis=1)
        self._age[sent, -1] = freshest[sent]
        ages = self._age[sent]
        known = np.isfinite(ages).sum(axis=1)
        recent = ages[:, -MIN_LOOKS:]
        steady = (known >= MIN_LOOKS) & (recent.max(axis=1) - recent.min(axis=1) < STEADY_NS)
        middle = np.nan_to_num(np.median(recent, axis=1))
        off = steady & ((middle > OFF_NS) | (middle < -AHEAD_NS))
        held = np.abs(freshest[sent] - self._offset[sent]) < STEADY_NS
        moved = np.where(off & ~held, middle, np.where(held, self._offset[sent], 0))
        self._offset[sent] = np.where(steady & ~off, 0, moved).astype(np.int64)
        return self._offset


@dataclass(slots=True, kw_only=True)
class _Chunk:
    """Sampled requests of one tick, each (n,)."""

    operation: I32
    bin: I32
    end_ns: I64
    duration_ms: F64
    failed: Bool

    def take(self, rows: I64) -> _Chunk:
        return _Chunk(**{item.name: getattr(self, item.name)[rows] for item in fields(_Chunk)})

    @classmethod
    def together(cls, chunks: list[_Chunk]) -> _Chunk:
        return cls(**{f.name: np.concatenate([getattr(chunk, f.name) for chunk in chunks]) for f in fields(_Chunk)})

    @classmethod
    def none(cls) -> _Chunk:
        whole = np.zeros(0, np.int32)
        return cls(
            operation=whole, bin=whole, end_ns=whole.astype(np.int64), duration_ms=np.zeros(0),
            failed=np.zeros(0, np.bool_),
        )  # fmt: skip


class RollingWindow:
    """Requests of the last `bins` bins of `step_ns`. Counts are exact; of more than `most` requests a fair share of
    each operation is kept."""

    def __init__(self, *, step_ns: int, bins: int, most: int) -> None:
        self.step_ns, self.bins, self.most = step_ns, bins, most
        self.newest = -1
        self.late = self.rows = 0
        self.clocks = Clocks()
        self._count, self._failed, self._arrived = (np.zeros((0, bins), np.int32) for _ in range(3))
        self._seen, self._heard = np.zeros(bins, np.bool_), np.zeros(bins, np.bool_)
        self._chunks: deque[_Chunk] = deque()
        self._delays: deque[float] = deque(maxlen=TICKS)
        self._share = np.zeros(0)

    @property
    def delay_ns(self) -> int:
        """Age from which on a bin counts as complete."""
        usual = float(np.median(self._delays)) if len(self._delays) else USUAL_DELAY_NS
        return int(np.clip(usual, self.step_ns, MOST_DELAY_NS))

    def add(
        self, taken: Taken, now_ns: int, operations: int, sources: int, *, heard: bool, recorded: bool = False
    ) -> None:
        """Take in what a tick brought; `heard`: anything at all arrived, spans or not. What is `recorded` did not
        arrive now, so its age tells nothing of delays and clocks."""
        self._advance(now_ns // self.step_ns)
        self._grow(operations)
        if recorded:
            offset = np.zeros(sources, np.int64)
        else:
            offset = self.clocks.offsets(taken.end_ns, taken.source, now_ns, sources)
        every = self._bin(np.minimum(taken.end_ns + offset[taken.source], now_ns - 1))
        self._seen[every[every > self.newest - self.bins] % self.bins] = True
        self._heard[self.newest % self.bins] |= heard
        rows = taken.entries
        end = np.minimum(rows.start_ns + rows.duration_ns + offset[rows.source], now_ns - 1)
        age = now_ns - end
        if len(age) >= 20 and not recorded:
            self._delays.append(float(np.quantile(age, COMPLETE)))
        place = self._bin(end)
        inside = place > self.newest - self.bins
        self.late += int((~inside).sum())
        at = np.flatnonzero(inside)
        operation, column = rows.operation[at], place[at] % self.bins
        np.add.at(self._count, (operation, column), 1)
        np.add.at(self._failed, (operation[rows.failed[at]], column[rows.failed[at]]), 1)
        np.add.at(self._arrived, (operation, np.full(len(at), self.newest % self.bins)), 1)
        chosen = at[_uniform(rows.key[at], end[at]) < self._share[operation]]
        if len(chosen):
            self._chunks.append(
                _Chunk(
                    operation=rows.operation[chosen], bin=place[chosen].astype(np.int32), end_ns=end[chosen],
                    duration_ms=rows.duration_ns[chosen] / 1e6, failed=rows.failed[chosen],
                )
            )  # fmt: skip
            self.rows += len(chosen)
        self._forget()

    def _bin(self, time_ns: I64) -> I64:
        return time_ns // self.step_ns

    def _advance(self, newest: int) -> None:
        if newest <= self.newest:
            return
        gone = np.arange(max(self.newest + 1, newest - self.bins + 1), newest + 1) % self.bins
        for table in (self._count, self._failed, self._arrived):
            table[:, gone] = 0
        self._seen[gone] = self._heard[gone] = False
        self.newest = newest
        self._shares()

    def _shares(self) -> None:
        """Share of the requests of each operation whose duration is kept: all, until there are too many; then as many
        of each busy operation."""
        last = np.arange(self.newest - 24, self.newest) % self.bins
        rate = self._count[:, last].max(axis=1).astype(np.float64) if len(self._count) else np.zeros(0)
        room = self.most / self.bins
        ordered = np.sort(rate)
        # The cap at which the operations' kept requests just fill the room ("water filling").
        left = np.cumsum(ordered) + ordered * np.arange(len(ordered) - 1, -1, -1)
        over = np.flatnonzero(left > room)
        cap = np.inf
        if len(over):
            k = int(over[0])
            cap = (room - float(ordered[:k].sum())) / (len(ordered) - k)
        self._share = np.minimum(1.0, cap / np.maximum(rate, 1e-9))

    def _grow(self, operations: int) -> None:
        more = operations - len(self._count)
        if more > 0:
            blank = np.zeros((more + operations // 2, self.bins), np.int32)
            self._count, self._failed, self._arrived = (
                np.concatenate([table, blank]) for table in (self._count, self._failed, self._arrived)
            )
        missing = len(self._count) - len(self._share)
        self._share = np.concatenate([self._share, np.ones(max(missing, 0))])

    def _forget(self) -> None:
        oldest = self.newest - self.bins + 1
        while self._chunks and (self.rows > 1.5 * self.most or int(self._chunks[0].bin.max()) < oldest):
            self.rows -= len(self._chunks.popleft().bin)

    # --- what there is ------------------------------------------------------------------------------------

    def observed(self, low: int, now_ns: int) -> tuple[I64, Bool]:
        """(bins from `low` on in which telemetry was seen or is known to have gone on, which of them are complete)."""
        low = max(low, self.newest - self.bins + 1)
        bins = np.arange(low, self.newest + 1)
        ended = (bins + 1) * self.step_ns <= now_ns - self.delay_ns
        # A bin without spans was watched all the same if others were heard of then, and still later than its own would
        # have come.
        delay = -(-self.delay_ns // self.step_ns)
        then = self._heard_in(bins, -1, 1)
        after = self._heard_in(bins, delay + 1, delay + 1 + PATIENCE)
        seen = self._seen[bins % self.bins] | (then & after & ended)
        at = bins[seen]
        whole = ended[seen].copy()
        broken = np.flatnonzero(np.diff(at) > 1)
        whole[broken] = whole[broken + 1] = False
        if len(at):
            whole[-1] &= bool(after[seen][-1])
        return at, whole

    def _heard_in(self, bins: I64, low: int, high: int) -> Bool:
        """Whether anything arrived in [bin + low, bin + high), for each bin."""
        found = np.zeros(len(bins), np.bool_)
        for shift in range(low, high):
            there = (bins + shift <= self.newest) & (bins + shift > self.newest - self.bins)
            found |= there & self._heard[(bins + shift) % self.bins]
        return found

    def counts(self, group: I64, groups: int, bins: I64, *, failed: bool = False) -> F64:
        """Exact requests (or failed ones) of g groups in the given bins, (g, b); `group` is that of each operation,
        -1 for none."""
        table = self._failed if failed else self._count
        return self._grouped(table, group, groups, bins)

    def arrivals(self, group: I64, groups: int, bins: I64) -> F64:
        """Requests that arrived in the given bins, whenever they ended, (g, b)."""
        return self._grouped(self._arrived, group, groups, bins)

    def _grouped(self, table: I32, group: I64, groups: int, bins: I64) -> F64:
        out = np.zeros((groups, len(bins)))
        rows = np.flatnonzero(group >= 0)
        np.add.at(out, group[rows], table[np.ix_(rows, bins % self.bins)])
        return out

    def entries(
        self, group: I64, entities: tuple[Entity, ...], bins: I64, whole: Bool, most: int | None = None
    ) -> Entries:
        """The sampled requests of some bins; `time_ns` is when they ended. With `most`, at most so many, evenly."""
        picked = self._picked(group, bins, most)
        end, place = picked.end_ns, picked.bin
        mine = group[picked.operation]
        origin = int(bins[0]) * self.step_ns if len(bins) else 0
        order = np.argsort((mine << 44) | (end - origin))
        mine = mine[order]
        return Entries(
            group=mine, time_ns=end[order], duration_ms=picked.duration_ms[order], failed=picked.failed[order],
            bin=np.searchsorted(bins, place[order]), first=np.searchsorted(mine, np.arange(len(entities) + 1)),
            entities=entities, bin_start_ns=bins * self.step_ns, whole=whole, step_ns=self.step_ns,
        )  # fmt: skip

    def _picked(self, group: I64, bins: I64, most: int | None) -> _Chunk:
        """The sampled requests of some bins and of the operations that have a group; with `most`, evenly so many. Only
        those are copied: all of the window at once would be a hundred megabytes, every minute."""
        wanted = np.zeros(self.bins, np.bool_)
        wanted[bins % self.bins] = True
        low, high = (int(bins[0]), int(bins[-1])) if len(bins) else (0, -1)
        chunks: list[_Chunk] = []
        found: list[I64] = []
        for chunk in self._chunks:
            inside = (chunk.bin >= low) & (chunk.bin <= high)
            if inside.any():
                chunks.append(chunk)
                found.append(np.flatnonzero(inside & wanted[chunk.bin % self.bins] & (group[chunk.operation] >= 0)))
        step = 1 if most is None else max(-(-sum(map(len, found)) // most), 1)
        at, chosen = 0, [_Chunk.none()]
        for chunk, rows in zip(chunks, found, strict=True):
            chosen.append(chunk.take(rows[-at % step :: step]))
            at += len(rows)
        return _Chunk.together(chosen)


def _uniform(key: U64, end_ns: I64) -> F64:
    """A number in [0, 1) per request that depends on nothing but the request."""
    drawn = mix(key ^ end_ns.astype(np.uint64))
    return (drawn >> np.uint64(11)).astype(np.float64) / float(1 << 53)
