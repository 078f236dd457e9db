"""Who follows live: each client has a bounded queue; one that does not keep up is let go and may come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import msgspec

from aetia.serve.answers import encoded
from aetia.serve.problems import Refused

QUEUE = 1000


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


class Hub:
    """Passes events to the clients that follow. `tell` may be called from any thread, all else on the event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def clients(self) -> int:
        return len(self._listeners)

    def begin(self) -> None:
        """Called once on the event loop."""
        self._loop = asyncio.get_running_loop()

    def tell(self, topic: str, name: str, value: Any, key: str = "") -> None:
        """Pass an event on; before `begin` and after `close` nobody listens. Bytes are taken as JSON already."""
        loop = self._loop
        if loop is None or self._closed or not self._listeners:
            return
        said = Said(topic=topic, name=name, data=value if isinstance(value, bytes) else encoded(value), key=key)
        try:
            loop.call_soon_threadsafe(self._pass, said)
        except RuntimeError:
            self._closed = True  # the loop has ended

    @contextmanager
    def following(self, wants: Callable[[str], bool]):
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

    def _pass(self, said: Said) -> None:
        for listener in list(self._listeners):
            if listener.wants(said.topic):
                listener.put(said)
