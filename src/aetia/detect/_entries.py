"""Requests at the entry points: who entered where and when, how long it took, whether it failed; in bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.detect._once import once
from aetia.detect.latency import unsteadiness
from aetia.model import entity
from aetia.model.entity import Entity
from aetia.signals.frames import F64, I32, I64, Bool
from aetia.signals.red import grouped_quantiles
from aetia.signals.view import Facts

STEPS_NS = tuple(seconds * 1_000_000_000 for seconds in (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600))
REQUESTS_PER_BIN = 30
MAX_BINS = 1500
MIN_REQUESTS = 30
"""An operation with fewer requests in all of the data is pooled with the other rare ones of its service."""
MAX_GROUPS = 400
BLOCKS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Entries:
    """Requests of the entry points, sorted by (group, time).

    `group` (n,) indexes `entities`; `bin` (n,) indexes `bin_start_ns`, which holds the *observed* bins only
    (a bin in which nothing at all was recorded says nothing about rates). `whole` (bins,) is False for bins
    that the data cover in part. `first[g]:first[g + 1]` are the rows of a group.
    """

    group: I64
    time_ns: I64
    duration_ms: F64
    failed: Bool
    bin: I64
    first: I64
    entities: tuple[Entity, ...]
    bin_start_ns: I64
    whole: Bool
    step_ns: int

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def groups(self) -> int:
        return len(self.entities)

    @property
    def bins(self) -> int:
        return len(self.bin_start_ns)

    def count(self, mask: Bool | None = None) -> F64:
        """Requests (those of the mask) per group and bin, shape (groups, bins)."""
        cell = self.group * self.bins + self.bin
        cell = cell if mask is None else cell[mask]
        return np.bincount(cell, minlength=self.groups * self.bins).reshape(self.groups, self.bins).astype(np.float64)

    def unsteadiness(self, inside: Bool) -> F64:
        """Variation of each group's median latency between bins beyond chance, over the rows of the mask, (groups,)."""
        # Blocks of bins, since the median of the five requests of one bin is mostly chance.
        used = np.unique(self.bin[inside])
        width = max(1, -(-len(used) // BLOCKS))
        cells = self.groups * BLOCKS
        cell = (self.group * BLOCKS)[inside] + np.searchsorted(used, self.bin[inside]) // width
        duration = self.duration_ms[inside]
        medians = grouped_quantiles(duration, cell, cells, (0.5,)).reshape(self.groups, BLOCKS)
        quartiles = grouped_quantiles(duration, self.group[inside], self.groups, (0.25, 0.75))
        spread = np.nan_to_num((quartiles[:, 1] - quartiles[:, 0]) / 1.349)
        count = np.bincount(cell, minlength=cells).reshape(self.groups, BLOCKS).astype(np.float64)
        return unsteadiness(medians, spread, count)


def entries(facts: Facts, operations: frozenset[str] = frozenset()) -> Entries | None:
    """The requests of the facts; None without entry spans. `operations` restricts them to declared SLIs.

    Every (service, operation) is one group; operations with less than 30 requests are pooled per service. They are read
    once for the same facts.
    """
    return once(facts, ("entries", operations), lambda: _read(facts, operations))


def _read(facts: Facts, operations: frozenset[str]) -> Entries | None:
    spans = facts.spans
    rows = np.flatnonzero(spans.entry)
    if operations and len(rows):
        names = facts.names
        wanted = np.array(
            [name in operations or f"{names.services[s]} {name}" in operations for s, name in names.operations]
        )
        chosen = rows[wanted[spans.operation[rows]]] if len(wanted) else rows
        rows = chosen if len(chosen) else rows
    if len(rows) == 0:
        return None
    group, entities = _groups(facts, spans.operation[rows].astype(np.int64), spans.service[rows].astype(np.int64))
    time = spans.start_ns[rows]
    order = np.lexsort((time, group))
    rows, group, time = rows[order], group[order], time[order]
    step, starts, whole = _bins(facts, time)
    position = np.searchsorted(starts, time, side="right") - 1
    return Entries(
        group=group,
        time_ns=time,
        duration_ms=spans.duration_ns[rows] / 1e6,
        failed=failed_for_user(spans.error[rows], spans.status_code[rows]),
        bin=position,
        first=np.searchsorted(group, np.arange(len(entities) + 1)),
        entities=entities,
        bin_start_ns=starts,
        whole=whole,
        step_ns=step,
    )


def failed_for_user(error: Bool, status_code: I32) -> Bool:
    """Requests that failed for whoever sent them: errors, and HTTP 4xx too, which a server does not call an error
    of its own. What clients get wrong all the time is in the baseline."""
    return error | ((status_code >= 400) & (status_code < 600))


def _groups(facts: Facts, operation: I64, service: I64) -> tuple[I64, tuple[Entity, ...]]:
    """Group code per request, and the entity of each group (ordered by name)."""
    names = facts.names
    _, inverse, count = np.unique(operation, return_inverse=True, return_counts=True)
    rare = count < MIN_REQUESTS
    if np.sum(~rare) > MAX_GROUPS:
        rare |= count < np.sort(count)[-MAX_GROUPS]
    pooled = rare[inverse] | (operation < 0)
    key = np.where(pooled, -2 - service, operation)  # a service may be -1, unknown
    codes, group = np.unique(key, return_inverse=True)
    made: list[Entity] = []
    for code in codes.tolist():
        if code >= 0:
            of, name = names.operations[code]
            made.append(entity.operation(names.services[of], name) if of >= 0 else entity.service(name))
        else:
            of = -2 - code
            made.append(entity.service(names.services[of] if of >= 0 else "unknown"))
    rank = sorted(range(len(made)), key=lambda k: (made[k].name, made[k].level))
    place = np.empty(len(made), np.int64)
    place[rank] = np.arange(len(made))
    return place[group], tuple(made[k] for k in rank)


def _bins(facts: Facts, time: I64) -> tuple[int, I64, Bool]:
    """(step, starts of the observed bins, which of them lie wholly inside the observation)."""
    spans, logs = facts.spans.start_ns, facts.logs.time_ns
    low, high = int(spans[0]), int(spans[-1]) + 1
    # Logs that go on while spans stop show that the system was watched: the requests were lost, not the
    # telemetry.
    if len(logs) and abs(int(logs[0]) - low) < 0.05 * (high - low):
        high = max(high, int(logs[-1]) + 1)
    minutes = max(len(np.unique(time // 60_000_000_000)), 1)
    step = STEPS_NS[-1]
    for candidate in STEPS_NS:
        bins = minutes * 60_000_000_000 / candidate
        if len(time) / max(bins, 1.0) >= REQUESTS_PER_BIN and bins <= MAX_BINS:
            step = candidate
            break
        if bins <= 12:
            step = candidate
            break
    origin = low
    alive = np.zeros((high - origin) // step + 1, np.bool_) if (high - origin) // step < 50_000_000 else None
    used = [spans, logs] if len(logs) else [spans]
    if alive is None:
        index = np.unique(np.concatenate([(t[(t >= low) & (t < high)] - origin) // step for t in used]))
    else:
        for t in used:
            alive[(t[(t >= low) & (t < high)] - origin) // step] = True
        index = np.flatnonzero(alive)
    whole = np.ones(len(index), np.bool_)
    broken = np.flatnonzero(np.diff(index) > 1)
    whole[broken] = False
    whole[broken + 1] = False
    whole[-1] = False
    return step, origin + index.astype(np.int64) * step, whole


def sparse(starts: I64, step_ns: int) -> Bool:
    """True at every bin before which the observation was interrupted, shape (bins,)."""
    return np.concatenate([[False], np.diff(starts) > step_ns]) if len(starts) else np.zeros(0, np.bool_)
