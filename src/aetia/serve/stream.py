"""Server-sent events: what happens on the server, and the steps of one investigation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from aetia.serve.answers import encoded
from aetia.serve.hub import Listener, Said
from aetia.serve.problems import Refused
from aetia.serve.security.identity import caller, require

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

HEARTBEAT_S = 15.0
RETRY_MS = 2000
GAP = encoded({"message": "Events were missed that are not kept any more; read anew what you show."})


def routes(state: ServeState) -> list[Route]:
    async def everything(request: Request) -> Response:
        require(caller.get(), "read")
        return _streaming(_follow(state, request.headers.get("last-event-id", "")))

    async def journal(request: Request) -> Response:
        require(caller.get(), "read")
        incident = request.path_params["incident_id"]
        first = await state.pool.run(state.diagnosing().journal, incident, seconds=10.0)
        return _streaming(_journal(state, incident, request.headers.get("last-event-id", ""), first))

    return [Route("/api/v1/stream", everything), Route("/api/v1/incidents/{incident_id}/stream", journal)]


def _streaming(lines: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(lines, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _follow(state: ServeState, last: str) -> AsyncIterator[bytes]:
    """What happens on the server, from where the client left off if that is kept, else from now on; until the client
    leaves, falls behind, or the server ends."""
    try:
        with state.hub.following(_no_journal) as listener:
            missed = state.hub.missed(last)
            # An event without data is not told by browsers, but they remember its id as the last one that they saw.
            yield f"retry: {RETRY_MS}\n".encode() + (b"\n" if last else f"id: {missed.place}\n\n".encode())
            if missed.gap:
                yield line(Said(topic="", name="gap", data=GAP, key="" if missed.events else missed.place))
            for said in missed.events:
                yield line(said)
            async for said in _events(listener):
                yield said
    except Refused as refused:
        yield line(Said(topic="", name="refused", data=f'"{refused}"'.encode()))


async def _events(listener: Listener) -> AsyncIterator[bytes]:
    while True:
        try:
            said = await asyncio.wait_for(listener.queue.get(), HEARTBEAT_S)
        except TimeoutError:
            yield b": still here\n\n"
            continue
        if said is None:
            return
        yield line(said)


async def _journal(state: ServeState, incident: str, last: str, first: tuple[int, list[bytes]]) -> AsyncIterator[bytes]:
    """The journal of an incident's investigation from where the client left off, then its steps as they come.

    Keys are `revision.sequence`: a new investigation of the same incident begins a revision.
    """
    yield f"retry: {RETRY_MS}\n\n".encode()
    with state.hub.following(lambda topic: topic == f"journal/{incident}") as listener:
        revision, held = await state.pool.run(state.diagnosing().journal, incident, seconds=10.0)
        told = _place(last)
        for seq, event in enumerate(held):
            if (revision, seq) > told:
                told = (revision, seq)
                yield line(Said(topic="", name="step", data=event, key=f"{revision}.{seq}"))
        while True:
            try:
                said = await asyncio.wait_for(listener.queue.get(), HEARTBEAT_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if said is None:
                return
            if said.key and _place(said.key) <= told:
                continue
            told = _place(said.key) if said.key else told
            yield line(said)


def _place(key: str) -> tuple[int, int]:
    """`3.17` → (3, 17); before everything for anything else."""
    left, _, right = key.partition(".")
    if left.isdecimal() and right.isdecimal() and len(key) < 40:
        return int(left), int(right)
    return -1, -1


def line(said: Said) -> bytes:
    """One event as it is sent. JSON has no line breaks of its own, so one data line holds it."""
    head = f"event: {said.name}\n" + (f"id: {said.key}\n" if said.key else "")
    return head.encode() + b"data: " + said.data.replace(b"\n", b" ") + b"\n\n"


def _no_journal(topic: str) -> bool:
    return not topic.startswith("journal/")
