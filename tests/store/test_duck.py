"""The embedded store's answers, over part files, hot rows, and any mix of the two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from battery import CHECKS, EMPTY_CHECKS, Check
from stored_samples import Sample, empty, sample

from aetia.model.stored import PROMOTED, SIGNALS, Signal
from aetia.model.window import Window
from aetia.store.duck import DuckBackend


@dataclass(frozen=True)
class FilePart:
    path: Path
    rows: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Held:
    """A snapshot over real part files and tables."""

    tables: dict[Signal, pa.Table]
    parts: dict[Signal, tuple[FilePart, ...]]

    @property
    def hot(self) -> dict[Signal, pa.Table]:
        return {signal: table.select(list(PROMOTED[signal])) for signal, table in self.tables.items()}

    def full(self, signal: Signal, rows: Any) -> pa.Table:
        return self.tables[signal].take(pa.array(rows))


class Shelf:
    """What `Store.reading` gives, with the rows put where a test wants them."""

    def __init__(self, folder: Path, parts: dict[Signal, list[pa.Table]], hot: dict[Signal, pa.Table]) -> None:
        self.folder = folder
        self.hot = hot
        self.parts: dict[Signal, tuple[FilePart, ...]] = {
            signal: tuple(write_part(folder / f"{signal}-{n}.parquet", table) for n, table in enumerate(tables))
            for signal, tables in parts.items()
        }

    @contextmanager
    def reading(self, window: Window | None = None, signals: Sequence[Signal] = SIGNALS) -> Generator[Held]:
        yield Held({signal: self.hot[signal] for signal in signals}, {signal: self.parts[signal] for signal in signals})


def write_part(path: Path, table: pa.Table) -> FilePart:
    table = table.sort_by("time")
    pq.write_table(table, path, compression="zstd", row_group_size=1000)
    times = table["time"].cast(pa.int64()).to_numpy()
    return FilePart(path, table.num_rows, int(times[0]), int(times[-1]) + 1)


def shelf(folder: Path, rows: Sample, parts: int, hot_share: float) -> Shelf:
    """`parts` files in the order of arrival, and the last `hot_share` of the rows in memory."""
    files: dict[Signal, list[pa.Table]] = {}
    hot: dict[Signal, pa.Table] = {}
    for signal in SIGNALS:
        table = rows.tables[signal]
        stored = round(table.num_rows * (1 - hot_share))
        cuts = np.linspace(0, stored, parts + 1).astype(int) if parts else np.array([0])
        files[signal] = [table.slice(a, b - a) for a, b in itertools.pairwise(cuts) if b > a]
        hot[signal] = table.slice(int(cuts[-1]))
    return Shelf(folder, files, hot)


@pytest.fixture(scope="module", params=["parts", "hot", "mixed", "counted", "half-counted"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckBackend]:
    """The same rows as young parts, as hot rows, and counted, with and without younger ones beside them."""
    folder = tmp_path_factory.mktemp(request.param)
    parts, hot_share = {"parts": (5, 0.0), "hot": (0, 1.0), "counted": (7, 0.0)}.get(request.param, (4, 0.3))
    held = shelf(folder, sample(), parts, hot_share)
    backend = DuckBackend(held, folder / "cache.duckdb", background=False)
    every = held.parts["spans"]
    if request.param == "half-counted":
        held.parts["spans"] = every[::2]
    if request.param.endswith("counted"):
        assert backend.catch_up() == len(held.parts["spans"])
    held.parts["spans"] = every
    yield backend
    backend.close()


def named(check: Callable[..., None]) -> str:
    return check.__name__


@pytest.mark.parametrize("check", CHECKS, ids=named)
def test_answers_are_those_of_a_plain_reading(check: Check, filled: DuckBackend) -> None:
    check(filled, sample())


@pytest.mark.parametrize("check", EMPTY_CHECKS, ids=named)
def test_an_empty_store_answers(check: Check, tmp_path: Path) -> None:
    backend = DuckBackend(shelf(tmp_path, empty(), 0, 1.0), tmp_path / "cache.duckdb")
    check(backend, empty())
    backend.close()
