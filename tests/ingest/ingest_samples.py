"""Small files of each layout that the readers read, made on the spot."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aetia.ingest.case import write_case
from aetia.ingest.normalise import to_changes, to_logs, to_metrics, to_spans, to_topology
from aetia.model.case import Case, Truth
from aetia.model.tables import Telemetry
from aetia.model.window import Window

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def telemetry(requests: int = 20) -> Telemetry:
    """Requests of two spans each (shop calls cart), a log line per request, two metrics, a change, an edge."""
    rng = random.Random(7)
    spans: dict[str, list[object]] = {
        key: [] for key in ("time", "trace_id", "span_id", "parent_span_id", "service", "name", "kind", "duration_ns")
    }
    for k in range(requests):
        trace, top, child = f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(64):016x}", f"{rng.getrandbits(64):016x}"
        start = T0 + k * SECOND
        rows = (
            (start, trace, top, None, "shop", "GET /", "server", 9_000_000),
            (start + 1_000_000, trace, child, top, "cart", "Get", "server", 5_000_000),
        )
        for row in rows:
            for key, value in zip(spans, row, strict=True):
                spans[key].append(value)
    times = [T0 + k * SECOND for k in range(requests)]
    span_table, _ = to_spans({**spans, "status": "ok", "status_code": "200", "attributes": '{"http.route":"/"}'})
    log_table, _ = to_logs(
        {"time": times, "service": "shop", "body": [f"INFO request {k} served" for k in range(requests)]}
    )
    metric_table, _ = to_metrics(
        {"time": times * 2, "name": ["cpu"] * requests + ["memory"] * requests, "value": np.arange(2.0 * requests),
         "service": "cart", "type": "gauge"}
    )  # fmt: skip
    change_table, _ = to_changes({"time": [T0 + 5 * SECOND], "kind": ["deployment"], "service": ["cart"]})
    edge_table, _ = to_topology({"caller": ["shop"], "callee": ["cart"], "kind": ["call"]})
    return Telemetry(spans=span_table, logs=log_table, metrics=metric_table, changes=change_table, topology=edge_table)


def a_case(case_id: str = "c1") -> Case:
    return Case(
        id=case_id, system="shop", baseline=Window(T0, T0 + 10 * SECOND),
        incident=Window(T0 + 10 * SECOND, T0 + 20 * SECOND),
        truth=(Truth(service="cart", fault_class="D", fault="latency", edge=("shop", "cart"), onset_ns=T0 + 10 * SECOND),),
    )  # fmt: skip


def case_folder(folder: Path) -> Path:
    return write_case(folder, a_case(), telemetry())


# ---- OTLP -------------------------------------------------------------------------------------------------


def attribute(key: str, value: object) -> dict[str, object]:
    kind = {bool: "boolValue", int: "intValue", float: "doubleValue"}.get(type(value), "stringValue")
    return {"key": key, "value": {kind: str(value) if kind == "intValue" else value}}


def resource(service: str = "cart") -> dict[str, object]:
    return {
        "attributes": [
            attribute("service.name", service), attribute("k8s.pod.name", f"{service}-0"),
            attribute("k8s.node.name", "node-1"),
        ]
    }  # fmt: skip


def otlp_traces() -> dict[str, object]:
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "parentSpanId": "eee19b7ec3c1b173",
        "name": "GET /cart", "kind": 3, "startTimeUnixNano": str(T0), "endTimeUnixNano": str(T0 + 5_000_000),
        "attributes": [attribute("http.response.status_code", 503), attribute("server.address", "redis")],
        "events": [{"timeUnixNano": str(T0 + 1), "name": "exception", "attributes": [attribute("exception.type", "Boom")]}],
        "links": [{"traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175"}],
        "status": {"code": 2, "message": "down"},
    }  # fmt: skip
    return {"resourceSpans": [{"resource": resource(), "scopeSpans": [{"scope": {}, "spans": [span]}]}]}


def otlp_logs() -> dict[str, object]:
    records = [
        {"timeUnixNano": str(T0), "severityNumber": 17, "severityText": "", "body": {"stringValue": "it broke"},
         "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"},
        {"observedTimeUnixNano": str(T0 + 5), "severityText": "Warning", "body": {"stringValue": "slow"}},
    ]  # fmt: skip
    return {"resourceLogs": [{"resource": resource(), "scopeLogs": [{"logRecords": records}]}]}


def otlp_metrics() -> dict[str, object]:
    time = {"timeUnixNano": str(T0), "startTimeUnixNano": str(T0 - 60 * SECOND)}
    cumulative, delta = 2, 1
    metrics: list[dict[str, object]] = [
        {"name": "cpu", "unit": "1", "gauge": {"dataPoints": [{**time, "asDouble": 0.5}]}},
        {"name": "jobs", "gauge": {"dataPoints": [{**time, "asInt": "7"}]}},
        {"name": "requests", "sum": {"dataPoints": [{**time, "asInt": "42"}], "isMonotonic": True,
                                     "aggregationTemporality": cumulative}},
        {"name": "sent", "sum": {"dataPoints": [{**time, "asInt": 3}], "isMonotonic": True,
                                 "aggregationTemporality": delta}},
        {"name": "open", "sum": {"dataPoints": [{**time, "asInt": "4"}], "aggregationTemporality": cumulative}},
        {"name": "latency", "unit": "ms", "histogram": {"aggregationTemporality": cumulative, "dataPoints": [
            {**time, "count": "6", "sum": 70.0, "bucketCounts": ["1", "2", "3"], "explicitBounds": [10, 100]}]}},
        {"name": "size", "exponentialHistogram": {"aggregationTemporality": cumulative, "dataPoints": [
            {**time, "count": "4", "sum": 10.0, "scale": 0, "zeroCount": "1",
             "positive": {"offset": 0, "bucketCounts": ["2", "1"]}, "negative": {}}]}},
        {"name": "gc", "unit": "s", "summary": {"dataPoints": [
            {**time, "count": "9", "sum": 3.0, "quantileValues": [{"quantile": 0.5, "value": 0.1}]}]}},
    ]  # fmt: skip
    return {"resourceMetrics": [{"resource": resource(), "scopeMetrics": [{"metrics": metrics}]}]}


def protobuf(document: dict[str, object]) -> bytes:
    """A JSON document of the samples as a protobuf message."""
    from google.protobuf import json_format
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    kind = {"resourceSpans": TracesData, "resourceLogs": LogsData, "resourceMetrics": MetricsData}[next(iter(document))]
    return json_format.ParseDict(_base64_ids(document), kind()).SerializeToString()


def _base64_ids(value: object) -> object:
    import base64

    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode()
            if key.endswith(("traceId", "panId"))
            else _base64_ids(item)
            for key, item in value.items()
        }
    return [_base64_ids(item) for item in value] if isinstance(value, list) else value


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages)


def json_lines(*documents: dict[str, object]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


# ---- other layouts ----------------------------------------------------------------------------------------


def jaeger() -> dict[str, object]:
    micro = T0 // 1000
    spans = [
        {"traceID": "abc", "spanID": "1", "operationName": "GET /", "references": [], "startTime": micro, "duration": 9000,
         "tags": [{"key": "span.kind", "type": "string", "value": "server"},
                  {"key": "http.status_code", "type": "int64", "value": 500},
                  {"key": "error", "type": "bool", "value": True}],
         "logs": [{"timestamp": micro + 1, "fields": [{"key": "event", "value": "retry"}]}], "processID": "p1"},
        {"traceID": "abc", "spanID": "2", "operationName": "Get", "startTime": micro + 1000, "duration": 5000,
         "references": [{"refType": "CHILD_OF", "traceID": "abc", "spanID": "1"}], "processID": "p2",
         "tags": [{"key": "span.kind", "value": "client"}, {"key": "peer.service", "value": "redis"}], "logs": None},
    ]  # fmt: skip
    processes = {
        "p1": {"serviceName": "shop", "tags": [{"key": "hostname", "value": "shop-0"}]},
        "p2": {"serviceName": "cart", "tags": []},
    }
    return {"data": [{"traceID": "abc", "spans": spans, "processes": processes, "warnings": None}], "total": 0}


CLICKHOUSE_TRACES = (
    "Timestamp,TraceId,SpanId,ParentSpanId,SpanName,SpanKind,ServiceName,ResourceAttributes,SpanAttributes,Duration,"
    "StatusCode,Events.Timestamp,Events.Name\n"
    "2023-11-14 22:13:20.000000001,t1,s1,,GET /,Server,shop,\"{'k8s.pod.name':'shop-0'}\",\"{'http.status_code':'503'}\""
    ",9000000,STATUS_CODE_ERROR,\"['2023-11-14 22:13:20.000000002']\",\"['exception']\"\n"
    "2023-11-14 22:13:20.001000000,t1,s2,s1,Get,Client,cart,\"{'k8s.pod.name':'cart-0'}\","
    "\"{'peer.service':'it\\'s redis','rpc.grpc.status_code':'14'}\",5000000,Unset,[],[]\n"
)
METRICS_LONG = (
    "timestamp,metric_name,value,service,pod,zone\n"
    "1700000000,cpu,0.5,cart,cart-0,eu\n1700000000,cpu,NaN,shop,shop-0,eu\n1700000060,cpu,0.7,cart,cart-0,us\n"
)
METRICS_WIDE = "time,cart_cpu,cart_mem_used,shop_front_cpu,shop_front_mem_used\n1700000000,1,2,3,4\n1700000001,5,6,7,\n"


def write_all(folder: Path) -> dict[str, Path]:
    """A valid source per layout, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "otlp_json": ("otlp.json", json_lines(otlp_traces(), otlp_metrics(), otlp_logs())),
        "otlp_proto": ("otlp.bin", framed(*(protobuf(one) for one in (otlp_traces(), otlp_metrics(), otlp_logs())))),
        "jaeger": ("jaeger.json", json.dumps(jaeger()).encode()),
        "clickhouse": ("otel_traces.csv", CLICKHOUSE_TRACES.encode()),
        "metrics_long": ("long.csv", METRICS_LONG.encode()),
        "metrics_wide": ("wide.csv", METRICS_WIDE.encode()),
    }
    out: dict[str, Path] = {}
    for name, (file, content) in files.items():
        out[name] = folder / file
        out[name].write_bytes(content)
    table = pa.table({"TimeUnix": [T0], "MetricName": ["cpu"], "Value": [1.0], "ServiceName": ["cart"]})
    out["clickhouse_parquet"] = folder / "gauge.parquet"
    pq.write_table(table, out["clickhouse_parquet"])
    return out
