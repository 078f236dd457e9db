"""Who asks, and what they may do."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal, get_args

import msgspec

from aetia.serve.problems import Refused

Scope = Literal["read", "write", "ingest"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One caller: a token by its name, a browser session of a token, or whoever sits at this machine."""

    name: str
    scopes: frozenset[Scope]
    how: Literal["local", "token", "session", "nobody"]
    token_id: str = ""

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes


LOCAL = Identity(name="local", scopes=frozenset(SCOPES), how="local")
NOBODY = Identity(name="nobody", scopes=frozenset(), how="nobody")

caller: ContextVar[Identity] = ContextVar("aetia_caller", default=NOBODY)
"""The identity of the request that the current task or worker thread serves."""


def require(identity: Identity, scope: Scope) -> None:
    """Raise Refused (401 for nobody, 403 for somebody without the scope)."""
    if identity.allows(scope):
        return
    if identity.how == "nobody":
        raise Refused(
            "unauthorised", "this server asks for a token; send `Authorization: Bearer TOKEN`.",
            try_="make a token with `aetia serve token create` on the server", headers={"www-authenticate": "Bearer"},
        )  # fmt: skip
    held = ", ".join(sorted(identity.scopes)) or "none"
    raise Refused("forbidden", f"this needs the scope {scope}; the token '{identity.name}' has {held}.")
