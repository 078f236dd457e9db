"""Scheduled sources: what other systems keep, fetched as it appears and stored like what is sent here.

One thread per source, so that a slow one delays no other. Where each one left off is kept in `DIR/sources.json`, so a
restart neither repeats nor skips; a source that was not asked for longer than an hour goes on with the last hour.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from aetia.ingest.otlp_encode import to_request
from aetia.ingest.pull import client_for
from aetia.ingest.pull.puller import Puller
from aetia.model.errors import AetiaError, StoreFull
from aetia.model.stored import Signal
from aetia.model.tables import Telemetry
from aetia.serve.config import SourceSection
from aetia.store.backend import ChangeRow
from aetia.store.store import Store

log = logging.getLogger(__name__)
ROWS_AT_ONCE = 5_000
DURABLE_S, LONGEST_WAIT_S = 30.0, 10.0
OTLP: tuple[Signal, ...] = ("spans", "logs", "metrics")
Request = tuple[Signal, bytes, int]


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a source does: rows fetched since the start, up to when, why the last fetch failed or what it left out."""

    source: str
    kind: str
    rows: int = 0
    until_ns: int | None = None
    asked_ns: int | None = None
    failures: int = 0
    problem: str = ""


class Sources:
    """Runs the sources of a configuration; `start` and `close` once."""

    def __init__(self, sections: tuple[SourceSection, ...], store: Store, folder: Path) -> None:
        self._store, self._path = store, folder / "sources.json"
        self._lock = threading.Lock()
        self._ends = self._read()
        self._stop = threading.Event()
        self._pullers = [
            Puller(
                section.kind, section.url, client=client_for(section.kind, allow_private=section.private),
                interval_s=section.every_seconds, last_end_ns=self._ends.get(f"{section.kind}={section.url}"),
            )
            for section in sections
        ]  # fmt: skip
        self._keys = [f"{section.kind}={section.url}" for section in sections]
        self._status = [SourceStatus(source=puller.source, kind=puller.kind) for puller in self._pullers]
        self._waiting: list[deque[Request]] = [deque() for _ in self._pullers]
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"aetia-source-{number}", daemon=True)
            for number in range(len(self._pullers))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop asking; a fetch under way is left to end by itself."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2.0)

    def status(self) -> tuple[SourceStatus, ...]:
        """In the order of the configuration."""
        with self._lock:
            return tuple(self._status)

    def _run(self, number: int) -> None:
        puller = self._pullers[number]
        while not self._stop.wait(min(max((puller.due_ns - time.time_ns()) / 1e9, 0.05), 5.0)):
            if puller.due(time.time_ns()):
                self._fetch(number, puller)

    def _fetch(self, number: int, puller: Puller) -> None:
        """Fetch what is new and store it; what an earlier turn could not store goes first."""
        asked, waiting = time.time_ns(), self._waiting[number]
        rows, problem = 0, ""
        try:
            if not waiting:
                found = puller.fetch(asked)
                waiting.extend(_requests(found))
                problem = "; ".join(record.reason for record in found.dropped[:3])
            while waiting:
                signal, body, count = waiting[0]
                self._durable(signal, body)
                waiting.popleft()
                rows += count
        except AetiaError as error:
            problem = str(error)
            log.warning("source %s: %s", puller.source, error)
        except Exception as error:
            problem = f"internal error ({type(error).__name__})."
            log.exception("source %s", puller.source)
        self._said(number, puller, asked, rows, problem)

    def _said(self, number: int, puller: Puller, asked: int, rows: int, problem: str) -> None:
        with self._lock:
            held, key = self._status[number], self._keys[number]
            self._status[number] = msgspec.structs.replace(
                held, rows=held.rows + rows, until_ns=puller.last_end_ns, asked_ns=asked, failures=puller.failures,
                problem=problem,
            )  # fmt: skip
            # Written only once all of it is durable: after a crash the rest is asked for again.
            if not self._waiting[number] and puller.last_end_ns not in (None, self._ends.get(key)):
                self._ends[key] = puller.last_end_ns
                self._write()

    def _durable(self, signal: Signal, body: bytes) -> None:
        until = time.monotonic() + DURABLE_S
        while True:
            try:
                self._store.append(signal, body).result(DURABLE_S)
                return
            except StoreFull as error:
                if self._stop.is_set() or time.monotonic() >= until:
                    raise
                self._stop.wait(min(error.retry_after_s, LONGEST_WAIT_S))

    def _read(self) -> dict[str, int]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s is left out: %s; each source begins with its latest telemetry", self._path, error)
            return {}

    def _write(self) -> None:
        scratch = self._path.with_suffix(".new")
        try:
            scratch.write_bytes(msgspec.json.encode(self._ends))
            scratch.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror or error)


def _requests(found: Telemetry) -> Iterator[Request]:
    """Telemetry as requests to the store, with how many rows each has."""
    for signal in OTLP:
        for piece in _pieces(found.table(signal)):
            yield signal, to_request(signal, piece), piece.num_rows
    changes = [_change(row) for row in _rows(found.changes)]
    if changes:
        yield "changes", msgspec.json.encode(changes), len(changes)


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    for begin in range(0, table.num_rows, ROWS_AT_ONCE):
        yield table.slice(begin, ROWS_AT_ONCE)


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    times = table["time"].cast(pa.int64())
    return table.set_column(table.column_names.index("time"), "time", times).to_pylist()


def _change(row: dict[str, Any]) -> ChangeRow:
    return ChangeRow(
        time_ns=row["time"], kind=row["kind"] or "config", service=row["service"], description=row["description"],
        attributes=row["attributes"],
    )  # fmt: skip
