"""`/mcp`: streamable HTTP on the server's own port, behind its gate, without sessions of its own.

The SDK takes a second of CPU time to load, so it is loaded with the first request. Without it the server runs, and the
path says what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aetia.serve.bodies import read_body
from aetia.serve.problems import Refused
from aetia.serve.security.identity import caller, require

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

PATH = "/mcp"
MOST_BODY, BODY_S, LOAD_S = 1 << 20, 30.0, 60.0
MISSING = "the Model Context Protocol needs a package that is not installed here; `pip install 'aetia[mcp]'` adds it."


class Endpoint:
    """The ASGI application of the path; `running` has to be entered while the server runs."""

    def __init__(self, state: ServeState) -> None:
        self._state = state
        self._wanted = asyncio.Event()
        self._ready: asyncio.Future[ASGIApp] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        self._ready = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._serve(self._ready), name="mcp")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        require_somebody()
        request = Request(scope, receive)
        body = await read_body(request, most=MOST_BODY, seconds=BODY_S, grow=lambda size: None)
        assert self._ready is not None
        self._wanted.set()
        try:
            serve = await asyncio.wait_for(asyncio.shield(self._ready), LOAD_S)
        except TimeoutError:
            raise Refused("unavailable", "the tools are being loaded.", retry_after_s=2.0) from None
        await serve(scope, _again(body, receive), send)

    async def _serve(self, ready: asyncio.Future[ASGIApp]) -> None:
        """Load the SDK once it is wanted, and run its part until the server ends."""
        await self._wanted.wait()
        try:
            manager = await asyncio.to_thread(_load, self._state)
        except Exception as error:
            logging.getLogger(__name__).exception("the Model Context Protocol cannot be served")
            ready.set_exception(Refused("unavailable", f"the package mcp cannot be used: {error}."))
            return
        async with manager.run():
            ready.set_result(manager.handle_request)
            await asyncio.Event().wait()


def _load(state: ServeState) -> Any:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from aetia.serve.mcp.answering import Answers
    from aetia.serve.mcp.binding import make_server
    from aetia.serve.mcp.catalog import described

    described()  # the event loop has others to serve than whoever asks for the tools first
    logging.getLogger("mcp").setLevel(logging.WARNING)
    # The gate has checked host, origin and token, and counts sessions of clients by the name that they give.
    return StreamableHTTPSessionManager(
        make_server(Answers(state)), json_response=True, stateless=True, max_request_body_size=MOST_BODY
    )


def require_somebody() -> None:
    """Raise Refused (401) for nobody, so that a client knows to send a token; each call then checks its scope."""
    identity = caller.get()
    if identity.how == "nobody":
        require(identity, "read")


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, for whoever reads it next; then what the connection says."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if not told:
            told = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


async def _missing(request: Request) -> Any:
    raise Refused("unavailable", MISSING)


def mount(state: ServeState) -> None:
    """Add the path to a server that is being put together."""
    routes: list[BaseRoute] = state.extras.setdefault("routes", [])
    if importlib.util.find_spec("mcp") is None:
        routes.append(Route(PATH, _missing, methods=["POST"]))
        return
    endpoint = Endpoint(state)
    routes.append(Route(PATH, endpoint, methods=["POST"]))
    state.extras.setdefault("during", []).append(endpoint.running)
