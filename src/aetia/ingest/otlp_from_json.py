"""OTLP/JSON export requests as protobuf ones, so that everything behind the receiver meets one form.

Ids are hex (base64 is understood), 64-bit numbers text or numbers, enumerations numbers or names, keys camelCase or
snake_case: see `ingest/otlp_json.py`. Exemplars are left out.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from google.protobuf.message import EncodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from aetia.ingest import otlp_json
from aetia.model.errors import IngestError

_DEEPEST = 32
"""Arrays and maps within each other; what is stored is less deep."""
_KINDS: Any = trace_pb2.Span.SpanKind
_STATUSES: Any = trace_pb2.Status.StatusCode
_SEVERITIES: Any = logs_pb2.SeverityNumber
_TEMPORALITIES: Any = metrics_pb2.AggregationTemporality
_SHAPES: dict[str, tuple[Any, str, str, str]] = {
    "spans": (ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
    "logs": (ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
    "metrics": (ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics"),
}


def to_protobuf(signal: str, body: bytes) -> tuple[bytes, int, str]:
    """An OTLP/JSON request of "spans", "logs" or "metrics" as protobuf, how many items could not be converted, and why.

    Raises IngestError when the body is no JSON, or none that follows OTLP.
    """
    lost: Counter[str] = Counter()
    try:
        documents = otlp_json.json_documents(body, lost)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise IngestError(f"The body is no OTLP/JSON request: {' '.join(str(error).split())[:200]}.") from error
    kind, outer, middle, inner = _SHAPES[signal]
    problem = "values of the wrong type" if lost[signal] else ""
    count = lost[signal]
    request = kind()
    for document in documents:
        for group in getattr(document, outer):
            made = getattr(request, outer).add()
            if group.resource is not None:
                made.resource.attributes.extend(_usable(group.resource.attributes))
            for scope in getattr(group, middle):
                into = getattr(made, middle).add()
                if scope.scope is not None:
                    into.scope.name, into.scope.version = scope.scope.name, scope.scope.version
                    into.scope.attributes.extend(_usable(scope.scope.attributes))
                missed, reason = _fill(getattr(into, inner), getattr(scope, inner), _CONVERT[signal])
                count, problem = count + missed, problem or reason
    return request.SerializeToString(), count, problem


def _fill(into: Any, items: Iterable[Any], convert: Callable[[Any], Any]) -> tuple[int, str]:
    missed, reason = 0, ""
    for item in items:
        try:
            into.append(convert(item))
        except (ValueError, TypeError, OverflowError, EncodeError, msgspec.MsgspecError) as error:
            missed += 1
            reason = reason or " ".join(str(error).split())[:120]
    return missed, reason


def _usable(pairs: Iterable[Any]) -> list[Any]:
    out: list[Any] = []
    _fill(out, pairs, _pair)
    return out


# ---- values -----------------------------------------------------------------------------------------------


def _id(text: str, size: int) -> bytes:
    """An id given as hex, or as the base64 of so many bytes."""
    if len(text) == (size + 2) // 3 * 4 and len(text) != 2 * size:
        return base64.b64decode(text, validate=True)
    return bytes.fromhex(text)


def _whole(value: float | str | None) -> int:
    """A 64-bit number; text keeps all digits."""
    return int(value or 0)


def _enumerated(value: int | str, kind: Any) -> Any:
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        return int(kind.Value(value))
    return int(value or 0)


def _pair(pair: Any) -> Any:
    return KeyValue(key=pair.key, value=_value(pair.value))


def _value(value: Any, depth: int = _DEEPEST) -> Any:
    if value is None:
        return AnyValue()
    if value.string_value is not None:
        return AnyValue(string_value=value.string_value)
    if value.int_value is not None:
        return AnyValue(int_value=int(value.int_value))
    if value.bool_value is not None:
        return AnyValue(bool_value=value.bool_value)
    if value.double_value is not None:
        return AnyValue(double_value=float(value.double_value))
    if value.bytes_value is not None:
        return AnyValue(bytes_value=base64.b64decode(value.bytes_value))
    return _nested(value, depth)


def _nested(value: Any, depth: int) -> Any:
    out = AnyValue()
    if depth <= 0:
        raise ValueError(f"values nested more than {_DEEPEST} deep")
    if value.array_value is not None:
        out.array_value.SetInParent()
        for one in value.array_value.get("values") or ():
            out.array_value.values.append(_value(_any_value(one), depth - 1))
    elif value.kvlist_value is not None:
        out.kvlist_value.SetInParent()
        for one in value.kvlist_value.get("values") or ():
            if not isinstance(one, dict):
                raise TypeError("a map holds what is no pair of key and value")
            inner = _value(_any_value(one.get("value")), depth - 1)
            out.kvlist_value.values.append(KeyValue(key=str(one.get("key", "")), value=inner))
    return out


def _any_value(value: Any) -> Any:
    return None if value is None else msgspec.convert(value, otlp_json.AnyValue, strict=False)


# ---- items ------------------------------------------------------------------------------------------------


def _span(span: Any) -> Any:
    made = trace_pb2.Span(
        trace_id=_id(span.trace_id, 16), span_id=_id(span.span_id, 8), parent_span_id=_id(span.parent_span_id, 8),
        name=span.name, kind=_enumerated(span.kind, _KINDS), attributes=[_pair(pair) for pair in span.attributes],
        start_time_unix_nano=_whole(span.start_time_unix_nano), end_time_unix_nano=_whole(span.end_time_unix_nano),
    )  # fmt: skip
    for event in span.events:
        made.events.add(
            time_unix_nano=_whole(event.time_unix_nano), name=event.name, attributes=_usable(event.attributes)
        )
    for link in span.links:
        made.links.add(
            trace_id=_id(link.trace_id, 16), span_id=_id(link.span_id, 8), attributes=_usable(link.attributes)
        )
    if span.status is not None:
        made.status.code = _enumerated(span.status.code, _STATUSES)
        made.status.message = span.status.message or ""
    return made


def _log(record: Any) -> Any:
    return logs_pb2.LogRecord(
        time_unix_nano=_whole(record.time_unix_nano), observed_time_unix_nano=_whole(record.observed_time_unix_nano),
        severity_number=_enumerated(record.severity_number, _SEVERITIES), severity_text=record.severity_text,
        body=None if record.body is None else _value(record.body),
        attributes=[_pair(pair) for pair in record.attributes],
        trace_id=_id(record.trace_id, 16), span_id=_id(record.span_id, 8),
    )  # fmt: skip


def _metric(metric: Any) -> Any:
    made = metrics_pb2.Metric(name=metric.name, unit=metric.unit)
    for kind, convert in _POINTS.items():
        data = getattr(metric, kind)
        if data is None:
            continue
        into = getattr(made, kind)
        into.SetInParent()
        if kind not in ("gauge", "summary"):
            into.aggregation_temporality = _enumerated(data.aggregation_temporality, _TEMPORALITIES)
        if kind == "sum":
            into.is_monotonic = data.is_monotonic
        for point in data.data_points:
            into.data_points.append(convert(point))
    return made


def _common(point: Any) -> dict[str, Any]:
    return {
        "attributes": [_pair(pair) for pair in point.attributes],
        "time_unix_nano": _whole(point.time_unix_nano), "flags": point.flags,
    }  # fmt: skip


def _number_point(point: Any) -> Any:
    made = metrics_pb2.NumberDataPoint(**_common(point))
    if point.as_double is not None:
        made.as_double = float(point.as_double)
    elif point.as_int is not None:
        made.as_int = int(point.as_int)
    return made


def _total(point: Any) -> Any:
    return None if point.sum is None else float(point.sum)


def _histogram_point(point: Any) -> Any:
    return metrics_pb2.HistogramDataPoint(
        **_common(point), count=_whole(point.count), sum=_total(point),
        bucket_counts=[_whole(one) for one in point.bucket_counts],
        explicit_bounds=[float(one) for one in point.explicit_bounds],
    )  # fmt: skip


def _exponential_point(point: Any) -> Any:
    made = metrics_pb2.ExponentialHistogramDataPoint(
        **_common(point), count=_whole(point.count), sum=_total(point), scale=point.scale,
        zero_count=_whole(point.zero_count), zero_threshold=point.zero_threshold,
    )  # fmt: skip
    for side in ("positive", "negative"):
        given, into = getattr(point, side), getattr(made, side)
        into.offset = given.offset
        into.bucket_counts.extend(_whole(one) for one in given.bucket_counts)
    return made


def _summary_point(point: Any) -> Any:
    made = metrics_pb2.SummaryDataPoint(**_common(point), count=_whole(point.count), sum=_total(point))
    for one in point.quantile_values:
        made.quantile_values.add(quantile=one.quantile, value=float(one.value))
    return made


_POINTS: dict[str, Callable[[Any], Any]] = {
    "gauge": _number_point, "sum": _number_point, "histogram": _histogram_point,
    "exponential_histogram": _exponential_point, "summary": _summary_point,
}  # fmt: skip
_CONVERT: dict[str, Callable[[Any], Any]] = {"spans": _span, "logs": _log, "metrics": _metric}
