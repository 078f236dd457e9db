"""Rollups: what is counted once of a part of spans, in a small Parquet file beside it, so that questions about many
spans need not read them.

A rollup lives and dies with its part and is never the truth: a part without one is read as rows, and the store makes
it when there is time. One file has several relations, each in row groups of its own, named by the column `relation`:

* `cells`: spans by service, name, kind, step of time (`bin`) and latency bucket; `totals`: the same without time
* `edges`: calls between services within the part, by step and bucket; `calls`: the same without time
* `traces`: one row per trace
* `keys`: keys of attributes
* `border`: spans of traces that lie in this part and in others of about the same time, of this part and of those
  (`part` says whose), from which calls between parts are found. Of two parts, the rollup that was made last has the
  spans of both.

Nothing is approximated except durations, which are kept as buckets of a twelfth of an octave.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from aetia.store.parquet import bloom_filter

pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet
SUFFIX = ".rollup1"
"""With the version of the format: a file of another version is deleted and made anew."""
_OTHER = ".rollup"
_GROUP_ROWS = 50_000

SCHEMA = pa.schema(
    [
        ("relation", pa.string()), ("part", pa.string()),
        ("bin", pa.int64()), ("service", pa.string()), ("name", pa.string()), ("kind", pa.string()),
        ("root", pa.bool_()), ("caller", pa.string()), ("callee", pa.string()), ("known", pa.bool_()),
        ("bucket", pa.int16()), ("n", pa.int32()), ("errors", pa.int32()),
        ("trace_id", pa.string()), ("first", pa.int64()), ("last", pa.int64()), ("ended", pa.int64()),
        ("spans", pa.int32()), ("services", pa.list_(pa.string())),
        ("rank", pa.struct([("child", pa.bool_()), ("t", pa.int64()), ("took", pa.int64()), ("id", pa.string())])),
        ("key", pa.string()),
        ("span_id", pa.string()), ("parent_span_id", pa.string()), ("peer", pa.string()), ("sent", pa.bool_()),
        ("t", pa.int64()),
    ]
)  # fmt: skip
RELATIONS: dict[str, tuple[str, ...]] = {
    "cells": ("bin", "service", "name", "kind", "root", "bucket", "n", "errors"),
    "totals": ("service", "name", "kind", "root", "bucket", "n", "errors"),
    "edges": ("bin", "caller", "callee", "known", "bucket", "n", "errors"),
    "calls": ("caller", "callee", "known", "bucket", "n", "errors"),
    "traces": ("trace_id", "first", "last", "ended", "spans", "errors", "services", "service", "name", "rank"),
    "keys": ("key",),
    "border": ("trace_id", "span_id", "parent_span_id", "service", "peer", "sent", "t", "bucket", "errors"),
}
"""Their columns; all have `relation` and `part` too."""
_REPEATED = [
    "relation", "part", "bin", "service", "name", "kind", "root", "caller", "callee", "known", "bucket", "n", "errors",
    "spans", "services.list.element", "key", "peer", "sent",
]  # fmt: skip
_TIMES = ["first", "last", "ended", "rank.t", "rank.took", "t"]


def rollup_of(part: Path) -> Path:
    """Where the rollup of a part lies, if it has one."""
    return part.with_suffix(SUFFIX)


def is_rollup(path: Path) -> bool:
    """Whether a file is a rollup, of whatever version."""
    return path.suffix.startswith(_OTHER)


class RollupWriter:
    """One rollup under construction. Raises OSError."""

    def __init__(self, path: Path, part: str) -> None:
        self._path = path
        self._part = part
        options: dict[str, Any] = {
            "compression": "zstd", "compression_level": 1, "use_dictionary": _REPEATED, "write_page_checksum": True,
            "column_encoding": dict.fromkeys(_TIMES, "DELTA_BINARY_PACKED"),
            **bloom_filter("trace_id", _GROUP_ROWS),
        }  # fmt: skip
        self._writer: Any = pq.ParquetWriter(path, SCHEMA, **options)

    def write(self, relation: str, table: pa.Table) -> None:
        """The rows of a relation, with its columns in any order; `part` is this one where it is not among them."""
        rows = table.num_rows
        if not rows:
            return
        fixed = {"relation": relation, "part": self._part}
        arrays: list[Any] = []
        for field in SCHEMA:
            if field.name in table.column_names:
                arrays.append(table[field.name].cast(field.type))
            elif field.name in fixed:
                arrays.append(pa.repeat(pa.scalar(fixed[field.name], field.type), rows))
            else:
                arrays.append(pa.nulls(rows, field.type))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), row_group_size=_GROUP_ROWS)

    def close(self) -> None:
        """Complete the file and make it durable."""
        self._writer.close()
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rollup_problem(path: Path, rows: int, *, deep: bool) -> str:
    """What is wrong with the rollup of a part with so many rows, or nothing. Raises what the reader raises."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        if not file.schema_arrow.equals(SCHEMA):
            return "has other columns than a rollup"
        if not deep:
            return ""
        counted = 0
        for batch in file.iter_batches():
            cells = pc.equal(batch.column("relation"), "cells")
            counted += pc.sum(batch.column("n").filter(cells)).as_py() or 0
    return "" if counted == rows else f"counts {counted:,} spans, its part has {rows:,}"
