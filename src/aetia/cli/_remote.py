"""Questions of the command line to a running server: where it is, and what it answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from cyclopts import Parameter

from aetia.cli.serve import DATA
from aetia.model.errors import ServeError, UsageError
from aetia.net import Client, NetError, Params

DEFAULT = "http://127.0.0.1:4318"
SECONDS, MOST_BYTES = 120.0, 256 << 20
_MESSAGE, _TRY = (re.compile(rf'"{name}":("(?:[^"\\\\]|\\\\.)*")') for name in ("message", "try"))
T = TypeVar("T")
Token = Annotated[str, Parameter(env_var="AETIA_TOKEN")]


def server_url(url: str | None, data: Path | None) -> str:
    """The address of the server that is meant: the one given, else that of the folder's owner, else the usual one.

    Raises UsageError for both, ServeError for a folder that no server owns."""
    from aetia.store.lock import living_owner

    if url is not None:
        if data is not None:
            raise UsageError("give --url or --data, not both.")
        return url.rstrip("/")
    owner = living_owner(data or DATA)
    if owner is not None and owner.url:
        return owner.url
    if data is not None:
        raise ServeError(f"no server owns {data}; start one with `aetia serve --data {data}`, or give its --url.")
    return DEFAULT


class Remote:
    """One server, asked with a token where it wants one. Errors are one sentence: UsageError for what the server
    refuses, ServeError where it does not answer."""

    def __init__(self, url: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url
        self._client = Client(timeout_s=SECONDS, most_bytes=MOST_BYTES, allow_private=True, headers=headers)

    def get(self, path: str, params: Params | None = None) -> bytes:
        """The body of an answer."""
        try:
            return self._client.get(self._url + path, params, accept="*/*").body
        except NetError as error:
            raise self._told(error) from None

    def read(self, kind: type[T], path: str, params: Params | None = None) -> T:
        """The answer as a value of ours."""
        try:
            return msgspec.json.decode(self.get(path, params), type=kind)
        except msgspec.MsgspecError as error:
            raise ServeError(f"{self._url} is no server of this version of Aetia ({error}).") from None

    def _told(self, error: NetError) -> ServeError | UsageError:
        if error.category == "unreachable":
            return ServeError(
                f"no server answers at {self._url}; start one with `aetia serve`, or name another by --url."
            )
        if error.status is None:
            return ServeError(str(error))
        mend = " Give a token with --token or AETIA_TOKEN." if error.status in (401, 403) else ""
        return UsageError(_sentence(error) + mend)


def _sentence(error: NetError) -> str:
    """What the server says in its own shape of errors, as far as it was read; else what the client says of it."""
    found = _MESSAGE.search(error.said)
    if found is None:
        return str(error)
    mend = _TRY.search(error.said)
    return _text(found) + (f" Try: {_text(mend)}." if mend is not None else "")


def _text(found: re.Match[str]) -> str:
    return msgspec.json.decode(found[1].encode(), type=str)
