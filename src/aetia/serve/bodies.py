"""Request bodies within bounds: size as sent, size decompressed, time to arrive, and all requests together."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pyarrow as _arrow
from starlette.requests import ClientDisconnect, Request

from aetia.serve.problems import Refused

pa: Any = _arrow  # the stubs know streams only in part
_CHUNK = 1 << 20
DRAINED, DRAIN_S = 64 << 20, 5.0
"""Bytes and seconds of a body that is too large which are read on, so that its sender hears why."""
IN_THREAD = 64 * 1024
"""Bodies beyond this are decompressed and converted in a thread: the event loop has others to serve."""


class InFlight:
    """Bytes of all bodies that are in memory at this moment. Used from the event loop alone."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    @contextmanager
    def reserved(self):
        """A share that grows by `grow(n)` and is given back at the end."""
        mine = 0

        def grow(size: int) -> None:
            nonlocal mine
            if self.held + size > self.most:
                raise Refused("busy", "too much telemetry is being received at this moment.", retry_after_s=1.0)
            self.held += size
            mine += size

        try:
            yield grow
        finally:
            self.held -= mine


Grow = Callable[[int], None]


async def read_body(request: Request, *, most: int, seconds: float, grow: Grow) -> bytes:
    """The body as it was sent. Raises Refused: 413 when it is too large, 408 when it takes too long, 429 when all
    requests together hold too much."""
    said = request.headers.get("content-length", "")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            if said.isdecimal() and int(said) > most:
                await _drained(request)
                raise _too_large(most)
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    await _drained(request)
                    raise _too_large(most)
                grow(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise Refused("timeout", f"the body did not arrive within {seconds:g} s.", retry_after_s=1.0) from None
    except ClientDisconnect:
        raise Refused("bad_request", "the connection ended within the body.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _drained(request: Request) -> None:
    """Read on and forget for a while: a client that is still sending sees a closed connection and not the answer."""
    left = DRAINED
    try:
        async with asyncio.timeout(DRAIN_S):
            while left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


ENCODINGS = ("identity", "gzip", "zstd", "deflate")


async def unpacked(body: bytes, encoding: str, *, most: int, grow: Grow) -> bytes:
    """The body without its Content-Encoding. Raises Refused: 415 for an unknown one, 400 when it is damaged, 413 when
    it grows beyond the limit (the memory is never taken)."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ENCODINGS:
        raise Refused(
            "unsupported_media_type", f"Content-Encoding '{name[:40]}' is not known; send {', '.join(ENCODINGS)}."
        )
    if len(body) > IN_THREAD:
        out = await asyncio.to_thread(decompress, body, name, most)
    else:
        out = decompress(body, name, most)
    grow(len(out))
    return out


def decompress(body: bytes, encoding: str, most: int) -> bytes:
    """The bytes that a gzip, zstd or deflate body stands for, at most that many. Raises Refused as `unpacked`."""
    try:
        out = _unzstd(body, most) if encoding == "zstd" else _inflate(body, encoding, most)
    except (zlib.error, OSError, ValueError, EOFError) as error:
        raise Refused("bad_request", f"the body is no {encoding}: {error}.") from None
    if len(out) > most:
        raise _too_large(most, "decompressed ")
    return out


def _inflate(body: bytes, encoding: str, most: int) -> bytes:
    """gzip (with several members) and deflate (zlib or raw); stops one byte beyond the limit."""
    if encoding == "gzip":
        wrapper = 31
    else:
        wrapper = 15 if body[:1] and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0 else -15
    parts: list[bytes] = []
    size, rest = 0, body
    while True:
        stream = zlib.decompressobj(wrapper)
        while size <= most and not stream.eof:
            part = stream.decompress(rest, min(_CHUNK, most + 1 - size))
            rest = stream.unconsumed_tail
            size += len(part)
            parts.append(part)
            if not part and not rest:
                break
        if size > most:
            break
        if not stream.eof:
            raise EOFError("it is cut off")
        rest = stream.unused_data
        if not rest or wrapper != 31:
            break
    return b"".join(parts)


def _unzstd(body: bytes, most: int) -> bytes:
    """zstd frames; stops one chunk beyond the limit."""
    parts: list[bytes] = []
    size = 0
    with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
        while size <= most and (part := stream.read(_CHUNK)):
            size += len(part)
            parts.append(part)
    return b"".join(parts)


def _too_large(most: int, what: str = "") -> Refused:
    return Refused("too_large", f"the {what}body is larger than {most} bytes; send smaller batches.")
