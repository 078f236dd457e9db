"""The server's own metrics and spans, kept in its own store as service `aetia`.

They are written straight into the store and are no requests, so that nothing is counted because it was counted. Spans
are made of questions alone: a span per received batch would double the load that it reports.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from aetia import __version__
from aetia.model.errors import AetiaError
from aetia.serve.itself import INSTANCE, SERVICE
from aetia.serve.operations.store import rss_bytes
from aetia.serve.selfwatch import EDGES_S

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

log = logging.getLogger(__name__)
EVERY_S = 15.0
_CUMULATIVE = 2


async def report(state: ServeState) -> None:
    """Write the numbers every 15 seconds; a store that takes nothing is left in peace."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await asyncio.to_thread(write, state)
        except (AetiaError, OSError) as error:
            log.debug("own telemetry was not stored: %s", error)


def write(state: ServeState) -> None:
    """Store the metrics of this moment and the spans since the last time."""
    store = state.owned_store()
    store.append("metrics", metrics_request(state, time.time_ns()))
    spans = state.watch.take_spans()
    if spans:
        store.append("spans", spans_request(spans))


def metrics_request(state: ServeState, now_ns: int) -> bytes:
    """An OTLP export request with the counters since the start."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    _describe(resource.resource)
    scope = resource.scope_metrics.add()
    scope.scope.name, scope.scope.version = "aetia.serve", __version__
    made = _Points(scope, state.started_ns, now_ns)
    made.gauge("process.memory.usage", "By", rss_bytes())
    used = os.times()
    made.sum("process.cpu.time", "s", used.user + used.system)
    made.gauge("aetia.questions", "{question}", state.pool.held)
    made.gauge("aetia.followers", "{client}", state.hub.clients)
    for item in state.watch.ingest():
        labels = {"signal": item.signal}
        for name, unit, value in (
            ("aetia.ingest.rows", "{row}", item.rows), ("aetia.ingest.rejected", "{row}", item.rejected),
            ("aetia.ingest.refused", "{request}", item.refused), ("aetia.ingest.bytes", "By", item.bytes),
        ):  # fmt: skip
            made.sum(name, unit, value, labels)
    _tell_of_detection(made, state)
    for item in state.watch.routes():
        labels = {"http.route": item.route, "http.response.status_code": str(item.status)}
        made.histogram("http.server.request.duration", "s", item.histogram, item.seconds, labels)
    return request.SerializeToString()


def _tell_of_detection(made: _Points, state: ServeState) -> None:
    detection = state.extras.get("detection")
    if detection is None:
        return
    stats = detection.stats()
    made.gauge("aetia.detection.requests", "{request}", stats.requests)
    for name, rows in (("queued", stats.queued), ("waiting", stats.waiting)):
        made.gauge(f"aetia.detection.{name}", "{span}", rows)
    for name, rows in (("dropped", stats.dropped), ("hurried", stats.hurried)):
        made.sum(f"aetia.detection.{name}", "{span}", rows)


class _Points:
    """Adds metrics to a scope."""

    def __init__(self, scope: Any, start_ns: int, now_ns: int) -> None:
        self._scope, self._start, self._now = scope, start_ns, now_ns
        self._held: dict[str, Any] = {}

    def gauge(self, name: str, unit: str, value: float) -> None:
        metric = self._metric(name, unit)
        self._point(metric.gauge.data_points.add(), {}).as_double = value

    def sum(self, name: str, unit: str, value: float, labels: dict[str, str] | None = None) -> None:
        metric = self._metric(name, unit)
        metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, _CUMULATIVE
        self._point(metric.sum.data_points.add(), labels or {}).as_double = value

    def histogram(self, name: str, unit: str, counts: tuple[int, ...], total: float, labels: dict[str, str]) -> None:
        metric = self._metric(name, unit)
        metric.histogram.aggregation_temporality = _CUMULATIVE
        point = self._point(metric.histogram.data_points.add(), labels)
        point.count, point.sum = sum(counts), total
        point.bucket_counts.extend(counts)
        point.explicit_bounds.extend(EDGES_S)

    def _metric(self, name: str, unit: str) -> Any:
        if name not in self._held:
            self._held[name] = self._scope.metrics.add()
            self._held[name].name, self._held[name].unit = name, unit
        return self._held[name]

    def _point(self, point: Any, labels: dict[str, str]) -> Any:
        point.start_time_unix_nano, point.time_unix_nano = self._start, self._now
        _attributes(point.attributes, labels)
        return point


def spans_request(spans: list[tuple[str, int, int, int]]) -> bytes:
    """An OTLP export request with one server span per (route, status, start, duration in ns)."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _describe(resource.resource)
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "aetia.serve", __version__
    for route, status, start_ns, duration_ns in spans:
        span = scope.spans.add()
        span.trace_id, span.span_id = os.urandom(16), os.urandom(8)
        span.name, span.kind = route, Span.SPAN_KIND_SERVER
        span.start_time_unix_nano, span.end_time_unix_nano = start_ns, start_ns + duration_ns
        span.status.code = Status.STATUS_CODE_ERROR if status >= 500 else Status.STATUS_CODE_UNSET
        _attributes(span.attributes, {"http.route": route, "http.response.status_code": str(status)})
    return request.SerializeToString()


def _describe(resource: Any) -> None:
    _attributes(
        resource.attributes,
        {"service.name": SERVICE, "service.version": __version__, "service.instance.id": INSTANCE},
    )


def _attributes(target: Any, labels: dict[str, str]) -> None:
    for key, value in labels.items():
        item = target.add()
        item.key, item.value.string_value = key, value
