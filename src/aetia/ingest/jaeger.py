"""Reader of Jaeger's JSON export: `{"data": [{"traceID", "spans": [...], "processes": {...}}]}`, times in µs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa

from aetia.ingest.files import FileReader, head, read_bytes, reading
from aetia.ingest.normalise import other_unit, to_logs, to_spans
from aetia.ingest.reader import Match
from aetia.ingest.semconv import code_of, exception_line, first, peer_of
from aetia.ingest.values import epoch_unit
from aetia.model.errors import CorruptSource
from aetia.model.tables import Dropped, Telemetry
from aetia.plugins import plugin

_SHAPE = re.compile(rb'"(?:traceID|processID|processes)"\s*:')
_INSTANCE_KEYS = ("k8s.pod.name", "service.instance.id", "hostname", "host.name", "container.id", "ip")
_encode = msgspec.json.Encoder(enc_hook=str).encode


class _Tag(msgspec.Struct):
    key: str = ""
    value: Any = None


class _Reference(msgspec.Struct, rename={"kind": "refType", "trace_id": "traceID", "span_id": "spanID"}):
    kind: str = ""
    trace_id: str = ""
    span_id: str = ""


class _Log(msgspec.Struct):
    timestamp: int = 0
    fields: list[_Tag] | None = None


class _Process(msgspec.Struct, rename={"service": "serviceName"}):
    service: str = ""
    tags: list[_Tag] | None = None


class _Span(
    msgspec.Struct,
    rename={
        "trace_id": "traceID", "span_id": "spanID", "parent_id": "parentSpanID", "name": "operationName",
        "start": "startTime", "process_id": "processID",
    },
):  # fmt: skip
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""
    name: str = ""
    references: list[_Reference] | None = None
    start: int | float | None = None
    duration: int | float | None = None
    tags: list[_Tag] | None = None
    logs: list[_Log] | None = None
    process_id: str = ""
    process: _Process | None = None


class Trace(msgspec.Struct, rename={"trace_id": "traceID"}):
    """One trace as it is exported."""

    trace_id: str = ""
    spans: list[_Span] = []
    processes: dict[str, _Process] = {}


class _Export(msgspec.Struct):
    data: list[Trace] | None = None


_decode = msgspec.json.Decoder(_Export).decode
_decode_list = msgspec.json.Decoder(list[Trace]).decode
_decode_trace = msgspec.json.Decoder(Trace).decode
_COLUMNS = (
    "time", "trace_id", "span_id", "parent_span_id", "service", "instance", "name", "kind", "duration", "status",
    "status_code", "peer", "attributes", "events", "links",
)  # fmt: skip

_LINE_COLUMNS = ("time", "trace_id", "span_id", "service", "instance", "severity", "body")


@plugin("reader", summary="Jaeger's JSON export (UI download or query API)")
class JaegerReader(FileReader):
    """Traces of one export or of a folder of exports."""

    def recognise_file(self, path: Path) -> Match | None:
        start = head(path)
        found = {match.decode() for match in _SHAPE.findall(start)}
        if start.lstrip()[:1] not in (b"{", b"[") or not found or b'"spans"' not in start:
            return None
        return Match(confidence=0.95, found=(f"Jaeger traces in {path.name}",))

    def read_file(self, path: Path, *, full: bool) -> Telemetry:
        raw = read_bytes(path)
        with reading(path):
            traces, lost = decode_traces(raw.strip())
        if not lost and not any(trace.spans for trace in traces):
            raise CorruptSource(f"{path} is a Jaeger export without traces; widen the search and export again.")
        return telemetry_of(traces, lost, str(path), full=full)


def telemetry_of(traces: Iterable[Trace], lost: int, source: str, *, full: bool) -> Telemetry:
    """The spans of decoded traces and the exceptions among their logs; `lost` spans could not be decoded."""
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    lines: dict[str, list[Any]] = {name: [] for name in _LINE_COLUMNS}
    for trace in traces:
        for span in trace.spans:
            process = span.process or trace.processes.get(span.process_id) or _Process()
            _add(columns, span, process, full)
            _add_exceptions(lines, span, process)
    typed = _typed(columns)
    unit = epoch_unit(typed["time"], "us") if typed else "us"
    table, dropped = to_spans(typed, source=source, time_unit=unit, duration_unit=unit, full=full)
    logs, unused = to_logs(_typed(lines), source=source, time_unit=unit, full=full)
    return Telemetry(spans=table, logs=logs).with_dropped(
        Dropped(table="spans", rows=lost, reason="values of the wrong type; export again", source=source),
        *dropped,
        *unused,
        *other_unit("spans", table.num_rows, unit, "us", source),
    )


def entry_services(trace: Trace) -> set[str]:
    """The services at which a trace begins: those of spans whose parent is not among its spans."""
    known = {span.span_id for span in trace.spans}
    return {
        (span.process or trace.processes.get(span.process_id) or _Process()).service
        for span in trace.spans
        if _parent(span) not in known
    }


def _typed(columns: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        name: _whole(values) if name in ("time", "duration") else pa.array(values, pa.string())
        for name, values in columns.items()
        if values
    }


def decode_traces(raw: bytes) -> tuple[list[Trace], int]:
    """The traces of an export, and how many spans had values of the wrong type."""
    try:
        return _strict_traces(raw), 0
    except msgspec.ValidationError:
        # Rare, and slower: nulls and numbers as text are taken, and one bad span spoils no other.
        return _lenient_traces(msgspec.json.decode(raw))


def _strict_traces(raw: bytes) -> list[Trace]:
    if raw[:1] == b"[":
        return _decode_list(raw)
    export = _decode(raw)
    if export.data is not None:
        return export.data
    return [_decode_trace(raw)]


def _lenient_traces(export: Any) -> tuple[list[Trace], int]:
    holder: Any = cast(dict[str, Any], export).get("data", [export]) if isinstance(export, dict) else export
    traces: list[Trace] = []
    lost = 0
    for trace in cast(list[Any], _without_nulls(holder if isinstance(holder, list) else [])):
        spans: Any = trace.pop("spans", []) if isinstance(trace, dict) else []
        found = msgspec.convert(trace, Trace, strict=False)
        for span in cast(list[Any], spans if isinstance(spans, list) else []):
            try:
                found.spans.append(msgspec.convert(span, _Span, strict=False))
            except msgspec.ValidationError:
                lost += 1
        traces.append(found)
    return traces, lost


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return {key: _without_nulls(item) for key, item in items if item is not None}
    return [_without_nulls(item) for item in cast(list[Any], value)] if isinstance(value, list) else value


def _whole(values: list[Any]) -> pa.Array[Any]:
    """Microseconds as integers where they are; a float loses the last digits of an epoch time."""
    if all(value is None or (isinstance(value, int) and abs(value) < 2**63) for value in values):
        return pa.array(values, pa.int64())
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _attributes(tags: list[_Tag] | None) -> dict[str, Any]:
    return {tag.key: tag.value for tag in tags or ()}


def _parent(span: _Span) -> str | None:
    for reference in span.references or ():
        if reference.kind == "CHILD_OF" and reference.trace_id in ("", span.trace_id):
            return reference.span_id
    for reference in span.references or ():
        if reference.trace_id in ("", span.trace_id):
            return reference.span_id
    return span.parent_id or None


def _status(tags: dict[str, Any]) -> str | None:
    if str(tags.get("error", "")).lower() == "true":
        return "error"
    given = first(tags, ("otel.status_code", "status.code"))
    return given or "unset"


def _add_exceptions(lines: dict[str, list[Any]], span: _Span, process: _Process) -> None:
    """Exceptions that a span recorded among its logs, as log lines of the span."""
    for log in span.logs or ():
        said = exception_line(_attributes(log.fields))
        if said is not None:
            place = (process.service, first(_attributes(process.tags), _INSTANCE_KEYS))
            row = (log.timestamp, span.trace_id, span.span_id, *place, "ERROR", said)
            for column, value in zip(_LINE_COLUMNS, row, strict=True):
                lines[column].append(value)


def _add(columns: dict[str, list[Any]], span: _Span, process: _Process, full: bool) -> None:
    tags = _attributes(span.tags)
    kind = first(tags, ("span.kind",))
    row: tuple[Any, ...] = (
        span.start, span.trace_id, span.span_id, _parent(span), process.service,
        first(_attributes(process.tags), _INSTANCE_KEYS), span.name, kind,
        span.duration, _status(tags), code_of(tags), peer_of(kind, tags),
    )  # fmt: skip
    for column, value in zip(_COLUMNS, row, strict=False):
        columns[column].append(value)
    if full:
        columns["attributes"].append(_encode({**_attributes(process.tags), **tags}).decode())
        events = [{"time": log.timestamp * 1000, **_attributes(log.fields)} for log in span.logs or ()]
        columns["events"].append(_encode(events).decode())
        links = [{"trace_id": one.trace_id, "span_id": one.span_id} for one in span.references or ()]
        columns["links"].append(_encode([link for link in links if link["span_id"] != _parent(span)]).decode())
