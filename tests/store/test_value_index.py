"""The index of attribute values in a part: it never hides a row, stays small, and spares reading."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_requests import QUIET, T0, fill

from aetia.model.stored import SPANS
from aetia.model.window import Window
from aetia.store import _duck_newest
from aetia.store.backend import Filter
from aetia.store.catalog import Part
from aetia.store.duck import DuckBackend
from aetia.store.parquet import PartWriter
from aetia.store.store import Snapshot, Store
from aetia.store.value_index import KEY, index_of, sought, text_hashes

WINDOW = Window(T0 - 1, T0 + 10**12)


def part(path: Path, attributes: Sequence[dict[str, str]], *, rows: int, times: Any = None) -> Path:
    """A part of spans, one trace each, that have these attributes."""
    count = len(attributes)
    times = T0 + np.arange(count) * 10**6 if times is None else times
    columns: dict[str, Any] = {name: pa.nulls(count, SPANS.field(name).type) for name in SPANS.names}
    columns["time"] = pa.array(times, pa.int64()).cast(SPANS.field("time").type)
    columns["trace_id"] = pa.array([f"{number:032x}" for number in range(count)])
    columns["attributes"] = pa.array([list(one.items()) for one in attributes], SPANS.field("attributes").type)
    writer = PartWriter(path, "spans", rows)
    table = pa.table(columns, schema=SPANS)
    for first in range(0, count, 300):
        writer.write(table.slice(first, 300))
    writer.close()
    return path


def texts(count: int, seed: int, longest: int = 90) -> list[str]:
    draw = random.Random(seed)
    letters = string.printable + "äß字🙂\x00"
    return ["".join(draw.choices(letters, k=draw.randrange(longest))) for _ in range(count)]


def test_hashes_depend_on_the_text_alone() -> None:
    words = [*texts(2000, 1), "", "a" * 31, "a" * 32, "a" * 33, "a" * 500, "b" + "a" * 499, "a" * 499 + "b"]
    together = text_hashes(pa.array(words))
    assert len(set(together.tolist())) == len(set(words))
    shuffled = list(range(len(words)))
    random.Random(2).shuffle(shuffled)
    assert text_hashes(pa.array([words[n] for n in shuffled])).tolist() == together[shuffled].tolist()
    assert [int(text_hashes(pa.array([word]))[0]) for word in words[:200]] == together[:200].tolist()
    assert text_hashes(pa.array(words).slice(7, 50)).tolist() == together[7:57].tolist()


def test_no_row_group_is_denied_that_holds_the_value(tmp_path: Path) -> None:
    keys, values = texts(40, 3, 20), texts(3000, 4)
    draw = random.Random(5)
    rows = [{draw.choice(keys): draw.choice(values) for _ in range(draw.randrange(6))} for _ in range(1000)]
    index = index_of(part(tmp_path / "a.parquet", rows, rows=128))
    assert index is not None and len(index.bits) == 8
    for number, row in enumerate(rows):
        for key, value in row.items():
            both = sought([(key, value), (key, None)])
            assert index.may_hold(both)[number // 128]
    no = [index.may_hold(sought([(keys[0], f"none {number}")])).mean() for number in range(500)]
    assert np.mean(no) < 0.04
    assert not index.may_hold(sought([("no such key", None)])).all()


def test_the_file_is_as_readable_as_without_and_hardly_larger(tmp_path: Path) -> None:
    rows = [{f"unique {place}": f"{number:012x}" for place in range(20)} for number in range(2000)]
    path = part(tmp_path / "a.parquet", rows, rows=512)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [512, 512, 512, 464]
    table = pq.read_table(path, page_checksum_verification=True)
    assert [dict(one) for one in table["attributes"].to_pylist()] == rows
    offset, length = map(int, metadata.metadata[KEY].split()[1:3])
    assert length < path.stat().st_size * 0.06 and offset + length < path.stat().st_size


@pytest.mark.parametrize("damage", ["flipped", "version", "none"])
def test_an_index_that_cannot_be_used_is_not_used(tmp_path: Path, damage: str) -> None:
    path = part(tmp_path / "a.parquet", [{"a": "b"}] * 10, rows=100)
    content = path.read_bytes()
    stated = pq.read_metadata(path).metadata[KEY]
    if damage == "flipped":
        at = int(stated.split()[1]) + 45
        content = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    elif damage == "version":
        content = content.replace(stated, b"9" + stated[1:])
    else:
        content = content.replace(KEY, b"other.values")
    other = tmp_path / "b.parquet"
    other.write_bytes(content)
    assert pq.read_table(other).num_rows == 10
    assert index_of(other) is None
    assert index_of(path) is not None


class Shelf:
    """Parts as what a store holds."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.parts: list[Part] = []
        for path in paths:
            times = pq.read_table(path, columns=["time"])["time"].cast(pa.int64()).to_numpy()
            self.parts.append(Part(path, len(times), int(times[0]), int(times[-1]) + 1, 0))

    def backend(self, folder: Path) -> DuckBackend:
        return DuckBackend(_Reading(self.parts), folder)


class _Reading:
    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def reading(self, window: Window | None = None, signals: Sequence[str] = ()) -> Any:
        snapshot = Snapshot(dict.fromkeys(signals, ()), {name: tuple(self._parts) for name in signals}, None)  # type: ignore[arg-type]
        return _Context(snapshot)

    def exclude(self, path: Path, problem: str) -> None:
        raise AssertionError(problem)


class _Context:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __enter__(self) -> Snapshot:
        return self._snapshot

    def __exit__(self, *_: object) -> None:
        pass


def found(backend: DuckBackend, key: str, value: str, **more: Any) -> list[int]:
    filters = (Filter(field=key, value=value),)
    return sorted(int(row.trace_id, 16) for row in backend.traces(WINDOW, filters=filters, limit=10_000, **more).rows)


def test_rows_of_one_time_on_both_sides_of_a_cut_are_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_duck_newest, "STEP_ROWS", 8)
    draw = np.random.default_rng(1)
    for round_ in range(6):
        times = T0 + np.sort(draw.integers(0, 25, 300))
        rows = [{"few": str(number % 3), "rare": str(number // 90), "one": str(number)} for number in range(300)]
        folder = tmp_path / str(round_)
        folder.mkdir()
        shelf = Shelf([part(folder / "a.parquet", rows, rows=8, times=times)])
        with closing(shelf.backend(folder)) as backend:
            for key, value in (("few", "1"), ("rare", "2"), ("one", "77"), ("one", "no")):
                expected = [number for number, row in enumerate(rows) if row[key] == value]
                assert found(backend, key, value) == expected
                assert found(backend, key, value, order="slowest") == expected
            pages: list[int] = []
            cursor = ""
            while cursor or not pages:
                page = backend.traces(WINDOW, filters=(Filter(field="few", value="2"),), limit=9, cursor=cursor)
                pages += [int(row.trace_id, 16) for row in page.rows]
                cursor = page.cursor
            assert sorted(pages) == list(range(2, 300, 3))


def test_a_value_that_is_in_one_row_group_reads_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[float] = []
    steps = _duck_newest.newest_first

    def counting(*given: Any, **named: Any) -> Any:
        for step in steps(*given, **named):
            read.append(step.read)
            yield step

    monkeypatch.setattr("aetia.store._duck_traces.newest_first", counting)
    rows = [{"id": f"{number:x}", "kind": "any"} for number in range(4000)]
    paths = [part(tmp_path / f"{n}.parquet", rows[n * 2000 : n * 2000 + 2000], rows=100) for n in range(2)]
    with closing(Shelf(paths).backend(tmp_path)) as backend:
        assert found(backend, "id", "none such") == []
        assert sum(read) <= 400
        read.clear()
        assert len(found(backend, "id", f"{1234:x}")) == 1
        assert 100 <= sum(read) <= 500


def test_parts_that_are_compacted_and_merged_have_an_index(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=QUIET) as store:
        fill(store, range(5))
        store.compact()
        fill(store, range(5, 9))
        store.compact()
        with store.reading() as snapshot:
            (only,) = snapshot.parts["spans"]
            index = index_of(only.path)
    assert index is not None
    assert all(index.may_hold(sought([("request", str(number))])).any() for number in range(9))
