"""The connector for ClickHouse, over HTTP to chDB: the real engine binds the parameters and runs the statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from fake_servers import ClickHouse, Reply, Server, serving
from live_incident import Live

from aetia.ingest.pull import pull
from aetia.ingest.pull.clickhouse import _plain
from aetia.model.errors import IngestError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Client, NetError

MAP = "Map(LowCardinality(String), String)"
TEXT = "LowCardinality(String)"
POINT = f"""ResourceAttributes {MAP}, ServiceName {TEXT}, MetricName String, MetricUnit String, Attributes {MAP},
 TimeUnix DateTime64(9)"""
TABLES = {
    "otel_traces": f"""Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, SpanName {TEXT},
 SpanKind {TEXT}, ServiceName {TEXT}, ResourceAttributes {MAP}, SpanAttributes {MAP}, Duration UInt64,
 StatusCode {TEXT}, `Events.Timestamp` Array(DateTime64(9)), `Events.Name` Array({TEXT}),
 `Events.Attributes` Array({MAP}), `Links.TraceId` Array(String), `Links.SpanId` Array(String)""",
    "otel_logs": f"""Timestamp DateTime64(9), TraceId String, SpanId String, SeverityText {TEXT}, SeverityNumber Int32,
 ServiceName {TEXT}, Body String, ResourceAttributes {MAP}, LogAttributes {MAP}""",
    "otel_metrics_gauge": f"{POINT}, Value Float64",
    "otel_metrics_sum": f"{POINT}, Value Float64, AggregationTemporality Int32, IsMonotonic Boolean",
    "otel_metrics_histogram": f"""{POINT}, Count UInt64, Sum Float64, BucketCounts Array(UInt64),
 ExplicitBounds Array(Float64), AggregationTemporality Int32""",
    "other": "a Int8",
}


@pytest.fixture(scope="module")
def server(live: Live) -> Iterator[ClickHouse]:
    session = pytest.importorskip("chdb.session", reason="chdb (ClickHouse in process) is not installed").Session()
    session.query("CREATE DATABASE otel")
    session.query("USE otel")
    for name, columns in TABLES.items():
        session.query(f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
    for name, rows in exported(live).items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        columns = ", ".join(f"`{column}`" for column in rows.column_names)
        with session.send_insert(f"INSERT INTO {name} ({columns})", "ArrowStream") as insertion:
            insertion.append(sink.getvalue().to_pybytes())
            insertion.finish()
    session.query("USE default")
    with serving(ClickHouse(session)) as running:
        yield running
    session.close()


def exported(live: Live) -> dict[str, pa.Table]:
    """Rows of the simulated incident as the exporter writes them, and one point of a histogram."""
    telemetry, start = live.around, live.minute.start_ns
    kind = pa.map_(pa.string(), pa.string())

    def maps(*columns: tuple[str, pa.ChunkedArray]) -> pa.Array:
        texts = [(key, column.to_pylist()) for key, column in columns]
        rows = range(len(columns[0][1]))
        return pa.array([[(key, values[n]) for key, values in texts if values[n]] for n in rows], kind)

    def column(table: pa.Table, name: str) -> pa.Array:
        return pa.array([value or "" for value in table[name].to_pylist()], pa.string())

    spans, logs, metrics = telemetry.spans, telemetry.logs, telemetry.metrics
    counters = [value == "counter" for value in metrics["type"].to_pylist()]
    points = {
        "TimeUnix": metrics["time"], "MetricName": column(metrics, "name"), "MetricUnit": column(metrics, "unit"),
        "ServiceName": column(metrics, "service"), "Value": metrics["value"],
        "ResourceAttributes": maps(("k8s.pod.name", metrics["instance"]), ("k8s.node.name", metrics["node"])),
    }  # fmt: skip
    both = pa.table(points)
    sums = both.filter(pa.array(counters))
    return {
        "otel_traces": pa.table({
            "Timestamp": spans["time"], "TraceId": spans["trace_id"], "SpanId": spans["span_id"],
            "ParentSpanId": column(spans, "parent_span_id"), "SpanName": column(spans, "name"),
            "SpanKind": column(spans, "kind"), "ServiceName": column(spans, "service"),
            "ResourceAttributes": maps(("k8s.pod.name", spans["instance"])), "Duration": spans["duration_ns"],
            "SpanAttributes": maps(("http.response.status_code", spans["status_code"])),
            "StatusCode": column(spans, "status"),
        }),
        "otel_logs": pa.table({
            "Timestamp": logs["time"], "TraceId": column(logs, "trace_id"), "SpanId": column(logs, "span_id"),
            "SeverityText": column(logs, "severity"), "ServiceName": column(logs, "service"), "Body": logs["body"],
            "ResourceAttributes": maps(("k8s.pod.name", logs["instance"])),
        }),
        "otel_metrics_gauge": both.filter(pa.array([not one for one in counters])),
        "otel_metrics_sum": sums.append_column("AggregationTemporality", pa.array([2] * sums.num_rows, pa.int32()))
        .append_column("IsMonotonic", pa.array([True] * sums.num_rows)),
        "otel_metrics_histogram": pa.table({
            "TimeUnix": pa.array([start + 1], pa.timestamp("ns", "UTC")), "MetricName": ["took"], "ServiceName": ["extra"],
            "Count": pa.array([3], pa.uint64()), "Sum": [1.5], "BucketCounts": pa.array([[1, 2]], pa.list_(pa.uint64())),
            "ExplicitBounds": [[0.5]], "AggregationTemporality": pa.array([2], pa.int32()),
        }),
    }  # fmt: skip


def keys(telemetry: Telemetry, table: str, *names: str) -> list[tuple[Any, ...]]:
    found = telemetry.table(table)
    times = found["time"].cast("int64").to_pylist()
    return sorted(zip(times, *(found[name].to_pylist() for name in names), strict=True), key=str)


def test_traces_logs_and_metrics_come_as_they_were_exported(server: ClickHouse, live: Live, client: Client) -> None:
    found = pull("clickhouse", f"{server.url}/?database=otel", live.minute, client=client)
    made = live.around
    spans = (
        "trace_id",
        "span_id",
        "parent_span_id",
        "service",
        "instance",
        "name",
        "kind",
        "duration_ns",
        "status_code",
    )
    assert keys(found, "spans", *spans) == keys(made, "spans", *spans)
    logs = ("service", "instance", "severity", "body", "trace_id")
    assert keys(found, "logs", *logs) == keys(made, "logs", *logs)
    metrics = ("name", "value", "service", "instance", "node", "type")
    simulated = [row for row in keys(found, "metrics", *metrics) if row[3] != "extra"]
    assert simulated == keys(made, "metrics", *metrics)
    took = {(row[1], row[2]) for row in keys(found, "metrics", "name", "value", "service") if row[3] == "extra"}
    assert took == {("took_count", 3.0), ("took_sum", 1.5), ("took_bucket", 1.0), ("took_bucket", 3.0)}
    assert found.sampled == 1.0 and found.dropped == ()


def test_only_the_window_is_read_and_values_are_parameters(server: ClickHouse, live: Live, client: Client) -> None:
    window = Window(live.minute.start_ns + 10**9, live.minute.start_ns + 9 * 10**9)
    found = pull("clickhouse", f"{server.url}/?database=otel", window, client=client)
    inside = [row for row in keys(live.around, "spans", "span_id") if window.contains(row[0])]
    assert keys(found, "spans", "span_id") == inside
    assert any(query.get("param_start") == [str(window.start_ns)] for _, query, _ in server.asked)


def test_too_many_rows_are_thinned_out_by_whole_traces(server: ClickHouse, live: Live, client: Client) -> None:
    found = pull("clickhouse", f"{server.url}/?database=otel&rows=400", live.minute, client=client)
    share = found.sampled
    assert share < 1.0 and 0.5 < found.spans.num_rows / live.around.spans.num_rows / share < 1.5
    whole: dict[str, int] = {}
    for trace in live.around.spans["trace_id"].to_pylist():
        whole[trace] = whole.get(trace, 0) + 1
    taken = found.spans["trace_id"].to_pylist()
    assert all(taken.count(trace) == whole[trace] for trace in set(taken[:200]))
    assert any("rows=N" in record.reason for record in found.dropped if record.table == "spans")


def test_attributes_and_events_come_where_they_are_wanted(server: ClickHouse, live: Live, client: Client) -> None:
    found = pull("clickhouse", f"{server.url}/?database=otel", live.minute, client=client, full=True)
    assert any("http.response.status_code" in (text or "") for text in found.spans["attributes"].to_pylist())


def test_answers_that_are_too_large_are_asked_for_in_shorter_times(server: ClickHouse, live: Live) -> None:
    small = Client(allow_private=True, most_bytes=100_000)
    found = pull("clickhouse", f"{server.url}/?database=otel", live.minute, client=small)
    assert keys(found, "spans", "span_id") == keys(live.around, "spans", "span_id")


def test_a_database_without_the_tables_and_a_refused_password_are_told(
    server: ClickHouse, live: Live, client: Client
) -> None:
    with pytest.raises(IngestError, match="database=NAME"):
        pull("clickhouse", server.url, live.minute, client=client)
    with pytest.raises(IngestError, match="prefix="):
        pull("clickhouse", f"{server.url}/?database=otel&prefix=x_", live.minute, client=client)

    def refusing(*args: Any) -> Any:
        raise Reply(516, b"Code: 516. Authentication failed")

    with serving(Server(refusing)) as other, pytest.raises(NetError, match="Authentication failed"):
        pull("clickhouse", other.url, live.minute, client=client)


def test_names_with_quotes_stay_names(server: ClickHouse, live: Live, client: Client) -> None:
    with pytest.raises((IngestError, NetError)):
        pull("clickhouse", f"{server.url}/?database=otel'; DROP TABLE otel_logs; --", Window(0, 1), client=client)
    assert pull("clickhouse", f"{server.url}/?database=otel", live.minute, client=client).logs.num_rows


def test_strings_that_come_as_bytes_are_texts() -> None:
    kind = pa.map_(pa.binary(), pa.binary())
    table = pa.table(
        {
            "a": pa.array([b"x"]),
            "m": pa.array([[(b"k", b"v")]], kind),
            "l": pa.array([[[(b"k", b"v")]]], pa.list_(kind)),
        }
    )
    assert [_plain(table[name]).to_pylist() for name in "aml"] == [["x"], [[("k", "v")]], [[[("k", "v")]]]]
