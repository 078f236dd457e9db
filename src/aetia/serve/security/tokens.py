"""Tokens: made once, shown once, kept as salted hashes in `DIR/tokens.json`.

A token is `aetia_ID_SECRET` with 256 random bits of secret, so one round of SHA-256 with a salt is enough: there is
nothing to guess. The file is read again when it changes, so that a token made or revoked while the server runs counts
at once.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aetia.model.errors import ServeError, UsageError
from aetia.serve.security.identity import Identity, Scope

FILE = "tokens.json"
PREFIX = "aetia"
_NO_HASH = "0" * 64


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token: everything but the secret."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_ns: int
    salt: str
    hash: str

    def identity(self) -> Identity:
        return Identity(name=self.name, scopes=frozenset(self.scopes), how="token", token_id=self.id)


class Tokens:
    """The tokens of one folder; thread-safe. A missing file holds no tokens; a damaged one raises ServeError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._held: dict[str, Token] = {}
        self._version: tuple[int, int, int] | None = None

    def all(self) -> tuple[Token, ...]:
        """In order of creation."""
        with self._lock:
            return tuple(sorted(self._read().values(), key=lambda token: (token.created_ns, token.id)))

    def create(self, scopes: Sequence[Scope], name: str = "") -> tuple[str, Token]:
        """A new token: what its owner has to keep, and what is kept of it. Raises UsageError without a scope."""
        if not scopes:
            raise UsageError("a token without a scope opens nothing; give --scope read, write, ingest or several.")
        secret, salt, key = secrets.token_hex(32), secrets.token_hex(16), secrets.token_hex(4)
        token = Token(
            id=key, name=name or f"token-{key}", scopes=tuple(sorted(set(scopes))), created_ns=time.time_ns(),
            salt=salt, hash=_hash(salt, secret),
        )  # fmt: skip
        with self._lock:
            self._write({**self._read(), key: token})
        return f"{PREFIX}_{key}_{secret}", token

    def revoke(self, name: str) -> Token:
        """Forget a token by its id or its name; raises UsageError when there is none or more than one."""
        with self._lock:
            held = self._read()
            found = [token for token in held.values() if name in (token.id, token.name)]
            if len(found) != 1:
                known = ", ".join(f"{token.id} ({token.name})" for token in held.values()) or "none"
                what = "no token" if not found else "more than one token"
                raise UsageError(f"there is {what} '{name}'; use an id of {known}.")
            self._write({key: token for key, token in held.items() if key != found[0].id})
            return found[0]

    def identify(self, text: str) -> Identity | None:
        """Whose token this is, or None. Takes the same time whether the id is known or not."""
        prefix, _, rest = text.partition("_")
        key, _, secret = rest.partition("_")
        with self._lock:
            token = self._read().get(key)
        given = _hash(token.salt if token else "", secret)
        same = hmac.compare_digest(given, token.hash if token else _NO_HASH)
        return token.identity() if token is not None and same and prefix == PREFIX else None

    def bearer(self, header: str) -> Identity | None:
        """Whose token an Authorization header holds, or None."""
        kind, _, text = header.partition(" ")
        return self.identify(text.strip()) if kind.lower() == "bearer" else None

    def known(self, token_id: str) -> Identity | None:
        """The identity of a token by its id while it is not revoked."""
        with self._lock:
            token = self._read().get(token_id)
        return token.identity() if token is not None else None

    def _read(self) -> dict[str, Token]:
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_ino, found.st_size)
            if version != self._version:
                held = msgspec.json.decode(self._path.read_bytes(), type=tuple[Token, ...])
                self._held, self._version = {token.id: token for token in held}, version
        except FileNotFoundError:
            self._held, self._version = {}, None
        except msgspec.MsgspecError as error:
            raise ServeError(f"{self._path} is damaged ({error}); delete it and make new tokens.") from None
        return self._held

    def _write(self, held: dict[str, Token]) -> None:
        content = msgspec.json.format(msgspec.json.encode(tuple(held.values())), indent=2)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_name(f".{FILE}.{os.getpid()}.new")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path)
        self._version = None


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()
