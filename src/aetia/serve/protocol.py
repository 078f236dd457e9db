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


def protocol_class(*, head_bytes: int, head_seconds: float) -> type[asyncio.Protocol]:
    """The faster of the installed protocols, bounded."""
    if importlib.util.find_spec("httptools") is not None:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Parser
    else:
        from uvicorn.protocols.http.h11_impl import H11Protocol as Parser  # type: ignore[assignment]
    base: Any = Parser

    class Bounded(base):
        """Counts what arrives while no request is under way; each head gets its own time."""

        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self._head, self._late = 0, cast("asyncio.TimerHandle | None", None)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            if self._waits_for_head():
                if self._late is None:
                    self._expect_head()
                self._head += len(data)
            super().data_received(data)
            if self.cycle is not before:
                self._head_came()
            elif self._head > head_bytes and self._waits_for_head() and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

        def _waits_for_head(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _expect_head(self) -> None:
            self._head = 0
            self._late = self.loop.call_later(head_seconds, self._gave_up)

        def _head_came(self) -> None:
            self._head = 0
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _gave_up(self) -> None:
            self._late = None
            if self._waits_for_head() and not self.transport.is_closing():
                self.transport.close()

    return cast("type[asyncio.Protocol]", Bounded)
