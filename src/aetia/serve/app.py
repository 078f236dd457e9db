"""The application: receiver, API, live streams, health and pages behind one gate."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from aetia.model.errors import AetiaError
from aetia.serve import dispatch, health, login, openapi, stream
from aetia.serve.answers import refused_response
from aetia.serve.guard import Guard
from aetia.serve.operations import all_operations
from aetia.serve.problems import Refused, internal, phrase, refusal
from aetia.serve.receiver import Receiver

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

WEB = Path(__file__).parent / "web"
SECTIONS = ("incidents", "explore", "compare")
"""First parts of the addresses that are pages."""
Span = Callable[[], AbstractAsyncContextManager[object]]
_KINDS = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def make_app(state: ServeState, *, routes: Sequence[BaseRoute] = (), during: Sequence[Span] = ()) -> ASGIApp:
    """The ASGI application of a server. `routes` are served beside its own; `during` are entered while it runs."""
    operations = all_operations()
    receiver = Receiver(state)
    state.extras["receiver"] = receiver
    held: list[BaseRoute] = [
        *receiver.routes(), *health.routes(state), *login.routes(state), *stream.routes(state),
        *openapi.routes(operations), *dispatch.routes(state, operations), *routes, *_pages(),
    ]  # fmt: skip

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        async with contextlib.AsyncExitStack() as stack:
            state.hub.begin()
            for span in during:
                await stack.enter_async_context(span())
            state.ready = True
            yield
            state.ready = False

    app = Starlette(
        routes=held, lifespan=lifespan,
        exception_handlers={HTTPException: _http, Refused: _refused, AetiaError: _refused, Exception: _internal},
    )  # fmt: skip
    app.router.redirect_slashes = False  # a redirect would name whatever host the request named
    return Guard(app, state)


class Files(StaticFiles):
    """Files of the web UI. A browser asks each time whether one has changed: pages and server belong together."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        answer = super().file_response(*args, **named)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _pages() -> list[BaseRoute]:
    """The web UI: one document, which reads its own address, and its files."""
    index = WEB / "index.html"

    async def page(request: Request) -> Response:
        return FileResponse(index, headers={"cache-control": "no-cache"})

    if not index.is_file():
        return [Route("/", _no_pages)]
    places = [Route(path, page) for path in ("/", *(f"/{name}" for name in SECTIONS))]
    below = [Route(f"/{name}/{{rest:path}}", page) for name in SECTIONS]
    return [*places, *below, Mount("/ui", Files(directory=WEB))]


async def _no_pages(request: Request) -> Response:
    return PlainTextResponse("Aetia. The API is described at /api/v1/openapi.json.\n")


async def _http(request: Request, error: Exception) -> Response:
    """What the router says (no such path, wrong method) in the shape of all errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = _KINDS.get(status, "bad_request" if status < 500 else "internal")
    headers = dict(getattr(error, "headers", None) or {})
    path = request.url.path
    message = f"{phrase(status).lower()}: {request.method} {path[:200]}."
    refused = Refused(kind, message, try_="/api/v1/openapi.json lists what there is", headers=headers)  # type: ignore[arg-type]
    return refused_response(refused, path, _kind(request))


async def _refused(request: Request, error: Exception) -> Response:
    found = error if isinstance(error, Refused) else refusal(error) if isinstance(error, AetiaError) else internal()
    return refused_response(found, request.url.path, _kind(request))


async def _internal(request: Request, error: Exception) -> Response:
    return refused_response(internal(), request.url.path, _kind(request))


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
