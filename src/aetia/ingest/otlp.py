"""Reader of OTLP files as the OpenTelemetry Collector's file exporter writes them.

JSON lines (one `resourceSpans`, `resourceMetrics` or `resourceLogs` object each, or one such document), or messages
that follow a 4-byte big-endian length, protobuf or JSON, each of them or the whole file compressed (zstd, gzip).
Ids may be hex or base64, keys camelCase or snake_case, numbers text. Metric rows follow `ingest/histograms.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from google.protobuf.message import DecodeError

from aetia.ingest.files import FileReader, broken_off, head, read_usable, reading
from aetia.ingest.histograms import Exponential, MetricRows, Point
from aetia.ingest.normalise import concat, other_unit, to_logs, to_metrics, to_spans
from aetia.ingest.otlp_json import AnyValue, DataPoint, Metric, camel, json_documents
from aetia.ingest.reader import Match
from aetia.ingest.semconv import code_of, exception_line, peer_of, place_of, series_labels
from aetia.ingest.values import TimeUnit, epoch_unit
from aetia.model.errors import CorruptSource
from aetia.model.tables import Dropped, Telemetry
from aetia.plugins import plugin

_SIGNALS = ("resourceSpans", "resourceMetrics", "resourceLogs")
_KEY = re.compile(rb'"(resource_?(?:[sS]pans|[mM]etrics|[lL]ogs))"\s*:')
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_DELTA = {1, "1", "AGGREGATION_TEMPORALITY_DELTA"}
_BASE64_LENGTHS = {12: 8, 24: 16}
_encode = msgspec.json.Encoder(enc_hook=str).encode
_WRONG_TYPES = "values of the wrong type; export again or mend the exporter"


@plugin("reader", summary="OTLP files of the Collector's file exporter: JSON lines or length-delimited protobuf")
class OtlpReader(FileReader):
    """Traces, metrics and logs of one file or of a folder of such files."""

    def recognise_file(self, path: Path) -> Match | None:
        start = head(path)
        found = sorted({camel(match.decode()) for match in _KEY.findall(start)})
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
            what = f"is truncated or damaged ({damage}) and " if damage else ""
            raise CorruptSource(f"{path} {what}holds no readable OTLP message ({problem}); export it again.")
        reason = f"OTLP messages that cannot be decoded ({problem})"
        return rows.telemetry(str(path)).with_dropped(
            *(Dropped(table=name, rows=n, reason=_WRONG_TYPES, source=str(path)) for name, n in rows.lost.items()),
            Dropped(table="messages", rows=bad, reason=reason, source=str(path)),
            *broken_off(path, damage),
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


# ---- rows -------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """The Python value of a JSON or protobuf AnyValue."""
    if value is None:
        return None
    if isinstance(value, AnyValue):
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
        self.lost: Counter[str] = Counter()
        """Items that could not be used, by table."""
        self.spans: dict[str, list[Any]] = {name: [] for name in _SPAN_COLUMNS}
        self.logs: dict[str, list[Any]] = {name: [] for name in _LOG_COLUMNS}
        self.metrics = MetricRows()

    def add_message(self, message: bytes) -> None:
        """One message, JSON or protobuf. Raises what the decoders raise."""
        if message.lstrip()[:1] in (b"{", b"["):
            for document in json_documents(message, self.lost):
                self.add_document(document)
        else:
            self.add_document(parse_protobuf(message))
        self.count += 1

    def add_document(self, document: Any) -> None:
        """A JSON document or a protobuf TracesData, MetricsData or LogsData."""
        for group in _field(document, "resource_spans"):
            place, _ = _place(group)
            for scope in (*_field(group, "scope_spans"), *_field(group, "instrumentation_library_spans")):
                self._each("spans", self._add_span, scope.spans, place)
        for group in _field(document, "resource_logs"):
            place, _ = _place(group)
            for scope in (*_field(group, "scope_logs"), *_field(group, "instrumentation_library_logs")):
                self._each("logs", self._add_log, scope.log_records, place)
        for group in _field(document, "resource_metrics"):
            place, labels = _place(group)
            self.metrics.at(*place)
            for scope in (*_field(group, "scope_metrics"), *_field(group, "instrumentation_library_metrics")):
                self._each("metrics", self._add_metric, scope.metrics, labels)

    def _each(self, table: str, add: Callable[[Any, Any], None], items: Iterable[Any], context: Any) -> None:
        for item in items:
            try:
                add(item, context)
            except (ValueError, TypeError, OverflowError):
                self.lost[table] += 1

    def _add_metric(self, metric: Any, labels: Mapping[str, Any]) -> None:
        _add_metric(self.metrics, metric, labels)

    def _add_span(self, span: Any, place: tuple[str | None, str | None, str | None]) -> None:
        attributes = _attributes(span.attributes)
        start, end = int(span.start_time_unix_nano), int(span.end_time_unix_nano)
        status = span.status
        nested = self._nested(span, attributes) if self.full else ()
        row = (
            start or None, _hex(span.trace_id), _hex(span.span_id), _hex(span.parent_span_id), place[0], place[1],
            span.name, str(span.kind), end - start if end else None, str(status.code) if status else "0",
            code_of(attributes), peer_of(span.kind, attributes),
        )  # fmt: skip
        for column, value in zip(_SPAN_COLUMNS, (*row, *nested), strict=False):
            self.spans[column].append(value)
        for event in span.events:
            if event.name == EXCEPTION:
                self._add_exception(event, row, place)

    def _add_exception(
        self, event: Any, span: tuple[Any, ...], place: tuple[str | None, str | None, str | None]
    ) -> None:
        """An exception that a span recorded as an event is what others log: a line of the span."""
        attributes = _attributes(event.attributes)
        said = exception_line(attributes)
        if said is None:
            return
        row = (int(event.time_unix_nano) or span[0], span[1], span[2], place[0], place[1], "ERROR", said)
        nested = (_encode(attributes).decode(),) if self.full else ()
        for column, value in zip(_LOG_COLUMNS, (*row, *nested), strict=False):
            self.logs[column].append(value)

    def _nested(self, span: Any, attributes: dict[str, Any]) -> tuple[str, str, str]:
        events, links = [_event(event) for event in span.events], [_link(link) for link in span.links]
        return _encode(attributes).decode(), _encode(events).decode(), _encode(links).decode()

    def _add_log(self, record: Any, place: tuple[str | None, str | None, str | None]) -> None:
        body = _plain(record.body)
        row = (
            int(record.time_unix_nano) or int(record.observed_time_unix_nano) or None, _hex(record.trace_id),
            _hex(record.span_id), place[0], place[1], record.severity_text or str(record.severity_number or "") or None,
            body if isinstance(body, str) or body is None else _encode(body).decode(),
        )  # fmt: skip
        nested = (_encode(_attributes(record.attributes)).decode(),) if self.full else ()
        for column, value in zip(_LOG_COLUMNS, (*row, *nested), strict=False):
            self.logs[column].append(value)

    def telemetry(self, source: str) -> Telemetry:
        """The tables, with unusable rows counted."""
        spans, logs = _typed(self.spans, _NUMBERS), _typed(self.logs, _NUMBERS)
        metrics = _typed(self.metrics.columns, _NUMBERS)
        unit: dict[str, TimeUnit] = {
            "spans": epoch_unit(spans["time"], "ns"),
            "logs": epoch_unit(logs["time"], "ns"),
            "metrics": epoch_unit(metrics["time"], "ns"),
        }
        made = {
            "spans": to_spans(
                spans, source=source, time_unit=unit["spans"], duration_unit=unit["spans"], full=self.full
            ),
            "logs": to_logs(logs, source=source, time_unit=unit["logs"], full=self.full),
            "metrics": to_metrics(metrics, source=source, time_unit=unit["metrics"]),
        }
        dropped = [record for _, records in made.values() for record in records]
        for name, (table, _) in made.items():
            dropped += other_unit(name, table.num_rows, unit[name], "ns", source)
        tables: dict[str, Any] = {name: concat(name, [table]) for name, (table, _) in made.items()}
        return Telemetry(**tables).with_dropped(*dropped)


_SPAN_COLUMNS = (
    "time", "trace_id", "span_id", "parent_span_id", "service", "instance", "name", "kind", "duration", "status",
    "status_code", "peer", "attributes", "events", "links",
)  # fmt: skip
_LOG_COLUMNS = ("time", "trace_id", "span_id", "service", "instance", "severity", "body", "attributes")
_NUMBERS = frozenset({"time", "duration"})
EXCEPTION = "exception"
"""Name of the span events that record exceptions (OpenTelemetry, exceptions in spans)."""


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
    if isinstance(metric, Metric):
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
    if isinstance(point, DataPoint):
        return point.as_double if point.as_double is not None else point.as_int
    which = point.WhichOneof("value")
    return getattr(point, which) if which else None


def _sum(point: Any) -> Any:
    """The sum of a histogram point, None when it was not recorded."""
    return point.sum if isinstance(point, DataPoint) or point.HasField("sum") else None


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
