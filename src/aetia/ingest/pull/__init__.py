"""Connectors: telemetry of a stretch of time, fetched from the systems that keep it.

`pull` fetches a window from one source; `Puller` (`puller.py`) fetches what is new, again and again. Each source is
`KIND=URL`. Credentials stand in the URL (`https://user:password@host`) or in the environment variable
`AETIA_KIND_HEADERS` (`Authorization=Bearer …,X-Scope-OrgID=team`), where they do not show in lists of processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import unquote

from aetia.ingest.pull import clickhouse, jaeger, loki, prometheus, tempo
from aetia.ingest.pull.exchange import Exchange, Limits, shown_source
from aetia.model.errors import UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Client

__all__ = ["KINDS", "Limits", "client_for", "parse_source", "pull", "shown_source"]

Prefer = Callable[[str], bool]
"""Whether the analysis knows what to do with a metric of that name: such are fetched first."""
REQUEST_S = 30.0


class Connector(Protocol):
    """Fetches a window over an exchange. Raises NetError and IngestError where nothing could be fetched; what was left
    out is recorded in the exchange."""

    def __call__(self, exchange: Exchange, window: Window, *, onset_ns: int | None, full: bool) -> Telemetry: ...


KINDS: dict[str, tuple[Connector, tuple[str, ...]]] = {
    "prometheus": (prometheus.pull, prometheus.OPTIONS),
    "jaeger": (jaeger.pull, jaeger.OPTIONS),
    "tempo": (tempo.pull, tempo.OPTIONS),
    "loki": (loki.pull, loki.OPTIONS),
    "clickhouse": (clickhouse.pull, clickhouse.OPTIONS),
}
"""The connector of each kind of source and the options that it takes in the URL."""


def parse_source(text: str) -> tuple[str, str]:
    """(kind, URL) of `prometheus=http://host:9090`. Raises UsageError."""
    kind, separator, url = text.partition("=")
    kind = kind.strip().lower()
    if not separator or kind not in KINDS:
        given = f"'{kind[:30]}' is no kind of source" if separator else "a source to fetch from is KIND=URL"
        raise UsageError(f"{given}; known are {', '.join(KINDS)}, such as prometheus=http://localhost:9090.")
    if not url.strip().startswith(("http://", "https://")):
        raise UsageError(f"{kind}= is followed by an address of http or https, such as {kind}=http://localhost:9090.")
    return kind, url.strip()


def client_for(kind: str, *, allow_private: bool, environment: Mapping[str, str] = os.environ) -> Client:
    """The client of a kind of source, with the headers that the environment holds for it. Raises UsageError."""
    name = f"AETIA_{kind.upper()}_HEADERS"
    headers: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in environment.get(name, "").split(","))):
        key, separator, value = pair.partition("=")
        if not separator:
            raise UsageError(f"{name} is a list of headers: write Name=value,Other=value.")
        headers[key.strip()] = unquote(value.strip())
    return Client(allow_private=allow_private, timeout_s=REQUEST_S, headers=headers)


def pull(
    kind: str,
    url: str,
    window: Window,
    *,
    client: Client,
    limits: Limits | None = None,
    onset_ns: int | None = None,
    full: bool = False,
    prefer: Prefer | None = None,
) -> Telemetry:
    """The telemetry that a source holds of a window.

    `onset_ns` is when the incident began, where that is known: where limits cut, what is near it stays. `full` also
    fetches attributes. `prefer` says which metrics come first. What was capped or failed is in `Telemetry.dropped`.
    Raises UsageError for an unknown kind or option, NetError and IngestError where nothing could be fetched.
    """
    if kind not in KINDS:
        raise UsageError(f"'{kind[:30]}' is no kind of source; known are {', '.join(KINDS)}.")
    connector, options = KINDS[kind]
    exchange = Exchange(kind, url, client=client, limits=limits or Limits(), options=options, prefer=prefer)
    found = connector(exchange, window, onset_ns=onset_ns, full=full)
    return found.with_dropped(*exchange.dropped)
