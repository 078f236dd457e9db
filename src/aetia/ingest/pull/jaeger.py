"""Traces of Jaeger's query service, by the API of its own user interface, which VictoriaTraces and others speak too.

A search names a service and gives at most so many traces, each of them whole. So the services at which traces begin are
asked for slice by slice; their traces hold those of nearly all the others, which are then only probed for traces that
are still unknown.

Options: `service=NAME` (repeatable; all services otherwise), `limit=N` (traces at once).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from aetia.ingest.files import merge
from aetia.ingest.jaeger import Trace, decode_traces, entry_services, telemetry_of
from aetia.ingest.pull.exchange import Enough, Exchange, Walk, clock, parts_of
from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import NetError

OPTIONS = ("service", "limit")
LIMIT = 400
PROBE = 20
LEAST_NS = 1_000_000


class _Services(msgspec.Struct):
    data: list[str] | None = None


def pull(exchange: Exchange, window: Window, *, onset_ns: int | None, full: bool) -> Telemetry:
    """The traces of a window. Raises NetError and IngestError where nothing could be fetched."""
    fetch = _Fetch(exchange, full)
    leaders, others = fetch.services(window)
    parts = parts_of(window, onset_ns)
    for index, (part, direction) in enumerate(parts):
        # Each of the parts has the half, so that a busy incident leaves room for what was before it.
        fetch.most = exchange.limits.rows * (index + 1) // len(parts)
        walk = Walk(part, direction, least_ns=LEAST_NS)
        fetch.attempt(lambda walk=walk: fetch.walk(walk, leaders), lambda walk=walk: f"traces {walk.missing(clock)}")
        fetch.most += exchange.limits.rows // 10
        fetch.attempt(
            lambda walk=walk: fetch.stragglers(walk.covered, others),
            lambda: f"traces that do not begin at {', '.join(leaders[:3])}",
        )
    return merge(fetch.parts) if fetch.parts else Telemetry()


class _Fetch:
    """The state of one fetch."""

    def __init__(self, exchange: Exchange, full: bool) -> None:
        self._exchange, self._full = exchange, full
        try:
            self._limit = max(int(exchange.option("limit") or LIMIT), 1)
        except ValueError:
            raise UsageError(f"{exchange.source}: limit= is a number of traces, such as {LIMIT}.") from None
        self._known: set[str] = set()
        self.parts: list[Telemetry] = []
        self.spans = 0
        self.most = exchange.limits.rows

    def services(self, window: Window) -> tuple[list[str], list[str]]:
        """The services at which traces begin, by a few traces of each service, and the others."""
        chosen = self._exchange.options("service")
        if chosen:
            return list(dict.fromkeys(chosen)), []
        names = self._exchange.decode(self._exchange.get("/api/services"), _Services).data or []
        entries: set[str] = set()
        for name in names:
            probe = self._ask_some(name, window, PROBE)
            entries |= {name} if probe is None else set[str]().union(*map(entry_services, probe[0]))
        leaders = [name for name in names if name in entries]
        return leaders, [name for name in names if name not in entries]

    def attempt(self, work: Callable[[], None], what: Callable[[], str]) -> None:
        """Do some work; what it leaves out is recorded. Raises NetError where nothing was fetched before."""
        try:
            work()
        except Enough as enough:
            self._exchange.drop("spans", f"{what()} were left out: {enough}, or choose a shorter window")
        except NetError as error:
            if not self.parts:
                raise
            self._exchange.drop("spans", f"{what()} were left out: {error}")

    def walk(self, walk: Walk, services: Sequence[str]) -> None:
        """Take all traces of some services, slice by slice. Raises Enough beyond the limits."""
        while not walk.over:
            if self.spans >= self.most:
                raise Enough(f"{self._exchange.limits.rows} spans were enough; add rows=N to the URL")
            time = walk.slice()
            found = [self._ask_some(service, time, self._limit) for service in services]
            most = max((self._limit if one is None else len(one[0]) for one in found), default=0)
            if most >= self._limit:
                # What a search gave of too long a time lies anywhere in it: kept, it would leave gaps around it.
                if walk.full():
                    continue
                where = f"at {clock(time.start_ns)}"
                self._exchange.drop("spans", f"more than {self._limit} traces within 1 ms {where}; raise limit=N")
            for one in found:
                self._keep(*(one or ([], 0)))
            walk.done(sparse=most < self._limit // 4)

    def stragglers(self, covered: Window, services: Sequence[str]) -> None:
        """Take the traces of the other services that none of the first brought. Raises Enough beyond the limits."""
        quarter = max((covered.end_ns - covered.start_ns) // 4, LEAST_NS)
        for service in services:
            for start in range(covered.start_ns, covered.end_ns, quarter):
                time = Window(start, min(start + quarter, covered.end_ns))
                probe = self._ask_some(service, time, PROBE)
                if probe is None or any(_id(trace) not in self._known for trace in probe[0]):
                    self.walk(Walk(time, 1, least_ns=LEAST_NS, first=1), [service])

    def _ask_some(self, service: str, time: Window, limit: int) -> tuple[list[Trace], int] | None:
        """`_ask`; None where the answer would be too large."""
        try:
            return self._ask(service, time, min(limit, self._limit))
        except NetError as error:
            if error.category not in ("too_large", "timeout") or time.end_ns - time.start_ns <= LEAST_NS:
                raise
            return None

    def _keep(self, traces: Sequence[Trace], lost: int) -> None:
        """Keep the traces that are new."""
        fresh = [trace for trace in traces if _id(trace) not in self._known and trace.spans]
        self._known.update(map(_id, fresh))
        if fresh:
            part = telemetry_of(fresh, lost, self._exchange.source, full=self._full)
            self.parts.append(part)
            self.spans += part.spans.num_rows

    def _ask(self, service: str, time: Window, limit: int) -> tuple[list[Trace], int]:
        """Traces of a service, and how many of their spans could not be decoded."""
        params = [
            ("service", service), ("start", str(time.start_ns // 1000)), ("end", str(-(-time.end_ns // 1000) - 1)),
            ("limit", str(limit)),
        ]  # fmt: skip
        answer = self._exchange.get("/api/traces", params)
        try:
            return decode_traces(answer.body)
        except msgspec.MsgspecError as error:
            raise IngestError(
                f"{self._exchange.source} does not answer as Jaeger does ({error}); check the address and its path."
            ) from None


def _id(trace: Trace) -> str:
    return trace.trace_id or (trace.spans[0].trace_id if trace.spans else "")
