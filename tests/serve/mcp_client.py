"""The SDK's own client against a served `/mcp`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

T = TypeVar("T")
Json = dict[str, Any]


def within(url: str, use: Callable[[Client], Awaitable[T]], *, token: str = "", mode: str = "auto") -> T:
    """What `use` gives with a client that is connected over streamable HTTP."""

    async def run() -> T:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode, cache=None) as client,
        ):
            return await use(client)

    return asyncio.run(run())


def by_stdio(command: str, args: list[str], use: Callable[[Client], Awaitable[T]]) -> T:
    """The same with a process that speaks over its stdin and stdout."""

    async def run() -> T:
        async with Client(StdioServerParameters(command=command, args=args)) as client:
            return await use(client)

    return asyncio.run(run())


def call(url: str, tool: str, args: Mapping[str, Any] | None = None, *, meta: Json | None = None, **how: Any) -> Json:
    """The content of a good answer."""
    found = outcome(url, tool, args, meta=meta, **how)
    assert not found.is_error, found.structured_content
    return found.structured_content


def problem(url: str, tool: str, args: Mapping[str, Any] | None = None, **how: Any) -> Json:
    """The error that a call is answered with."""
    found = outcome(url, tool, args, **how)
    assert found.is_error, found.structured_content
    return found.structured_content["error"]


def outcome(
    url: str, tool: str, args: Mapping[str, Any] | None = None, *, meta: Json | None = None, **how: Any
) -> CallToolResult:
    async def use(client: Client) -> CallToolResult:
        return await client.call_tool(tool, dict(args or {}), meta=meta)  # type: ignore[arg-type]

    return within(url, use, **how)


def walk(url: str, tool: str, args: Mapping[str, Any], between: Callable[[], object] = lambda: None) -> list[Json]:
    """Every row of an answer, by its cursors; `between` is called after the first page."""

    async def use(client: Client) -> list[Json]:
        rows: list[Json] = []
        cursor = ""
        while True:
            given = {**args, **({"cursor": cursor} if cursor else {})}
            found = (await client.call_tool(tool, given)).structured_content
            rows += found["rows"]
            assert found["truncated"] == bool(found["cursor"]) and (found["rows"] or not cursor), found
            if not found["cursor"]:
                return rows
            if not cursor:
                between()
            cursor = found["cursor"]

    return within(url, use)
