"""The parts of a server put together: store, questions, incidents, diagnoses; closed in the opposite order."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from aetia.model.errors import ServeError
from aetia.serve import grpc_receiver
from aetia.serve.config import Config, store_settings
from aetia.serve.live import make_live
from aetia.serve.mcp import mount as mcp
from aetia.serve.operations.export import SCRATCH
from aetia.serve.state import ServeState, make_state
from aetia.store.layout import SPILL

if TYPE_CHECKING:
    from aetia.ingest.redaction import Redactor
    from aetia.store.backend import Backend
    from aetia.store.store import Store


@contextlib.contextmanager
def opened(config: Config, folder: Path, url: str, *, store_url: str = "") -> Generator[ServeState]:
    """A running server's state. Raises StoreError (StoreLocked where another process owns the folder), ServeError."""
    with contextlib.ExitStack() as stack:
        store, backend = _telemetry(config, folder, url, store_url, stack)
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
        state = make_state(config, folder, url, store=store, backend=backend)
        stack.callback(state.pool.close)
        live = make_live(state)
        stack.callback(live.close)
        live.start()
        mcp.mount(state)
        grpc_receiver.mount(state)
        yield state


def _telemetry(
    config: Config, folder: Path, url: str, store_url: str, stack: contextlib.ExitStack
) -> tuple[Store | None, Backend]:
    """Where telemetry is kept and asked for. The folder is owned in either case: incidents lie in it."""
    from aetia.store.duck import DuckBackend
    from aetia.store.lock import FolderLock
    from aetia.store.store import Store

    if store_url:
        folder.mkdir(parents=True, exist_ok=True)
        stack.callback(FolderLock.acquire(folder, url).release)
        return None, remote_backend(store_url)
    store = Store.open(folder, settings=store_settings(config), owner=url, redactor=_redactor(config))
    stack.callback(store.close)
    backend = DuckBackend(store, folder, folder / SPILL)
    stack.callback(backend.close)
    return store, backend


def remote_backend(store_url: str) -> Backend:
    """The backend of `--store`; raises ServeError for what none speaks."""
    if store_url.startswith("clickhouse"):
        from aetia.store.clickhouse import clickhouse_backend

        return clickhouse_backend(store_url)
    raise ServeError(f"'{store_url[:80]}' is no store; give clickhouse://HOST:8123/DATABASE, or leave --store out.")


def _redactor(config: Config) -> Redactor | None:
    from aetia.ingest.redaction import Pattern, Redactor

    told = config.redaction
    if not told.enabled:
        return None
    own = [Pattern(name=f"configured key {n}", where="key", regex=regex) for n, regex in enumerate(told.keys, start=1)]
    own += [
        Pattern(name=f"configured value {n}", where="value", regex=regex)
        for n, regex in enumerate(told.values, start=1)
    ]
    return Redactor(off=told.off, own=own)
