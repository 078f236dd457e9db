"""What all requests share: configuration, store, questions, incidents, sessions, listeners."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aetia.serve.config import Config
from aetia.serve.hub import Hub
from aetia.serve.pool import QueryPool
from aetia.serve.problems import Refused
from aetia.serve.security.origins import is_loopback
from aetia.serve.security.sessions import FailedLogins, Sessions
from aetia.serve.security.tokens import Tokens
from aetia.serve.selfwatch import Watch

if TYPE_CHECKING:
    from aetia.serve.diagnosing import Diagnoses
    from aetia.serve.incidents import IncidentBook
    from aetia.store.backend import Backend
    from aetia.store.store import Store


@dataclass(slots=True, kw_only=True)
class ServeState:
    """One server. `store` is None where telemetry lies in another system (`--store`), which is then only asked."""

    config: Config
    folder: Path
    url: str
    backend: Backend
    store: Store | None
    tokens: Tokens
    sessions: Sessions
    logins: FailedLogins
    pool: QueryPool
    hub: Hub
    watch: Watch
    book: IncidentBook | None = None
    diagnoses: Diagnoses | None = None
    started_ns: int = field(default_factory=time.time_ns)
    ready: bool = False
    closing: bool = False
    extras: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def local(self) -> bool:
        """Whether whoever reaches the server may do everything: only this machine can."""
        return needs_no_login(self.config)

    def owned_store(self) -> Store:
        """The embedded store; raises Refused (409) without one."""
        if self.store is None:
            raise Refused("conflict", "this server asks another store, which takes its telemetry elsewhere.")
        return self.store

    def incidents(self) -> IncidentBook:
        """Raises Refused (409) where the server keeps none."""
        if self.book is None:
            raise Refused("conflict", "this server keeps no incidents.")
        return self.book

    def diagnosing(self) -> Diagnoses:
        """Raises Refused (409) where the server runs without diagnoses."""
        if self.diagnoses is None:
            raise Refused("conflict", "this server diagnoses nothing; enable [diagnosis] in its configuration.")
        return self.diagnoses

    def oldest_ns(self) -> int:
        """Time of the oldest telemetry; now without any."""
        known = [extent.window.start_ns for extent in self.backend.extents() if extent.window is not None]
        return min(known, default=time.time_ns())


def needs_no_login(config: Config) -> bool:
    """Loopback alone, and no name by which a proxy could pass others on."""
    server = config.server
    return server.auth == "auto" and is_loopback(server.host) and all(is_loopback(name) for name in server.hosts)


def make_state(
    config: Config, folder: Path, url: str, *, store: Store | None, backend: Backend, **more: Any
) -> ServeState:
    """A server's state with everything that needs nothing but the configuration."""
    tokens = Tokens(folder)
    limits = config.limits
    return ServeState(
        config=config, folder=folder, url=url, store=store, backend=backend, tokens=tokens,
        sessions=Sessions(tokens, config.server.session_hours), logins=FailedLogins(limits.logins_per_minute),
        pool=QueryPool(limits.query_threads, limits.query_queue), hub=Hub(limits.streams), watch=Watch(), **more,
    )  # fmt: skip
