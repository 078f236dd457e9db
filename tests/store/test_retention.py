"""What is too old or too much goes, oldest first; the journal never does."""

from __future__ import annotations

import time
from pathlib import Path

from store_requests import QUIET, T0, column, files, fill, logs, spans, stored

from aetia.store.compaction import HOUR_NS
from aetia.store.settings import Settings
from aetia.store.store import Store

NS = 10**9


def changed(settings: Settings, **values: object) -> Settings:
    return Settings(**{**{name: getattr(settings, name) for name in settings.__struct_fields__}, **values})


def three_hours(store: Store) -> None:
    for hour in range(3):
        store.append("spans", spans(hour, at_ns=T0 + hour * HOUR_NS)).result(5)
        store.append("logs", logs(hour, at_ns=T0 + hour * HOUR_NS)).result(5)
    store.compact()


def test_parts_go_when_they_are_too_old_since_their_receipt(tmp_path: Path) -> None:
    settings = changed(QUIET, max_age_seconds=3600.0, max_age_by_signal={"logs": 60.0})
    with Store.open(tmp_path, settings=settings) as store:
        three_hours(store)  # recorded long ago, but sent now
        assert store.retain() == ()
        dropped = store.retain(time.time_ns() + 120 * NS)
        assert {part.signal for part in dropped} == {"logs"} and len(dropped) == 3
        assert store.stats().rows["logs"] == 0 and store.stats().rows["spans"] == 12
        assert len(store.retain(time.time_ns() + 7200 * NS)) == 3
    assert files(tmp_path, "*/*/*/*.parquet") == files(tmp_path, "spans/*") == []


def test_the_oldest_hours_go_when_a_signal_or_all_take_too_much_room(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=QUIET) as store:
        three_hours(store)
        sizes = {signal: stats.bytes for signal, stats in store.stats().signals.items()}
        parts = store.stats().signals["spans"].parts
    assert parts == 3
    with Store.open(tmp_path, settings=changed(QUIET, max_bytes_by_signal={"spans": sizes["spans"] - 1})) as store:
        assert [part.hour[-2:] for part in store.retain()] in ([], ["02"])
        assert stored(store) == {1: 4, 2: 4} and store.stats().rows["logs"] == 9
    with Store.open(tmp_path, settings=changed(QUIET, max_bytes=1)) as store:
        store.retain()
        assert sum(store.stats().rows.values()) == 0


def test_the_journal_is_not_touched(tmp_path: Path) -> None:
    settings = changed(QUIET, max_age_seconds=0.0, max_bytes=0)
    with Store.open(tmp_path, settings=settings) as store:
        fill(store, range(3))
        store.retain(time.time_ns() + 10**15)
        assert len(stored(store)) == 3


def test_a_reader_keeps_its_files(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=changed(QUIET, max_bytes=0)) as store:
        fill(store, range(3))
        store._writer.roll()  # type: ignore[union-attr]
        store._maintenance._retention_due = float("inf")  # type: ignore[union-attr]
        store.compact()
        with store.reading() as snapshot:
            assert len(store.retain()) == 1
            assert len(column(snapshot, "spans", "span_id")) == 12
            assert stored(store) == {}
        assert files(tmp_path, "spans/*/*/*.parquet") == []


def test_digests_are_forgotten_after_their_time(tmp_path: Path) -> None:
    with Store.open(tmp_path, settings=QUIET) as store:
        fill(store, range(3))
        store.compact()
        store.retain()
        assert len(files(tmp_path, "journal/*.ids")) == 1
        store.retain(time.time_ns() + 3700 * NS)
        assert files(tmp_path, "journal/*.ids") == []
