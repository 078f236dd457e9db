"""Which names the server answers to, and whether a page of another site sent the request.

A server on loopback has no password, so it must not be reachable from a web page: a page may send requests to
127.0.0.1 (CSRF), and may even read the answers when its own name resolves there (DNS rebinding). The first is stopped
by the Origin header, the second by the Host header.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aetia.serve.problems import Refused

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    name = host.strip("[]").rstrip(".").lower()
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """The name in a Host header, without the port; empty when it cannot be one."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises for a port that is none
    except ValueError:
        return ""
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").rstrip(".").lower()


def check_host(header: str, allowed: frozenset[str], *, only_local: bool) -> None:
    """Raise Refused (403) for a request that was addressed to another name. Without `only_local` any name will do
    unless names were configured, because a token protects what a cookie cannot."""
    name = host_name(header)
    if not name:
        raise Refused("bad_request", "the Host header names no host.")
    if name in allowed or is_loopback(name) or (not only_local and not allowed):
        return
    raise Refused(
        "forbidden", f"this server does not answer to the name '{name[:100]}'.",
        try_="ask it as localhost, or add the name to `hosts` in [server] of the configuration",
    )  # fmt: skip


def check_origin(method: str, host: str, origin: str | None, fetch_site: str | None) -> None:
    """Raise Refused (403) for a request that changes something and comes from a page of another origin."""
    if method in SAFE_METHODS:
        return
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        raise Refused("forbidden", "a page of another site may not change anything here.")
    if origin is None:
        return
    try:
        same = origin != "null" and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        same = False
    if not same:
        raise Refused("forbidden", "a page of another site may not change anything here.")
