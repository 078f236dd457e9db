"""Journals on disk: one JSON object a line, written as it happens, readable up to a line that was cut off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from aetia.model.errors import ReportError
from aetia.model.journal import SCHEMA, Closed, Event, Opened

LONGEST_S = 1e9
_DECODER = msgspec.json.Decoder(Event)


class JournalFile:
    """Appends events to a file; each is on its way to the disk when `write` returns. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Log lines and prompts are in it: for its owner alone.
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        except FileExistsError:
            raise ReportError(f"{path} exists; a journal is never overwritten, choose another file.") from None
        except OSError as error:
            raise ReportError(f"{path} cannot be written: {error.strerror}; choose another place.") from error

    def write(self, event: Event) -> None:
        try:
            self._file.write(encoded(event) + b"\n")
            self._file.flush()
        except OSError as error:
            raise ReportError(f"{self._path} cannot be written: {error.strerror}; free some space.") from error

    def __enter__(self) -> JournalFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; a journal to which nothing happened leaves no file."""
        empty = self._file.tell() == 0
        self._file.close()
        if empty:
            self._path.unlink(missing_ok=True)


def encoded(event: Event) -> bytes:
    """An event as one line of JSON; numpy scalars, which algorithms leave in magnitudes, become plain numbers."""
    return msgspec.json.encode(event, enc_hook=lambda value: value.item())


def read_journal(path: Path) -> list[Event]:
    """The events of a journal; a last line without its end is left out, as a crash leaves it.

    Raises ReportError when the file cannot be read, is no journal, or is damaged before its last line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}.") from error
    lines = data.split(b"\n")
    events: list[Event] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            event = _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise ReportError(f"{path} line {number} is no event of a journal: {error}.") from error
        if not 0 <= event.at_s <= LONGEST_S:
            raise ReportError(f"{path} line {number} lies {event.at_s:g} s after its begin; the journal is damaged.")
        events.append(event)
    if events and isinstance(events[0], Opened) and events[0].schema != SCHEMA:
        was = events[0].schema[:60]
        raise ReportError(
            f"{path} is of the version {was!r}, and this program reads {SCHEMA}; use the one that wrote it."
        )
    if not events or not isinstance(events[0], Opened):
        raise ReportError(f"{path} is no journal of an investigation ({SCHEMA}); name one that aetia diagnose wrote.")
    return events


def opened(events: Sequence[Event]) -> Opened:
    """The first event of a journal."""
    first = events[0]
    assert isinstance(first, Opened)
    return first


def closed(events: Sequence[Event]) -> Closed | None:
    """The last event of a journal that was finished, else None."""
    return events[-1] if events and isinstance(events[-1], Closed) else None
