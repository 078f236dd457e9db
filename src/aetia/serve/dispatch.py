"""Operations as HTTP endpoints: arguments from path, query and body, an answer in JSON, errors in one shape."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from aetia.model.errors import AetiaError
from aetia.serve.answers import JSON, compressed, encoded, media_type
from aetia.serve.bodies import read_body
from aetia.serve.operations.registry import Download, Operation, Raw
from aetia.serve.problems import Refused, refusal
from aetia.serve.security.identity import caller, require
from aetia.serve.security.origins import is_loopback

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

CLIENT_LEFT = 499
"""For the server's own numbers: nobody reads this answer."""
MOST_BODY = 1 << 20
"""Bytes of a request to the API; telemetry has limits of its own."""


def routes(state: ServeState, operations: Iterable[Operation]) -> list[Route]:
    """A route per path. Paths without a place come first, so that no id shadows them."""
    held: dict[str, dict[str, Operation]] = {}
    for item in sorted(operations, key=lambda item: (len(item.in_path), item.path, item.method)):
        held.setdefault(item.path, {})[item.method] = item
    return [_route(state, path, methods) for path, methods in held.items()]


def _route(state: ServeState, path: str, methods: Mapping[str, Operation]) -> Route:
    async def endpoint(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        require(caller.get(), operation.scope)
        given = await arguments(operation, request)
        return await answered(state, operation, given, request)

    return Route(path, endpoint, methods=list(methods), name=path)


async def answered(state: ServeState, operation: Operation, given: dict[str, Any], request: Request) -> Response:
    """Ask the operation in the pool and put its answer into a response."""
    params = operation.parsed(given)
    remote = request.client is not None and not is_loopback(request.client.host)
    accepted = request.headers.get("accept-encoding") if remote else None  # on one machine it only costs time

    def ask() -> Response:
        answer = operation.answers(state, params)
        if isinstance(answer, Raw):
            return Response(answer.content, headers=dict(answer.headers), media_type=answer.media_type)
        if isinstance(answer, Download):
            after = BackgroundTask(answer.done)
            return FileResponse(answer.path, media_type=answer.media_type, filename=answer.name, background=after)
        body, headers = compressed(encoded(answer), accepted)
        return Response(body, headers=headers, media_type=JSON)

    try:
        return await _while_there(request, state.pool.run(ask, seconds=state.config.limits.query_seconds))
    except Refused as refused:
        raise refused.asking(given) from None
    except AetiaError as error:
        raise refusal(error).asking(given) from None


async def _while_there(request: Request, asked: Coroutine[Any, Any, Response]) -> Response:
    """The answer to a question, which is stopped when the client goes away before: a page that was left asks nothing
    any more. The body of the request has been read."""
    answer, leaving = asyncio.ensure_future(asked), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else Response(status_code=CLIENT_LEFT)
    finally:
        leaving.cancel()
        answer.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def arguments(operation: Operation, request: Request) -> dict[str, Any]:
    """What was given, not yet checked: the body of a POST, else the query; and the path. Raises Refused (400, 415)."""
    if operation.method == "POST":
        given = await _body(request)
        if request.query_params:
            raise Refused("bad_request", f"{operation.name} takes its arguments in a JSON body, not in the URL.")
    else:
        given = _query(operation, request)
    for name, value in request.path_params.items():
        if name in given:
            raise Refused("bad_request", f"'{name}' stands in the path; leave it out of the rest.")
        given[name] = value
    return given


async def _body(request: Request) -> dict[str, Any]:
    """A JSON object. The content type is demanded because a form of another site cannot send it."""
    kind = media_type(request.headers.get("content-type"))
    if kind != JSON:
        raise Refused("unsupported_media_type", f"Content-Type '{kind[:60]}' is not taken; send {JSON}.")
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise Refused("unsupported_media_type", "send the body without a Content-Encoding.")
    raw = await read_body(request, most=MOST_BODY, seconds=30.0, grow=lambda size: None)
    try:
        found = msgspec.json.decode(raw) if raw else {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused("bad_request", f"the body is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise Refused("bad_request", "the body has to be a JSON object with the arguments.")
    return found


def _query(operation: Operation, request: Request) -> dict[str, Any]:
    """Arguments from the query; one that takes several values may be repeated. Raises Refused (400) otherwise."""
    several = operation.several
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in several:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Refused("bad_request", f"'{name[:80]}' was given twice.")
        else:
            given[name] = value
    return given
