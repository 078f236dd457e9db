"""From the journal to Parquet: every row once, whatever dies in between, in few files that readers can rely on."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_requests import QUIET, SMALL, T0, WORKER, column, files, fill, logs, metrics, spans, stored

from aetia.model.stored import SIGNALS, STORED
from aetia.model.window import Window
from aetia.store import commits
from aetia.store.backend import ChangeRow
from aetia.store.catalog import Part
from aetia.store.commits import Commit
from aetia.store.compaction import HOUR_NS, compact, hour_folder, hours_of
from aetia.store.jobs import CompactJob
from aetia.store.layout import Layout
from aetia.store.merging import next_merge
from aetia.store.settings import Settings
from aetia.store.store import Store
from plainly import columns

NOW_HOUR = 500_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data", settings=QUIET) as opened:
        yield opened


def changed(settings: Settings, **values: object) -> Settings:
    return Settings(**{**{name: getattr(settings, name) for name in settings.__struct_fields__}, **values})


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# ---- what comes out --------------------------------------------------------------------------------------------


def test_rows_and_attributes_are_the_same_before_and_after(store: Store, tmp_path: Path) -> None:
    fill(store, range(20))
    store.append("spans", spans(30, exception=True)).result(5)
    store.append("logs", logs(1)).result(5)
    store.append("metrics", metrics(1)).result(5)
    store.append_changes([ChangeRow(time_ns=T0, kind="deploy", service="a", description=None)]).result(5)
    rows = store.stats().rows
    with store.reading() as snapshot:
        before = {name: snapshot.full(name, np.arange(rows[name])) for name in SIGNALS}
    store.compact()
    with store.reading() as snapshot:
        assert all(table.num_rows == 0 for table in snapshot.hot.values())
        after = {name: pa.concat_tables([pq.read_table(p.path) for p in snapshot.parts[name]]) for name in SIGNALS}
    assert store.stats().rows == rows
    for name in SIGNALS:
        assert after[name].schema.equals(STORED[name])
        expected = columns(before[name].sort_by("time"))
        assert columns(after[name]) == expected
    assert files(tmp_path / "data", "journal/*.seg") == []


def test_files_are_sorted_by_time_and_named_by_what_they_hold(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=changed(QUIET, row_group_rows=10)) as store:
        for number in (5, 1, 9, 3):
            store.append("spans", spans(number, 7)).result(5)
        store.compact()
        with store.reading() as snapshot:
            (part,) = snapshot.parts["spans"]
    assert part.path.relative_to(tmp_path).parts[:3] == ("spans", "2026-02-02", "02")
    with pq.ParquetFile(part.path) as file:
        times = file.read(["time"])["time"].cast(pa.int64()).to_pylist()
        groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        assert file.metadata.row_group(0).column(1).bloom_filter_length
    assert times == sorted(times) and (times[0], times[-1] + 1) == (part.start_ns, part.end_ns)
    assert groups == [10, 10, 8] and part.rows == 28 and part.bytes == part.path.stat().st_size


def test_rows_lie_in_the_hour_of_their_time(store: Store, tmp_path: Path) -> None:
    for hour in range(3):
        store.append("spans", spans(hour, at_ns=T0 + hour * HOUR_NS)).result(5)
    store.compact()
    hours = sorted(path.parent.name for path in files(tmp_path / "data", "spans/*/*/*.parquet"))
    assert hours == ["02", "03", "04"]
    with store.reading(Window(T0 + HOUR_NS, T0 + HOUR_NS + 10**9)) as snapshot:
        assert [part.rows for part in snapshot.parts["spans"]] == [4]


def test_absurd_times_do_not_make_thousands_of_folders(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=changed(QUIET, most_hours=3)) as store:
        far = [0, 10**15, T0 + 400 * 24 * HOUR_NS, 2**63 - 10**12]
        for number, at in enumerate([*far, *(T0 - hour * HOUR_NS for hour in range(20) for _ in range(hour))]):
            store.append("spans", spans(number, 1, at_ns=at)).result(5)
        rows = store.stats().rows["spans"]
        store.compact()
        assert len(files(tmp_path, "spans/*/*")) <= 3
        assert store.stats().rows["spans"] == rows and len(stored(store)) == rows
        with store.reading(Window(2**62, 2**63 - 1), ("spans",)) as snapshot:
            assert any(part.end_ns > 2**62 for part in snapshot.parts["spans"])


def test_hours_are_those_of_the_times_unless_these_cannot_be_meant() -> None:
    received = NOW_HOUR * HOUR_NS
    times = np.array([received, received - 5 * HOUR_NS, 0, received + 30 * HOUR_NS, -(2**63)], np.int64)
    assert hours_of(times, NOW_HOUR).tolist() == [NOW_HOUR, NOW_HOUR - 5, NOW_HOUR, NOW_HOUR, NOW_HOUR]
    assert hour_folder(0) == "1970-01-01/00"


# ---- death between the steps -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half_compacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a part of requests 0 to 5 and a segment of 6 to 11."""
    folder = tmp_path_factory.mktemp("store") / "data"
    with Store.open(folder, settings=QUIET) as store:
        fill(store, range(6))
        store.compact()
        fill(store, range(6, 12))
    return folder


class Interrupted:
    """A folder whose process died in the middle of a compaction: the worker's files are written, and no more."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        (self.segment,) = files(folder, "journal/*.seg")
        name = str(self.segment.relative_to(folder))
        size = self.segment.stat().st_size
        Path(folder, "tmp", "x").mkdir()
        outputs = compact(CompactJob(number=9, folder=str(folder), scratch="tmp/x", segment=name, length=size)).outputs
        self.commit = Commit(number=9, outputs=outputs, removed=(name,))

    def begun(self) -> None:
        commits.begin(self.layout, self.commit)

    def placed(self) -> None:
        self.begun()
        commits.place(self.layout, self.commit)

    def remembered(self) -> None:
        self.placed()
        commits.keep_digests(self.segment)

    def deleted(self) -> None:
        self.remembered()
        self.segment.unlink()

    def withdrawn(self) -> None:
        """The marker could neither be synced nor removed for good: it is back after a power failure."""
        self.begun()
        for output in self.commit.outputs:
            (self.layout.folder / output.scratch).unlink()

    def only_digests(self) -> None:
        commits.keep_digests(self.segment)

    def nothing(self) -> None: ...


STEPS = ("nothing", "only_digests", "begun", "placed", "remembered", "deleted", "withdrawn")


@pytest.mark.parametrize("step", STEPS)
def test_a_start_finishes_or_discards_what_was_interrupted(step: str, half_compacted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(half_compacted, folder)
    getattr(Interrupted(folder), step)()
    everything = dict.fromkeys(range(12), 4)
    if step != "withdrawn":
        with Store.open(folder, read_only=True) as reader:
            assert stored(reader) == everything
    with Store.open(folder, settings=QUIET) as store:
        assert stored(store) == everything
        assert store.append("spans", spans(8)).result(5).duplicate
        assert (store.stats().segments == 0) == (step in ("begun", "placed", "remembered", "deleted"))
        assert files(folder, "tmp/*") == files(folder, "commits/*") == []
        assert store.stats().problems == ()
        if step == "withdrawn":
            store.compact()
            assert stored(store) == everything


def test_a_worker_that_dies_is_started_again_and_ends_with_the_store(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=WORKER) as store:
        fill(store, range(3))
        store.compact()
        pid = store.stats().worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        fill(store, range(3, 6))
        store.compact()
        second = store.stats().worker_pid
        assert second not in (None, pid) and len(stored(store)) == 6
    assert not Path("/proc", str(second)).exists()


def test_a_segment_that_cannot_be_compacted_as_a_whole_keeps_its_promoted_columns(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=QUIET) as store:
        fill(store, range(3))
        (segment,) = store._catalog.segments()
        segment.attempts = 99
        store.compact()
        assert len(stored(store)) == 3
        assert any("without attributes" in problem for problem in store.stats().problems)
    assert len(files(tmp_path, "damaged/*.seg")) == 1


# ---- in the background -----------------------------------------------------------------------------------------


def test_segments_are_compacted_and_merged_while_requests_come(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=SMALL) as store:
        threads = [threading.Thread(target=fill, args=(store, range(first, first + 300), 3)) for first in (0, 300)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            counts = stored(store)  # at every moment each request is there as a whole or not at all
            assert set(counts.values()) <= {3}
        for thread in threads:
            thread.join()
        wait_for(lambda: store.stats().segments == 0)
        store.compact()
        assert stored(store) == dict.fromkeys(range(600), 3)
        assert len(files(tmp_path, "spans/*/*/*.parquet")) == store.stats().signals["spans"].parts == 1
        assert store.stats().background["merge"].rows >= 1800 and store.stats().failing == ""


def test_merging_keeps_rows_order_and_attributes(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=changed(QUIET, row_group_rows=16)) as store:
        for first in range(10):
            fill(store, range(first, 40, 10), 3)  # their times overlap
            if first != 5:
                store._writer.roll()  # type: ignore[union-attr]
        store.compact()
        with store.reading() as snapshot:
            (part,) = snapshot.parts["spans"]
            table = pq.read_table(part.path)
        times = table["time"].cast(pa.int64()).to_pylist()
        assert times == sorted(times) and set(stored(store).values()) == {3}
        requests = [int(one[:12], 16) - 1 for one in table["span_id"].to_pylist()]
        assert [int(dict(row)["request"]) for row in table["attributes"].to_pylist()] == requests


def test_the_files_of_a_snapshot_stay_while_it_is_open(store: Store, tmp_path: Path) -> None:
    for first in (0, 10):
        fill(store, range(first, first + 5))
        store._writer.roll()  # type: ignore[union-attr]
    context = store.reading()
    with store.reading() as hot:
        store._maintenance.drain(20)  # type: ignore[union-attr]
        assert len(column(hot, "spans", "span_id")) == 40
        assert len(hot.full("spans", np.arange(40))) == 40  # of segments that are deleted by now
    fill(store, range(20, 25))
    with context as before:
        store.compact()
        assert len(column(before, "spans", "span_id")) == 60
        assert len(files(tmp_path / "data", "commits/*")) >= 1
    assert files(tmp_path / "data", "commits/*") == []
    assert len(files(tmp_path / "data", "spans/*/*/*.parquet")) == 1
    assert len(stored(store)) == 15


def test_a_part_that_cannot_be_read_is_left_out_and_the_others_are_served(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=QUIET) as store:
        for hour in range(3):
            store.append("spans", spans(hour, at_ns=T0 + hour * HOUR_NS)).result(5)
        store.compact()
    broken = files(tmp_path, "spans/*/*/*.parquet")[1]
    broken.write_bytes(broken.read_bytes()[:-20])
    with Store.open(tmp_path, settings=QUIET) as store:
        assert stored(store) == {0: 4, 2: 4}
        assert [problem for problem in store.stats().problems if broken.name in problem]


def test_merging_finds_the_part_that_cannot_be_read(store: Store) -> None:
    fill(store, range(4))
    store.compact()
    with store.reading() as snapshot:
        (broken,) = snapshot.parts["spans"]
    raw = bytearray(broken.path.read_bytes())
    raw[40:60] = bytes(20)
    broken.path.write_bytes(raw)
    fill(store, [7])
    store.compact()
    assert stored(store) == {7: 4}
    assert any(broken.path.name in problem for problem in store.stats().problems)


# ---- which parts are merged ------------------------------------------------------------------------------------


def part(number: int, rows: int = 1000, *, hour: str = "2026-02-02/02", received_s: int = 0) -> Part:
    return Part(Path(f"{number}"), rows, number, number + 1, rows * 70, "spans", hour, number, received_s)


def test_parts_of_one_size_are_merged_when_they_are_many() -> None:
    limits = Settings()
    few, many = [part(number) for number in range(7)], [part(number) for number in range(8)]
    assert next_merge(few, (), limits, 10.0) == []
    assert next_merge(many, (), limits, 10.0) == many
    assert next_merge(many, (3,), limits, 10.0) == []
    assert next_merge([*few, part(9, 500_000)], (), limits, 10.0) == []
    assert next_merge([*few, part(9, hour="2026-02-02/03")], (), limits, 10.0) == []


def test_an_hour_that_is_over_is_merged_up_to_the_size_of_a_part() -> None:
    limits = Settings(part_rows=2500)
    few = [part(number) for number in range(5)]
    assert next_merge(few, (), limits, 1000.0) == few[:2]
    assert next_merge(few, (), limits, 10.0, eager=True) == few[:2]
    assert next_merge([part(1, 2000), part(2, 2000)], (), limits, 1000.0) == []
