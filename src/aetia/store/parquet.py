"""How the store writes and reads its Parquet files: sorted by time, zstd, checksums, a Bloom filter on trace ids, and
an index of the values of attributes (`store.value_index`)."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from aetia.model.stored import STORED, Signal
from aetia.store.value_index import Builder

pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet
_LEVEL = 1
_FALSE_POSITIVES = 0.02
_SPANS_OF_A_TRACE = 4
"""At least, on average; a Bloom filter for more distinct ids than there are is larger than it needs to be."""
_NOT_REPEATED = frozenset({"time", "span_id", "parent_span_id", "duration_ns", "value"})
_MERGE_BATCH = 16_384


class PartWriter:
    """One file of a signal under construction. Tables must come in the order of their times."""

    def __init__(self, path: Path, signal: Signal, row_group_rows: int) -> None:
        self.path = path
        self.rows = 0
        self.start_ns, self.end_ns = 0, 0
        self._signal = signal
        self._schema = STORED[signal]
        self._row_group_rows = row_group_rows
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._values = Builder() if pa.types.is_map(self._schema.field("attributes").type) else None
        self._file: Any = pa.OSFile(str(path), "wb")
        self._writer: Any = pq.ParquetWriter(self._file, self._schema, **_options(signal, row_group_rows))

    def write(self, table: pa.Table) -> None:
        """Rows in the order of their times, none before those that came already."""
        if not table.num_rows:
            return
        times = table["time"].cast(pa.int64())
        if not self.rows:
            self.start_ns = int(times[0].as_py())
        self.end_ns = int(times[-1].as_py()) + 1
        self.rows += table.num_rows
        self._pending.append(table)
        self._pending_rows += table.num_rows
        if self._pending_rows >= self._row_group_rows:
            self._flush(self._pending_rows // self._row_group_rows * self._row_group_rows)

    def _flush(self, rows: int) -> None:
        """Write so many of the rows that wait."""
        table = pa.concat_tables(self._pending).unify_dictionaries()
        for first in range(0, rows, self._row_group_rows):
            group = table.slice(first, min(self._row_group_rows, rows - first))
            began = self._file.tell()
            self._writer.write_table(group, row_group_size=self._row_group_rows)
            if self._values is not None:
                self._values.add(group, self._file.tell() - began)
        self._pending, self._pending_rows = [table.slice(rows)], table.num_rows - rows

    def close(self) -> None:
        """Complete the file and make it durable. Raises OSError."""
        if self._pending_rows:
            self._flush(self._pending_rows)
        if self._values is not None:
            block, metadata = self._values.block(self._file.tell())
            self._file.write(block)
            self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        self._file.close()
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@cache
def _takes_bloom_filters() -> bool:
    return "bloom_filter_options" in inspect.signature(pq.ParquetWriter).parameters


def _options(signal: Signal, row_group_rows: int) -> dict[str, Any]:
    names = STORED[signal].names
    repeated = [name for name in names if name not in _NOT_REPEATED and name != "attributes"]
    attributes = STORED[signal].field("attributes").type
    repeated += ["attributes.key_value.key", "attributes.key_value.value"] if pa.types.is_map(attributes) else [
        "attributes"
    ]  # fmt: skip
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": _LEVEL,
        "use_dictionary": repeated,
        "column_encoding": {"time": "DELTA_BINARY_PACKED"},
        "write_page_checksum": True,
        "sorting_columns": [pq.SortingColumn(names.index("time"))],
    }
    if "trace_id" in names:
        options |= bloom_filter("trace_id", max(row_group_rows // _SPANS_OF_A_TRACE, 1))
    return options


def bloom_filter(column: str, distinct: int) -> dict[str, Any]:
    """Options of a writer for a Bloom filter on a column with so many values in a row group, where it can write one."""
    if not _takes_bloom_filters():
        return {}
    return {"bloom_filter_options": {column: {"ndv": distinct, "fpp": _FALSE_POSITIVES}}}


def sorted_by_time(table: pa.Table) -> pa.Table:
    """The rows in the order of their times; rows of one time keep theirs."""
    times = table["time"].cast(pa.int64()).to_numpy()
    if len(times) < 2 or bool((times[1:] >= times[:-1]).all()):
        return table
    return table.take(pa.array(np.argsort(times, kind="stable"), pa.int64()))


def merged_tables(paths: Sequence[Path], starts: Sequence[int]) -> Iterator[pa.Table]:
    """The rows of some parts in the order of their times, read side by side in small batches. `starts` are the times
    at which the parts begin; a part is opened when the others have come so far."""
    waiting = sorted(zip(starts, paths, strict=True), reverse=True)
    running: list[_Run] = []
    while waiting or running:
        while waiting and (not running or waiting[-1][0] <= min(run.last for run in running)):
            run = _Run(waiting.pop()[1])
            running += [run] if run.load() else []
        if not running:
            continue
        watermark = min(run.last for run in running)
        pieces = [run.take_until(watermark) for run in running]
        running = [run for run in running if run.left() or run.load()]
        table = pa.concat_tables([piece for piece in pieces if piece.num_rows]).unify_dictionaries()
        yield sorted_by_time(table)


class _Run:
    """One part being read: a batch of rows, and the rest."""

    def __init__(self, path: Path) -> None:
        self._file: Any = pq.ParquetFile(path, page_checksum_verification=True)
        self._batches: Iterator[Any] = self._file.iter_batches(_MERGE_BATCH)
        self._table: pa.Table | None = None
        self._times: Any = np.zeros(0, np.int64)
        self._position = 0
        self.last = 0

    def load(self) -> bool:
        """The next batch; False at the end."""
        for batch in self._batches:
            if batch.num_rows:
                self._table = pa.Table.from_batches([batch])
                self._times = self._table["time"].cast(pa.int64()).to_numpy()
                self._position, self.last = 0, int(self._times[-1])
                return True
        self._file.close()
        return False

    def left(self) -> bool:
        return self._position < len(self._times)

    def take_until(self, time_ns: int) -> pa.Table:
        """The rows up to and with that time."""
        assert self._table is not None
        end = int(np.searchsorted(self._times, time_ns, side="right"))
        piece = self._table.slice(self._position, end - self._position)
        self._position = end
        return piece
