"""What the store holds right now: parts on disk and hot segments, and consistent snapshots of both."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from aetia.ingest.otlp_columns import Limits
from aetia.model.errors import StoreError
from aetia.model.stored import PROMOTED, SIGNALS, STORED, Signal
from aetia.model.window import Window
from aetia.store.hot import Chunk, HotSegment, Integers, merged, tail_to_merge
from aetia.store.rollups import is_rollup, rollup_of
from aetia.store.unpacking import Unpacker

_NAME = re.compile(r"(\d{8,})_(-?\d+)_(-?\d+)_(\d+)_(\d+)\.parquet")
PART_SUFFIX = ".parquet"
_MOST_NOTES = 200
_HOUR = re.compile(r"\d{4}-\d\d-\d\d/\d\d")


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file: rows of one signal, sorted by time, all within `[start_ns, end_ns)`.

    `received_s` is when the last of its requests came (seconds since the epoch), `number` the job that wrote it.
    """

    path: Path
    rows: int
    start_ns: int
    end_ns: int
    bytes: int
    signal: Signal = "spans"
    hour: str = ""
    """`YYYY-MM-DD/HH`, the folder it lies in."""
    number: int = 0
    received_s: int = 0
    rollup: Path | None = None
    """What is counted of it (`store.rollups`), where that is there."""
    rollup_bytes: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """What goes when the part goes."""
        return self.path, rollup_of(self.path)

    def with_rollup(self) -> Part:
        """The part as it is with the rollup that lies beside it now, if any."""
        rollup = rollup_of(self.path)
        try:
            return replace(self, rollup=rollup, rollup_bytes=rollup.stat().st_size)
        except FileNotFoundError:
            return self.without_rollup()

    def without_rollup(self) -> Part:
        return replace(self, rollup=None, rollup_bytes=0)


def part_name(number: int, start_ns: int, end_ns: int, rows: int, received_s: int) -> str:
    """The name says what a start needs to know, so that no file has to be opened for it."""
    return f"{number:08d}_{start_ns}_{end_ns}_{rows}_{received_s}.parquet"


def part_of(signal: Signal, path: Path, size: int, *, at: Path | None = None) -> Part | None:
    """The part at `…/YYYY-MM-DD/HH/NAME`; None for a name that is not ours. `at`: where the file lies for now."""
    found = _NAME.fullmatch(path.name)
    hour = "/".join(path.parts[-3:-1])
    if found is None or not _HOUR.fullmatch(hour):
        return None
    number, start, end, rows, received = (int(text) for text in found.groups())
    return Part(
        path=at or path, rows=rows, start_ns=start, end_ns=end, bytes=size, signal=signal, hour=hour, number=number,
        received_s=received,
    )  # fmt: skip


class Snapshot:
    """What the store held at one moment. Every row is either in `hot` or in `parts`.

    `hot[signal]` has the promoted columns (`model.stored.PROMOTED`); it may hold rows outside of the window that was
    asked for, and so may the parts.
    """

    def __init__(
        self, chunks: Mapping[Signal, tuple[Chunk, ...]], parts: Mapping[Signal, tuple[Part, ...]], unpacker: Unpacker
    ) -> None:
        self._chunks = chunks
        self._unpacker = unpacker
        self.parts = parts

    @cached_property
    def hot(self) -> Mapping[Signal, pa.Table]:
        return {signal: _concatenated(signal, chunks) for signal, chunks in self._chunks.items()}

    def chunks(self, signal: Signal) -> tuple[Chunk, ...]:
        """The hot rows in the pieces they are kept in."""
        return self._chunks[signal]

    def full(self, signal: Signal, rows: Integers) -> pa.Table:
        """All columns (`model.stored.STORED`) of some rows of `hot[signal]`, which are ascending row numbers, shape
        (n,). Their requests are read from the journal and decoded, so ask for few. Raises StoreError."""
        return self._unpacker.rows(signal, self._chunks[signal], rows)

    def raw(self, signal: Signal) -> Iterator[bytes]:
        """The requests (OTLP protobuf; JSON rows of changes) behind the hot rows of a signal."""
        for chunk in self._chunks[signal]:
            for origin in chunk.origins:
                if not origin.exceptions:
                    yield from origin.read(np.arange(len(origin.offsets)))


def _concatenated(signal: Signal, chunks: Sequence[Chunk]) -> pa.Table:
    if not chunks:
        return STORED[signal].empty_table().select(PROMOTED[signal])
    return pa.concat_tables([chunk.table for chunk in chunks])


@dataclass(slots=True)
class _Waiting:
    """Files that may go once no snapshot from before `version` is open, and what to do after that."""

    version: int
    paths: tuple[Path, ...]
    then: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is wrong with the folder, and how to mend it."""

    path: str
    problem: str
    mend: str


class Catalog:
    """Parts and hot segments behind one lock. All methods may be called from any thread."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - a frozen value
        self._lock = threading.Lock()
        self._unpacker = Unpacker(limits)
        self._parts: dict[Signal, dict[Path, Part]] = {signal: {} for signal in SIGNALS}
        self._segments: list[HotSegment] = []
        self._version = 0
        self._open: dict[int, int] = {}
        self._waiting: list[_Waiting] = []
        self._closed = False
        self.notes: list[Note] = []

    # ---- hot segments -----------------------------------------------------------------------------------

    def add_segment(self, segment: HotSegment) -> None:
        with self._lock:
            self._segments.append(segment)

    def publish(self, segment: HotSegment, chunks: Sequence[tuple[Signal, Chunk]]) -> None:
        """Add rows to a segment, all at once; small chunks at the end are made one. Called by one thread."""
        with self._lock:
            for signal, chunk in chunks:
                segment.add(signal, chunk)
        touched: set[Signal] = {signal for signal, _ in chunks}
        for signal in touched:
            listed = segment.chunks[signal]
            if count := tail_to_merge(listed):
                one = merged(listed[-count:])
                with self._lock:
                    segment.chunks[signal] = [*listed[:-count], one]

    def drop_segment(self, segment: HotSegment) -> None:
        """Forget a segment that holds nothing."""
        with self._lock:
            self._segments = [one for one in self._segments if one is not segment]

    def segments(self) -> tuple[HotSegment, ...]:
        with self._lock:
            return tuple(self._segments)

    def hot_bytes(self) -> int:
        """Journal that is not compacted yet; many small requests weigh more than a few large ones."""
        with self._lock:
            return sum(segment.weight for segment in self._segments)

    # ---- parts ------------------------------------------------------------------------------------------

    def parts(self, signal: Signal | None = None) -> list[Part]:
        """All parts, or those of a signal, oldest hour first."""
        with self._lock:
            chosen = [part for name in SIGNALS if signal in (None, name) for part in self._parts[name].values()]
        return sorted(chosen, key=lambda part: (part.hour, part.start_ns, part.number))

    def swap(
        self, *, added: Sequence[Part], removed: Sequence[Part] = (), compacted: HotSegment | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """One step from what was to what is. Files of `removed` are deleted when no reader can need them any more,
        then `then` is called; both may happen now or in a later call of any thread."""
        with self._lock:
            for part in removed:
                self._parts[part.signal].pop(part.path, None)
            for part in added:
                self._parts[part.signal][part.path] = part
            if compacted is not None:
                self._segments = [segment for segment in self._segments if segment is not compacted]
                self._unpacker.forget()
            self._version += 1
            self._waiting.append(_Waiting(self._version, tuple(file for part in removed for file in part.files), then))
        self._collect()

    def set_rollup(self, path: Path, *, usable: bool) -> None:
        """Tell later snapshots whether the part at a path has a rollup that can be read."""
        with self._lock:
            for parts in self._parts.values():
                if (part := parts.get(path)) is not None:
                    parts[path] = part.with_rollup() if usable else part.without_rollup()

    def exclude(self, path: Path, problem: str) -> None:
        """Leave a part that cannot be read out of all further snapshots; of a rollup, leave it out alone: it is made
        anew."""
        if is_rollup(path):
            self.set_rollup(path.with_suffix(PART_SUFFIX), usable=False)
            return
        mend = "restore the file from a backup, or delete it; the other files are served"
        with self._lock:
            for parts in self._parts.values():
                if parts.pop(path, None) is not None:
                    self._add_note(Note(str(path), problem, mend))

    def note(self, path: Path, problem: str, mend: str) -> None:
        with self._lock:
            self._add_note(Note(str(path), problem, mend))

    def _add_note(self, note: Note) -> None:
        if note not in self.notes:
            self.notes = [*self.notes, note][-_MOST_NOTES:]

    # ---- snapshots --------------------------------------------------------------------------------------

    @contextmanager
    def reading(self, window: Window | None, signals: Iterable[Signal]) -> Generator[Snapshot]:
        """A snapshot whose files stay while the context lasts."""
        wanted = tuple(signals)
        with self._lock:
            if self._closed:
                raise StoreError("The store is closed.")
            version = self._version
            self._open[version] = self._open.get(version, 0) + 1
            segments = [(segment, {name: tuple(segment.chunks[name]) for name in wanted}) for segment in self._segments]
            parts = {name: list(self._parts[name].values()) for name in wanted}
        try:
            yield Snapshot(
                {name: tuple(c for _, chunks in segments for c in chunks[name] if _touches(c, window))
                 for name in wanted},
                {name: tuple(sorted((p for p in parts[name] if _touches(p, window)), key=_order)) for name in wanted},
                self._unpacker,
            )  # fmt: skip
        finally:
            with self._lock:
                self._open[version] -= 1
                if not self._open[version]:
                    del self._open[version]
            self._collect()

    def close(self) -> None:
        """Hold no file any longer; snapshots that are open keep theirs."""
        with self._lock:
            self._closed = True
            self._segments = []
            self._unpacker.forget()

    def _collect(self) -> None:
        """Delete what no open snapshot can see; what the disk refuses to delete is tried again the next time."""
        with self._lock:
            oldest = min(self._open, default=self._version)
            ready = [item for item in self._waiting if item.version <= oldest]
            self._waiting = [item for item in self._waiting if item.version > oldest]
        for item in ready:
            try:
                for path in item.paths:
                    path.unlink(missing_ok=True)
                if item.then is not None:
                    item.then()
            except OSError:
                with self._lock:
                    self._waiting.append(item)


def _order(part: Part) -> tuple[int, int]:
    return part.start_ns, part.number


def _touches(what: Chunk | Part, window: Window | None) -> bool:
    return window is None or (what.start_ns < window.end_ns and window.start_ns < what.end_ns)
