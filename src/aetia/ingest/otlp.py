"""Reader of OTLP files as the OpenTelemetry Collector's file exporter writes them.

JSON lines (one `resourceSpans`, `resourceMetrics` or `resourceLogs` object each, or one such document), or messages
that follow a 4-byte big-endian length, protobuf or JSON, each of them or the whole file compressed (zstd, gzip).
Ids may be hex or base64, keys camelCase or snake_case, numbers text. Metric rows follow `ingest/histograms.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa
from google.protobuf.message import DecodeError

from aetia.ingest.files import FileReader, broken_off, head, read_usable, reading
from aetia.ingest.histograms import Exponential, MetricRows, Point
from aetia.ingest.normalise import concat, to_logs, to_metrics, to_spans
from aetia.ingest.reader import Match
from aetia.ingest.semconv import code_of, peer_of, place_of, series_labels
from aetia.model.errors import CorruptSource
from aetia.model.tables import Dropped, Telemetry
from aetia.plugins import plugin

_SIGNALS = ("resourceSpans", "resourceMetrics", "resourceLogs")
_KEY = re.compile(rb'"(resource_?(?:[sS]pans|[mM]etrics|[lL]ogs))"\s*:')
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_DELTA = {1, "1", "AGGREGATION_TEMPORALITY_DELTA"}
_BASE64_LENGTHS = {12: 8, 24: 16}
_encode = msgspec.json.Encoder(enc_hook=str).encode


@plugin("reader", summary="OTLP files of the Collector's file exporter: JSON lines or length-delimited protobuf")
class OtlpReader(FileReader):
    """Traces, metrics and logs of one file or of a folder of such files."""

    def recognise_file(self, path: Path) -> Match | None:
        start = head(path)
        found = sorted({_camel(match.decode()) for match in _KEY.findall(start)})
        if found and start.lstrip()[:1] in (b"{", b"["):
            return Match(confidence=0.95, found=tuple(f"{name} in {path.name}" for name in found))
        if _is_framed(start):
            return Match(confidence=0.85, found=(f"length-delimited OTLP in {path.name}",))
        return None

    def read_file(self, path: Path, *, full: bool) -> Telemetry:
        rows = OtlpRows(full)
        raw, damage = read_usable(path)
        bad, problem = 0, ""
        with reading(path):
            for message in _messages(raw):
                try:
                    rows.add_message(_unpacked(message))
                except (msgspec.MsgspecError, DecodeError, ValueError, TypeError, RecursionError) as error:
                    bad += 1
                    problem = problem or " ".join(str(error).split())[:120]
        if not rows.count and bad:
            raise CorruptSource(f"{path} holds no readable OTLP message ({problem}); export it again.")
        reason = f"OTLP messages that cannot be decoded ({problem})"
        return rows.telemetry(str(path)).with_dropped(
            Dropped(table="messages", rows=bad, reason=reason, source=str(path)), *broken_off(path, damage)
        )


# ---- framing ----------------------------------------------------------------------------------------------


def _is_framed(start: bytes) -> bool:
    """Whether a file begins with a length and the first bytes of a protobuf, JSON or compressed message."""
    if len(start) < 8:
        return False
    length = int.from_bytes(start[:4], "big")
    if not 2 <= length < 1 << 28:
        return False
    body = start[4:]
    if body.startswith((_ZSTD, _GZIP)):
        return True
    if body[:1] == b"{":
        return _KEY.search(body) is not None
    # Every OTLP message is a repeated field 1; its first element must fit into the message.
    if body[:1] != b"\x0a":
        return False
    size, used = _varint(body[1:11])
    return used > 0 and size + used + 1 <= length


def _varint(data: bytes) -> tuple[int, int]:
    value = 0
    for position, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, position + 1
    return 0, 0


def _messages(raw: bytes) -> Iterator[bytes]:
    """The messages of a file, as they are. A file that breaks off yields its whole messages, then the rest."""
    if raw.lstrip()[:1] in (b"{", b"["):
        yield from _json_messages(raw)
        return
    position = 0
    while position < len(raw):
        length = int.from_bytes(raw[position : position + 4], "big")
        yield raw[position + 4 : position + 4 + length]
        if position + 4 + length > len(raw):
            return
        position += 4 + length


def _json_messages(raw: bytes) -> Iterator[bytes]:
    lines = raw.split(b"\n")
    first = next((line for line in lines if line.strip()), b"")
    if not _is_json(first):
        # One document over many lines, not JSON lines.
        yield raw
        return
    yield from (line for line in lines if line.strip())


def _is_json(line: bytes) -> bool:
    return line.rstrip().endswith((b"}", b"]")) and line.count(b"{") + line.count(b"[") > 1


def _unpacked(message: bytes) -> bytes:
    if message.startswith((_ZSTD, _GZIP)):
        kind = "zstd" if message.startswith(_ZSTD) else "gzip"
        try:
            with pa.CompressedInputStream(pa.BufferReader(message), kind) as stream:
                return stream.read()
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"a compressed message that is damaged or breaks off: {error}") from error
    return message


# ---- JSON form: the same attribute names as the protobuf classes ------------------------------------------


class _Any(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: dict[str, Any] | None = None
    kvlist_value: dict[str, Any] | None = None
    bytes_value: str | None = None


class _KeyValue(msgspec.Struct):
    key: str = ""
    value: _Any | None = None


class _Resource(msgspec.Struct):
    attributes: list[_KeyValue] = []


class _Status(msgspec.Struct):
    code: int | str = 0
    message: str | None = None


class _Event(msgspec.Struct, rename="camel"):
    time_unix_nano: int | str = 0
    name: str = ""
    attributes: list[_KeyValue] = []


class _Link(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    attributes: list[_KeyValue] = []


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int | str = 0
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_KeyValue] = []
    events: list[_Event] = []
    links: list[_Link] = []
    status: _Status | None = None


class _LogRecord(msgspec.Struct, rename="camel"):
    time_unix_nano: int | str = 0
    observed_time_unix_nano: int | str = 0
    severity_number: int | str = 0
    severity_text: str = ""
    body: _Any | None = None
    attributes: list[_KeyValue] = []
    trace_id: str = ""
    span_id: str = ""


class _Buckets(msgspec.Struct, rename="camel"):
    offset: int = 0
    bucket_counts: list[int | str] = []


class _Quantile(msgspec.Struct):
    quantile: float = 0.0
    value: float | str = 0.0


class _Point(msgspec.Struct, rename="camel"):
    attributes: list[_KeyValue] = []
    time_unix_nano: int | str = 0
    as_double: float | str | None = None
    as_int: int | str | None = None
    count: int | str = 0
    sum: float | str | None = None
    bucket_counts: list[int | str] = []
    explicit_bounds: list[float | str] = []
    scale: int = 0
    zero_count: int | str = 0
    zero_threshold: float = 0.0
    positive: _Buckets = msgspec.field(default_factory=_Buckets)
    negative: _Buckets = msgspec.field(default_factory=_Buckets)
    quantile_values: list[_Quantile] = []


class _Data(msgspec.Struct, rename="camel"):
    data_points: list[_Point] = []
    aggregation_temporality: int | str = 0
    is_monotonic: bool = False


class _Metric(msgspec.Struct, rename="camel"):
    name: str = ""
    unit: str = ""
    gauge: _Data | None = None
    sum: _Data | None = None
    histogram: _Data | None = None
    exponential_histogram: _Data | None = None
    summary: _Data | None = None


class _Scope(msgspec.Struct, rename="camel"):
    spans: list[_Span] = []
    log_records: list[_LogRecord] = []
    metrics: list[_Metric] = []


class _ResourceGroup(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_Scope] = []
    scope_metrics: list[_Scope] = []
    scope_logs: list[_Scope] = []
    instrumentation_library_spans: list[_Scope] = []
    instrumentation_library_metrics: list[_Scope] = []
    instrumentation_library_logs: list[_Scope] = []


class _Document(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceGroup] = []
    resource_metrics: list[_ResourceGroup] = []
    resource_logs: list[_ResourceGroup] = []


_decode_json = msgspec.json.Decoder(_Document).decode


def _camel(name: str) -> str:
    front, *rest = name.split("_")
    return front + "".join(word[:1].upper() + word[1:] for word in rest)


def _camelised(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel(str(key)): _camelised(item) for key, item in cast(dict[Any, Any], value).items()}
    return [_camelised(item) for item in cast(list[Any], value)] if isinstance(value, list) else value


def _json_documents(message: bytes) -> list[_Document]:
    stripped = message.strip()
    snake = b'"resource_' in stripped[:4096] or b'"trace_id"' in stripped[:4096]
    if not snake and stripped[:1] == b"{":
        return [_decode_json(stripped)]
    value = _camelised(msgspec.json.decode(stripped))
    items = value if isinstance(value, list) else [value]
    return [msgspec.convert(item, _Document, strict=False) for item in items]


# ---- rows -------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """The Python value of a JSON or protobuf AnyValue."""
    if value is None:
        return None
    if isinstance(value, _Any):
        for item in (value.string_value, value.bool_value, value.double_value, value.bytes_value):
            if item is not None:
                return item
        if value.int_value is not None:
            return int(value.int_value)
        nested = value.array_value or value.kvlist_value
        return None if nested is None else nested.get("values")
    which = value.WhichOneof("value")
    if which is None:
        return None
    item = getattr(value, which)
    if which == "array_value":
        return [_plain(one) for one in item.values]
    if which == "kvlist_value":
        return {one.key: _plain(one.value) for one in item.values}
    return item.hex() if which == "bytes_value" else item


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs}


def _hex(value: Any) -> str | None:
    """An id as lower-case hex; OTLP/JSON says hex, the plain protobuf mapping writes base64."""
    if isinstance(value, bytes):
        return value.hex() or None
    if len(value) in _BASE64_LENGTHS:
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return value.lower()
        return raw.hex() if len(raw) == _BASE64_LENGTHS[len(value)] else value.lower()
    return value.lower() or None


class OtlpRows:
    """Columns under construction, from any number of OTLP messages."""

    def __init__(self, full: bool = True) -> None:
        self.full = full
        self.count = 0
        self.spans: dict[str, list[Any]] = {name: [] for name in _SPAN_COLUMNS}
        self.logs: dict[str, list[Any]] = {name: [] for name in _LOG_COLUMNS}
        self.metrics = MetricRows()

    def add_message(self, message: bytes) -> None:
        """One message, JSON or protobuf. Raises what the decoders raise."""
        if message.lstrip()[:1] in (b"{", b"["):
            for document in _json_documents(message):
                self.add_document(document)
        else:
            self.add_document(parse_protobuf(message))
        self.count += 1

    def add_document(self, document: Any) -> None:
        """A JSON document or a protobuf TracesData, MetricsData or LogsData."""
        for group in _field(document, "resource_spans"):
            place, _ = _place(group)
            for scope in (*_field(group, "scope_spans"), *_field(group, "instrumentation_library_spans")):
                for span in scope.spans:
                    self._add_span(span, place)
        for group in _field(document, "resource_logs"):
            place, _ = _place(group)
            for scope in (*_field(group, "scope_logs"), *_field(group, "instrumentation_library_logs")):
                for record in scope.log_records:
                    self._add_log(record, place)
        for group in _field(document, "resource_metrics"):
            place, labels = _place(group)
            self.metrics.at(*place)
            for scope in (*_field(group, "scope_metrics"), *_field(group, "instrumentation_library_metrics")):
                for metric in scope.metrics:
                    _add_metric(self.metrics, metric, labels)

    def _add_span(self, span: Any, place: tuple[str | None, str | None, str | None]) -> None:
        attributes = _attributes(span.attributes)
        start = int(span.start_time_unix_nano)
        status = span.status
        row = (
            start or None, _hex(span.trace_id), _hex(span.span_id), _hex(span.parent_span_id), place[0], place[1],
            span.name, str(span.kind), int(span.end_time_unix_nano) - start, str(status.code) if status else "0",
            code_of(attributes), peer_of(span.kind, attributes),
        )  # fmt: skip
        for column, value in zip(_SPAN_COLUMNS, row, strict=False):
            self.spans[column].append(value)
        if self.full:
            self.spans["attributes"].append(_encode(attributes).decode())
            self.spans["events"].append(_encode([_event(event) for event in span.events]).decode())
            self.spans["links"].append(_encode([_link(link) for link in span.links]).decode())

    def _add_log(self, record: Any, place: tuple[str | None, str | None, str | None]) -> None:
        body = _plain(record.body)
        row = (
            int(record.time_unix_nano) or int(record.observed_time_unix_nano) or None, _hex(record.trace_id),
            _hex(record.span_id), place[0], place[1], record.severity_text or str(record.severity_number or "") or None,
            body if isinstance(body, str) or body is None else _encode(body).decode(),
        )  # fmt: skip
        for column, value in zip(_LOG_COLUMNS, row, strict=False):
            self.logs[column].append(value)
        if self.full:
            self.logs["attributes"].append(_encode(_attributes(record.attributes)).decode())

    def telemetry(self, source: str) -> Telemetry:
        """The tables, with unusable rows counted."""
        spans, dropped = to_spans(_typed(self.spans, _SPAN_NUMBERS), source=source, time_unit="ns", full=self.full)
        logs, more = to_logs(_typed(self.logs, _LOG_NUMBERS), source=source, time_unit="ns", full=self.full)
        metrics, rest = to_metrics(_typed(self.metrics.columns, _LOG_NUMBERS), source=source, time_unit="ns")
        return Telemetry(
            spans=concat("spans", [spans]), logs=concat("logs", [logs]), metrics=concat("metrics", [metrics])
        ).with_dropped(*dropped, *more, *rest)


_SPAN_COLUMNS = (
    "time", "trace_id", "span_id", "parent_span_id", "service", "instance", "name", "kind", "duration_ns", "status",
    "status_code", "peer", "attributes", "events", "links",
)  # fmt: skip
_LOG_COLUMNS = ("time", "trace_id", "span_id", "service", "instance", "severity", "body", "attributes")
_SPAN_NUMBERS = frozenset({"time", "duration_ns"})
_LOG_NUMBERS = frozenset({"time"})


def _typed(columns: Mapping[str, list[Any]], numbers: frozenset[str]) -> dict[str, Any]:
    """The filled columns as Arrow arrays; times beyond 64 bits become null."""
    out: dict[str, Any] = {}
    for name, values in columns.items():
        if name == "value":
            out[name] = pa.array(values, pa.float64())
        elif name in numbers:
            out[name] = pa.array([value if _fits(value) else None for value in values], pa.int64())
        elif values:
            out[name] = pa.array(values, pa.string())
    return out


def _fits(value: int | None) -> bool:
    return value is not None and -(2**63) <= value < 2**63


def _field(message: Any, name: str) -> Sequence[Any]:
    return getattr(message, name, ())


def _place(group: Any) -> tuple[tuple[str | None, str | None, str | None], dict[str, Any]]:
    resource = _attributes(group.resource.attributes) if group.resource is not None else {}
    return place_of(resource), series_labels(resource)


def _event(event: Any) -> dict[str, Any]:
    return {"time": int(event.time_unix_nano), "name": event.name, "attributes": _attributes(event.attributes)}


def _link(link: Any) -> dict[str, Any]:
    return {
        "trace_id": _hex(link.trace_id), "span_id": _hex(link.span_id), "attributes": _attributes(link.attributes),
    }  # fmt: skip


# ---- metrics ----------------------------------------------------------------------------------------------


def _data(metric: Any) -> tuple[str, Any]:
    kinds = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    if isinstance(metric, _Metric):
        return next(((kind, getattr(metric, kind)) for kind in kinds if getattr(metric, kind) is not None), ("", None))
    which = metric.WhichOneof("data")
    return (which, getattr(metric, which)) if which else ("", None)


def _add_metric(rows: MetricRows, metric: Any, resource_labels: Mapping[str, Any]) -> None:
    kind, data = _data(metric)
    if data is None:
        return
    delta = getattr(data, "aggregation_temporality", 0) in _DELTA
    for item in data.data_points:
        labels = {**resource_labels, **_attributes(item.attributes)}
        point = Point(int(item.time_unix_nano) or None, metric.name, metric.unit, labels)
        if kind == "gauge":
            rows.add(point, _number(item), "gauge")
        elif kind == "sum":
            rows.add_sum(point, _number(item), monotonic=data.is_monotonic, delta=delta)
        elif kind == "histogram":
            bounds, counts = list(item.explicit_bounds), list(item.bucket_counts)
            rows.add_histogram(point, count=item.count, total=_sum(item), bounds=bounds, counts=counts, delta=delta)
        elif kind == "exponential_histogram":
            rows.add_exponential(point, _buckets(item), count=item.count, total=_sum(item), delta=delta)
        else:
            quantiles = [(one.quantile, float(one.value)) for one in item.quantile_values]
            rows.add_summary(point, count=item.count, total=item.sum, quantiles=quantiles)


def _buckets(item: Any) -> Exponential:
    return Exponential(
        scale=item.scale,
        zero_count=float(item.zero_count),
        zero_threshold=item.zero_threshold,
        positive=(item.positive.offset, list(item.positive.bucket_counts)),
        negative=(item.negative.offset, list(item.negative.bucket_counts)),
    )


def _number(point: Any) -> Any:
    if isinstance(point, _Point):
        return point.as_double if point.as_double is not None else point.as_int
    which = point.WhichOneof("value")
    return getattr(point, which) if which else None


def _sum(point: Any) -> Any:
    """The sum of a histogram point, None when it was not recorded."""
    return point.sum if isinstance(point, _Point) or point.HasField("sum") else None


# ---- protobuf ---------------------------------------------------------------------------------------------


def parse_protobuf(message: bytes) -> Any:
    """A TracesData, MetricsData or LogsData: the three share their outer fields, so the content decides.

    Raises DecodeError when the bytes are none of them.
    """
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    for kind, fits in ((TracesData, _is_traces), (MetricsData, _is_metrics), (LogsData, _is_logs)):
        try:
            parsed = kind.FromString(message)
        except DecodeError:
            continue
        if fits(parsed):
            return parsed
    raise DecodeError("neither traces nor metrics nor logs, damaged or broken off")


def _is_traces(data: Any) -> bool:
    spans = [span for group in data.resource_spans for scope in group.scope_spans for span in scope.spans[:8]]
    return bool(spans) and all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)


def _is_metrics(data: Any) -> bool:
    metrics = [item for group in data.resource_metrics for scope in group.scope_metrics for item in scope.metrics[:8]]
    return bool(metrics) and all(item.name and item.WhichOneof("data") for item in metrics)


def _is_logs(data: Any) -> bool:
    records = [item for group in data.resource_logs for scope in group.scope_logs for item in scope.log_records[:8]]
    return bool(records) and all(item.time_unix_nano or item.observed_time_unix_nano for item in records)
