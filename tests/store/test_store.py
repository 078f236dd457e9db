"""The store as its users see it: durable and queryable when the future ends, whatever comes and whatever breaks."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_requests import QUIET, T0, files, fill, logs, metrics, spans, stored

from aetia.model.errors import IngestError, StoreCorrupt, StoreError, StoreFull, UsageError
from aetia.model.window import Window
from aetia.store import layout
from aetia.store.backend import ChangeRow
from aetia.store.journal import digest_of
from aetia.store.segments import SegmentFile
from aetia.store.settings import Settings
from aetia.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data", settings=QUIET) as opened:
        yield opened


def changed(settings: Settings, **values: object) -> Settings:
    return Settings(**{**{name: getattr(settings, name) for name in settings.__struct_fields__}, **values})


# ---- appending -------------------------------------------------------------------------------------------------


def test_what_is_acknowledged_can_be_queried_at_once(store: Store) -> None:
    change = ChangeRow(time_ns=T0, kind="deploy", service="svc-1", description="v2")
    receipts = [
        store.append("spans", spans(1, exception=True)).result(5), store.append("logs", logs(1)).result(5),
        store.append("metrics", metrics(1)).result(5), store.append_changes([change]).result(5),
    ]  # fmt: skip
    assert [receipt.rows for receipt in receipts] == [4, 3, 2, 1]
    with store.reading() as snapshot:
        rows = {signal: table.num_rows for signal, table in snapshot.hot.items()}
        bodies = snapshot.hot["logs"]["body"].to_pylist()
    assert rows == {"spans": 4, "logs": 4, "metrics": 2, "changes": 1}  # the exception is a log line
    assert "Boom: in 1" in bodies
    assert store.stats().rows == rows


def test_a_window_leaves_out_what_lies_elsewhere(store: Store) -> None:
    store.append("spans", spans(1)).result(5)
    store.append("spans", spans(2, at_ns=T0 + 10**12)).result(5)
    with store.reading(Window(T0, T0 + 10**9), ("spans",)) as snapshot:
        assert snapshot.hot["spans"].num_rows == 4
    with store.reading(Window(T0 - 10**9, T0)) as snapshot:
        assert snapshot.hot["spans"].num_rows == 0 and snapshot.hot["spans"].column_names[0] == "time"


def test_a_request_that_cannot_be_parsed_fails_alone(store: Store) -> None:
    futures = [store.append("spans", body) for body in (spans(1), b"\xff\xff\xff", spans(2))]
    with pytest.raises(IngestError):
        futures[1].result(5)
    with pytest.raises(IngestError, match="changes"):
        store.append("changes", b'{"no": "array"}').result(5)
    assert futures[0].result(5).rows == futures[2].result(5).rows == 4
    assert stored(store) == {1: 4, 2: 4}


def test_rejected_items_are_counted(store: Store) -> None:
    receipt = store.append("spans", spans(-1)).result(5)  # a trace id of zeros is none
    assert (receipt.rows, receipt.rejected) == (0, 4) and receipt.reason
    assert stored(store) == {}


def test_attributes_of_hot_rows_come_from_the_journal(store: Store) -> None:
    for number in range(40):  # small batches, which are merged in memory
        store.append("spans", spans(number, 2, exception=number == 7)).result(5)
        store.append("logs", logs(number, 1)).result(5)
    with store.reading() as snapshot:
        assert len(snapshot.chunks("spans")) < 40
        table = snapshot.full("spans", np.array([3, 4, 77]))
        hot = snapshot.hot["logs"]["body"].to_pylist()
        lines = snapshot.full("logs", np.arange(len(hot)))
        raw = list(snapshot.raw("metrics"))
    assert [dict(row)["request"] for row in table["attributes"].to_pylist()] == ["1", "2", "38"]
    assert lines["body"].to_pylist() == hot
    exception = dict(lines["attributes"][hot.index("Boom: in 7")].as_py())
    assert exception["exception.message"] == "in 7"
    assert raw == []


def test_subscribers_get_each_durable_batch_and_may_fail(store: Store) -> None:
    got: list[tuple[str, int]] = []

    def broken(signal: str, table: object) -> None:
        raise RuntimeError(signal)

    store.subscribe(broken)
    end = store.subscribe(lambda signal, table: got.append((signal, table.num_rows)))
    store.append("spans", spans(1, exception=True)).result(5)
    store.append("metrics", metrics(1)).result(5)
    store.append("spans", spans(2)).result(5)  # the callbacks of the metrics are over
    end()
    assert got[:3] == [("spans", 4), ("logs", 1), ("metrics", 2)]


def test_an_event_loop_and_threads_append_together(store: Store) -> None:
    async def client(first: int) -> int:
        futures = [asyncio.wrap_future(store.append("spans", spans(first + number))) for number in range(20)]
        return sum(receipt.rows for receipt in await asyncio.gather(*futures))

    def other(first: int) -> None:
        fill(store, range(first, first + 20))

    threads = [threading.Thread(target=other, args=(first,)) for first in (100, 200)]
    for thread in threads:
        thread.start()
    assert asyncio.run(client(0)) == 80
    for thread in threads:
        thread.join()
    assert len(stored(store)) == 60


# ---- retries ---------------------------------------------------------------------------------------------------


def test_a_request_that_comes_again_is_stored_once(store: Store, tmp_path: Path) -> None:
    body = spans(1)
    together = [store.append("spans", body) for _ in range(3)]
    assert sorted(future.result(5).duplicate for future in together) == [False, True, True]
    assert store.append("spans", body).result(5).duplicate
    assert not store.append("logs", logs(1)).result(5).duplicate
    store.close()
    with Store.open(tmp_path / "data", settings=QUIET) as again:
        assert again.append("spans", body).result(5).duplicate
        again.compact()
        assert again.append("spans", body).result(5).duplicate
    with Store.open(tmp_path / "data", settings=QUIET) as again:
        assert again.append("spans", body).result(5).duplicate
        assert stored(again) == {1: 4}


def test_what_was_journaled_but_never_answered_is_a_repetition(store: Store, tmp_path: Path) -> None:
    """The process died between the fsync and the answer; the same request may even be there twice."""
    store.append("spans", spans(1)).result(5)
    store.close()
    body = spans(2)
    for number in (50, 51):
        file = SegmentFile.create(tmp_path / "data" / "journal", number)
        file.append([("spans", "protobuf", time.time_ns(), digest_of("spans", body), body)] * 2)
    with Store.open(tmp_path / "data", settings=QUIET) as again:
        assert again.append("spans", body).result(5).duplicate
        assert stored(again) == {1: 4, 2: 4}
        again.compact()
        assert stored(again) == {1: 4, 2: 4}


def test_a_request_that_failed_is_not_remembered(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(IngestError):
            store.append("spans", b"\xff\xff\xff").result(5)


# ---- back-pressure ---------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_loses_nothing(tmp_path: Path) -> None:
    bodies = [spans(number) for number in range(200)]
    size = len(bodies[0]) + 100
    with Store.open(tmp_path, settings=changed(QUIET, queue_bytes=20 * size, group_bytes=1)) as store:
        gate = threading.Event()
        store.subscribe(lambda signal, table: gate.wait(10) and None)
        taken = []
        with pytest.raises(StoreFull, match="queue") as refused:
            for number, body in enumerate(bodies):
                taken.append((number, store.append("spans", body)))
        assert refused.value.retry_after_s > 0 and refused.value.full == "queue" and len(taken) < 60
        gate.set()
        assert all(future.result(10).rows == 4 for _, future in taken)
        assert stored(store) == {number: 4 for number, _ in taken}
        with pytest.raises(UsageError, match="larger than the queue"):
            store.append("spans", bytes(30 * size))


def test_a_store_whose_compaction_is_behind_refuses(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=changed(QUIET, hot_bytes=2000)) as store:
        with pytest.raises(StoreFull, match="behind"):
            fill(store, range(50))
        store.compact()
        fill(store, range(60, 61))


def test_many_small_requests_weigh_more_than_their_bytes(tmp_path: Path) -> None:
    """A start reads them again one by one."""
    with Store.open(tmp_path, settings=changed(QUIET, hot_bytes=1 << 20)) as store:
        with pytest.raises(StoreFull, match="behind"):
            for first in range(0, 5000, 50):
                fill(store, range(first, first + 50), 1)
        assert store.stats().journal_bytes < 1 << 18


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.append("spans", spans(1))


# ---- versions --------------------------------------------------------------------------------------------------


def test_a_later_version_is_refused_and_an_older_one_migrated(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    identity = tmp_path / "data" / "store.json"
    assert json.loads(identity.read_bytes())["schema"] == 1
    identity.write_text('{"schema": 99}')
    with pytest.raises(StoreError, match=r"later version .*update Aetia"):
        Store.open(tmp_path / "data")
    identity.write_text('{"schema": 0}')
    with pytest.raises(StoreError, match="too old"):
        Store.open(tmp_path / "data")
    monkeypatch.setitem(layout.MIGRATIONS, 0, lambda folder: (folder / "moved").touch())
    Store.open(tmp_path / "data", settings=QUIET).close()
    assert (tmp_path / "data" / "moved").exists() and json.loads(identity.read_bytes())["schema"] == 1
    identity.write_text("no json")
    with pytest.raises(StoreCorrupt, match=r"store\.json"):
        Store.open(tmp_path / "data")


# ---- a damaged journal -----------------------------------------------------------------------------------------


def damaged_copy(folder: Path, start: int, replacement: bytes, *, cut: bool = False) -> Path:
    (segment,) = files(folder, "journal/*.seg")
    raw = bytearray(segment.read_bytes())
    raw[start : len(raw) if cut else start + len(replacement)] = replacement
    segment.write_bytes(raw)
    return segment


def test_a_torn_tail_costs_only_what_was_never_acknowledged(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    fill(store, range(3))
    store.close()
    (segment,) = files(folder, "journal/*.seg")
    whole = segment.read_bytes()
    for lost in (1, 30, len(whole) // 3 - 40):
        segment.write_bytes(whole[: len(whole) - lost])
        with Store.open(folder, settings=QUIET) as again:
            assert stored(again) == {0: 4, 1: 4}
            assert again.stats().problems == ()
            assert again.append("spans", spans(2)).result(5).duplicate is False
        for extra in files(folder, "journal/*.seg")[1:]:
            extra.unlink()


def test_damage_in_the_middle_costs_one_request_and_is_reported(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    fill(store, range(5))
    store.close()
    size = files(folder, "journal/*.seg")[0].stat().st_size
    segment = damaged_copy(folder, size // 2, b"\0" * 20)
    with Store.open(folder, settings=QUIET) as again:
        left = stored(again)
        assert len(left) == 4 and set(left.values()) == {4}
        (problem,) = again.stats().problems
        assert segment.name in problem and "damaged/" in problem
        (copy,) = files(folder, "damaged/*.bin")
        assert b"\0" * 20 in copy.read_bytes()
        again.compact()
        assert stored(again) == left


def test_a_segment_without_its_header_is_still_read(store: Store, tmp_path: Path) -> None:
    fill(store, range(5))
    store.close()
    damaged_copy(tmp_path / "data", 0, b"\xff" * 16)
    with Store.open(tmp_path / "data", settings=QUIET) as again:
        assert len(stored(again)) == 5 and again.stats().problems


def test_an_empty_segment_is_of_no_consequence(store: Store, tmp_path: Path) -> None:
    fill(store, range(2))
    store.close()
    for number, content in ((7, b""), (8, b"AETIA")):
        (tmp_path / "data" / "journal" / f"{number:08d}.seg").write_bytes(content)
    with Store.open(tmp_path / "data", settings=QUIET) as again:
        assert len(stored(again)) == 2
        fill(again, range(5, 6))
    assert len(files(tmp_path / "data", "journal/*.seg")) == 2


def test_a_folder_can_be_copied_and_opened_elsewhere(store: Store, tmp_path: Path) -> None:
    fill(store, range(4))
    store.compact()
    fill(store, range(4, 6))
    store.close()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with Store.open(tmp_path / "copy", settings=QUIET) as copy:
        assert len(stored(copy)) == 6
