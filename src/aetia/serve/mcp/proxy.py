"""The tools of a running server over stdin and stdout: every call is passed on to its `/mcp`.

Each call is one HTTP request that stands for itself, so the server may be restarted between two of them. While it does
not answer, a call is answered with an error that can be tried again, and the tools are those of this version.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import mcp_types as types
import msgspec
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from aetia import __version__
from aetia.serve.mcp.answering import DEADLINE, SESSION, Answered
from aetia.serve.mcp.binding import NAME, listed, meta_of, result
from aetia.serve.mcp.catalog import INSTRUCTIONS
from aetia.serve.mcp.mount import PATH
from aetia.serve.mcp.values import Json
from aetia.serve.security.origins import is_loopback

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

REVISION = MODERN_PROTOCOL_VERSIONS[-1]
"""Named by both ends, which are of one package, so that no handshake is needed."""
CONNECT_S, ANSWER_S = 10.0, 3600.0


class Proxy:
    """Passes requests on to one server. With `deadline_s` all calls are one session with that deadline."""

    def __init__(self, url: str, token: str = "", deadline_s: float | None = None) -> None:
        self._url, self._deadline_s = url, deadline_s
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        # A server on this machine has a certificate with another name, and what is sent to it never leaves the machine.
        self.lines = httpx2.AsyncHTTPTransport(verify=not is_loopback(httpx2.URL(url).host))
        self._session, self._begun = uuid.uuid4().hex, False

    def server(self) -> Server[Any]:
        """The server of the protocol that a client on stdin talks to."""
        server: Server[Any] = Server(
            NAME, version=__version__, title="Aetia", instructions=INSTRUCTIONS, on_list_tools=self._list,
            on_call_tool=self._call,
        )  # fmt: skip
        server.middleware.clear()
        return server

    async def _list(
        self, context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        try:
            async with self._client([]) as client:
                return await client.list_tools()
        except* (httpx2.HTTPError, MCPError, OSError):
            pass
        return types.ListToolsResult(tools=listed())

    async def _call(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        said: list[Json] = []
        why = ""
        try:
            async with self._client(said) as client:
                return await client.call_tool(params.name, params.arguments, meta=self._meta(context))
        except* (httpx2.HTTPError, MCPError, OSError) as group:
            why = _cause(group)
        problem = said[0] if said else _unreachable(self._url, why)
        asked = {"tool": params.name[:80]}
        return result(Answered({"error": {"retryable": False, **problem, "asked": asked}}, failed=True))

    def _client(self, said: list[Json]) -> Client:
        """A client for one request over the connections that all share; `said` gets the error that the server's gate
        answers with, of which the SDK keeps nothing."""

        async def listen(response: httpx2.Response) -> None:
            if response.is_error:
                with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
                    found = dict(msgspec.json.decode(await response.aread())["error"])
                    said.append(found | {"kind": found["kind"]})  # an error of the protocol has a code instead

        http = httpx2.AsyncClient(
            transport=self.lines, headers=self._headers, timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S),
            event_hooks={"response": [listen]},
        )  # fmt: skip
        return Client(streamable_http_client(self._url + PATH, http_client=http), mode=REVISION, cache=None)

    def _meta(self, context: ServerRequestContext[Any]) -> types.RequestParamsMeta:
        """What the client said beside its arguments, and the deadline of this process."""
        said = {key: value for key, value in meta_of(context).items() if key in (SESSION, DEADLINE)}
        if self._deadline_s is not None and not said:
            said = {SESSION: self._session} | ({DEADLINE: self._deadline_s} if not self._begun else {})
            self._begun = True
        return said  # pyright: ignore[reportReturnType]


def _cause(group: BaseException) -> str:
    """The innermost of the errors that the SDK wraps into one another."""
    while isinstance(group, BaseExceptionGroup) and group.exceptions:
        group = group.exceptions[0]
    return str(group) or type(group).__name__


def _unreachable(url: str, why: str) -> Json:
    """The error of a call that reached no server."""
    return {
        "kind": "unavailable", "retryable": True, "message": f"the server at {url} gave no answer: {why[:300]}.",
        "try": "the same call again; `aetia serve` starts a server, --url names another",
    }  # fmt: skip


def run(url: str, token: str = "", deadline_s: float | None = None) -> None:
    """Serve stdin and stdout until stdin ends."""
    logging.getLogger("mcp").setLevel(logging.ERROR)  # what goes wrong is told to the client
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    anyio.run(_serve, Proxy(url, token, deadline_s))


async def _serve(proxy: Proxy) -> None:
    server = proxy.server()
    async with proxy.lines, stdio_server() as (source, target):
        await server.run(source, target, server.create_initialization_options())
