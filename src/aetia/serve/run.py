"""The process: a bound port, an owned folder, the web server, and an end without loss.

The port is bound before the folder is taken, so that the folder's lock names the address at which it is served.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from aetia.model.errors import AetiaError, GivenUp, ServeError
from aetia.model.patience import PATIENCE, Patience
from aetia.serve.app import make_app
from aetia.serve.config import Config
from aetia.serve.parts import opened
from aetia.serve.protocol import protocol_class
from aetia.serve.security.origins import is_loopback
from aetia.serve.state import ServeState, needs_no_login
from aetia.serve.ticking import ticking

log = logging.getLogger(__name__)
GRACE_S, KEEP_ALIVE_S = 20, 30
"""Seconds that requests in flight get when the server ends, and that an idle connection stays open."""
FORCED = 130
SILENT_S = 3.0
"""Seconds that a store elsewhere has to answer before the start says that it does not."""


class Server(uvicorn.Server):
    """uvicorn with our signals: the first ends the server in good order, the second at once."""

    def __init__(self, config: uvicorn.Config, state: ServeState) -> None:
        super().__init__(config)
        self._state = state

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams never end by themselves, so they are ended before the server waits for its requests."""
        self._state.closing = True
        self._state.hub.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take SIGINT and SIGTERM while the server runs; an ordered end is no failure, so nothing is raised again."""
        try:
            held = {kind: signal.signal(kind, self.handle_exit) for kind in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: whoever runs us there ends us by `should_exit`
            held = {}
        try:
            yield
        finally:
            for kind, handler in held.items():
                signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            end_at_once()
        self.should_exit = True


def end_at_once() -> None:
    """End without waiting. What was acknowledged is on the disk; what was not is sent again by its sender. Workers end
    with their stdin."""
    os._exit(FORCED)


def serve(config: Config, folder: Path, *, store_url: str = "", say: Callable[[str], None] = print) -> int:
    """Run the server until a signal ends it. Raises ServeError and StoreError, each with a sentence that says the
    mend, when it cannot start."""
    with running(config, folder, store_url=store_url) as (server, state, bound):
        for sentence in greeting(state, store_url):
            say(sentence)
        gc.freeze()  # modules and tables that stay: no pass looks at them again
        server.run(sockets=[bound])
    return 0


@contextlib.contextmanager
def running(
    config: Config, folder: Path, *, store_url: str = ""
) -> Generator[tuple[Server, ServeState, socket.socket]]:
    """Everything but the event loop: the server, its state and its socket; `server.run(sockets=[socket])` serves."""
    tls = _tls(config)
    bound = bind(config.server.host, config.server.port)
    try:
        url = url_of(bound, config.server.host, secure=tls is not None)
        with opened(config, folder, url, store_url=store_url) as state:
            _check_tokens(config, state)
            app = make_app(state, routes=state.extras.get("routes", ()), during=(
                lambda: ticking(state), *state.extras.get("during", ()),
            ))  # fmt: skip
            yield Server(_uvicorn(config, app, tls), state), state, bound
    finally:
        bound.close()


def _uvicorn(config: Config, app: Any, tls: ssl.SSLContext | None) -> uvicorn.Config:
    limits = config.limits
    return uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none", lifespan="on",
        http=protocol_class(head_bytes=limits.head_kib * 1024, head_seconds=limits.header_seconds),
        h11_max_incomplete_event_size=limits.head_kib * 1024, limit_concurrency=limits.connections,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GRACE_S,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )  # fmt: skip


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises ServeError that names the address and the mend."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ServeError(f"the host '{host}' cannot be found ({error}); give an address of this machine.") from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        mends = {
            errno.EADDRINUSE: "another process listens there; choose another with --port, or 0 for a free one",
            errno.EACCES: "choose a port above 1023",
            errno.EADDRNOTAVAIL: "give an address of this machine with --host",
        }  # fmt: skip
        mend = mends.get(error.errno or 0, "choose another with --host and --port")
        raise ServeError(f"cannot listen on {host} port {port}: {error.strerror or error}; {mend}.") from None
    return bound


def url_of(bound: socket.socket, host: str, *, secure: bool) -> str:
    """The address at which this machine reaches the socket."""
    port = bound.getsockname()[1]
    name = host if host not in ("", "0.0.0.0", "::") else "127.0.0.1"
    return f"{'https' if secure else 'http'}://{f'[{name}]' if ':' in name else name}:{port}"


def _tls(config: Config) -> ssl.SSLContext | None:
    server = config.server
    if not server.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(server.tls_certificate, server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ServeError(f"the TLS certificate or key cannot be read: {error}; both have to be PEM files.") from None
    return context


def _check_tokens(config: Config, state: ServeState) -> None:
    """A server that others reach does not start before somebody can log in."""
    if needs_no_login(config) or state.tokens.all():
        return
    reach = "others reach this address" if not is_loopback(config.server.host) else "the configuration asks for tokens"
    raise ServeError(
        f"{reach}, and there are no tokens yet; make one with `aetia serve token create --data {state.folder}"
        " --scope read,write,ingest`."
    )


def greeting(state: ServeState, store_url: str = "") -> Iterator[str]:
    """What is said at the start: where, what and who."""
    yield f"serving {state.url} (pages, API, OTLP/HTTP), data in {_shown(store_url) or state.folder}"
    if state.config.server.grpc_port:
        yield f"OTLP/gRPC on port {state.config.server.grpc_port}"
    if state.local:
        yield "no login: only this machine can reach it"
    else:
        made = len(state.tokens.all())
        yield f"login with a token ({made} made; `aetia serve token create --data {state.folder}` makes more)"
        if state.url.startswith("http:") and not is_loopback(state.config.server.host):
            yield "no TLS: tokens and telemetry are readable on the way; set tls_certificate or put a proxy in front"
    if not state.config.redaction.enabled:
        yield "secrets in attributes and log bodies are stored as they come (redaction is off)"
    if state.store is None and (why := _silent(state)):
        yield f"{why} Questions fail until it answers."


def _silent(state: ServeState) -> str:
    """Why the store that is asked elsewhere does not answer; empty where it does. It may come later, so the server
    starts without it, but whoever mistyped its address wants to know now."""
    patience = Patience(SILENT_S)
    ends = threading.Timer(SILENT_S, patience.end)
    ends.start()
    asked = PATIENCE.set(patience)
    try:
        state.backend.extents()
    except GivenUp:
        return f"the store has not answered within {SILENT_S:.0f} s."
    except AetiaError as error:
        return str(error)
    finally:
        PATIENCE.reset(asked)
        ends.cancel()
    return ""


def _shown(url: str) -> str:
    """An address without the password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
