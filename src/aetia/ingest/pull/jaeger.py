"""Traces of Jaeger's query service, by the API of its own user interface, which VictoriaTraces and others speak too.

A search names a service and gives at most so many traces, each of them whole. Services that nobody calls come first:
their traces hold most of the others', whose services are then only probed for traces that are still unknown.

Options: `service=NAME` (repeatable; all services otherwise), `limit=N` (traces at once).
"""

from __future__ import annotations

import msgspec

from aetia.ingest.files import merge
from aetia.ingest.jaeger import Trace, decode_traces, telemetry_of
from aetia.ingest.pull.exchange import Enough, Exchange, Walk, clock, parts_of
from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import NetError

OPTIONS = ("service", "limit")
LIMIT = 400
PROBE = 20
LEAST_NS = 1_000_000
_BARREN = 2
"""After so many slices in which a service brought nothing new it is only probed."""


class _Services(msgspec.Struct):
    data: list[str] | None = None


class _Call(msgspec.Struct):
    parent: str = ""
    child: str = ""


class _Calls(msgspec.Struct):
    data: list[_Call] | None = None


def pull(exchange: Exchange, window: Window, *, onset_ns: int | None, full: bool) -> Telemetry:
    """The traces of a window. Raises NetError and IngestError where nothing could be fetched."""
    fetch = _Fetch(exchange, _services(exchange, window), full)
    parts = parts_of(window, onset_ns)
    for index, (part, direction) in enumerate(parts):
        walk = Walk(part, direction, least_ns=LEAST_NS)
        # Each of the parts has the half, so that a busy incident leaves room for what was before it.
        most = exchange.limits.rows * (index + 1) // len(parts)
        try:
            while not walk.over:
                if fetch.spans >= most:
                    raise Enough(f"{exchange.limits.rows} spans were enough; add rows=N to the URL")
                fetch.slice(walk)
        except Enough as enough:
            exchange.drop("spans", f"traces {walk.missing(clock)} were left out: {enough}, or choose a shorter window")
        except NetError as error:
            if not fetch.parts:
                raise
            exchange.drop("spans", f"traces {walk.missing(clock)} were left out: {error}")
    return merge(fetch.parts) if fetch.parts else Telemetry()


class _Fetch:
    """The state of one fetch."""

    def __init__(self, exchange: Exchange, services: list[str], full: bool) -> None:
        self._exchange, self._services, self._full = exchange, services, full
        try:
            self._limit = int(exchange.option("limit") or LIMIT)
        except ValueError:
            raise UsageError(f"{exchange.source}: limit= is a number of traces, such as {LIMIT}.") from None
        self._finder: dict[str, str] = {}
        """The service by which each trace was found first."""
        self._barren = dict.fromkeys(services, 0)
        self.parts: list[Telemetry] = []
        self.spans = 0

    def slice(self, walk: Walk) -> None:
        """The traces of all services in the next stretch of time."""
        time = walk.slice()
        most = 0
        for service in self._services:
            if self._barren[service] >= _BARREN and not self._take(service, time, min(PROBE, self._limit))[1]:
                continue
            found, own = self._take(service, time, self._limit)
            most = max(most, found)
            self._barren[service] = 0 if own else self._barren[service] + 1
            if found >= self._limit:
                if walk.full():
                    return
                self._exchange.drop(
                    "spans", f"more than {self._limit} traces within 1 ms at {clock(time.start_ns)}; raise limit="
                )
        walk.done(sparse=most < self._limit // 4)

    def _take(self, service: str, time: Window, limit: int) -> tuple[int, int]:
        """Traces of a service: how many there were, and how many of them no other service had brought. Too large an
        answer counts as one that is full."""
        params = [
            ("service", service), ("start", str(time.start_ns // 1000)), ("end", str(-(-time.end_ns // 1000) - 1)),
            ("limit", str(limit)),
        ]  # fmt: skip
        try:
            answer = self._exchange.get("/api/traces", params)
        except NetError as error:
            if error.category not in ("too_large", "timeout") or time.end_ns - time.start_ns <= LEAST_NS:
                raise
            return limit, limit
        try:
            traces, lost = decode_traces(answer.body)
        except msgspec.MsgspecError as error:
            raise IngestError(
                f"{self._exchange.source} does not answer as Jaeger does ({error}); check the address and its path."
            ) from None
        fresh = [trace for trace in traces if _id(trace) not in self._finder and trace.spans]
        self._finder |= dict.fromkeys(map(_id, fresh), service)
        if fresh:
            part = telemetry_of(fresh, lost, self._exchange.source, full=self._full)
            self.parts.append(part)
            self.spans += part.spans.num_rows
        return len(traces), sum(self._finder.get(_id(trace)) == service for trace in traces)


def _id(trace: Trace) -> str:
    return trace.trace_id or (trace.spans[0].trace_id if trace.spans else "")


def _services(exchange: Exchange, window: Window) -> list[str]:
    """The services to ask for, those that nobody calls first."""
    chosen = exchange.options("service")
    if chosen:
        return list(dict.fromkeys(chosen))
    services = exchange.decode(exchange.get("/api/services"), _Services).data or []
    length_ms = (window.end_ns - window.start_ns) // 10**6
    params = [("endTs", str(window.end_ns // 10**6)), ("lookback", str(length_ms))]
    try:
        calls = exchange.decode(exchange.get("/api/dependencies", params), _Calls).data or []
    except (NetError, IngestError):
        calls = []  # some servers that speak the API have no dependencies; the order is a matter of speed
    called = {call.child for call in calls if call.child != call.parent}
    return sorted(set(services), key=lambda name: (name in called, name))
