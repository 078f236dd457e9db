"""The embedded store's answers, over part files, hot rows, and any mix of the two."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from battery import CHECKS, EMPTY_CHECKS, Check
from checking import oracle
from store_requests import QUIET, T0, fill, logs, metrics
from stored_samples import Sample, empty, sample

from aetia.model.errors import StoreError
from aetia.model.stored import PROMOTED, SIGNALS, Signal
from aetia.model.window import Window
from aetia.store import _duck_cohorts
from aetia.store.backend import ChangeRow, Filter, Selection
from aetia.store.duck import DuckBackend
from aetia.store.store import Store
from plainly import rows

EVERYTHING = Window(0, 2**62)


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

    def exclude(self, path: Path, problem: str) -> None:
        self.parts = {
            signal: tuple(part for part in parts if part.path != path) for signal, parts in self.parts.items()
        }


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


@pytest.fixture(scope="module", params=["hot", "counted", "half-counted"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckBackend]:
    """The same rows as young parts, as hot rows, and counted, with and without younger ones beside them."""
    folder = tmp_path_factory.mktemp(request.param)
    parts, hot_share = {"hot": (0, 1.0), "counted": (7, 0.0)}.get(request.param, (4, 0.3))
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


# ---- on the real store ------------------------------------------------------------------------------------


def asked_of(backend: DuckBackend) -> list[Any]:
    """Answers to many questions about the requests of `store_requests`."""
    window = Window(T0 - 1, T0 + 10**9)
    by_attribute = (Filter(field="request", value="7"),)
    telemetry = backend.telemetry(window)
    return [
        backend.extents(), backend.services(window), backend.operations(window), backend.red(window, 10**10),
        backend.topology(window), backend.traces(window, limit=5), backend.traces(window, filters=by_attribute),
        backend.trace((8).to_bytes(16, "big").hex()), backend.logs(window, limit=7),
        backend.logs(window, filters=by_attribute), backend.bodies(window), backend.metric_names(window),
        backend.metric(window, "queue", step_ns=10**9), backend.changes(window), backend.attribute_keys(window),
        backend.attribute_keys(window, "logs"), backend.cohorts(Selection(window=window, service="svc-1")),
        {signal: sorted(map(str, rows(telemetry.table(signal)))) for signal in SIGNALS},
    ]  # fmt: skip


def test_answers_stay_as_rows_go_from_the_journal_to_counted_files(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data", settings=QUIET) as store:
        backend = DuckBackend(store, tmp_path / "data" / "cache.duckdb", background=False)
        fill(store, range(10))
        for number in range(10):
            store.append("logs", logs(number)).result(5)
            store.append("metrics", metrics(number)).result(5)
        change = ChangeRow(time_ns=T0, kind="deploy", service="svc-1", description="v2")
        store.append_changes([change]).result(5)
        hot = asked_of(backend)
        assert sum(row.requests for row in hot[1]) == 40
        assert [row.attributes for row in hot[7].rows] == [{"request": "7"}] * 4
        store.compact()
        in_files = asked_of(backend)
        assert backend.catch_up() > 0
        counted = asked_of(backend)
        backend.close()
    assert in_files == hot
    assert counted == hot


def test_a_file_that_cannot_be_read_is_left_out_and_the_rest_answers(tmp_path: Path) -> None:
    held = shelf(tmp_path, sample(), 4, 0.0)
    backend = DuckBackend(held, tmp_path / "cache.duckdb", background=False)
    broken = held.parts["spans"][1]
    broken.path.write_bytes(b"PAR1" + b"no such thing" * 100)
    rows = sum(operation.requests for operation in backend.operations(EVERYTHING, limit=10_000))
    assert rows == sample().tables["spans"].num_rows - broken.rows
    assert broken not in held.parts["spans"] and len(held.parts["spans"]) == 3
    backend.close()


def test_counting_goes_on_beside_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    held = shelf(tmp_path, sample(), 4, 0.0)
    held.parts["spans"][2].path.unlink()
    backend = DuckBackend(held, tmp_path / "cache.duckdb", background=False)
    assert backend.catch_up() == 3
    assert len(held.parts["spans"]) == 3
    backend.close()


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000], ids=["empty", "damaged"])
def test_a_cache_that_cannot_be_used_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    held = shelf(tmp_path, sample(), 2, 0.0)
    cache = tmp_path / "cache.duckdb"
    cache.write_bytes(content)
    backend = DuckBackend(held, cache, background=False)
    assert backend.catch_up() == 2
    expected = backend.services(EVERYTHING)
    backend.close()
    again = DuckBackend(held, cache, background=False)
    assert again.catch_up() == 0
    assert again.services(EVERYTHING) == expected
    again.close()


def test_files_are_counted_in_the_background(tmp_path: Path) -> None:
    held = shelf(tmp_path, sample(), 2, 0.0)
    with closing(DuckBackend(held, tmp_path / "cache.duckdb")) as backend:
        deadline = time.monotonic() + 20
        while backend.uncounted() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert backend.uncounted() == 0


def test_the_database_reads_no_other_file(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data", tmp_path / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    held = shelf(outside, sample(), 1, 0.0)
    with closing(DuckBackend(held, inside / "cache.duckdb", background=False)) as backend:
        with pytest.raises(StoreError, match="disabled by configuration"):
            backend.services(EVERYTHING)
        assert len(held.parts["spans"]) == 1


def test_many_threads_ask_at_once(tmp_path: Path) -> None:
    held = shelf(tmp_path, sample(), 3, 0.3)
    with closing(DuckBackend(held, tmp_path / "cache.duckdb")) as backend, ThreadPoolExecutor(6) as pool:
        window = sample().window
        expected = (backend.services(window), backend.topology(window), backend.traces(window))
        answers = [
            pool.submit(lambda: (backend.services(window), backend.topology(window), backend.traces(window)))
            for _ in range(12)
        ]
        assert all(answer.result(60) == expected for answer in answers)


def test_a_sample_of_a_long_comparison_is_where_the_selection_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_duck_cohorts, "MOST_SPANS", 2000)
    held = shelf(tmp_path, sample(), 4, 0.2)
    with closing(DuckBackend(held, tmp_path / "cache.duckdb", background=False)) as backend:
        whole = oracle(sample()).cohorts(Selection(window=sample().window, failed=True))
        got = backend.cohorts(Selection(window=sample().window, failed=True))
        assert got.truncated
        assert len(whole[0]) / 3 < got.inside <= len(whole[0])
        assert got.outside < len(whole[1]) * 0.7
