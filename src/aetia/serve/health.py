"""Whether the server lives, and whether it can do its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aetia.serve.answers import json_response

if TYPE_CHECKING:
    from aetia.serve.state import ServeState


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`ok` is the answer; `why` says what is missing."""

    ok: bool
    why: str = ""


def routes(state: ServeState) -> list[Route]:
    async def alive(request: Request) -> Response:
        return json_response(Health(ok=True))

    async def ready(request: Request) -> Response:
        found = readiness(state)
        return json_response(found, 200 if found.ok else 503)

    return [Route("/healthz", alive), Route("/readyz", ready)]


def readiness(state: ServeState) -> Health:
    """Ready from the moment when telemetry is taken and questions are answered until the shutdown begins."""
    if state.closing:
        return Health(ok=False, why="shutting down")
    if not state.ready:
        return Health(ok=False, why="starting")
    return Health(ok=True)
