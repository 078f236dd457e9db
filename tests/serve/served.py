"""A real server on a free loopback port, in a thread of the test, and a plain HTTP client for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from aetia.serve.config import Config, make_config
from aetia.serve.run import running
from aetia.serve.state import ServeState

PROTOBUF, JSON = "application/x-protobuf", "application/json"
QUIET: dict[str, Any] = {
    "server": {"port": 0, "watch_itself": False},
    "detection": {"enabled": False},
    "diagnosis": {"enabled": False},
}


class Answer:
    """Status, headers and body of one answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers.items()}, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """One running server."""

    def __init__(self, state: ServeState) -> None:
        self.state, self.url = state, state.url
        parts = urlsplit(state.url)
        self.host, self.port = str(parts.hostname), int(parts.port or 0)

    def ask(self, method: str, path: str, body: bytes | Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("content-type", JSON)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def send(self, path: str, body: bytes, kind: str = PROTOBUF, **headers: str) -> Answer:
        """Telemetry."""
        return self.post(path, body, content_type=kind, **headers)


@contextlib.contextmanager
def served(folder: Path, content: Mapping[str, Any] | None = None) -> Iterator[Served]:
    """A server over a folder with a configuration; without one it neither detects nor diagnoses nor watches itself."""
    config = make_config(merged(QUIET, content or {}))
    with serving(config, folder) as one:
        yield one


@contextlib.contextmanager
def serving(config: Config, folder: Path) -> Iterator[Served]:
    with running(config, folder) as (server, state, bound):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="server")
        thread.start()
        try:
            until(lambda: state.ready and server.started)
            yield Served(state)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def until(ready: Any, seconds: float = 10.0) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.01)
    return found


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        out[key] = {**out[key], **value} if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def describe(resource: Any, service: str) -> None:
    item = resource.attributes.add()
    item.key, item.value.string_value = "service.name", service


def spans(
    n: int = 3, *, service: str = "checkout", name: str = "POST /pay", at_ns: int | None = None,
    duration_ms: float = 5.0, failed: bool = False, attributes: Mapping[str, str] | None = None,
) -> bytes:  # fmt: skip
    """An export request with n server spans, each a trace of its own, that began a second ago."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    describe(resource.resource, service)
    scope = resource.scope_spans.add()
    start = time.time_ns() - 10**9 if at_ns is None else at_ns
    for number in range(n):
        span = scope.spans.add()
        span.trace_id, span.span_id, span.name, span.kind = os.urandom(16), os.urandom(8), name, 2
        span.start_time_unix_nano = start + number
        span.end_time_unix_nano = start + number + round(duration_ms * 1e6)
        span.status.code = 2 if failed else 0
        for key, value in (attributes or {}).items():
            item = span.attributes.add()
            item.key, item.value.string_value = key, value
    return request.SerializeToString()


def trace(shape: list[tuple[str, str, int, float, float]], trace_id: bytes | None = None) -> tuple[str, bytes]:
    """(id, export request) of one trace: rows of service, name, parent row (-1 none), start and duration in ms."""
    request = ExportTraceServiceRequest()
    key = trace_id or os.urandom(16)
    ids = [os.urandom(8) for _ in shape]
    begin = time.time_ns() - 5 * 10**9
    for number, (service, name, parent, start, duration) in enumerate(shape):
        resource = request.resource_spans.add()
        describe(resource.resource, service)
        span = resource.scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.name, span.kind = key, ids[number], name, 2
        if parent >= 0:
            span.parent_span_id = ids[parent]
        span.start_time_unix_nano = begin + round(start * 1e6)
        span.end_time_unix_nano = begin + round((start + duration) * 1e6)
    return key.hex(), request.SerializeToString()


def logs(*bodies: str, service: str = "checkout", at_ns: int | None = None) -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    describe(resource.resource, service)
    scope = resource.scope_logs.add()
    for number, body in enumerate(bodies):
        record = scope.log_records.add()
        record.time_unix_nano = (time.time_ns() - 10**9 if at_ns is None else at_ns) + number
        record.severity_number, record.body.string_value = 9, body
    return request.SerializeToString()


def metrics(*values: float, name: str = "queue.length", service: str = "checkout") -> bytes:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    describe(resource.resource, service)
    metric = resource.scope_metrics.add().metrics.add()
    metric.name = name
    for number, value in enumerate(values):
        point = metric.gauge.data_points.add()
        point.time_unix_nano, point.as_double = time.time_ns() - 10**9 * (len(values) - number), value
    return request.SerializeToString()
