"""The embedded store: what is appended is durable and can be queried once its future ends.

A folder holds a journal, from which hot tables are made, and Parquet files, into which the journal is compacted in the
background. One process owns it (`lock.py`); others open it for reading when nobody does, or ask the owner.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import msgspec
import pyarrow as pa

from aetia.ingest.redaction import Redactor
from aetia.model.case import Case
from aetia.model.errors import StoreError, StoreLocked
from aetia.model.stored import SIGNALS, Signal
from aetia.model.window import Window
from aetia.store.backend import ChangeRow
from aetia.store.catalog import Catalog, Note, Part, Snapshot
from aetia.store.checking import Checker, CheckReport, Finding
from aetia.store.decoding import Decoder
from aetia.store.exporting import Exported, export
from aetia.store.layout import Layout
from aetia.store.lock import FolderLock, living_owner, locked_message
from aetia.store.maintenance import Maintenance
from aetia.store.recovery import Recovered, recover
from aetia.store.settings import Settings
from aetia.store.writer import Receipt, Writer

__all__ = [
    "CheckReport", "Exported", "Finding", "Note", "Part", "Receipt", "Settings", "SignalStats", "Snapshot", "Store",
    "StoreStats", "Work",
]  # fmt: skip


class SignalStats(msgspec.Struct, frozen=True, kw_only=True):
    """Of one signal: rows in all, rows that are hot, files and their bytes, oldest and newest time (ns; None without
    rows)."""

    rows: int
    hot_rows: int
    parts: int
    bytes: int
    oldest_ns: int | None
    newest_ns: int | None


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker process has done since the start: rows written and processor seconds."""

    rows: int = 0
    cpu_s: float = 0.0


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """The store at one moment. `problems` are the notes on what is wrong with the folder, one sentence each."""

    signals: dict[Signal, SignalStats]
    segments: int
    journal_bytes: int
    queue_bytes: int
    remembered_requests: int
    refusing: str
    """Why nothing is taken at the moment; empty when all is well."""
    failing: str
    """Why the last step of compaction or merging failed; empty when all is well."""
    background: dict[str, Work]
    worker_pid: int | None
    problems: tuple[str, ...]

    @property
    def rows(self) -> dict[Signal, int]:
        return {signal: stats.rows for signal, stats in self.signals.items()}


class Store:
    """Use `Store.open`. All methods may be called from any thread."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        recovered: Recovered,
        lock: FolderLock | None,
        redactor: Redactor | None,
    ) -> None:
        self.path = layout.folder
        self.settings = settings
        self.recovered_requests = recovered.requests
        self._layout = layout
        self._catalog: Catalog = recovered.catalog
        self._seen = recovered.seen
        self._lock = lock
        self._writer: Writer | None = None
        self._maintenance: Maintenance | None = None
        if lock is not None:
            self._maintenance = Maintenance(layout, settings, self._catalog, recovered.next_job)
            self._writer = Writer(
                layout.journal, settings, self._catalog, recovered.seen, Decoder(settings.limits, redactor),
                recovered.next_segment, self._segment_closed,
            )  # fmt: skip

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, settings: Settings | None = None, owner: str = "",
        read_only: bool = False, redactor: Redactor | None = None,
    ) -> Store:  # fmt: skip
        """Open or create the store in a folder; `owner` is the address at which this process answers.

        Raises StoreLocked (naming the owner) when another process has it, StoreError when the folder cannot be used.
        """
        settings = settings or Settings()
        layout = Layout(Path(path))
        if read_only:
            return cls._open_for_reading(layout, settings)
        try:
            layout.folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock.acquire(layout.folder, owner)
        except OSError as error:
            raise _unusable(layout.folder, error) from error
        try:
            layout.create()
            recovered = recover(layout, settings, writable=True)
        except OSError as error:
            lock.release()
            raise _unusable(layout.folder, error) from error
        except BaseException:
            lock.release()
            raise
        return cls(layout, settings, recovered, lock, redactor or (Redactor() if settings.redact else None))

    @classmethod
    def _open_for_reading(cls, layout: Layout, settings: Settings) -> Store:
        if (owner := living_owner(layout.folder)) is not None:
            raise StoreLocked(locked_message(layout.folder, owner))
        if layout.version() is None:
            raise StoreError(f"{layout.folder} holds no store; give the folder of aetia serve --data.")
        return cls(layout, settings, recover(layout, settings, writable=False), None, None)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits and give the folder back. May be called twice."""
        if self._writer is not None:
            self._writer.close()
        if self._maintenance is not None:
            self._maintenance.stop()
        self._catalog.close()
        if self._lock is not None:
            self._lock.release()

    def announce(self, url: str) -> None:
        """Tell processes that want the folder where this one answers."""
        if self._lock is not None:
            self._lock.announce(url)

    # ---- writing --------------------------------------------------------------------------------------------

    def append(self, signal: Signal, body: bytes) -> Future[Receipt]:
        """Store one OTLP protobuf export request (of `changes`: a JSON array of ChangeRow).

        Never blocks. The future ends when the rows are durable and can be queried; it fails with IngestError for a
        body that cannot be parsed, StoreFull or StoreError when the disk refuses. Raises StoreFull at once when the
        queue or the disk is full, StoreError when the store is closed or open for reading, UsageError for a body that
        is larger than the queue.
        """
        return self._writing().append(signal, "changes" if signal == "changes" else "protobuf", body)

    def append_changes(self, rows: Sequence[ChangeRow]) -> Future[Receipt]:
        """Store changes; like `append`."""
        return self.append("changes", msgspec.json.encode(rows))

    def subscribe(self, callback: Callable[[Signal, pa.Table], None]) -> Callable[[], None]:
        """Call back for each durable batch (promoted columns) from the writer thread; it must be quick. Returns what
        ends the subscription."""
        writer = self._writing()
        writer.subscribers = (*writer.subscribers, callback)

        def end() -> None:
            writer.subscribers = tuple(one for one in writer.subscribers if one is not callback)

        return end

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"{self.path} is open for reading.")
        return self._writer

    # ---- reading --------------------------------------------------------------------------------------------

    def reading(
        self, window: Window | None = None, signals: Iterable[Signal] = SIGNALS
    ) -> AbstractContextManager[Snapshot]:
        """A consistent snapshot of what is stored, of the parts and hot rows that touch the window. Its files stay
        while the context lasts."""
        return self._catalog.reading(window, signals)

    def exclude(self, path: Path, problem: str) -> None:
        """Leave a part that turned out to be unreadable out of later snapshots, with a note."""
        self._catalog.exclude(path, problem)

    def stats(self) -> StoreStats:
        """Counts and sizes, from memory."""
        segments = self._catalog.segments()
        writer, care = self._writer, self._maintenance
        return StoreStats(
            signals={signal: self._signal_stats(signal) for signal in SIGNALS},
            segments=len(segments),
            journal_bytes=sum(segment.file.length for segment in segments),
            queue_bytes=0 if writer is None else writer.queued_bytes,
            remembered_requests=len(self._seen),
            refusing="" if writer is None else writer.refusal,
            failing="" if care is None else care.failure,
            background={} if care is None else {k: Work(rows=care.rows[k], cpu_s=care.cpu_s[k]) for k in care.rows},
            worker_pid=None if care is None else care.worker_pid,
            problems=tuple(f"{note.path}: {note.problem}; {note.mend}." for note in self._catalog.notes),
        )

    def _signal_stats(self, signal: Signal) -> SignalStats:
        with self.reading(None, (signal,)) as snapshot:
            parts, chunks = snapshot.parts[signal], snapshot.chunks(signal)
        hot = sum(chunk.table.num_rows for chunk in chunks)
        ranges = [(one.start_ns, one.end_ns) for one in (*parts, *chunks)]
        return SignalStats(
            rows=hot + sum(part.rows for part in parts),
            hot_rows=hot,
            parts=len(parts),
            bytes=sum(part.bytes + part.rollup_bytes for part in parts),
            oldest_ns=min((start for start, _ in ranges), default=None),
            newest_ns=max((end - 1 for _, end in ranges), default=None),
        )

    def _segment_closed(self) -> None:
        assert self._maintenance is not None
        self._maintenance.wake()

    # ---- care -----------------------------------------------------------------------------------------------

    def compact(self, timeout_s: float = 600.0) -> None:
        """Bring all that is journaled into Parquet and merge small parts now. Raises StoreError when it cannot."""
        writer, maintenance = self._writing(), self._caring()
        writer.roll()
        if not maintenance.drain(timeout_s):
            raise StoreError(f"{self.path} could not be compacted within {timeout_s:g} s.")
        if maintenance.failure:
            raise StoreError(f"{maintenance.failure}.")

    def retain(self, now_ns: int | None = None, timeout_s: float = 60.0) -> tuple[Part, ...]:
        """Drop the parts that are too old or too many (as of `now_ns`), and return them."""
        return tuple(self._caring().retain(time.time_ns() if now_ns is None else now_ns, timeout_s))

    def check(self, *, deep: bool = False) -> CheckReport:
        """Look at every file (`deep`: at every row) and say what is wrong and how to mend it. Parts that turn out to
        be unreadable are left out of later snapshots."""
        checker = Checker(self._layout)
        with self.reading() as snapshot:
            parts = [part for signal in SIGNALS for part in snapshot.parts[signal]]
            lengths = {segment.file.path: segment.file.length for segment in self._catalog.segments()}
            report = checker.report(parts, list(self._catalog.notes), lengths, deep=deep)
        for path, problem in checker.bad_parts:
            self._catalog.exclude(path, problem)
        return report

    def export(
        self, window: Window, out: str | os.PathLike[str], *, case: Case | None = None, overwrite: bool = False
    ) -> Exported:
        """Write what is stored of a window as a case folder with all attributes, which `aetia diagnose` reads. Parts
        that cannot be read are left out and named in the answer. Raises IngestError when the folder cannot be
        written."""
        folder = Path(out)
        with self.reading(window) as snapshot:
            return export(snapshot, window, folder, case or Case(id=folder.name), self.exclude, overwrite=overwrite)

    def _caring(self) -> Maintenance:
        if self._maintenance is None:
            raise StoreError(f"{self.path} is open for reading.")
        return self._maintenance


def _unusable(folder: Path, error: OSError) -> StoreError:
    why = os.strerror(error.errno).lower() if error.errno else str(error)
    return StoreError(f"{folder} cannot be used as a store: {why}; choose a folder that can be written, or open it "
                      "for reading.")  # fmt: skip
