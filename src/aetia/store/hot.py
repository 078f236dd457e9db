"""Rows that are journaled but not compacted yet: Arrow tables in memory, and where their requests lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from aetia.model.stored import SIGNALS, Signal
from aetia.store.decoding import Batch
from aetia.store.journal import RECORD_BYTES
from aetia.store.seen import Entries, entries_of
from aetia.store.segments import SegmentFile

pc: Any = pyarrow.compute
_SMALL_ROWS = 16_384
_MERGED_CHUNKS = 16
REQUEST_BYTES = 1536
"""What a request costs beside its bytes, in bytes that cost as much: decoding 50,000 requests of one span takes 0.9 s
of CPU time, 50,000 spans in 100 requests 0.2 s."""
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Origin:
    """Which requests some consecutive hot rows came from. `exceptions` are log lines made of span events: the rows
    come from the bodies all together, and `body_rows` says nothing about them."""

    file: SegmentFile
    bodies: Signal
    offsets: Integers
    lengths: Integers
    body_rows: Integers
    rows: int
    exceptions: bool = False

    def read(self, which: Integers) -> list[bytes]:
        """The bodies of those numbers. Raises OSError."""
        return [self.file.read(int(self.offsets[i]), int(self.lengths[i])) for i in which]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some hot rows: a table of the promoted columns, its origins in order, and the times `[start_ns, end_ns)`."""

    table: pa.Table
    origins: tuple[Origin, ...]
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class HotSegment:
    """A segment and what is in it. Written by the writer thread, read under the catalog's lock."""

    file: SegmentFile
    chunks: dict[Signal, list[Chunk]] = field(default_factory=lambda: {signal: [] for signal in SIGNALS})
    rows: dict[Signal, int] = field(default_factory=lambda: dict.fromkeys(SIGNALS, 0))
    requests: int = 0
    closed: bool = False
    digests: Entries = field(default_factory=lambda: entries_of(()))
    """Of the requests in the segment, once it is closed."""
    attempts: int = 0
    """How often compaction of this segment failed."""
    skipped: list[int] = field(default_factory=list[int])
    """Offsets of records that are in the file but not in the store: what an earlier segment held already."""

    @property
    def weight(self) -> int:
        """What a start would have to do to read the segment again, in bytes of large requests."""
        return self.file.length + self.requests * REQUEST_BYTES

    def add(self, signal: Signal, chunk: Chunk) -> None:
        self.chunks[signal].append(chunk)
        self.rows[signal] += chunk.table.num_rows


def chunks_of(signal: Signal, batch: Batch, file: SegmentFile, records: Sequence[int]) -> list[tuple[Signal, Chunk]]:
    """The rows of a decoded batch as hot chunks. `records` are the offsets of those bodies that did not fail."""
    kept = [number for number in range(len(batch.bodies)) if number not in batch.failed]
    offsets = np.asarray(records, np.int64) + RECORD_BYTES
    lengths = np.array([len(batch.bodies[number]) for number in kept], np.int64)
    body_rows = np.array([batch.rows[number] for number in kept], np.int64)
    out: list[tuple[Signal, Chunk]] = []
    if rows := batch.table.num_rows:
        origin = Origin(file, signal, offsets, lengths, body_rows, rows)
        out.append((signal, _chunk(batch.table, origin)))
    if batch.exceptions is not None and (rows := batch.exceptions.num_rows):
        origin = Origin(file, signal, offsets, lengths, body_rows, rows, exceptions=True)
        out.append(("logs", _chunk(batch.exceptions, origin)))
    return out


def _chunk(table: pa.Table, origin: Origin) -> Chunk:
    start, end = time_range(table)
    return Chunk(table, (origin,), start, end)


def time_range(table: pa.Table) -> tuple[int, int]:
    """`[start_ns, end_ns)` of the rows; the table must have some."""
    ends = pc.min_max(table["time"].cast(pa.int64()))
    return int(ends["min"].as_py()), int(ends["max"].as_py()) + 1


def tail_to_merge(chunks: Sequence[Chunk]) -> int:
    """How many chunks at the end are small and many enough to be made one: readers pay for each chunk."""
    count = 0
    for chunk in reversed(chunks):
        if chunk.table.num_rows >= _SMALL_ROWS:
            break
        count += 1
    return count if count >= _MERGED_CHUNKS else 0


def merged(chunks: Sequence[Chunk]) -> Chunk:
    table = pa.concat_tables([chunk.table for chunk in chunks]).unify_dictionaries().combine_chunks()
    origins = tuple(origin for chunk in chunks for origin in chunk.origins)
    return Chunk(table, origins, min(chunk.start_ns for chunk in chunks), max(chunk.end_ns for chunk in chunks))
