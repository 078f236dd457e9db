"""A disk that is full, or cannot be written: refused with a clear sentence, what is stored is served, nothing is lost,
and it goes on by itself when there is room again."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_requests import MIB, QUIET, files, spans, stored

from aetia.model.errors import StoreError, StoreFull
from aetia.store import writer
from aetia.store.settings import Settings
from aetia.store.store import Store

BATCH = 400


def changed(settings: Settings, **values: object) -> Settings:
    return Settings(**{**{name: getattr(settings, name) for name in settings.__struct_fields__}, **values})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    made = subprocess.run(mount, check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"file systems cannot be mounted here: {made.stderr.decode().strip()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def append_until_refused(store: Store, first: int) -> tuple[list[int], StoreError]:
    """The requests that were acknowledged, and the refusal."""
    done: list[int] = []
    for number in range(first, first + 1000):
        try:
            store.append("spans", spans(number, BATCH)).result(10)
        except StoreError as error:
            return done, error
        done.append(number)
    raise AssertionError("the disk is larger than it should be")


def append_until_taken(store: Store, number: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            store.append("spans", spans(number, BATCH)).result(10)
            return
        except StoreError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_full_disk_refuses_and_loses_nothing(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_FIRST_RETRY_S", 0.1)
    folder, ballast = disk / "data", disk / "ballast"
    ballast.write_bytes(bytes(2 * MIB))
    with Store.open(folder, settings=QUIET) as store:
        done, refused = append_until_refused(store, 0)
        assert isinstance(refused, StoreFull) and refused.retry_after_s > 0 and refused.full == "disk"
        assert "no space left on device" in str(refused) and "Free space" in store.stats().refusing
        with pytest.raises(StoreFull) as at_once:  # without a try
            store.append("spans", spans(5000))
        assert at_once.value.full == "disk"
        assert len(done) > 3 and set(stored(store)) == set(done)
        ballast.unlink()
        failed = done[-1] + 1
        append_until_taken(store, failed)
        assert store.stats().refusing == ""
        assert set(stored(store)) == {*done, failed}
    with Store.open(folder, settings=QUIET) as store:
        assert stored(store) == dict.fromkeys((*done, failed), BATCH)
        assert store.stats().problems == ()


def test_a_compaction_without_room_leaves_the_journal_as_it_is(disk: Path) -> None:
    ballast = disk / "ballast"
    with Store.open(disk / "data", settings=QUIET) as store:
        done, _ = append_until_refused(store, 0)
        with pytest.raises(StoreError, match=r"could not be compacted|cannot be written"):
            store.compact()
        assert set(stored(store)) == set(done) and "could not be compacted" in store.stats().failing
    del ballast
    with Store.open(disk / "data", settings=QUIET) as store:
        assert stored(store) == dict.fromkeys(done, BATCH)


def test_room_for_compaction_is_kept(disk: Path) -> None:
    with Store.open(disk / "data", settings=changed(QUIET, min_free_bytes=2 * MIB)) as store:
        done, refused = append_until_refused(store, 0)
        assert isinstance(refused, StoreFull)
        store.compact()
        assert stored(store) == dict.fromkeys(done, BATCH)


def test_a_folder_that_cannot_be_written_can_be_read(disk: Path) -> None:
    with Store.open(disk / "data", settings=QUIET) as store:
        for number in range(3):
            store.append("spans", spans(number, BATCH)).result(10)
        store.compact()
        store.append("spans", spans(3, BATCH)).result(10)
    del store  # its hot tables hold the segment open
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"read-only file system; choose a folder that can be written, or open it for"):
        Store.open(disk / "data")
    with pytest.raises(StoreError, match="read-only file system"):
        Store.open(disk / "new")
    with Store.open(disk / "data", read_only=True) as store:
        assert stored(store) == dict.fromkeys(range(4), BATCH)
        assert store.check().sound


def test_a_journal_that_cannot_be_written_refuses_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_FIRST_RETRY_S", 0.1)
    with Store.open(tmp_path, settings=QUIET) as store:
        store.append("spans", spans(0)).result(10)
        store.compact()
        (tmp_path / "journal").rename(tmp_path / "gone")
        with pytest.raises(StoreError, match="no such file or directory; what is stored is served"):
            store.append("spans", spans(1)).result(10)
        assert set(stored(store)) == {0}
        (tmp_path / "gone").rename(tmp_path / "journal")
        append_until_taken(store, 1)
        assert stored(store) == {0: 4, 1: BATCH}


def test_a_write_that_stops_in_the_middle_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system lets a file grow to a limit and no further."""
    monkeypatch.setattr(writer, "_FIRST_RETRY_S", 0.1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(tmp_path, settings=QUIET) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        try:
            done, refused = append_until_refused(store, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert isinstance(refused, StoreFull) and "file too large" in str(refused)
        (segment,) = files(tmp_path, "journal/*.seg")
        assert segment.stat().st_size < 200_000  # cut back to the last acknowledged request
        append_until_taken(store, done[-1] + 1)
    with Store.open(tmp_path, settings=QUIET) as store:
        assert stored(store) == dict.fromkeys((*done, done[-1] + 1), BATCH)
        assert store.stats().problems == ()
