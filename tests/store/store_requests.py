"""OTLP requests whose rows can be told apart, and what a store holds of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from aetia.model.stored import Signal
from aetia.store.settings import MIB
from aetia.store.store import Settings, Snapshot, Store

T0 = 1_770_000_000 * 10**9
"""2026-02-02 02:40 UTC."""
QUIET = Settings(compact=False, worker_process=False, segment_seconds=3600.0, min_free_bytes=0)
"""Nothing happens unless it is asked for."""
WORKER = Settings(compact=False, segment_seconds=3600.0, min_free_bytes=0)
SMALL = Settings(group_bytes=MIB // 64, segment_bytes=MIB // 16, segment_seconds=0.2, min_free_bytes=0)


def spans(request: int, count: int = 4, *, at_ns: int = T0, exception: bool = False) -> bytes:
    """`count` spans whose ids say which request they are of."""
    data = ExportTraceServiceRequest()
    group = data.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = f"svc-{request % 3}"
    scope = group.scope_spans.add()
    for number in range(count):
        span = scope.spans.add()
        span.trace_id, span.span_id = (request + 1).to_bytes(16, "big"), span_id(request, number)
        span.name, span.kind = "GET /", 2
        span.start_time_unix_nano = at_ns + request * 1000 + number
        span.end_time_unix_nano = span.start_time_unix_nano + 10**6
        span.attributes.add(key="request").value.int_value = request
        if exception and not number:
            event = span.events.add(name="exception", time_unix_nano=span.start_time_unix_nano)
            event.attributes.add(key="exception.type").value.string_value = "Boom"
            event.attributes.add(key="exception.message").value.string_value = f"in {request}"
    return data.SerializeToString()


def span_id(request: int, number: int) -> bytes:
    return (request + 1).to_bytes(6, "big") + number.to_bytes(2, "big")


def logs(request: int, count: int = 3, *, at_ns: int = T0) -> bytes:
    data = ExportLogsServiceRequest()
    group = data.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = "svc-1"
    scope = group.scope_logs.add()
    for number in range(count):
        record = scope.log_records.add(time_unix_nano=at_ns + request, severity_text="INFO")
        record.body.string_value = f"line {request}/{number}"
        record.attributes.add(key="request").value.int_value = request
    return data.SerializeToString()


def metrics(request: int, count: int = 2, *, at_ns: int = T0) -> bytes:
    data = ExportMetricsServiceRequest()
    group = data.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "svc-1"
    metric = group.scope_metrics.add().metrics.add(name="queue", unit="1")
    for number in range(count):
        metric.gauge.data_points.add(time_unix_nano=at_ns + request * 1000 + number, as_double=float(request))
    return data.SerializeToString()


def fill(store: Store, requests: Iterable[int], count: int = 4) -> None:
    """Store requests of spans and wait until they are durable."""
    for future in [store.append("spans", spans(number, count)) for number in requests]:
        assert future.result(20).rows == count


def column(snapshot: Snapshot, signal: Signal, name: str) -> list[object]:
    """A column of all rows, hot or not."""
    tables = [pq.read_table(part.path, columns=[name]) for part in snapshot.parts[signal]]
    tables = [table.cast(pa.schema([(name, pa.string())])) for table in (*tables, snapshot.hot[signal].select([name]))]
    return pa.concat_tables(tables)[name].to_pylist()


def stored(store: Store) -> Counter[int]:
    """How many spans of each request the store holds; fails when a span is there twice."""
    with store.reading() as snapshot:
        ids = [str(one) for one in column(snapshot, "spans", "span_id")]
    assert len(ids) == len(set(ids)), "a span is there twice"
    return Counter(int(one[:12], 16) - 1 for one in ids)


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))
