"""Log lines of Grafana Loki, page by page: as many lines as the server gives at once, then on from the last one's time.

A trace id is taken from the structured metadata (or a label) of a line, its severity from there too. Labels name the
service as they do in Prometheus (`labels.py`).

Options: `query={…}` (LogQL; every stream otherwise), `limit=N` (lines at once).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from aetia.ingest.normalise import concat, to_logs
from aetia.ingest.pull.exchange import Enough, Exchange, clock, parts_of
from aetia.ingest.pull.labels import SERVICE, place_of
from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import NetError

OPTIONS = ("query", "limit")
LIMIT = 5000
"""Loki's own limit (`max_entries_limit_per_query`) unless it is set otherwise."""
FEWER = (1000, 100)
_API = "/loki/api/v1"
_ENCODING = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
_TRACE_ID = ("trace_id", "traceid", "traceID", "TraceID", "trace.id")
_SPAN_ID = ("span_id", "spanid", "spanID", "SpanID", "span.id")
_SEVERITY = ("severity_text", "severity", "level", "detected_level", "lvl", "severity_number")
_ANY_STREAM = (*SERVICE, "job", "container", "pod", "namespace", "instance", "filename", "host")
_COLUMNS = ("time", "trace_id", "span_id", "service", "instance", "severity", "body", "attributes")


_encode = msgspec.json.Encoder(order="sorted").encode


class _Stream(msgspec.Struct):
    stream: dict[str, str] = {}
    values: list[list[Any]] = []


class _Streams(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: list[_Stream] = []


class _Page(msgspec.Struct):
    data: _Streams = msgspec.field(default_factory=_Streams)


class _Labels(msgspec.Struct):
    data: list[str] | None = None


def pull(exchange: Exchange, window: Window, *, onset_ns: int | None, full: bool) -> Telemetry:
    """The log lines of a window. Raises NetError and IngestError where nothing could be fetched."""
    query = exchange.option("query") or _everything(exchange, window)
    if query is None:
        return Telemetry()
    fetch = _Fetch(exchange, query, full)
    parts = parts_of(window, onset_ns)
    for index, (part, direction) in enumerate(parts):
        fetch.most = exchange.limits.rows * (index + 1) // len(parts)
        at = part.start_ns if direction > 0 else part.end_ns
        try:
            while part.start_ns < part.end_ns:
                part = fetch.page(part, direction)
                at = part.start_ns if direction > 0 else part.end_ns
        except (Enough, NetError) as stopped:
            if isinstance(stopped, NetError) and not fetch.tables:
                raise
            side = "after" if direction > 0 else "before"
            exchange.drop("logs", f"lines {side} {clock(at)} were left out: {stopped}")
    return Telemetry(logs=concat("logs", fetch.tables))


def _everything(exchange: Exchange, window: Window) -> str | None:
    """A selector of every stream: Loki wants a label that they have. None without any label."""
    params = [("start", str(window.start_ns)), ("end", str(window.end_ns))]
    names = exchange.decode(exchange.get(f"{_API}/labels", params), _Labels).data or []
    found = next((name for name in _ANY_STREAM if name in names), names[0] if names else None)
    return None if found is None else f'{{{found}=~".+"}}'


class _Fetch:
    """The state of one fetch."""

    def __init__(self, exchange: Exchange, query: str, full: bool) -> None:
        self._exchange, self._query, self._full = exchange, query, full
        try:
            self._limit = max(int(exchange.option("limit") or LIMIT), 2)
        except ValueError:
            raise UsageError(f"{exchange.source}: limit= is a number of lines, such as {LIMIT}.") from None
        self._edge: set[tuple[int, str, str]] = set()
        self.tables: list[pa.Table] = []
        self.lines = 0
        self.most = exchange.limits.rows

    def page(self, part: Window, direction: int) -> Window:
        """Take the next page of a stretch of time; what is left of it."""
        if self.lines >= self.most:
            raise Enough(
                f"{self._exchange.limits.rows} lines were enough; add rows=N to the URL, a narrower query=, or choose a"
                " shorter window"
            )
        streams = self._ask(part, direction)
        times = [int(value[0]) for stream in streams for value in stream.values]
        self._take(streams)
        if len(times) < self._limit:
            return Window(part.end_ns, part.end_ns)
        # Lines of the last page's last time may not all have been on it: that time is asked for again.
        first, last = min(times), max(times)
        at = last if direction > 0 else first
        self._edge = {
            (int(value[0]), _key(stream.stream), str(value[1]))
            for stream in streams for value in stream.values if int(value[0]) == at
        }  # fmt: skip
        if first == last:
            self._exchange.drop("logs", f"lines beyond {self._limit} of the same time at {clock(at)}; raise limit=N")
            return Window(at + 1, part.end_ns) if direction > 0 else Window(part.start_ns, at)
        return Window(at, part.end_ns) if direction > 0 else Window(part.start_ns, at + 1)

    def _ask(self, part: Window, direction: int) -> list[_Stream]:
        while True:
            params = [
                ("query", self._query), ("start", str(part.start_ns)), ("end", str(part.end_ns)),
                ("limit", str(self._limit)), ("direction", "forward" if direction > 0 else "backward"),
            ]  # fmt: skip
            try:
                answer = self._exchange.get(f"{_API}/query_range", params, headers=_ENCODING)
            except NetError as error:
                fewer = next((n for n in FEWER if n < self._limit), None)
                asked_too_much = error.category in ("too_large", "timeout") or "limit" in error.said
                if fewer is None or not asked_too_much:
                    raise
                self._limit = fewer
                continue
            page = self._exchange.decode(answer, _Page)
            if page.data.result_type != "streams" and page.data.result:
                raise IngestError(
                    f"{self._exchange.source}: query= draws a metric and selects no lines; leave out rate()."
                )
            return page.data.result

    def _take(self, streams: Sequence[_Stream]) -> None:
        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        for stream in streams:
            place, key = place_of(stream.stream), _key(stream.stream)
            for value in stream.values:
                time, line = int(value[0]), str(value[1])
                if (time, key, line) in self._edge:
                    continue
                about = _about(stream.stream, value)
                row = (
                    time, _first(about, _TRACE_ID), _first(about, _SPAN_ID), place.service, place.instance,
                    _first(about, _SEVERITY), line, _encode(about).decode() if self._full else None,
                )  # fmt: skip
                for column, item in zip(columns.values(), row, strict=True):
                    column.append(item)
        if columns["time"]:
            typed = {
                name: pa.array(values, pa.int64() if name == "time" else pa.string())
                for name, values in columns.items()
            }
            table, dropped = to_logs(typed, source=self._exchange.source, time_unit="ns", full=self._full)
            for record in dropped:
                self._exchange.drop(record.table, record.reason, record.rows)
            self.tables.append(table)
            self.lines += table.num_rows


def _key(labels: Mapping[str, str]) -> str:
    return "\0".join(f"{name}={labels[name]}" for name in sorted(labels))


def _about(labels: Mapping[str, str], value: Sequence[Any]) -> dict[str, str]:
    """The labels of a line with its structured metadata, which come as a third element."""
    more: Any = value[2] if len(value) > 2 else {}
    metadata: dict[str, Any] = {}
    if isinstance(more, dict):
        metadata = {**more.get("parsed", {}), **more.get("structuredMetadata", {})}
    return {**labels, **{str(key): str(item) for key, item in metadata.items()}}


def _first(about: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((about[key] for key in keys if about.get(key)), None)
