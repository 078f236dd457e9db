"""Which spans of a stream are requests that enter from outside: the rule of `signals.spans`, with parents that come
later or never.

A span without a parent decides at once. One with a parent waits for the top of its trace, as long as `grace_ns`: a
trace whose top never comes is entered at its earliest span whose parent is missing. Operations that are nearly
always entered so (an ingress that sends no telemetry stands before them) wait only `short_grace_ns`, as does a span
whose trace has a top, in case another one comes that is a call from outside. Where more wait than there is room for,
those that came first are decided by what is known then.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aetia.detect._entries import failed_for_user
from aetia.detect._live_memory import Codes, Memory, Operations
from aetia.signals.frames import I8, I32, I64, KIND_CLIENT, KIND_CONSUMER, KIND_INTERNAL, KIND_PRODUCER, Bool
from aetia.signals.ids import U64, hash_ids, mix, no_parent
from aetia.signals.links import TIME_LIMIT_NS, kind_codes, whole_numbers
from aetia.signals.names import column_of, encode
from aetia.signals.rows_by_key import KeyIndex
from aetia.signals.spans import MAX_DURATION_NS, errors_of, status_codes

COLUMNS = (
    "time", "trace_id", "span_id", "parent_span_id", "service", "instance", "name", "kind", "duration_ns", "status",
    "status_code",
)  # fmt: skip
ALONE, MIN_ALONE = 0.9, 30
"""Share of an operation's decided spans that entered without a top, and how many of them, for the short grace."""
REACH_ROWS = 20_000
"""Spans per tick from which it is learned which services the requests of an entry point reach."""
ENTERED_AT_TOP, ENTERED_BELOW = 1, 2
ROW_BYTES = 64
"""Of one row of `Rows`, rounded up."""


@dataclass(slots=True, kw_only=True)
class Rows:
    """Spans of the stream as columns, each (n,): codes of operation, service and source (service and instance);
    hashes of trace, of the span and of its parent (0: none)."""

    operation: I32
    service: I32
    source: I32
    start_ns: I64
    duration_ns: I64
    failed: Bool
    kind: I8
    trace: U64
    key: U64
    above: U64
    arrived_ns: I64

    def __len__(self) -> int:
        return len(self.start_ns)

    def take(self, at: I64 | Bool) -> Rows:
        return Rows(**{item.name: getattr(self, item.name)[at] for item in fields(Rows)})

    @classmethod
    def together(cls, parts: list[Rows]) -> Rows:
        return Rows(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Rows)})

    @classmethod
    def none(cls) -> Rows:
        code, time, key = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.uint64)
        return cls(
            operation=code, service=code, source=code, start_ns=time, duration_ns=time, failed=np.zeros(0, np.bool_),
            kind=np.zeros(0, np.int8), trace=key, key=key, above=key, arrived_ns=time,
        )  # fmt: skip


class Taken(NamedTuple):
    """What a batch of spans brought: entry requests, and the end of every span by the source that sent it."""

    entries: Rows
    end_ns: I64
    source: I32

    @classmethod
    def together(cls, parts: list[Taken]) -> Taken:
        return Taken(
            Rows.together([part.entries for part in parts]),
            np.concatenate([part.end_ns for part in parts]),
            np.concatenate([part.source for part in parts]),
        )


class EntryStream:
    """Turns batches of spans, in any order, into entry requests; each request once.

    At most `most_waiting` spans wait; `hurried` counts those that could not wait as long as they should.
    """

    def __init__(self, *, grace_ns: int, short_grace_ns: int, keep_ns: int, most_waiting: int = 1_000_000) -> None:
        self.services, self.sources = Codes(), Codes()
        self.operations = Operations(self.services)
        self.duplicates = self.hurried = 0
        self._most_waiting = most_waiting
        self._grace_ns, self._short_ns = grace_ns, short_grace_ns
        self._outward, self._traces, self._counted = Memory(keep_ns), Memory(keep_ns), Memory(keep_ns)
        self._waiting = Rows.none()
        self._topped = np.zeros(0, np.bool_)
        """Which of the waiting rows are of traces that have a top."""
        self._taken_ns = 0
        self._alone = self._under = np.zeros(0, np.int64)
        self._reach: dict[int, set[int]] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def reach(self, operation: int) -> set[int]:
        """Services (codes) that requests of an entry operation were seen to reach."""
        return self._reach.get(operation, set())

    def take(self, table: pa.Table, now_ns: int) -> Taken:
        """The requests that are known to be such after this batch, which may be empty."""
        rows, every, source = self._read(table, now_ns)
        out: list[Rows] = []
        proper = rows.above == 0
        outward = (rows.kind == KIND_CLIENT) | (rows.kind == KIND_PRODUCER)
        tops = np.flatnonzero(proper)
        self._traces.add(now_ns, rows.trace[tops], np.full(len(tops), ENTERED_AT_TOP, np.int32))
        away = tops[outward[tops]]
        self._outward.add(now_ns, rows.key[away], rows.service[away])
        out.append(rows.take(proper & ~outward & (rows.kind != KIND_CONSUMER)))
        out += self._decided(rows.take(~proper), now_ns)
        entries = Rows.together(out)
        fresh = self._unseen(entries, now_ns)
        self._learn_reach(entries, rows)
        return Taken(entries.take(fresh), every, source)

    def _read(self, table: pa.Table, now_ns: int) -> tuple[Rows, I64, I32]:
        column = column_of(table, "time")
        if column.null_count:
            table = table.filter(column.is_valid())
        trace, _ = hash_ids(column_of(table, "trace_id"))
        span, has_id = hash_ids(column_of(table, "span_id"))
        wanted, named = hash_ids(column_of(table, "parent_span_id"))
        key, above = mix(trace ^ mix(span)), mix(trace ^ mix(wanted))
        named &= ~no_parent(wanted) & (key != above)
        key[~has_id], above[~named] = 0, 0
        kind = kind_codes(table)
        code = status_codes(table, None)
        failed = failed_for_user(errors_of(table, None, kind, code), code)
        local, services = encode(column_of(table, "service"))
        service = self.services.table(services, "unknown")[local]
        names, texts = encode(column_of(table, "name"))
        source = self._sources(table, service)
        start = np.clip(whole_numbers(column_of(table, "time")), -TIME_LIMIT_NS, TIME_LIMIT_NS)
        duration = np.clip(whole_numbers(column_of(table, "duration_ns")), 0, MAX_DURATION_NS)
        rows = Rows(
            operation=self.operations.codes(service, names, texts), service=service, source=source, start_ns=start,
            duration_ns=duration, failed=failed, kind=kind, trace=trace, key=key, above=above,
            arrived_ns=np.full(len(start), now_ns),
        )  # fmt: skip
        return rows, start + duration, source

    def _sources(self, table: pa.Table, service: I32) -> I32:
        local, instances = encode(column_of(table, "instance"))
        pairs, inverse = np.unique(service.astype(np.int64) * (len(instances) + 1) + local + 1, return_inverse=True)
        texts = (None, *instances)
        width = len(instances) + 1
        made = [
            self.sources.code(f"{self.services.names[pair // width]}\0{texts[pair % width] or ''}")
            for pair in pairs.tolist()
        ]
        return np.array(made, np.int32)[inverse] if made else np.zeros(0, np.int32)

    def _decided(self, inner: Rows, now_ns: int) -> list[Rows]:
        """Entries among the spans with parents, those that waited and new ones: below client tops of other services,
        and of traces whose top did not come. What is not decided waits on."""
        known = len(self._waiting)
        rows = Rows.together([self._waiting, inner])
        self._waiting = Rows.none()
        # What waited has been asked for before: only what came since can be new.
        new, since = slice(known, None), self._taken_ns
        top = np.concatenate([self._outward.find(rows.above[:known], since), self._outward.find(rows.above[new])])
        whole = np.concatenate([self._topped, np.zeros(len(inner), np.bool_)])
        whole[:known] |= self._traces.find(rows.trace[:known], since) >= 0
        whole[new] = self._traces.find(rows.trace[new]) >= 0
        self._taken_ns = now_ns
        probed = (top >= 0) & (top != rows.service)
        under = np.flatnonzero((whole & ~probed)[new]) + known
        self._under = self._counts(self._under, rows.operation[under])
        local = (rows.kind == KIND_CLIENT) | (rows.kind == KIND_PRODUCER) | (rows.kind == KIND_INTERNAL)
        age = now_ns - rows.arrived_ns
        grace, short = self._patience(age)
        # A row of a trace whose top came waits on only where it may be called by a client top that is still to come.
        left = (top < 0) & ~(whole & (local | (age >= short)))
        ripe = left & ~whole & ((age >= grace) | ((age >= short) & self._enters_alone(rows.operation)))
        entered, gone = self._orphans(rows, left & ~whole, ripe, now_ns)
        left[gone] = False
        self._waiting, self._topped = rows.take(left), whole[left]
        return [rows.take(probed), entered]

    def _patience(self, age: I64) -> tuple[int, int]:
        """How long spans may wait, so that no more do than there is room for; `age` is that of the rows, the oldest
        first."""
        over = len(age) - self._most_waiting
        if over <= 0:
            return self._grace_ns, self._short_ns
        longest = int(age[over - 1])
        self.hurried += int(((age >= longest) & (age < self._grace_ns)).sum())
        return min(self._grace_ns, longest), min(self._short_ns, longest)

    def _orphans(self, rows: Rows, undecided: Bool, ripe: Bool, now_ns: int) -> tuple[Rows, I64]:
        """(entries, places) of the undecided rows in the traces of the ripe ones, whose top did not come in time."""
        if not ripe.any():
            return Rows.none(), np.zeros(0, np.int64)
        traces = np.sort(rows.trace[ripe])  # np.unique hashes these, which takes five times as long
        decided = KeyIndex(traces[np.append(True, traces[1:] != traces[:-1])])
        mine = np.flatnonzero(undecided)
        mine = mine[(decided.find(rows.trace[mine]) >= 0) | ripe[mine]]
        known = np.isin(rows.above[mine], rows.key[mine])
        lost = mine[~known]
        lost = lost[np.lexsort((rows.start_ns[lost], rows.trace[lost]))]
        _, first = np.unique(rows.trace[lost], return_index=True)
        entered = lost[first]
        self._traces.add(now_ns, decided.key, np.full(len(decided.key), ENTERED_BELOW, np.int32))
        outward = (rows.kind[entered] == KIND_CLIENT) | (rows.kind[entered] == KIND_PRODUCER)
        entered = entered[~outward]
        self._alone = self._counts(self._alone, rows.operation[entered])
        return rows.take(entered), mine

    def _enters_alone(self, operation: I32) -> Bool:
        size = len(self.operations)
        alone, under = (np.resize(np.pad(c, (0, max(size - len(c), 0))), size) for c in (self._alone, self._under))
        return ((alone >= MIN_ALONE) & (alone >= ALONE * (alone + under)))[operation]

    def _counts(self, so_far: I64, operation: I32) -> I64:
        counts = np.bincount(operation, minlength=len(self.operations)).astype(np.int64)
        counts[: len(so_far)] += so_far
        return counts

    def _unseen(self, entries: Rows, now_ns: int) -> I64:
        """Rows of requests that were not counted before, each once; those without a span id always."""
        _, first = np.unique(entries.key, return_index=True)
        once = np.zeros(len(entries), np.bool_)
        once[first] = True
        fresh = (once & (self._counted.find(entries.key) < 0)) | (entries.key == 0)
        self.duplicates += int((~fresh).sum())
        rows = np.flatnonzero(fresh)
        self._counted.add(now_ns, entries.key[rows], entries.operation[rows])
        return rows

    def _learn_reach(self, entries: Rows, rows: Rows) -> None:
        chosen = slice(0, REACH_ROWS)
        asked, position = rows.trace[chosen], np.argsort(entries.trace)
        place = np.searchsorted(entries.trace, asked, sorter=position)
        place = position[np.minimum(place, len(entries) - 1)] if len(entries) else np.zeros(len(asked), np.int64)
        same = entries.trace[place] == asked if len(entries) else np.zeros(len(asked), np.bool_)
        width = max(len(self.services), 1)
        pairs = np.unique(entries.operation[place[same]].astype(np.int64) * width + rows.service[chosen][same])
        for pair in pairs.tolist():
            self._reach.setdefault(pair // width, set()).add(pair % width)
