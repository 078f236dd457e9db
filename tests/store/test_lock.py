"""One process owns a folder; others are told which, and may read it when nobody does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_requests import QUIET, fill, spans, stored

from aetia.model.errors import StoreError, StoreLocked
from aetia.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "data", settings=QUIET) as opened:
        yield opened


HOLD = """
import sys, time
from aetia.store.store import Store
store = Store.open(sys.argv[1], owner="http://127.0.0.1:4318")
print("open", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_told_who_the_first_is_and_a_dead_one_never_blocks(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == b"open\n"
        for read_only in (False, True):
            with pytest.raises(StoreLocked, match=rf"process {owner.pid} at http://127.0.0.1:4318"):
                Store.open(tmp_path, read_only=read_only)
        owner.kill()
        owner.wait()
    Store.open(tmp_path, settings=QUIET).close()


def test_the_address_can_be_told_later(store: Store, tmp_path: Path) -> None:
    store.announce("http://127.0.0.1:9")
    with pytest.raises(StoreLocked, match=r"http://127\.0\.0\.1:9"):
        Store.open(tmp_path / "data")


def test_a_store_can_be_read_without_owning_it(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    fill(store, range(5))
    store.compact()
    fill(store, range(5, 8))
    store.close()
    before = sorted(folder.rglob("*"))
    with Store.open(folder, read_only=True) as reader:
        assert len(stored(reader)) == 8
        with pytest.raises(StoreError, match="open for reading"):
            reader.append("spans", spans(9))
        with pytest.raises(StoreError, match="open for reading"):
            reader.compact()
        Store.open(folder, settings=QUIET).close()  # a reader keeps nobody out
    assert sorted(folder.rglob("*")) == before
    with pytest.raises(StoreError, match="no store"):
        Store.open(tmp_path, read_only=True)
