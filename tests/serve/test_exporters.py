"""The real exporters of the OpenTelemetry SDK, and the Collector's file format replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind
from served import JSON, Served, served

from aetia.serve.security.tokens import Tokens

SERVICE = Resource.create({"service.name": "billing", "service.version": "1.2"})


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_spans_of_the_sdk_arrive_with_parents_errors_and_attributes(server: Served, compression: Compression) -> None:
    provider = TracerProvider(resource=SERVICE, shutdown_on_exit=False)
    provider.add_span_processor(
        SimpleSpanProcessor(OTLPSpanExporter(f"{server.url}/v1/traces", compression=compression, timeout=10))
    )
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("POST /charge", kind=SpanKind.SERVER) as top:
        trace_id = f"{top.get_span_context().trace_id:032x}"
        with pytest.raises(ValueError), tracer.start_as_current_span("charge card", attributes={"card.kind": "visa"}):
            raise ValueError("declined")
    provider.shutdown()
    found = server.get(f"/api/v1/traces/{trace_id}").json
    assert [(span["service"], span["name"], span["status"]) for span in found["spans"]] == [
        ("billing", "POST /charge", "unset"), ("billing", "charge card", "error"),
    ]  # fmt: skip
    first, second = found["spans"]
    assert second["parent_span_id"] == first["span_id"] and first["version"] == "1.2"


def test_metrics_of_every_instrument_arrive(server: Served) -> None:
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(f"{server.url}/v1/metrics", timeout=10), export_interval_millis=10_000_000
    )
    provider = MeterProvider(
        [reader], SERVICE, shutdown_on_exit=False,
        views=[View(instrument_name="sizes", aggregation=ExponentialBucketHistogramAggregation())],
    )  # fmt: skip
    meter = provider.get_meter("tests")

    def watch(options: CallbackOptions) -> list[Observation]:
        return [Observation(7, {"pool": "main"})]

    meter.create_counter("charges").add(3)
    meter.create_up_down_counter("open.charges").add(-2)
    meter.create_histogram("charge.duration", "ms").record(12)
    meter.create_histogram("sizes", "By").record(100)
    meter.create_gauge("rate").set(1.5)
    meter.create_observable_counter("seen", [watch])
    meter.create_observable_up_down_counter("held", [watch])
    meter.create_observable_gauge("pool.size", [watch])
    provider.force_flush()
    provider.shutdown()
    names = {row["name"] for row in server.get("/api/v1/metrics?service=billing").json["metrics"]}
    for name in ("charges", "open.charges", "charge.duration", "sizes", "rate", "seen", "held", "pool.size"):
        assert any(name in found for found in names), f"{name} is not among {sorted(names)}"
    series = server.get("/api/v1/metrics/series?name=pool.size&service=billing&aggregate=last").json["series"]
    assert [value for row in series for value in row["values"] if value is not None] == [7]


def test_log_records_arrive(server: Served) -> None:
    provider = LoggerProvider(SERVICE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{server.url}/v1/logs", timeout=10)))
    provider.get_logger("tests").emit(
        body="card 17 declined", severity_number=SeverityNumber.ERROR, attributes={"attempt": 2}
    )
    provider.shutdown()
    found = server.get("/api/v1/logs?filter=service:=:billing&filter=body:contains:card%2017").json["logs"]
    assert [(row["severity"], row["body"]) for row in found] == [("error", "card 17 declined")]


def test_an_exporter_with_a_token_is_let_in(tmp_path: Path) -> None:
    secret, _ = Tokens(tmp_path).create(["ingest"], "collector")
    with served(tmp_path, {"server": {"auth": "tokens"}}) as one:
        exporter = OTLPSpanExporter(f"{one.url}/v1/traces", headers={"authorization": f"Bearer {secret}"}, timeout=10)
        provider = TracerProvider(resource=SERVICE, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("tests").start_span("tick").end()
        provider.shutdown()
        assert one.state.owned_store().stats().rows["spans"] == 1


def test_files_of_the_collector_can_be_replayed(server: Served) -> None:
    """One line of the file exporter is one OTLP/JSON request: ids in hexadecimal, 64-bit numbers as texts."""
    trace_id = "71699b6fe85982c7c8995ea3d9c95df2"
    now = 10**9 * (server.state.started_ns // 10**9)

    def value(kind: str, held: Any) -> dict[str, Any]:
        return {"value": {kind: held}}

    resource = {"attributes": [{"key": "service.name", **value("stringValue", "replayed")}]}
    span = {
        "traceId": trace_id, "spanId": "3c191d03fa8be065", "name": "GET /", "kind": 2, "flags": 256,
        "startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 5_000_000), "status": {"code": 2},
        "attributes": [{"key": "http.status", **value("intValue", "500")}, {"key": "ok", **value("boolValue", False)}],
        "events": [{"timeUnixNano": str(now), "name": "exception"}], "newField": {"of": "a later version"},
    }  # fmt: skip
    lines = {
        "/v1/traces": {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": [span]}]}]},
        "/v1/logs": {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [
            {"timeUnixNano": str(now), "severityNumber": "SEVERITY_NUMBER_WARN", "traceId": trace_id,
             "body": {"stringValue": "slow"}}]}]}]},
        "/v1/metrics": {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
            {"name": "up", "gauge": {"dataPoints": [{"timeUnixNano": str(now), "asInt": "1"}]}}]}]}]},
    }  # fmt: skip
    for path, line in lines.items():
        answer = server.send(path, json.dumps(line).encode(), JSON)
        assert (answer.status, answer.json) == (200, {}), path
    assert server.get(f"/api/v1/traces/{trace_id}").json["spans"][0]["attributes"]["http.status"] == "500"
    start = f"start={now - 10**9}&end={now + 10**9}"
    assert [row["severity"] for row in server.get(f"/api/v1/logs?{start}&filter=service:=:replayed").json["logs"]] == [
        "warn"
    ]
    assert server.get(f"/api/v1/metrics?{start}&service=replayed").json["metrics"][0]["name"] == "up"
