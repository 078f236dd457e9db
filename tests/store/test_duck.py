"""The embedded store's answers, over part files, hot rows, and any mix of the two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from battery import CHECKS, EMPTY_CHECKS, Check
from checking import oracle
from store_requests import QUIET, T0, fill, logs, metrics
from stored_samples import SECOND, Sample, empty, sample

from aetia.model.errors import StoreError
from aetia.model.stored import PROMOTED, SIGNALS, Signal
from aetia.model.window import Window
from aetia.store import _duck_cohorts
from aetia.store.backend import ChangeRow, Filter, Selection
from aetia.store.duck import DuckBackend
from aetia.store.parquet import PartWriter
from aetia.store.rolling import Rolled, Roller
from aetia.store.rollups import rollup_of
from aetia.store.store import Store
from plainly import rows

EVERYTHING = Window(0, 2**62)


@dataclass(frozen=True)
class FilePart:
    path: Path
    rows: int
    start_ns: int
    end_ns: int
    rollup: Path | None = None

    @property
    def rolled(self) -> Rolled:
        return Rolled(self.path.stem, self.path, rollup_of(self.path), self.start_ns, self.end_ns)


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
            signal: tuple(
                replace(part, rollup=None) if part.rollup == path else part for part in parts if part.path != path
            )
            for signal, parts in self.parts.items()
        }

    def roll_up(self, chosen: slice = slice(None)) -> None:
        """Make the rollups of some parts of spans, one after the other."""
        done: list[Rolled] = []
        with closing(Roller(self.folder, self.folder / "spill")) as roller:
            for part in self.parts["spans"][chosen]:
                near = [other for other in done if other.is_near(part.start_ns, part.end_ns)]
                roller.of_rows(part.path, rollup_of(part.path), part.path.stem, near)
                done.append(part.rolled)
        self.parts["spans"] = tuple(
            replace(part, rollup=rollup_of(part.path) if part.rolled in done else None) for part in self.parts["spans"]
        )

    def merge(self, first: int, last: int) -> None:
        """Make one of the parts of spans from `first` to `last`, and its rollup from theirs."""
        parts = self.parts["spans"]
        merged, others = parts[first : last + 1], [*parts[:first], *parts[last + 1 :]]
        path = self.folder / f"spans-{first}-{last}.parquet"
        part = write_part(path, pa.concat_tables([pq.read_table(one.path) for one in merged]).unify_dictionaries())
        near = [one.rolled for one in others if one.rollup and one.rolled.is_near(part.start_ns, part.end_ns)]
        with closing(Roller(self.folder, self.folder / "spill")) as roller:
            roller.of_rollups([one.rolled for one in merged], rollup_of(path), path.stem, near)
        for one in merged:
            one.path.unlink()
            rollup_of(one.path).unlink()
        self.parts["spans"] = (*parts[:first], replace(part, rollup=rollup_of(path)), *parts[last + 1 :])


def write_part(path: Path, table: pa.Table) -> FilePart:
    writer = PartWriter(path, cast(Signal, path.name.partition("-")[0]), row_group_rows=100)
    writer.write(table.sort_by("time"))
    writer.close()
    return FilePart(path, writer.rows, writer.start_ns, writer.end_ns)


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


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DuckBackend]]:
    """The same rows as hot rows, as parts of which every second has a rollup, and as parts merged from others; but for
    the first with some rows hot."""
    made: dict[str, DuckBackend] = {}
    for storage, parts, hot_share in (("hot", 0, 1.0), ("half-rolled", 6, 0.3), ("merged", 9, 0.2)):
        folder = tmp_path_factory.mktemp(storage)
        held = shelf(folder, sample(), parts, hot_share)
        if storage == "half-rolled":
            held.roll_up(slice(None, None, 2))
        elif storage == "merged":
            held.roll_up()
            for first, last in ((5, 7), (1, 2), (1, 3)):
                held.merge(first, last)
        made[storage] = DuckBackend(held, folder, folder / "spill")
    yield made
    for backend in made.values():
        backend.close()


def named(check: Callable[..., None]) -> str:
    return check.__name__


OF_POINTS = ("metrics_are_listed", "metrics_are_aggregated_on_a_grid", "changes_come_in_order")
"""Checks that ask about spans in no way: what has a rollup is one to them with what has none."""
ASKED = [
    pytest.param(storage, check, id=f"{storage}-{named(check)}")
    for storage in ("hot", "half-rolled", "merged") for check in CHECKS
    if storage != "merged" or named(check) not in OF_POINTS
]  # fmt: skip


def test_every_check_of_points_is_there() -> None:
    assert set(OF_POINTS) < {named(check) for check in CHECKS}


@pytest.mark.parametrize(("storage", "check"), ASKED)
def test_answers_are_those_of_a_plain_reading(storage: str, check: Check, backends: dict[str, DuckBackend]) -> None:
    check(backends[storage], sample())


@pytest.mark.parametrize("check", EMPTY_CHECKS, ids=named)
def test_an_empty_store_answers(check: Check, tmp_path: Path) -> None:
    backend = DuckBackend(shelf(tmp_path, empty(), 0, 1.0), tmp_path)
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
        backend.logs(window, filters=by_attribute), backend.shapes(window, SECOND).rows, backend.metric_names(window),
        backend.metric(window, "queue", step_ns=10**9), backend.changes(window), backend.attribute_keys(window),
        backend.attribute_keys(window, "logs"), backend.cohorts(Selection(window=window, service="svc-1")),
        {signal: sorted(map(str, rows(telemetry.table(signal)))) for signal in SIGNALS},
    ]  # fmt: skip


def test_answers_stay_as_rows_go_from_the_journal_to_files_with_rollups(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data", settings=QUIET) as store:
        backend = DuckBackend(store, tmp_path / "data")
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
        with store.reading(None, ("spans",)) as snapshot:
            rollups = [part.rollup for part in snapshot.parts["spans"]]
        rolled = asked_of(backend)
        for rollup in rollups:
            assert rollup is not None
            store.exclude(rollup, "not wanted")
        in_files = asked_of(backend)
        backend.close()
    assert rollups
    assert rolled == hot
    assert in_files == hot


def test_a_file_that_cannot_be_read_is_left_out_and_the_rest_answers(tmp_path: Path) -> None:
    held = shelf(tmp_path, sample(), 4, 0.0)
    backend = DuckBackend(held, tmp_path)
    broken = held.parts["spans"][1]
    broken.path.write_bytes(b"PAR1" + b"no such thing" * 100)
    rows = sum(operation.requests for operation in backend.operations(EVERYTHING, limit=10_000))
    assert rows == sample().tables["spans"].num_rows - broken.rows
    assert broken not in held.parts["spans"] and len(held.parts["spans"]) == 3
    backend.close()


@pytest.mark.parametrize("content", [None, b"", b"PAR1" + b"no such thing" * 100], ids=["gone", "empty", "damaged"])
def test_a_rollup_that_cannot_be_read_is_left_out_and_the_answer_is_the_same(
    tmp_path: Path, content: bytes | None
) -> None:
    held = shelf(tmp_path, sample(), 3, 0.0)
    held.roll_up()
    with closing(DuckBackend(held, tmp_path)) as backend:
        expected = backend.services(EVERYTHING)
    broken = held.parts["spans"][1]
    assert broken.rollup is not None
    broken.rollup.unlink() if content is None else broken.rollup.write_bytes(content)
    with closing(DuckBackend(held, tmp_path)) as backend:
        assert backend.services(EVERYTHING) == expected
    assert [part.rollup is None for part in held.parts["spans"]] == [False, True, False]


def test_the_database_reads_no_other_file(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data", tmp_path / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    held = shelf(outside, sample(), 1, 0.0)
    with closing(DuckBackend(held, inside)) as backend:
        with pytest.raises(StoreError, match="disabled by configuration"):
            backend.services(EVERYTHING)
        assert len(held.parts["spans"]) == 1


def test_many_threads_ask_at_once(tmp_path: Path) -> None:
    held = shelf(tmp_path, sample(), 3, 0.3)
    held.roll_up()
    with closing(DuckBackend(held, tmp_path)) as backend, ThreadPoolExecutor(6) as pool:
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
    monkeypatch.setattr(_duck_cohorts, "MOST_SPANS", 1100)
    monkeypatch.setattr(_duck_cohorts, "WORK", 5000)
    held = shelf(tmp_path, sample(), 4, 0.2)
    with closing(DuckBackend(held, tmp_path)) as backend:
        whole = oracle(sample()).cohorts(Selection(window=sample().window, failed=True))
        got = backend.cohorts(Selection(window=sample().window, failed=True))
        assert got.truncated
        assert len(whole[0]) / 3 < got.inside <= len(whole[0])
        assert got.outside < len(whole[1]) * 0.7
        assert 0 < got.looked_at < 0.7
