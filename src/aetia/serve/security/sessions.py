"""Logins in the browser: a token is exchanged for a cookie that scripts cannot read and other sites cannot send."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from aetia.serve.problems import Refused
from aetia.serve.security.identity import Identity
from aetia.serve.security.tokens import Tokens

COOKIE = "aetia_session"
MOST_SESSIONS = 10_000
MOST_ADDRESSES = 10_000


class Sessions:
    """Open sessions, in memory: a restart asks for the token again. A revoked token ends its sessions."""

    def __init__(self, tokens: Tokens, hours: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens, self._seconds, self._clock = tokens, hours * 3600, clock
        self._held: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, identity: Identity, *, secure: bool) -> str:
        """The Set-Cookie of a new session."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._held[_key(secret)] = (identity.token_id, self._clock() + self._seconds)
            while len(self._held) > MOST_SESSIONS:
                self._held.popitem(last=False)
        return _cookie(secret, int(self._seconds), secure=secure)

    def identify(self, cookies: str) -> Identity | None:
        """Whose session the Cookie header names, or None."""
        secret = _secret(cookies)
        if not secret:
            return None
        with self._lock:
            token_id, until = self._held.get(_key(secret), ("", 0.0))
            if until <= self._clock():
                self._held.pop(_key(secret), None)
                return None
        held = self._tokens.known(token_id)
        if held is None:
            return None
        return Identity(name=held.name, scopes=held.scopes, how="session", token_id=token_id)

    def close(self, cookies: str, *, secure: bool) -> str:
        """End a session; the Set-Cookie that takes the cookie away."""
        with self._lock:
            self._held.pop(_key(_secret(cookies)), None)
        return _cookie("", 0, secure=secure)


class FailedLogins:
    """At most so many failed logins per address and minute; raises Refused (429) beyond."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        times = self._failed.get(address)
        if times is None:
            return
        now = self._clock()
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= self._most:
            wait = round(times[0] + 60 - now, 1)
            raise Refused("busy", "too many failed logins from this address; wait a minute.", retry_after_s=wait)

    def failed(self, address: str) -> None:
        self._failed.setdefault(address, deque(maxlen=self._most)).append(self._clock())
        self._failed.move_to_end(address)
        while len(self._failed) > MOST_ADDRESSES:
            self._failed.popitem(last=False)


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _secret(cookies: str) -> str:
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _cookie(value: str, seconds: int, *, secure: bool) -> str:
    flags = "; Secure" if secure else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{flags}"
