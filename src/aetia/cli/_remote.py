"""Which running server a command means, and how it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.serve import DATA
from aetia.model.errors import ServeError, StoreError, UsageError

if TYPE_CHECKING:
    from aetia.serve.client import Remote

DEFAULT = "http://127.0.0.1:4318"
Token = Annotated[str, Parameter(env_var="AETIA_TOKEN")]


def server_url(url: str | None, data: Path | None) -> str:
    """The address of the server that is meant: the one given, else that of the folder's owner, else the usual one.

    Raises UsageError for both, ServeError for a folder that no server owns."""
    return _meant(url, data)[0]


def server(url: str | None, data: Path | None, token: str) -> Remote:
    """A client of the server that is meant; raises like `server_url`."""
    from aetia.serve.client import Remote

    address, ours = _meant(url, data)
    return Remote(address, token, ours=ours)


def owner(data: Path, token: str) -> Remote | None:
    """A client of the server that owns a folder; None where nobody does. Raises StoreError for an owner that is no
    server."""
    from aetia.serve.client import Remote
    from aetia.store.lock import living_owner, locked_message

    found = living_owner(data)
    if found is not None and not found.url:
        raise StoreError(locked_message(data, found))
    return Remote(found.url, token, ours=True) if found is not None else None


def _meant(url: str | None, data: Path | None) -> tuple[str, bool]:
    """The address, and whether a folder's lock on this machine says so."""
    from aetia.store.lock import living_owner

    if url is not None:
        if data is not None:
            raise UsageError("give --url or --data, not both.")
        return url.rstrip("/"), False
    found = living_owner(data or DATA)
    if found is not None and found.url:
        return found.url, True
    if data is not None:
        raise ServeError(f"no server owns {data}; start one with `aetia serve --data {data}`, or give its --url.")
    return DEFAULT, False
