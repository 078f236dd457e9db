"""The book on disk: one file per incident, replaced as a whole, and an append-only file of events."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

import msgspec

from aetia.model.errors import StoreError
from aetia.serve.incidents.records import IncidentEvent, IncidentRecord

RECORD, EVENTS = "incident.json", "events.jsonl"
MOST_EVENT_BYTES = 64 << 20
"""When the events file is larger, it is put aside as `events.1.jsonl` (what was there before goes)."""
ID = re.compile(r"i-\d{8}-\d{6}-[0-9a-f]{4,16}")


class Files:
    """Reads and writes the folder `incidents/`. Raises StoreError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be made ({error.strerror}); give a folder that can be written"
            ) from error

    def path(self, incident: str) -> Path:
        """The folder of one incident. Raises StoreError for what is no id, so that no path leaves the folder."""
        if not ID.fullmatch(incident):
            raise StoreError(f"{incident!r} is no id of an incident, which look like i-20261121-174502-3f2a")
        return self.folder / incident

    def read(self) -> tuple[list[IncidentRecord], dict[str, str]]:
        """(all incidents, why each damaged file was skipped)."""
        found: list[IncidentRecord] = []
        damaged: dict[str, str] = {}
        for path in sorted(self.folder.glob(f"i-*/{RECORD}")):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=IncidentRecord)
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
                damaged[str(path)] = f"{path} is damaged ({error}); it was skipped, move it away or mend it"
                continue
            if record.id != path.parent.name:
                damaged[str(path)] = f"{path} says it is {record.id}; it was skipped, name its folder so"
                continue
            found.append(record)
        return found, damaged

    def last_number(self) -> int:
        """The number of the last whole event, 0 without any; half a line at the end is cut off."""
        path = self.folder / EVENTS
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            with path.open("rb+") as file:
                file.seek(max(0, size - (1 << 20)))
                tail = file.read()
                whole = tail.rfind(b"\n") + 1
                if whole < len(tail):
                    file.truncate(size - len(tail) + whole)
            for line in reversed(tail[:whole].splitlines()):
                with contextlib.suppress(msgspec.MsgspecError):
                    return msgspec.json.decode(line, type=_Numbered).number
        return 0

    def write(self, record: IncidentRecord) -> None:
        """Replace the file of an incident as a whole; durable when this returns."""
        home = self.path(record.id)
        try:
            home.mkdir(exist_ok=True)
            new = home / f"{RECORD}.new"
            with new.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(record), indent=1))
                file.flush()
                os.fsync(file.fileno())
            new.replace(home / RECORD)
            _sync(home)
        except OSError as error:
            raise StoreError(f"{home / RECORD} cannot be written: {error.strerror}") from error

    def append(self, event: IncidentEvent) -> None:
        """Append one event."""
        path = self.folder / EVENTS
        try:
            if path.exists() and path.stat().st_size > MOST_EVENT_BYTES:
                path.replace(self.folder / "events.1.jsonl")
            with path.open("ab") as file:
                file.write(msgspec.json.encode(event) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error

    def remove(self, incident: str) -> None:
        """Delete an incident with all that lies in its folder; its record goes first, so that it never comes back
        half."""
        home = self.path(incident)
        with contextlib.suppress(OSError):
            (home / RECORD).unlink()
        shutil.rmtree(home, ignore_errors=True)


class _Numbered(msgspec.Struct):
    number: int


def _sync(folder: Path) -> None:
    """Make a rename in a folder durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
