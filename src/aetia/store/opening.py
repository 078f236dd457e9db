"""Stored telemetry for a program of one's own, whoever stores it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aetia.store.backend import Backend


@contextmanager
def open_store(place: str | Path) -> Generator[Backend]:
    """Stored telemetry, to be asked: a folder of `aetia serve` that no server owns, or `clickhouse://HOST:8123/DATABASE`.

    What can be asked is `aetia.store.backend.Backend`. Raises StoreLocked where a server owns the folder (the message
    has its address: ask that), StoreError where there is no store.
    """
    if str(place).startswith(("clickhouse://", "clickhouses://")):
        from aetia.store.clickhouse import clickhouse_backend

        yield clickhouse_backend(str(place))
        return
    from aetia.store.duck import DuckBackend
    from aetia.store.store import Store

    with Store.open(Path(place), read_only=True) as store:
        backend = DuckBackend(store, Path(place))
        try:
            yield backend
        finally:
            backend.close()
