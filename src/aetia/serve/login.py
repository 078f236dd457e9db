"""Login of the web UI: a token for a session cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aetia.serve.answers import JSON, json_response, media_type
from aetia.serve.bodies import read_body
from aetia.serve.problems import Refused
from aetia.serve.security.identity import Identity, caller

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

MOST_BODY = 4096


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the login form sends."""

    token: Annotated[str, Meta(min_length=1, max_length=200)]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `login` says whether a token is needed at all and none was given."""

    name: str
    scopes: tuple[str, ...]
    how: str
    login: bool


def session_of(identity: Identity) -> Session:
    return Session(
        name=identity.name, scopes=tuple(sorted(identity.scopes)), how=identity.how, login=identity.how == "nobody"
    )


def routes(state: ServeState) -> list[Route]:
    async def session(request: Request) -> Response:
        return json_response(session_of(caller.get()))

    async def login(request: Request) -> Response:
        address = request.client.host if request.client is not None else ""
        state.logins.check(address)
        if media_type(request.headers.get("content-type")) != JSON:
            raise Refused("unsupported_media_type", f"send {JSON}.")
        body = await read_body(request, most=MOST_BODY, seconds=10.0, grow=lambda size: None)
        try:
            given = msgspec.json.decode(body, type=Login)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refused("bad_request", 'send {"token": "…"}.') from None
        identity = state.tokens.identify(given.token)
        if identity is None:
            state.logins.failed(address)
            raise Refused("unauthorised", "this token is not known; it may have been revoked.")
        cookie = state.sessions.open(identity, secure=_secure(request))
        answer = json_response(session_of(identity))
        answer.headers["set-cookie"] = cookie
        return answer

    async def logout(request: Request) -> Response:
        answer = Response(status_code=204)
        cookie = state.sessions.close(request.headers.get("cookie", ""), secure=_secure(request))
        answer.headers["set-cookie"] = cookie
        return answer

    return [
        Route("/api/v1/session", session),
        Route("/api/v1/login", login, methods=["POST"]),
        Route("/api/v1/logout", logout, methods=["POST"]),
    ]


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"
