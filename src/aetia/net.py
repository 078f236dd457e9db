"""A small HTTP client for connectors and webhooks: time limits, size limits, address checks.

An URL may come from a configuration file, a request of the API or a webhook, so whoever chose it may not be allowed to
reach what this machine reaches. `Client` resolves a host once, checks every address that it got and connects to one of
these very addresses: a name that answers differently a moment later (DNS rebinding) changes nothing. Link-local
addresses, where clouds serve the credentials of a machine, are refused always, private ones unless the caller allows
them. Redirects are not followed unless asked for, then checked again, and never with credentials to another server.
Proxies of the environment are not used. An exchange ends at its deadline, however slowly the server drips.
"""

from __future__ import annotations

import base64
import functools
import http.client
import io
import ipaddress
import os
import queue
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urljoin, urlsplit

from aetia.model.errors import AetiaError
from aetia.model.patience import go_on, left_s, stopping

Category = Literal["url", "refused", "unreachable", "tls", "timeout", "too_large", "redirect", "status", "protocol"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Params = Mapping[str, str] | Sequence[tuple[str, str]]
SAID_CHARS = 300
"""So much of what a server says about an error is passed on."""
_CHUNK = 1 << 18
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_REDIRECTS = (301, 302, 303, 307, 308)
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_HARMLESS = frozenset({"accept", "content-type"})
_MENDS: dict[Category, str] = {
    "url": "write an address such as http://localhost:9090",
    "refused": "name a server that may be reached from here",
    "unreachable": "check that it runs and that host and port are right",
    "tls": "check its certificate, and name the authority that signed it in the environment variable SSL_CERT_FILE",
    "timeout": "ask for less, or give it more time",
    "too_large": "ask for less",
    "redirect": "use the address that it points to",
    "status": "check the address and the credentials",
    "protocol": "check that the address is the one of an HTTP server",
}


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# IANA's registries of special-purpose addresses, written out: what `ipaddress` calls private differs by its version.
_NEVER = _networks(
    "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "168.63.129.16/32",
    "192.0.0.192/32", "::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::254/128", "100::/64",
)  # fmt: skip
"""This network, link-local (where clouds answer for a machine's credentials), multicast, reserved, broadcast; and the
clouds' metadata addresses outside of link-local."""
_PRIVATE = _networks(
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "::1/128", "fc00::/7", "fec0::/10",
    "64:ff9b:1::/48", "2001:db8::/32", "2001::/23", "3fff::/20", "5f00::/16",
)  # fmt: skip
"""Loopback, private, carrier-grade NAT, benchmarks, documentation, unique local, local NAT64, protocol assignments."""
_LAST_32_BITS = _networks("::/96", "64:ff9b::/96", "64:ff9b:1::/48")


class NetError(AetiaError):
    """An exchange with a server did not come about. The message names the server, what happened and the mend; it never
    holds credentials or the query of the URL.

    `status` is the server's where it answered, `retry_after_s` what it asked for, `said` the begin of its answer.
    `retryable` tells whether the same request may succeed later.
    """

    def __init__(
        self, category: Category, message: str, *, status: int | None = None, retry_after_s: float | None = None,
        said: str = "",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.category, self.status, self.retry_after_s, self.said = category, status, retry_after_s, said

    @property
    def retryable(self) -> bool:
        return self.category in ("unreachable", "timeout", "protocol") or self.status in _RETRYABLE


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: `headers` with names in lower case, `body` decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order in which to try them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def forbidden(text: str, *, allow_private: bool) -> str:
    """Why no connection is made to an address; empty when it may be. IPv4 addresses inside of IPv6 ones count too."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:  # with a zone (fe80::1%eth0), which link-local addresses alone have
        return "it is link-local"
    for one in (address, *_inside(address)):
        if any(one in network for network in _NEVER):
            return f"{text} is link-local, reserved or multicast, or a cloud's metadata service"
        if not allow_private and any(one in network for network in _PRIVATE):
            return f"{text} is a private address"
    return ""


def _inside(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 one leads to: mapped, compatible, NAT64, 6to4, Teredo."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if int(address) > 1 and any(address in network for network in _LAST_32_BITS):  # not :: and ::1
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def shown(url: str) -> str:
    """An URL as messages show it: without credentials, query and fragment."""
    try:
        parts = urlsplit(_CONTROL.sub("", url))
        host = parts.hostname or "?"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the URL"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}"[:200]


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL taken apart and checked. `secrets` are texts that no message may hold."""

    scheme: str
    host: str
    port: int
    path: str
    authorization: str | None
    secrets: tuple[str, ...]
    shown: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host.lower().rstrip("."), self.port

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Exchanges with HTTP servers; holds no connection, so any number of threads may share one.

    `headers` go with every request, but not to another server that redirects lead to. `timeout_s` bounds one exchange
    from the look-up of the name to the last byte, `most_bytes` the body as sent and decompressed. `redirects` is how
    many are followed. `resolve` looks names up. `trust` says whose certificates are taken instead of those that the
    machine's authorities signed.
    """

    allow_private: bool = False
    timeout_s: float = 30.0
    most_bytes: int = 64 << 20
    redirects: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    resolve: Callable[[str, int], Sequence[str]] = field(default=resolve, repr=False)
    trust: ssl.SSLContext | None = field(default=None, repr=False)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, params: Params | None = None,
        body: bytes | None = None, timeout_s: float | None = None, most_bytes: int | None = None,
        into: IO[bytes] | None = None, refusals: bool = False,
    ) -> Answer:  # fmt: skip
        """One exchange; the answer's status is 2xx. Raises NetError, and GivenUp when nobody waits for it any more.

        `params` are added to the query of the URL. `user:password@` in the URL becomes an Authorization header. The
        body of a success is written to `into`, if given, instead of into the answer. With `refusals` an answer of any
        status is returned, for servers whose errors are understood.
        """
        until = time.monotonic() + left_s(self.timeout_s if timeout_s is None else timeout_s)
        cap = self.most_bytes if most_bytes is None else most_bytes
        target = _target(url, params)
        sent = _headers(target, {**self.headers, **(headers or {})})
        if method not in _METHODS:
            raise _error("url", target, f"{method!r} is no method of HTTP that is used here")
        for left in range(self.redirects, -1, -1):
            answer = self._exchange(method, target, sent, body, until, cap, into)
            if answer.status not in _REDIRECTS:
                return answer if refusals else _checked(answer, target, sent)
            following = _redirected(answer, target, method, left)
            if following.origin != target.origin:
                sent = {name: value for name, value in sent.items() if name.lower() in _HARMLESS}
            if answer.status == 303 and method != "HEAD":
                method, body = "GET", None
            target = following
        raise AssertionError("the loop ends by itself")

    def get(self, url: str, params: Params | None = None, *, accept: str = "application/json") -> Answer:
        """`request` of GET. Raises NetError."""
        return self.request("GET", url, params=params, headers={"Accept": accept})

    def _exchange(
        self, method: str, target: _Target, headers: Mapping[str, str], body: bytes | None, until: float, cap: int,
        into: IO[bytes] | None,
    ) -> Answer:  # fmt: skip
        line = _connect(target, self._addresses(target, until), until)
        held = [line]  # encryption puts another socket in the place of the first
        watchdog = threading.Timer(max(until - time.monotonic(), 0.0), _hang_up, (held,))
        watchdog.daemon = True
        watchdog.start()
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.auto_open = 0  # what is connected is what was checked
        try:
            with stopping(lambda: _hang_up(held)):
                connection.sock = held[0] = _secured(line, target, self.trust)
                if isinstance(held[0], ssl.SSLSocket):
                    held[0].do_handshake()
                own = {"Host": target.host_header, "Accept-Encoding": "gzip", "Connection": "close"}
                own = own if "user-agent" in {name.lower() for name in headers} else own | {"User-Agent": "aetia"}
                connection.request(method, target.path, body, {**own, **headers})
                with connection.getresponse() as response:
                    answered = {name.lower(): value for name, value in response.getheaders()}
                    place = into if 200 <= response.status < 300 else None
                    answer = Answer(response.status, answered, _body(response, target, cap, place))
        except (OSError, http.client.HTTPException, zlib.error, EOFError) as failed:
            go_on()
            if time.monotonic() >= until or isinstance(failed, TimeoutError):
                raise _error("timeout", target, "gave no full answer in time") from None
            raise _of_transport(failed, target) from None
        finally:
            watchdog.cancel()
            connection.close()
            held[0].close()
        if time.monotonic() >= until:
            raise _error("timeout", target, "gave no full answer in time")
        return answer

    def _addresses(self, target: _Target, until: float) -> list[str]:
        """All addresses of the host, every one allowed. Raises NetError."""
        answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def look_up() -> None:  # getaddrinfo knows no deadline; a thread that is left behind ends by itself
            try:
                answers.put(self.resolve(target.host, target.port))
            except (OSError, UnicodeError) as failed:
                answers.put(OSError(str(failed)))

        threading.Thread(target=look_up, daemon=True).start()
        try:
            found = answers.get(timeout=max(until - time.monotonic(), 0.001))
        except queue.Empty:
            raise _error("timeout", target, "has a name that could not be looked up in time") from None
        if isinstance(found, OSError) or not found:
            raise _error("unreachable", target, "has a name that no address is known for")
        for address in found:
            why = forbidden(address, allow_private=self.allow_private)
            if why:
                raise _error("refused", target, f"is not asked: {why}")
        return list(found)


# ---- what is sent -------------------------------------------------------------------------------------------


def _target(url: str, params: Params | None = None) -> _Target:
    """The URL taken apart; raises NetError where it is none, of another scheme, or hides something."""
    if _CONTROL.search(url.strip(" ")):
        raise NetError("url", f"{shown(url)} holds blanks or control characters; {_MENDS['url']}.")
    try:
        parts = urlsplit(url.strip(" "))
        port = parts.port
        host = _host(parts)
        url.encode()  # halves of characters cannot be sent
        asked = urlencode(params or {})
    except (ValueError, UnicodeError):
        raise NetError("url", f"the URL names no host or port that can be; {_MENDS['url']}.") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise NetError("url", f"{shown(url)} is no address of http or https; {_MENDS['url']}.")
    query = "&".join(part for part in (parts.query, asked) if part)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    path = f"{path}?{quote(query, safe='/%:@!$&()*+,;=~-._?')}" if query else path
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    keys = [value for _, value in parse_qsl(parts.query)]  # some servers take their key in the query
    return _Target(
        scheme=parts.scheme, host=host, port=port or _default_port(parts.scheme), path=path,
        authorization=f"Basic {basic}" if basic else None, secrets=(password, parts.password or "", basic, *keys),
        shown=shown(url),
    )  # fmt: skip


def _host(parts: SplitResult) -> str:
    """The host as it is looked up: an IPv6 address, or a name in ASCII. Raises ValueError."""
    host = parts.hostname or ""
    if "\\" in parts.netloc or "%" in host:  # others take a backslash for a slash, and go elsewhere
        raise ValueError(host)
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    host = host.encode("idna").decode()
    if not _HOST.fullmatch(host):
        raise ValueError(host)
    return host


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _headers(target: _Target, given: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers, none of which can smuggle another one in. Raises NetError."""
    for name, value in given.items():
        plain = value.isprintable() and not _outside_latin(value)
        if not _TOKEN.fullmatch(name) or not plain or name.lower() in _OURS:
            raise NetError("url", f"the header {name[:40]!r} cannot be sent; leave it out or write it on one line.")
    sent = {name: value.strip() for name, value in given.items()}
    if target.authorization and "authorization" not in {name.lower() for name in sent}:
        sent["Authorization"] = target.authorization
    return sent


def _outside_latin(value: str) -> bool:
    return any(ord(sign) > 0xFF for sign in value)


def _redirected(answer: Answer, target: _Target, method: str, left: int) -> _Target:
    """Where a redirect leads; raises NetError where it is not followed."""
    location = answer.headers.get("location", "")
    place = shown(urljoin(target.shown, location)) if location else "nowhere"
    if left <= 0 or not location:
        raise _error("redirect", target, f"points to {place}, which is not followed", status=answer.status)
    following = _target(urljoin(f"{target.scheme}://{target.host_header}{target.path}", location))
    if target.scheme == "https" and following.scheme == "http":
        raise _error("redirect", target, f"points to {place}, which is not encrypted", status=answer.status)
    if method not in ("GET", "HEAD") and answer.status != 303 and following.origin != target.origin:
        raise _error("redirect", target, f"points to {place}, and a body is sent to no other server",
                     status=answer.status)  # fmt: skip
    return following


# ---- the connection -----------------------------------------------------------------------------------------


def _connect(target: _Target, addresses: Sequence[str], until: float) -> socket.socket:
    """A connection to the first of the checked addresses that takes one. Raises NetError."""
    problem: OSError = OSError("no address")
    for index, address in enumerate(addresses):
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            # Numeric, so nothing is looked up again; each address gets its share of the time.
            line = socket.create_connection((address, target.port), timeout=left / (len(addresses) - index))
        except OSError as failed:
            problem = failed
            continue
        line.settimeout(max(until - time.monotonic(), 0.001))
        return line
    if isinstance(problem, TimeoutError) or time.monotonic() >= until:
        raise _error("timeout", target, "takes no connection in time")
    raise _error("unreachable", target, f"takes no connection ({problem.strerror or 'it failed'})")


def _secured(line: socket.socket, target: _Target, trust: ssl.SSLContext | None) -> socket.socket:
    """The connection; before its handshake where the scheme asks for encryption, with the certificate that has to be
    the host's."""
    if target.scheme != "https":
        return line
    authorities = os.environ.get("SSL_CERT_FILE", "")
    changed = Path(authorities).stat().st_mtime_ns if authorities and Path(authorities).is_file() else 0
    context = trust or _context(authorities, changed)
    return context.wrap_socket(line, server_hostname=target.host, do_handshake_on_connect=False)


@functools.lru_cache(maxsize=4)
def _context(authorities: str, changed_ns: int) -> ssl.SSLContext:
    """Trust in the machine's authorities, or in those of a file; loading them takes longer than most requests."""
    del authorities, changed_ns  # OpenSSL reads the variable itself; they only tell one trust from another
    return ssl.create_default_context()


def _hang_up(held: Sequence[socket.socket]) -> None:
    """End a connection under whoever reads from it."""
    with suppress(OSError):  # it has ended by itself
        socket.socket.shutdown(held[0], socket.SHUT_RDWR)


def _of_transport(failed: Exception, target: _Target) -> NetError:
    if isinstance(failed, ssl.SSLError):
        why = getattr(failed, "verify_message", "") or failed.reason or "the handshake failed"
        return _error("tls", target, f"cannot be trusted ({why})")
    if isinstance(failed, ConnectionRefusedError):
        return _error("unreachable", target, "takes no connection")
    text = _CONTROL.sub(" ", str(failed))[:80] or type(failed).__name__
    return _error("protocol", target, f"broke off or does not speak HTTP ({text})")


# ---- what is answered ---------------------------------------------------------------------------------------


def _body(response: http.client.HTTPResponse, target: _Target, cap: int, into: IO[bytes] | None) -> bytes:
    """The body, decompressed, unless it is written to `into`. Raises NetError beyond `cap` bytes, on either side of
    decompression."""
    length = response.length
    if length is not None and length > cap:
        raise _error("too_large", target, f"answers with {length} bytes, more than the {cap} that are read")
    encoding = (response.headers.get("Content-Encoding") or "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise _error("protocol", target, f"answers in the encoding {encoding[:20]!r}, which was not asked for")
    inflate = None if encoding == "identity" else zlib.decompressobj(31)
    held = io.BytesIO()
    file: IO[bytes] = held if into is None else into
    taken = size = 0
    while piece := response.read(_CHUNK):
        taken += len(piece)
        while True:
            out = piece if inflate is None else inflate.decompress(piece, cap - size + 1)
            file.write(out)
            size += len(out)
            if max(taken, size) > cap:
                raise _error("too_large", target, f"answers with more than the {cap} bytes that are read")
            if inflate is None or not inflate.eof or not inflate.unused_data:
                break
            piece, inflate = inflate.unused_data, zlib.decompressobj(31)  # a gzip file may have several members
    if length is not None and taken < length:
        raise http.client.IncompleteRead(b"", length - taken)
    if inflate is not None and taken and not inflate.eof:
        raise EOFError("the compressed answer ends early")
    return held.getvalue()


def _checked(answer: Answer, target: _Target, sent: Mapping[str, str]) -> Answer:
    """The answer if it is a success; raises NetError with what the server said otherwise."""
    if 200 <= answer.status < 300:
        return answer
    said = " ".join(_CONTROL.sub(" ", answer.body[:4000].decode("utf-8", "replace")).split())
    secrets = [*target.secrets, *(value for name, value in sent.items() if name.lower() not in _HARMLESS)]
    for secret in secrets:
        for part in {secret, secret.rpartition(" ")[2]}:
            said = said.replace(part, "***") if len(part) > 3 else said
    said = said[:SAID_CHARS]
    raise _error(
        "status", target, f"answered {answer.status}" + (f": {said.rstrip('.')}" if said else ""),
        status=answer.status, retry_after_s=_seconds(answer.headers.get("retry-after")), said=said,
    )  # fmt: skip


def _seconds(header: str | None) -> float | None:
    """The value of Retry-After: seconds, or a date."""
    if header is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", header):
        return float(header)
    with suppress(ValueError, OverflowError):
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    return None


def _error(
    category: Category, target: _Target, what: str, *, status: int | None = None, retry_after_s: float | None = None,
    said: str = "",
) -> NetError:  # fmt: skip
    mend = "come back later" if status in _RETRYABLE else _MENDS[category]
    return NetError(category, f"{target.shown} {what}; {mend}.", status=status, retry_after_s=retry_after_s, said=said)
