"""Tables of telemetry as OTLP requests, by protobuf's own messages: the plain way that others are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, MetricsData
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

_KINDS: dict[str, Any] = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUS = {"ok": Status.STATUS_CODE_OK, "error": Status.STATUS_CODE_ERROR}
_LEVELS = {
    "trace": SeverityNumber.SEVERITY_NUMBER_TRACE, "debug": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "info": SeverityNumber.SEVERITY_NUMBER_INFO, "warn": SeverityNumber.SEVERITY_NUMBER_WARN,
    "error": SeverityNumber.SEVERITY_NUMBER_ERROR, "fatal": SeverityNumber.SEVERITY_NUMBER_FATAL,
}  # fmt: skip


def to_request(signal: str, table: pa.Table, shift_ns: int = 0) -> bytes:
    """Rows of `spans`, `logs` or `metrics` (model schema) as one OTLP protobuf export request, `shift_ns` later.

    Attributes become texts. Counters and the buckets of histograms become cumulative sums, all else gauges.
    """
    rows = table.set_column(table.column_names.index("time"), "time", table["time"].cast(pa.int64())).to_pylist()
    for row in rows:
        row["time"] += shift_ns
    return {"spans": _traces, "logs": _logs, "metrics": _metrics}[signal](rows)


def _by_place(rows: list[dict[str, Any]]) -> Iterator[tuple[Resource, list[dict[str, Any]]]]:
    places: dict[tuple[str | None, str | None, str | None], list[dict[str, Any]]] = {}
    for row in rows:
        places.setdefault((row.get("service"), row.get("instance"), row.get("node")), []).append(row)
    for (service, instance, node), held in places.items():
        named = {"service.name": service, "service.instance.id": instance, "host.name": node}
        yield Resource(attributes=_pairs({key: value for key, value in named.items() if value})), held


def _pairs(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=str(value))) for key, value in values.items()]


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    held = row.get("attributes")
    if isinstance(held, str):
        return msgspec.json.decode(held)
    return dict(held or ())


def _traces(rows: list[dict[str, Any]]) -> bytes:
    data = TracesData()
    for resource, held in _by_place(rows):
        group = data.resource_spans.add(resource=resource)
        spans = group.scope_spans.add().spans
        for row in held:
            spans.append(_span(row))
    return data.SerializeToString()


def _span(row: Mapping[str, Any]) -> Span:
    known = {"http.response.status_code": row.get("status_code"), "server.address": row.get("peer")}
    attributes = {key: value for key, value in known.items() if value} | _attributes(row)
    return Span(
        trace_id=_id(row["trace_id"], 16), span_id=_id(row["span_id"], 8), name=row["name"] or "",
        parent_span_id=_id(row["parent_span_id"], 8) if row["parent_span_id"] else b"",
        kind=_KINDS.get(row["kind"] or "", 0), start_time_unix_nano=row["time"],
        end_time_unix_nano=row["time"] + row["duration_ns"], attributes=_pairs(attributes),
        status=Status(code=_STATUS.get(row["status"] or "", Status.STATUS_CODE_UNSET)),
    )  # fmt: skip


def _id(text: str | None, size: int) -> bytes:
    """An id as OTLP wants it; recordings may hold ids of other lengths."""
    raw = text or ""
    try:
        found = bytes.fromhex(raw)
    except ValueError:
        found = raw.encode()
    if len(found) == size:
        return found
    return hashlib.blake2b(raw.encode(), digest_size=size).digest()


def _logs(rows: list[dict[str, Any]]) -> bytes:
    data = LogsData()
    for resource, held in _by_place(rows):
        records = data.resource_logs.add(resource=resource).scope_logs.add().log_records
        for row in held:
            records.add(
                time_unix_nano=row["time"], severity_number=_LEVELS.get(row["severity"] or "", 0),
                body=AnyValue(string_value=row["body"] or ""), attributes=_pairs(_attributes(row)),
                trace_id=_id(row["trace_id"], 16) if row["trace_id"] else b"",
                span_id=_id(row["span_id"], 8) if row["span_id"] else b"",
            )  # fmt: skip
    return data.SerializeToString()


def _metrics(rows: list[dict[str, Any]]) -> bytes:
    data = MetricsData()
    for resource, held in _by_place(rows):
        metrics = data.resource_metrics.add(resource=resource).scope_metrics.add().metrics
        for row in held:
            metric = metrics.add(name=row["name"], unit=row["unit"] or "")
            if row["type"] in ("counter", "histogram"):
                metric.sum.is_monotonic = True
                metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
                points = metric.sum.data_points
            else:
                points = metric.gauge.data_points
            points.add(time_unix_nano=row["time"], as_double=row["value"], attributes=_pairs(_attributes(row)))
    return data.SerializeToString()
