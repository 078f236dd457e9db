"""What is usual for each entry point of a stream: over the last minutes, and at this hour of the week."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from aetia.detect._entries import MAX_GROUPS, MIN_REQUESTS, Entries
from aetia.detect._live_memory import Operations
from aetia.detect._requests import Usual
from aetia.detect.latency import QUANTILES, limit_ms
from aetia.model import entity
from aetia.model.entity import Entity
from aetia.model.window import Window
from aetia.signals.frames import F64, I64
from aetia.signals.red import grouped_quantiles

HOUR_NS = 3_600_000_000_000
SLOTS = 168
BLOCK_NS = 300_000_000_000
"""Within an hour the worst block of five minutes is what is usual then: a batch that runs ten minutes of each
night makes those minutes slow, not the hour."""
MIN_BLOCKS, MIN_BLOCK_REQUESTS = 6, 10
MATURE_WEEKS, MATURE_DAYS = 2, 3
MOST_WEIGHT = 0.3
"""Weight of the latest week, once there are enough of them; before, all weeks weigh the same."""
MONDAY_NS = 4 * 24 * HOUR_NS
"""1970-01-05 was a Monday; slots count from its midnight, UTC."""


class Slot(msgspec.Struct, kw_only=True):
    """One entry point at one hour of the week, each number over its blocks of five minutes and then averaged over `n`
    weeks: requests per second (lowest and mean), highest failure share, highest latency quantiles in ms."""

    n: int = 0
    low_per_s: float = 0.0
    mean_per_s: float = 0.0
    failed: float = 0.0
    quantile_ms: list[float] = []


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Five minutes of one entry point."""

    start_ns: int
    per_s: float
    failed: float
    quantile_ms: list[float]


class Hour(msgspec.Struct, kw_only=True):
    """Blocks of an hour that is not over."""

    start_ns: int
    blocks: list[Block] = []


class HoursOfWeek(msgspec.Struct, kw_only=True):
    """What is usual at each hour of the week, per entry point (by its name); a value that is written to JSON."""

    slots: dict[str, dict[int, Slot]] = {}
    hours: dict[str, Hour] = {}

    def learn(self, name: str, block: Block) -> None:
        """Add five healthy minutes of an entry point; blocks come in order of time."""
        start = block.start_ns - block.start_ns % HOUR_NS
        hour = self.hours.get(name)
        if hour is None or hour.start_ns != start:
            if hour is not None:
                self._close(name, hour)
            hour = self.hours[name] = Hour(start_ns=start)
        hour.blocks.append(block)

    def _close(self, name: str, hour: Hour) -> None:
        if len(hour.blocks) < MIN_BLOCKS:
            return
        slot = self.slots.setdefault(name, {}).setdefault(slot_of(hour.start_ns), Slot())
        weight = max(1.0 / (slot.n + 1), MOST_WEIGHT)
        quantiles = np.array([block.quantile_ms for block in hour.blocks]).max(axis=0)
        rates = [block.per_s for block in hour.blocks]
        before = np.array(slot.quantile_ms) if slot.quantile_ms else quantiles
        slot.low_per_s += weight * (min(rates) - slot.low_per_s)
        slot.mean_per_s += weight * (float(np.mean(rates)) - slot.mean_per_s)
        slot.failed += weight * (max(block.failed for block in hour.blocks) - slot.failed)
        slot.quantile_ms = (before + weight * (quantiles - before)).tolist()
        slot.n += 1

    def at(self, name: str, time_ns: int) -> Slot | None:
        """What is usual for an entry point around a time; None without enough history. Within ten minutes of another
        hour that counts too, since people are not punctual."""
        found = [self._slot(name, time_ns + shift) for shift in (0, -2 * BLOCK_NS, 2 * BLOCK_NS)]
        known = [slot for slot in found if slot is not None]
        if found[0] is None:
            return None
        return Slot(
            n=found[0].n,
            low_per_s=min(slot.low_per_s for slot in known),
            mean_per_s=found[0].mean_per_s,
            failed=max(slot.failed for slot in known),
            quantile_ms=np.array([slot.quantile_ms for slot in known]).max(axis=0).tolist(),
        )

    def _slot(self, name: str, time_ns: int) -> Slot | None:
        """The slot of the hour of the week, or of the same hour on other days while weeks are too few."""
        slots = self.slots.get(name, {})
        number = slot_of(time_ns)
        own = slots.get(number)
        if own is not None and own.n >= MATURE_WEEKS:
            return own
        days = [slots[day * 24 + number % 24] for day in range(7) if day * 24 + number % 24 in slots]
        if sum(slot.n for slot in days) < MATURE_DAYS:
            return None
        return Slot(
            n=sum(slot.n for slot in days),
            low_per_s=min(slot.low_per_s for slot in days),
            mean_per_s=float(np.mean([slot.mean_per_s for slot in days])),
            failed=max(slot.failed for slot in days),
            quantile_ms=np.array([slot.quantile_ms for slot in days]).max(axis=0).tolist(),
        )

    def keep(self, names: Iterable[str], most: int = 2_000) -> None:
        """Forget entry points beyond the `most`, those not in `names` first."""
        current = set(names)
        for name in sorted(self.slots, key=lambda item: item in current)[: max(len(self.slots) - most, 0)]:
            del self.slots[name]
            self.hours.pop(name, None)


def slot_of(time_ns: int) -> int:
    """Hour of the week, 0 (Monday, midnight UTC) to 167."""
    return (time_ns - MONDAY_NS) // HOUR_NS % SLOTS


def blocks_of(data: Entries, harmed: Sequence[Window]) -> Iterator[tuple[str, Block]]:
    """The whole blocks of five minutes of some requests, per entry point with ten requests or more, in order of time;
    those that touch a harmed window are left out."""
    first = -(-int(data.bin_start_ns[0]) // BLOCK_NS)
    count = int(data.bin_start_ns[-1]) // BLOCK_NS - first
    place = data.time_ns // BLOCK_NS - first
    inside = (place >= 0) & (place < count)
    cells = data.groups * max(count, 0)
    cell = (place * data.groups + data.group)[inside]
    n = np.bincount(cell, minlength=cells)
    failed = np.bincount(cell[data.failed[inside]], minlength=cells)
    quantile = grouped_quantiles(data.duration_ms[inside], cell, cells, QUANTILES)
    for at in np.flatnonzero(n >= MIN_BLOCK_REQUESTS).tolist():
        start = (first + at // data.groups) * BLOCK_NS
        if not any(item.overlaps(Window(start, start + BLOCK_NS)) for item in harmed):
            yield data.entities[at % data.groups].name, Block(
                start_ns=start, per_s=float(n[at]) / (BLOCK_NS / 1e9), failed=float(failed[at] / n[at]),
                quantile_ms=quantile[at].tolist(),
            )  # fmt: skip


class Grouping:
    """Entry points as groups, ordered by name: operations, and per service those that are too rare to be one."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self.entities = tuple(sorted(set(entities), key=lambda one: (one.name, one.level)))
        self.index = {one: at for at, one in enumerate(self.entities)}
        self._group: list[int] = []

    def of(self, operations: Operations) -> I64:
        """The group of each operation (operations,), -1 for none; new ones join the rare ones of their service."""
        for one in operations.entities[len(self._group) :]:
            pooled = entity.service(one.service) if one.service else one
            self._group.append(self.index.get(one, self.index.get(pooled, -1)))
        return np.array(self._group, np.int64)


def grouped(operations: Operations, requests: F64) -> Grouping:
    """Every operation with 30 requests or more is a group; the others, and those beyond the most frequent 400, are
    pooled per service, as in the analysis of a case. `requests` is (operations,)."""
    least = max(MIN_REQUESTS, float(np.sort(requests)[-MAX_GROUPS]) if len(requests) > MAX_GROUPS else 0.0)
    names = operations.services.names
    return Grouping(
        operations.entities[code] if requests[code] >= least else entity.service(names[operations.service[code]])
        for code in np.flatnonzero(requests > 0).tolist()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What is usual now: failure shares, latencies and limits per group, requests per bin below half of which is a loss
    (groups,), requests per bin of all groups together; from how many requests of each group, and the share of them that
    failed (`usual.failed` is the highest that this leaves possible)."""

    grouping: Grouping
    usual: Usual
    least: F64
    level: float
    requests: F64
    share: F64
    made_ns: int


def kept(new: Base, old: Base | None, frozen: Sequence[Entity]) -> Base:
    """The new base with the rows of the frozen entry points, and of those of which the new one knows too little, as
    they were in the old one."""
    if old is None:
        return new
    before = old.grouping.index
    wanted = set(frozen)
    rows = [
        (at, before[one])
        for at, one in enumerate(new.grouping.entities)
        if one in before and (one in wanted or new.requests[at] < min(MIN_REQUESTS, old.requests[before[one]]))
    ]
    if not rows:
        return new
    to, of = (np.array(part) for part in zip(*rows, strict=True))
    a, b = new.usual, old.usual

    def mixed(now: F64, then: F64) -> F64:
        out = now.copy()
        out[to] = then[of]
        return out

    usual = replace(
        a, failed=mixed(a.failed, b.failed), quantile_ms=mixed(a.quantile_ms, b.quantile_ms),
        limit_ms=mixed(a.limit_ms, b.limit_ms), beyond=mixed(a.beyond, b.beyond),
    )  # fmt: skip
    return replace(new, usual=usual, least=mixed(new.least, old.least), requests=mixed(new.requests, old.requests),
                   share=mixed(new.share, old.share))  # fmt: skip


def at_this_hour(base: Base, hours: HoursOfWeek, now_ns: int, step_ns: int) -> Base:
    """The base with what is usual at this hour: higher failure shares and latencies are borne, lower rates are no
    loss; and where the hour is known it alone says which rates are low."""
    usual, least = base.usual, base.least.copy()
    failed, quantile, limit = usual.failed.copy(), usual.quantile_ms.copy(), usual.limit_ms.copy()
    for at, one in enumerate(base.grouping.entities):
        slot = hours.at(one.name, now_ns)
        if slot is None:
            continue
        least[at] = slot.low_per_s * step_ns / 1e9
        failed[at] = np.fmax(failed[at], slot.failed)
        if len(slot.quantile_ms) == len(QUANTILES):
            known = np.array(slot.quantile_ms)
            limit[at] = np.fmax(limit[at], limit_ms(known, 0.05))
            quantile[at] = np.fmax(quantile[at], known)
    return replace(base, usual=replace(usual, failed=failed, quantile_ms=quantile, limit_ms=limit), least=least)
