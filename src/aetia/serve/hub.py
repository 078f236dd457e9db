"""Who follows live: each client has a bounded queue; one that does not keep up is let go and may come back.

What happened of late is kept, so that a client that comes back is told what it missed. Its place is `START-NUMBER`: the
start of the server, because numbers begin again with each, and the number of the last event that it saw.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from aetia.serve.answers import encoded
from aetia.serve.problems import Refused

QUEUE = 1000
KEPT, KEPT_BYTES = 1000, 8 << 20
"""Events that a client may have missed, at most so many and so large."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One event: `topic` says to whom, `name` and `data` are what they read, `key` where they may begin again."""

    topic: str
    name: str
    data: bytes
    key: str = ""


class Listener:
    """The queue of one client. None in it is the end."""

    def __init__(self, wants: Callable[[str], bool]) -> None:
        self.wants = wants
        self.queue: asyncio.Queue[Said | None] = asyncio.Queue(QUEUE)
        self.lost = False

    def put(self, said: Said | None) -> None:
        if self.lost:
            return
        try:
            self.queue.put_nowait(said)
        except asyncio.QueueFull:
            self.lost = True
            self.queue.get_nowait()
            self.queue.put_nowait(None)  # after what is in the queue the stream ends; the client asks for the rest


class Missed(msgspec.Struct, frozen=True):
    """What a client that comes back is told first: whether events in between are lost, because the server was started
    again or they are too long ago; the events; and its place after them."""

    gap: bool
    events: Sequence[Said]
    place: str


class Hub:
    """Passes events to the clients that follow. `tell` may be called from any thread, all else on the event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._start = time.time_ns() // 10**6
        self._number = 0
        self._kept: deque[Said] = deque()
        self._kept_bytes = 0

    @property
    def clients(self) -> int:
        return len(self._listeners)

    def begin(self) -> None:
        """Called once on the event loop."""
        self._loop = asyncio.get_running_loop()

    def tell(self, topic: str, name: str, value: Any, key: str = "", *, keep: bool = False) -> None:
        """Pass an event on; before `begin` and after `close` nobody listens. Bytes are taken as JSON already. An event
        to `keep` is told to those who come back, too, and gets its place as key."""
        loop = self._loop
        if loop is None or self._closed or not (keep or self._listeners):
            return
        said = Said(topic=topic, name=name, data=value if isinstance(value, bytes) else encoded(value), key=key)
        try:
            loop.call_soon_threadsafe(self._pass, said, keep)
        except RuntimeError:
            self._closed = True  # the loop has ended

    def missed(self, place: str) -> Missed:
        """What was kept since a place; nothing for a client that names none."""
        now = self._place(self._number)
        if not place:
            return Missed(False, (), now)
        start, _, number = place.partition("-")
        oldest = self._number - len(self._kept)
        seen = int(number) if start == str(self._start) and number.isdecimal() and len(number) < 20 else -1
        if not oldest <= seen <= self._number:
            return Missed(True, tuple(self._kept), now)
        return Missed(False, tuple(self._kept)[seen - oldest :], now)

    @contextmanager
    def following(self, wants: Callable[[str], bool]) -> Generator[Listener]:
        """A listener for the topics that it wants. Raises Refused (503) when too many follow or the server ends."""
        if self._closed or len(self._listeners) >= self._most:
            raise Refused("unavailable", "too many clients follow this server already.", retry_after_s=10.0)
        listener = Listener(wants)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for listener in list(self._listeners):
            listener.put(None)

    def _place(self, number: int) -> str:
        return f"{self._start}-{number}"

    def _keep(self, said: Said) -> Said:
        self._number += 1
        said = msgspec.structs.replace(said, key=self._place(self._number))
        self._kept.append(said)
        self._kept_bytes += len(said.data)
        while len(self._kept) > KEPT or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().data)
        return said

    def _pass(self, said: Said, keep: bool) -> None:
        if keep:
            said = self._keep(said)
        for listener in list(self._listeners):
            if listener.wants(said.topic):
                listener.put(said)
