"""Who is whose parent: spans in order of time, duplicates removed, parents resolved within their trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from aetia.signals.frames import (
    I8,
    I32,
    I64,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNKNOWN,
    Bool,
)
from aetia.signals.ids import U64, hash_ids, mix, no_parent
from aetia.signals.names import column_of, encode
from aetia.signals.rows_by_key import KeyIndex
from aetia.signals.trees import cut_cycles

TIME_LIMIT_NS = 1 << 61
"""Starts are clamped to ±2^61 ns (1896 to 2043), so that no difference of two overflows."""

_KINDS = {
    "internal": KIND_INTERNAL, "server": KIND_SERVER, "client": KIND_CLIENT, "producer": KIND_PRODUCER,
    "consumer": KIND_CONSUMER,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The kept rows: source row, start, dense trace code, parent row (cycles cut), which are orphans, and a hash of
    trace and span id (0 without a span id)."""

    source_row: I64
    start_ns: I64
    trace: I32
    parent: I32
    orphan: Bool
    key: U64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ids:
    """Rows of the table with start, hash of the trace id, and key of (trace, span), 0 where there is no id."""

    rows: I64
    start: I64
    trace: U64
    key: U64
    has_id: Bool

    def take(self, at: I64 | Bool) -> _Ids:
        return _Ids(
            rows=self.rows[at], start=self.start[at], trace=self.trace[at], key=self.key[at], has_id=self.has_id[at]
        )


def is_range(rows: I64, n: int) -> bool:
    """Whether the rows are 0, 1, …, n - 1."""
    return len(rows) == n and (n == 0 or bool(rows[0] == 0 and rows[-1] == n - 1 and np.all(rows[1:] > rows[:-1])))


def kind_codes(table: pa.Table, rows: I64 | None = None) -> I8:
    """Kind code of each span (or of some rows), -1 unknown."""
    codes, values = encode(column_of(table, "kind"))
    lookup = np.array([_KINDS.get((v or "").lower(), KIND_UNKNOWN) for v in values] + [KIND_UNKNOWN], np.int8)
    return lookup[codes if rows is None else codes[rows]]


def link(table: pa.Table, counts: dict[str, int]) -> Links:
    """Resolve a span table; see `build_spans` for what is added to `counts`."""
    ids = _identify(table, counts)
    client = server = np.zeros(0, np.int64)
    index = KeyIndex(ids.key)
    again = _repeated(ids.key, ids.has_id) if index.repeated else None
    if again is not None:
        client, server = _shared_ids(kind_codes(table, ids.rows), ids.key, again)
        ids.key[server] = mix(ids.key[server])
        again[server] = again[client] = False
        counts["duplicates"], counts["shared_ids"] = int(again.sum()), len(server)
        place = np.cumsum(~again) - 1
        client, server = place[client], place[server]
        ids = ids.take(~again)
        index = KeyIndex(ids.key)
    trace = dense_codes(ids.trace)
    parent, named = _parents(table, ids, index)
    if len(server):
        answering = np.arange(-1, len(parent), dtype=np.int32)
        answering[client + 1] = server
        parent = answering[parent + 1]
        parent[server] = client
    parent[(parent >= 0) & (trace[parent] != trace)] = -1
    itself = parent == np.arange(len(parent), dtype=np.int32)
    parent[itself] = -1
    orphan = named & (parent < 0) & ~itself
    counts["orphans"] = int(orphan.sum())
    parent, cut = cut_cycles(parent, ids.start, ids.key)
    counts["cycles"] = cut + int(itself.sum())
    return Links(source_row=ids.rows, start_ns=ids.start, trace=trace, parent=parent, orphan=orphan, key=ids.key)


def _identify(table: pa.Table, counts: dict[str, int]) -> _Ids:
    """Rows with a time, in order of it."""
    start, missing = _times(column_of(table, "time"))
    trace, _ = hash_ids(column_of(table, "trace_id"))
    span, has_id = hash_ids(column_of(table, "span_id"))
    key = mix(trace ^ mix(span))
    key[~has_id] = 0
    ids = _Ids(rows=np.arange(len(start), dtype=np.int64), start=start, trace=trace, key=key, has_id=has_id)
    if missing is not None:
        counts["missing_times"] = int(missing.sum())
        ids = ids.take(~missing)
    if np.any(ids.start[1:] < ids.start[:-1]):
        ids = ids.take(np.argsort(ids.start, kind="stable"))
    return ids


def _times(column: pa.ChunkedArray[Any]) -> tuple[I64, Bool | None]:
    """Nanoseconds (n,) and the mask of null times (None when there are none)."""
    kind: Any = column.type
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        column = column.cast(pa.timestamp("ns", tz=kind.tz), safe=False)
    missing = np.asarray(column.is_null().to_numpy(), np.bool_) if column.null_count else None
    whole = whole_numbers(column)
    return np.clip(whole, -TIME_LIMIT_NS, TIME_LIMIT_NS), missing


def whole_numbers(column: pa.ChunkedArray[Any]) -> I64:
    """A numeric or time column as int64 (n,), null as 0."""
    column = column.cast(pa.int64(), safe=False)
    if column.null_count:
        column = column.fill_null(pa.scalar(0))
    return np.asarray(column.to_numpy(), np.int64)


def dense_codes(hashes: U64) -> I32:
    """Hashes (n,) as codes 0, 1, … in order of first appearance."""
    encoded = pa.array(hashes).dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int32)


def _repeated(key: U64, has_id: Bool) -> Bool:
    """Mask of rows whose key occurred in an earlier row."""
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(key), np.bool_)
    again[order[1:]] = (key[order[1:]] == key[order[:-1]]) & has_id[order[1:]]
    return again


def _shared_ids(kind: I8, key: U64, again: Bool) -> tuple[I64, I64]:
    """Rows of the (client, server) pairs that share one id, at most one pair per id."""
    order = np.argsort(key, kind="stable")
    later = np.flatnonzero(again)
    first = order[np.searchsorted(key[order], key[later])]
    forth = (kind[first] == KIND_CLIENT) & (kind[later] == KIND_SERVER)
    back = (kind[first] == KIND_SERVER) & (kind[later] == KIND_CLIENT)
    pair = np.flatnonzero(forth | back)
    pair = pair[np.unique(key[later[pair]], return_index=True)[1]]
    first, later, forth = first[pair], later[pair], forth[pair]
    return np.where(forth, first, later), np.where(forth, later, first)


def _parents(table: pa.Table, ids: _Ids, index: KeyIndex) -> tuple[I32, Bool]:
    """Parent row of each row by (trace, parent id), -1 where there is none, and which rows name a parent."""
    wanted, named = hash_ids(column_of(table, "parent_span_id"))
    if not is_range(ids.rows, table.num_rows):
        wanted, named = wanted[ids.rows], named[ids.rows]
    named &= ~no_parent(wanted)
    asking = np.flatnonzero(named)
    parent = np.full(len(ids.rows), -1, np.int32)
    parent[asking] = index.find(mix(ids.trace[asking] ^ mix(wanted[asking])))
    return parent, named
