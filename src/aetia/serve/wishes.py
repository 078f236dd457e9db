"""What people wished of the investigation of an incident: kept beside it, so that every later answer heeds them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Literal

import msgspec

from aetia.model.errors import StoreError, UsageError
from aetia.model.journal import Steer

FILE = "wishes.json"
MOST = 20
"""Wishes of one incident; who wishes for more takes an earlier one back."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A component to leave out or to look at; `number` counts the wishes of an incident, `by` says whose it is."""

    number: int
    at_ns: int
    wish: Literal["exclude", "look_at"]
    entity: str
    by: str = ""

    @property
    def steer(self) -> Steer:
        """As an investigation takes it."""
        return Steer(wish=self.wish, entity=self.entity)


class _Held(msgspec.Struct, kw_only=True):
    last: int = 0
    wishes: list[Wish] = []


class Wishes:
    """Wishes per folder of an incident; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def of(self, place: Path) -> tuple[Wish, ...]:
        """In the order in which they were made. A file that cannot be read holds none."""
        return tuple(_read(place).wishes)

    def add(self, place: Path, steer: Steer, at_ns: int, by: str = "") -> Wish:
        """Keep a wish; the same one again is the one that is held. Raises UsageError where there are too many,
        StoreError where it cannot be written."""
        if steer.wish == "stop":
            raise UsageError("an end is no wish that is kept.")
        with self._lock:
            held = _read(place)
            for item in held.wishes:
                if (item.wish, item.entity) == (steer.wish, steer.entity):
                    return item
            if len(held.wishes) >= MOST:
                raise UsageError(f"{MOST} wishes are kept for one incident; take one back first.")
            made = Wish(number=held.last + 1, at_ns=at_ns, wish=steer.wish, entity=steer.entity, by=by)
            _write(place, _Held(last=made.number, wishes=[*held.wishes, made]))
            return made

    def withdraw(self, place: Path, number: int) -> Wish | None:
        """Take a wish back and return it; None where there is none of this number."""
        with self._lock:
            held = _read(place)
            gone = next((item for item in held.wishes if item.number == number), None)
            if gone is not None:
                _write(place, _Held(last=held.last, wishes=[item for item in held.wishes if item is not gone]))
            return gone


def _read(place: Path) -> _Held:
    try:
        return msgspec.json.decode((place / FILE).read_bytes(), type=_Held)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return _Held()


def _write(place: Path, held: _Held) -> None:
    """Replace the file as a whole, for its owner alone."""
    new = place / f"{FILE}.new"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(held))
            file.flush()
            os.fsync(file.fileno())
        new.replace(place / FILE)
    except OSError as error:
        raise StoreError(f"{place / FILE} cannot be written: {error.strerror}") from error
