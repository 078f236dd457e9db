"""Stored spans of the last half hour for detection after a restart: the columns that it needs, in order of time, and
never more than some hundred thousand rows in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pyarrow.parquet import read_table

from aetia.detect._live_entries import COLUMNS
from aetia.model.window import Window

if TYPE_CHECKING:
    from pathlib import Path

    from aetia.store.catalog import Snapshot

pc: Any = pyarrow.compute
log = logging.getLogger(__name__)
PIECE_ROWS = 150_000
MOST_ROWS = 6_000_000
"""A million takes two to four seconds of CPU time to read and to judge, and detection begins after it. It is half an
hour of 3,000 spans a second; for more there is the baseline that was saved."""
CELLS = 720


def recent(
    snapshot: Snapshot, window: Window, *, piece_rows: int = PIECE_ROWS, most_rows: int = MOST_ROWS
) -> Iterator[pa.Table]:
    """The spans of a window in pieces of about `piece_rows`; where there are more than `most_rows`, those of the latest
    time. A file that cannot be read is left out, with a line in the log."""
    parts, chunks = snapshot.parts["spans"], snapshot.chunks("spans")
    held = [(part.start_ns, part.end_ns, part.rows) for part in parts]
    held += [(chunk.start_ns, chunk.end_ns, chunk.table.num_rows) for chunk in chunks]
    damaged: set[Path] = set()
    for low, high in pairwise(_edges(held, window, piece_rows, most_rows)):
        time = pc.field("time")
        inside = (time >= _instant(low)) & (time < _instant(high))
        tables = [
            chunk.table.select(COLUMNS).filter(inside)
            for chunk in chunks if chunk.start_ns < high and low < chunk.end_ns
        ]  # fmt: skip
        for part in parts:
            if part.start_ns < high and low < part.end_ns and part.path not in damaged:
                try:
                    tables.append(read_table(part.path, columns=list(COLUMNS), filters=inside, use_threads=False))
                except (OSError, pa.ArrowException) as error:
                    damaged.add(part.path)
                    log.error("detection goes on without %s: %s", part.path, error)
        yield from _joined(tables)


def _joined(tables: list[pa.Table]) -> Iterator[pa.Table]:
    tables = [table for table in tables if table.num_rows]
    if tables:
        schema = tables[0].schema
        yield pa.concat_tables([table.cast(schema) for table in tables])


def _instant(time_ns: int) -> Any:
    return pa.scalar(time_ns, pa.timestamp("ns", "UTC"))


def _edges(held: list[tuple[int, int, int]], window: Window, piece_rows: int, most_rows: int) -> list[int]:
    """Times between which there are about `piece_rows`, as if the rows of each (start, end, rows) were spread evenly
    over its time."""
    cell = np.linspace(window.start_ns, window.end_ns, CELLS + 1).astype(np.int64)
    below = np.zeros(CELLS + 1)
    for start, end, rows in held:
        below += rows * np.clip((cell - start) / max(end - start, 1), 0.0, 1.0)
    first = int(np.searchsorted(below, below[-1] - most_rows))
    edges = [first]
    for at in range(first + 1, CELLS + 1):
        if below[at] - below[edges[-1]] > piece_rows and at - 1 > edges[-1]:
            edges.append(at - 1)
    return cell[[*edges, CELLS]].tolist()
