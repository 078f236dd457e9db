"""The SDK's server over the tools. The SDK changed its names between major versions, so it is used here, in `mount` and
in `proxy` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.lowlevel import Server

from aetia import __version__
from aetia.serve.mcp.answering import Answered, Answers
from aetia.serve.mcp.catalog import INSTRUCTIONS, described

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

NAME = "aetia"


def make_server(answers: Answers) -> Server[Any]:
    """A server of the protocol that lists the tools and answers calls of them."""

    async def list_tools(
        context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed())

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        return result(await answers.answer(params.name, params.arguments or {}, meta_of(context)))

    server: Server[Any] = Server(
        NAME, version=__version__, title="Aetia", instructions=INSTRUCTIONS, on_list_tools=list_tools,
        on_call_tool=call_tool,
    )  # fmt: skip
    server.middleware.clear()  # the SDK's own tracing; the server counts its requests itself
    return server


def listed() -> list[types.Tool]:
    """The tools as the protocol describes them."""
    reads = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True,
                                  open_world_hint=False)  # fmt: skip
    return [
        types.Tool(name=tool.name, title=tool.title, description=tool.description, input_schema=dict(tool.schema),
                   annotations=reads)
        for tool in described()
    ]  # fmt: skip


def result(found: Answered) -> types.CallToolResult:
    """The answer as structured content, and as text for clients that read nothing else."""
    text = json.dumps(found.content, ensure_ascii=False, separators=(",", ":"))
    content: Sequence[types.ContentBlock] = [types.TextContent(type="text", text=text)]
    return types.CallToolResult(content=list(content), structured_content=found.content, is_error=found.failed)


def meta_of(context: ServerRequestContext[Any]) -> Mapping[str, Any]:
    """`_meta` of the request."""
    return dict(context.meta or {})
