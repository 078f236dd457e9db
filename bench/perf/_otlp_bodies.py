"""Export requests of 500 items of each kind, and the usual way to read them: stock protobuf, a loop over items,
attributes as a dictionary, JSON, Arrow."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

ITEMS, SERVICES = 500, 5
T0 = 1_760_000_000_000_000_000
METHODS, ROUTES = ("GET", "POST", "PUT"), ("/api/cart", "/api/cart/{id}", "/api/order", "/api/order/{id}", "/checkout")
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Kind(NamedTuple):
    """One kind of request: its signal, a request from a seed, and the usual way to read some."""

    signal: str
    body: Callable[[int], bytes]
    usual: Callable[[Sequence[bytes]], pa.Table]


def _fill(groups: Any, scopes: str, fill: Callable[[Any, random.Random], None], seed: int) -> None:
    rng = random.Random(seed)
    for number in range(SERVICES):
        group = groups.add()
        _pairs(group.resource.attributes, {
            "service.name": f"svc-{number}", "k8s.pod.name": f"svc-{number}-7f9c8d5b6-x2x4z", "k8s.node.name": "node-1",
            "service.version": "1.2.3",
        })  # fmt: skip
        scope = getattr(group, scopes).add()
        scope.scope.name = "opentelemetry.instrumentation.asgi"
        fill(scope, rng)


def _pairs(into: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        pair = into.add(key=key).value
        if isinstance(value, int):
            pair.int_value = value
        else:
            pair.string_value = value


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    return None if which is None else getattr(value, which)


def _dict(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


class _Columns:
    def __init__(self, *names: str) -> None:
        self.columns: dict[str, list[Any]] = {name: [] for name in names}

    def add(self, *row: Any) -> None:
        for values, value in zip(self.columns.values(), row, strict=True):
            values.append(value)


# ---- spans: 8 attributes, 3 of them unique; with a session's id 9 ------------------------------------------


def spans_body(seed: int, session: bool = False) -> bytes:
    data = TracesData()

    def fill(scope: Any, rng: random.Random) -> None:
        for _ in range(ITEMS // SERVICES):
            _span(scope.spans.add(), rng, session)

    _fill(data.resource_spans, "scope_spans", fill, seed)
    return data.SerializeToString()


def _span(span: Any, rng: random.Random, session: bool) -> None:
    start = T0 + rng.randrange(10**10)
    span.trace_id, span.span_id = rng.randbytes(16), rng.randbytes(8)
    if rng.random() < 0.8:
        span.parent_span_id = rng.randbytes(8)
    method, route = rng.choice(METHODS), rng.choice(ROUTES)
    span.name, span.kind = f"{method} {route}", rng.choice((1, 2, 3))
    span.start_time_unix_nano, span.end_time_unix_nano = start, start + rng.randrange(10**8)
    span.flags = 0x101
    code = rng.choice((200, 200, 200, 404, 500))
    if code == 500:
        span.status.code, span.status.message = 2, "internal error"
    unique = rng.getrandbits(64)
    _pairs(span.attributes, {
        "http.request.method": method, "http.route": route, "http.response.status_code": code,
        "server.address": f"svc-{unique % 5}", "network.protocol.version": "1.1", "request.size": unique % 10**7,
        "url.path": f"{route}/{unique % 10**9}", "user.id": f"u-{unique:016x}",
    } | ({"session.id": f"{unique:032x}"} if session else {}))  # fmt: skip


def usual_spans(bodies: Sequence[bytes]) -> pa.Table:
    out = _Columns("time", "trace_id", "span_id", "parent_span_id", "service", "name", "kind", "duration_ns", "status",
                   "status_message", "attributes")  # fmt: skip
    for raw in bodies:
        for group in TracesData.FromString(raw).resource_spans:
            resource = _dict(group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    out.add(
                        span.start_time_unix_nano, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                        resource.get("service.name"), span.name, span.kind,
                        span.end_time_unix_nano - span.start_time_unix_nano, span.status.code, span.status.message,
                        json.dumps(_dict(span.attributes)),
                    )  # fmt: skip
    return pa.table(out.columns)


# ---- log records ------------------------------------------------------------------------------------------


def logs_body(seed: int) -> bytes:
    data = LogsData()

    def fill(scope: Any, rng: random.Random) -> None:
        for _ in range(ITEMS // SERVICES):
            record = scope.log_records.add(
                time_unix_nano=T0 + rng.randrange(10**10), severity_number=rng.choice((9, 13, 17))
            )
            record.observed_time_unix_nano = record.time_unix_nano + 1000
            record.trace_id, record.span_id = rng.randbytes(16), rng.randbytes(8)
            record.body.string_value = (
                f"order {rng.randrange(10**6)} of user u-{rng.randrange(10**5)} took {rng.random():.3f} s"
            )
            _pairs(record.attributes, {
                "logger.name": "shop.orders", "thread.name": f"worker-{rng.randrange(8)}", "code.lineno": 117,
            })  # fmt: skip

    _fill(data.resource_logs, "scope_logs", fill, seed)
    return data.SerializeToString()


def usual_logs(bodies: Sequence[bytes]) -> pa.Table:
    out = _Columns("time", "trace_id", "span_id", "service", "severity", "body", "attributes")
    for raw in bodies:
        for group in LogsData.FromString(raw).resource_logs:
            resource = _dict(group.resource.attributes)
            for scope in group.scope_logs:
                for record in scope.log_records:
                    out.add(
                        record.time_unix_nano, record.trace_id.hex(), record.span_id.hex(),
                        resource.get("service.name"), record.severity_number, _value(record.body),
                        json.dumps(_dict(record.attributes)),
                    )  # fmt: skip
    return pa.table(out.columns)


# ---- points: three attributes, the same series in every request ---------------------------------------------


def points_body(seed: int, kind: str) -> bytes:
    data = MetricsData()

    def fill(scope: Any, rng: random.Random) -> None:
        for number in range(10):
            metric = scope.metrics.add(name=f"metric.{kind}.{number}", unit="s", description="what it measures")
            holder = getattr(metric, kind)
            if kind != "gauge":
                holder.aggregation_temporality = 2
            if kind == "sum":
                holder.is_monotonic = True
            for series in range(ITEMS // SERVICES // 10):
                point = holder.data_points.add(time_unix_nano=T0 + seed * 10**9, start_time_unix_nano=T0)
                _pairs(point.attributes, {
                    "http.request.method": "GET", "http.route": f"/api/{series}", "http.response.status_code": 200,
                })  # fmt: skip
                if kind != "histogram":
                    point.as_double = rng.random()
                    continue
                counts = [rng.randrange(50) for _ in range(len(BOUNDS) + 1)]
                point.bucket_counts.extend(counts)
                point.explicit_bounds.extend(BOUNDS)
                point.count, point.sum = sum(counts), rng.random()

    _fill(data.resource_metrics, "scope_metrics", fill, seed)
    return data.SerializeToString()


def usual_points(bodies: Sequence[bytes]) -> pa.Table:
    out = _Columns("time", "name", "value", "unit", "type", "service", "instance", "node", "attributes")
    for raw in bodies:
        for group in MetricsData.FromString(raw).resource_metrics:
            resource = _dict(group.resource.attributes)
            place = tuple(resource.get(key) for key in ("service.name", "k8s.pod.name", "k8s.node.name"))
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    for point in getattr(metric, metric.WhichOneof("data")).data_points:
                        _point(out, metric, point, place)
    return pa.table(out.columns)


def _point(out: _Columns, metric: Any, point: Any, place: tuple[Any, ...]) -> None:
    time, labels, which = point.time_unix_nano, _dict(point.attributes), metric.WhichOneof("data")
    text = json.dumps(labels, sort_keys=True, separators=(",", ":"))
    if which != "histogram":
        kind = "counter" if which == "sum" and metric.sum.is_monotonic else "gauge"
        out.add(time, metric.name, getattr(point, point.WhichOneof("value")), metric.unit, kind, *place, text)
        return
    out.add(time, f"{metric.name}_count", float(point.count), None, "counter", *place, text)
    out.add(time, f"{metric.name}_sum", point.sum, metric.unit, "counter", *place, text)
    running = 0
    for bound, count in zip(
        (*(f"{one:.6g}" for one in point.explicit_bounds), "+Inf"), point.bucket_counts, strict=True
    ):
        running += count
        text = json.dumps({**labels, "le": bound}, sort_keys=True, separators=(",", ":"))
        out.add(time, f"{metric.name}_bucket", float(running), metric.unit, "histogram", *place, text)


KINDS: dict[str, Kind] = {
    "spans": Kind("spans", spans_body, usual_spans),
    "spans with session.id": Kind("spans", lambda seed: spans_body(seed, session=True), usual_spans),
    "log records": Kind("logs", logs_body, usual_logs),
    "gauges": Kind("metrics", lambda seed: points_body(seed, "gauge"), usual_points),
    "counters": Kind("metrics", lambda seed: points_body(seed, "sum"), usual_points),
    "histograms": Kind("metrics", lambda seed: points_body(seed, "histogram"), usual_points),
}
