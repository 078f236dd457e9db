"""Stored spans are read again in small pieces, each once and in order of time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aetia.detect._live_entries import COLUMNS
from aetia.model.stored import SPANS
from aetia.model.window import Window
from aetia.serve.history import recent

S = 1_000_000_000
WINDOW = Window(1_790_000_000 * S, 1_790_001_800 * S)


def rows(low: int, high: int) -> pa.Table:
    """Ten spans a second from `low` to `high` seconds after the window's start."""
    time = np.arange(WINDOW.start_ns + low * S, WINDOW.start_ns + high * S, S // 10)
    columns = [pa.array(time).cast(f.type) if f.name == "time" else pa.nulls(len(time), f.type) for f in SPANS]
    return pa.Table.from_arrays(columns, schema=SPANS)


def held(folder: Path) -> SimpleNamespace:
    """Two files that overlap, and hot rows after them."""
    parts = []
    for number, (low, high) in enumerate(((-60, 900), (600, 1500))):
        path = folder / f"{number}.parquet"
        pq.write_table(rows(low, high), path, row_group_size=1000)
        parts.append(SimpleNamespace(path=path, start_ns=WINDOW.start_ns + low * S, end_ns=WINDOW.start_ns + high * S,
                                     rows=(high - low) * 10))  # fmt: skip
    hot = SimpleNamespace(
        table=rows(1500, 1700), start_ns=WINDOW.start_ns + 1500 * S, end_ns=WINDOW.start_ns + 1700 * S
    )
    return SimpleNamespace(parts={"spans": tuple(parts)}, chunks=lambda signal: (hot,))


def times(table: pa.Table) -> np.ndarray:
    return table["time"].cast(pa.int64()).to_numpy()


def test_every_span_of_the_window_comes_once_in_pieces_of_bounded_size(tmp_path: Path) -> None:
    pieces = list(recent(held(tmp_path), WINDOW, piece_rows=1000))  # type: ignore[arg-type]
    assert sum(piece.num_rows for piece in pieces) == 9000 + 9000 + 2000
    assert max(piece.num_rows for piece in pieces) <= 1100
    assert all(set(piece.column_names) == set(COLUMNS) for piece in pieces)
    spans = [(times(piece).min(), times(piece).max()) for piece in pieces]
    assert all(one[1] < other[0] for one, other in pairwise(spans))


def test_where_there_are_too_many_the_latest_come(tmp_path: Path) -> None:
    pieces = list(recent(held(tmp_path), WINDOW, piece_rows=1000, most_rows=3000))  # type: ignore[arg-type]
    assert 2900 <= sum(piece.num_rows for piece in pieces) <= 3000
    assert times(pieces[-1]).max() == WINDOW.start_ns + 1700 * S - S // 10


def test_a_damaged_file_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = held(tmp_path)
    snapshot.parts["spans"][0].path.write_bytes(b"no parquet")
    assert sum(piece.num_rows for piece in recent(snapshot, WINDOW)) == 9000 + 2000  # type: ignore[arg-type]
    assert len(caplog.records) == 1 and "0.parquet" in caplog.text
