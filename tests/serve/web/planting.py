"""Telemetry with something to find: slow requests that have one attribute in common, a hostile name, a trace of a shape."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from served import PROTOBUF, Served, logs, metrics, trace, until

HOSTILE = "<b onclick=window.hurt=1>shop</b>\u202e"
SLOW_MS = 400.0
SHAPE = [
    (HOSTILE, "GET /cart", -1, 0.0, 100.0),
    ("stock", "reserve", 0, 5.0, 60.0),
    ("stock-db", "SELECT stock", 1, 10.0, 40.0),
    ("cart", "load", 0, 70.0, 20.0),
]


@dataclass(frozen=True)
class Planted:
    """The server, and the traces whose shape is known: the second waits longer for `stock`."""

    server: Served
    first: str
    second: str


def holds(page: Any, script: str) -> None:
    """Wait until a script is true; the pages' policy forbids the evaluation that Playwright would do in them."""
    until(lambda: page.evaluate(script))


def planted(server: Served) -> Planted:
    """Requests of `checkout` over five minutes, of which those of build `canary` are slow; logs, metrics, a deploy."""
    now = time.time_ns()
    for at in range(12):
        assert server.send("/v1/traces", _requests(now - (330 - 25 * at) * 10**9)).status == 200
    first, body = trace(SHAPE)
    assert server.send("/v1/traces", body).status == 200
    slower = [(*row[:4], row[4] + 80.0) if row[1] in ("GET /cart", "reserve", "SELECT stock") else row for row in SHAPE]
    second, body = trace(slower)
    assert server.send("/v1/traces", body).status == 200
    lines = [f"order {number} was charged" for number in range(20)] + [
        f"card of order {at} <i>refused</i>" for at in range(4)
    ]
    assert server.send("/v1/logs", logs(*lines), PROTOBUF).status == 200
    assert server.send("/v1/metrics", metrics(*[float(at % 7) for at in range(60)])).status == 200
    change = {"kind": "deploy", "service": "checkout", "description": "canary", "time": str(now / 1e9 - 120)}
    assert server.post("/api/v1/changes", change).status == 200
    path = "/api/v1/compare?service=checkout&low_ms=200"
    until(lambda: any(row["value"] == "canary" for row in server.get(path).json["differences"]), 30.0)
    return Planted(server, first, second)


def _requests(at_ns: int) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    item = resource.resource.attributes.add()
    item.key, item.value.string_value = "service.name", "checkout"
    scope = resource.scope_spans.add()
    for number in range(40):
        span = scope.spans.add()
        span.trace_id = (at_ns + number).to_bytes(16, "big")
        span.span_id, span.name = (number + 1).to_bytes(8, "big"), "POST /pay"
        span.kind = span.SPAN_KIND_SERVER
        slow = number % 8 == 0
        span.start_time_unix_nano = at_ns + number * 500_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + round((SLOW_MS if slow else 20.0 + number) * 1e6)
        if number == 16:
            span.status.code = span.status.STATUS_CODE_ERROR
        for key, value in (("build", "canary" if slow else "stable"), ("region", "eu" if number // 8 % 2 else "us")):
            item = span.attributes.add()
            item.key, item.value.string_value = key, value
    return request.SerializeToString()
