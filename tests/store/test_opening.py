"""Stored telemetry opened by a program."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_requests import fill

import aetia
from aetia.model.errors import StoreError, StoreLocked
from aetia.store.store import Store


def test_a_folder_that_nobody_owns_is_asked(tmp_path: Path) -> None:
    with Store.open(tmp_path / "data") as store:
        fill(store, range(6))
    with aetia.open_store(tmp_path / "data") as stored:
        found = {extent.signal: extent for extent in stored.extents()}
        window = found["spans"].window
        assert window is not None and found["spans"].rows > 0
        assert stored.telemetry(window).spans.num_rows == found["spans"].rows


def test_a_folder_that_a_server_owns_says_where_to_ask(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path / "data", owner="http://127.0.0.1:4318"),
        pytest.raises(StoreLocked, match=r"http://127\.0\.0\.1:4318"),
        aetia.open_store(tmp_path / "data"),
    ):
        pass


def test_what_is_no_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no store"), aetia.open_store(tmp_path):
        pass
