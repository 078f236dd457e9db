"""uvicorn's HTTP protocol with bounds on a request's head: bytes, and time in which it has to arrive.

The application sees a request when its head is complete. Until then a client could send headers without end, or one
byte a minute, and neither parser stops it (`httptools` has no limit of its own).
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any, cast

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n"
    b"x-content-type-options: nosniff\r\n\r\n"
)


def protocol_class(*, head_bytes: int, head_seconds: float, fast: bool = True) -> type[asyncio.Protocol]:
    """The faster of the installed protocols, bounded; without `fast` the one that is always there. What h11 reads of a
    head is bounded by its own `h11_max_incomplete_event_size`."""
    if fast and importlib.util.find_spec("httptools") is not None:
        return _httptools(head_bytes, head_seconds)
    return _h11(head_seconds)


class _Patience:
    """Closes a connection whose head does not come in time. Mixed into a protocol of uvicorn."""

    head_seconds: float
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _late: asyncio.TimerHandle | None = None

    def _expect_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._gave_up)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _gave_up(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()


def _httptools(head_bytes: int, seconds: float) -> type[asyncio.Protocol]:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Bounded(_Patience, HttpToolsProtocol):
        """The parser says where heads begin and end; what arrives in between is counted."""

        head_seconds = seconds
        _in_head, _head = False, 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._head += len(data)
                if self._head > head_bytes:
                    self.transport.write(TOO_LARGE)
                    self.transport.close()
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            self._in_head, self._head = True, 0
            self._expect_head()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._head_came()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

    return cast("type[asyncio.Protocol]", Bounded)


def _h11(seconds: float) -> type[asyncio.Protocol]:
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(_Patience, H11Protocol):
        """A head is awaited while the client is idle."""

        head_seconds = seconds

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            before: Any = self.cycle
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE or self.cycle is not before:
                self._head_came()
            else:
                self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

    return cast("type[asyncio.Protocol]", Bounded)
