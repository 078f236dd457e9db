"""The gate before every request: bounds of its head, the name it was sent to, who asks, and the headers of the answer.

Plain ASGI. It also counts the request and answers whatever the application behind it raises.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aetia.model.errors import AetiaError
from aetia.serve.answers import media_type, refused_response
from aetia.serve.problems import Refused, internal, refusal
from aetia.serve.security.headers import with_defaults
from aetia.serve.security.identity import LOCAL, NOBODY, Identity, caller
from aetia.serve.security.origins import check_host, check_origin

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

log = logging.getLogger(__name__)


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, state: ServeState) -> None:
        self._app, self._state = app, state
        self._names = frozenset(name.lower().rstrip(".") for name in state.config.server.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = with_defaults(message.get("headers", ()))
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._admit(scope, headers)
            await self._app(scope, receive, answer)
        except Exception as error:
            refused = _refused(error)
            if refused.status >= 500 and refused.problem.kind == "internal":
                log.exception("request failed: %s %s", scope["method"], scope["path"])
            if status == 0:
                response = refused_response(refused, scope["path"], media_type(headers.get("content-type")))
                await response(scope, receive, answer)
        finally:
            self._state.watch.request(_route(scope), status, time.perf_counter() - began)

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Raise Refused for a request that is not let in; else set the caller."""
        limits = self._state.config.limits
        if len(scope["raw_path"]) + len(scope["query_string"]) > limits.url_kib * 1024:
            raise Refused("bad_request", f"the URL is longer than {limits.url_kib} KiB.")
        if len(scope["headers"]) > limits.headers:
            raise Refused("bad_request", f"the request has more than {limits.headers} headers.")
        host = headers.get("host", "")
        check_host(host, self._names, only_local=self._state.local)
        identity, by_token = self._identity(headers)
        if not by_token:
            check_origin(scope["method"], host, headers.get("origin"), headers.get("sec-fetch-site"))
        caller.set(identity)

    def _identity(self, headers: Headers) -> tuple[Identity, bool]:
        """Who asks, and whether a token says so, which no other site can send."""
        found = self._state.tokens.bearer(headers.get("authorization", ""))
        if found is not None:
            return found, True
        if self._state.local:
            return LOCAL, False
        return self._state.sessions.identify(headers.get("cookie", "")) or NOBODY, False


def _refused(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, AetiaError):
        return refusal(error)
    return internal()


def _route(scope: Scope) -> str:
    """The path as it was declared, so that ids make no routes of their own."""
    route = scope.get("route")
    return route.path if isinstance(route, Route) else "(other)"
