"""Which spans of a stream are requests that enter from outside: the rule of `signals.spans`, with parents that come
later or never.

A span without a parent decides at once. One with a parent waits for the top of its trace, as long as `grace_ns`: a
trace whose top never comes is entered at its earliest span whose parent is missing. Operations that are nearly
always entered so (an ingress that sends no telemetry stands before them) wait only `short_grace_ns`.
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
from aetia.signals.spans import MAX_DURATION_NS, errors_of, status_codes

COLUMNS = (
    "time", "trace_id", "span_id", "parent_span_id", "service", "instance", "name", "kind", "duration_ns", "status",
    "status_code",
)  # fmt: skip
ALONE, MIN_ALONE = 0.9, 30
"""Share of an operation's decided spans that entered without a top, and how many of them, for the short grace."""
MOST_WAITING = 2_000_000
REACH_ROWS = 20_000
"""Spans per tick from which it is learned which services the requests of an entry point reach."""
ENTERED_AT_TOP, ENTERED_BELOW = 1, 2


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


class Taken(NamedTuple):
    """What a batch of spans brought: entry requests, and the end of every span by the source that sent it."""

    entries: Rows
    end_ns: I64
    source: I32


class EntryStream:
    """Turns batches of spans, in any order, into entry requests; each request once."""

    def __init__(self, *, grace_ns: int, short_grace_ns: int, keep_ns: int) -> None:
        self.services, self.sources = Codes(), Codes()
        self.operations = Operations(self.services)
        self.duplicates = 0
        self._grace_ns, self._short_ns = grace_ns, short_grace_ns
        self._outward, self._traces, self._counted = Memory(keep_ns), Memory(keep_ns), Memory(keep_ns)
        self._waiting: Rows | None = None
        self._alone = self._under = np.zeros(0, np.int64)
        self._reach: dict[int, set[int]] = {}

    @property
    def waiting(self) -> int:
        return 0 if self._waiting is None else len(self._waiting)

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
        inner = rows.take(~proper)
        waiting = inner if self._waiting is None else Rows.together([self._waiting, inner])
        probed, waiting = self._below_probes(waiting, now_ns)
        orphans, waiting = self._orphans(waiting, now_ns)
        self._waiting = waiting.take(slice_of_latest(len(waiting)))
        entries = Rows.together([*out, probed, orphans])
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

    def _below_probes(self, rows: Rows, now_ns: int) -> tuple[Rows, Rows]:
        """(entries below client tops of other services, rows that stay undecided). Rows of a trace whose top came
        wait on only where they may be called by a client top that is still to come."""
        top = self._outward.find(rows.above)
        probed = (top >= 0) & (top != rows.service)
        whole = self._traces.find(rows.trace) >= 0
        local = (rows.kind == KIND_CLIENT) | (rows.kind == KIND_PRODUCER) | (rows.kind == KIND_INTERNAL)
        old = now_ns - rows.arrived_ns >= self._grace_ns
        done = probed | (top >= 0) | (whole & (local | old))
        # Counted when they arrive, so that each is counted once.
        under = whole & ~probed & (rows.arrived_ns == now_ns)
        self._under = self._counts(self._under, rows.operation[under])
        return rows.take(probed), rows.take(~done)

    def _orphans(self, rows: Rows, now_ns: int) -> tuple[Rows, Rows]:
        """(entries of traces whose top did not come in time, rows that stay undecided)."""
        age = now_ns - rows.arrived_ns
        whole = self._traces.find(rows.trace) >= 0
        ripe = ~whole & ((age >= self._grace_ns) | ((age >= self._short_ns) & self._enters_alone(rows.operation)))
        if not ripe.any():
            return rows.take(ripe), rows
        trace, inverse = np.unique(rows.trace, return_inverse=True)
        decided = np.zeros(len(trace), np.bool_)
        decided[inverse[ripe]] = True
        mine = np.flatnonzero(decided[inverse] & ~whole)
        known = np.isin(rows.above[mine], rows.key[mine])
        lost = mine[~known]
        lost = lost[np.lexsort((rows.start_ns[lost], inverse[lost]))]
        _, first = np.unique(inverse[lost], return_index=True)
        entered = lost[first]
        self._traces.add(now_ns, trace[decided], np.full(int(decided.sum()), ENTERED_BELOW, np.int32))
        outward = (rows.kind[entered] == KIND_CLIENT) | (rows.kind[entered] == KIND_PRODUCER)
        entered = entered[~outward]
        self._alone = self._counts(self._alone, rows.operation[entered])
        keep = np.ones(len(rows), np.bool_)
        keep[mine] = False
        return rows.take(entered), rows.take(keep)

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


def slice_of_latest(n: int) -> I64:
    """Rows to keep where more wait than memory is for: the latest."""
    return np.arange(max(0, n - MOST_WAITING), n)
