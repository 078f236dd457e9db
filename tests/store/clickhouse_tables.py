"""The tables of the OpenTelemetry Collector's ClickHouse exporter in chDB, and stored rows as the rows that it writes.

The definitions have the names, types, keys and partitions of the exporter (opentelemetry-collector-contrib,
exporter/clickhouseexporter/internal/sqltemplates), without codecs, skip indexes and retention.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow as pa
from stored_samples import Sample, Tables

from aetia.ingest import semconv
from aetia.ingest.values import severity, status_code
from aetia.model.errors import StoreError
from aetia.model.stored import STORED, Signal
from aetia.model.tables import TIME
from aetia.store.clickhouse import ClickHouseBackend, Execute, parameter_texts, read_stream

_MAP = "Map(LowCardinality(String), String)"
_METRIC = f"""ResourceAttributes {_MAP}, ResourceSchemaUrl String, ScopeName String, ScopeVersion String,
 ScopeAttributes {_MAP}, ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String, ServiceName LowCardinality(String),
 MetricName LowCardinality(String), MetricDescription String, MetricUnit String, Attributes {_MAP},
 StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), Flags UInt32"""
_EXEMPLARS = f"""Exemplars Nested(FilteredAttributes {_MAP}, TimeUnix DateTime64(9), Value Float64, SpanId String,
 TraceId String)"""
_METRIC_ENGINE = """ENGINE = MergeTree PARTITION BY toDate(TimeUnix)
 ORDER BY (ServiceName, MetricName, Attributes, toUnixTimestamp64Nano(TimeUnix))"""
TABLES = {
    "otel_traces": f"""Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
 SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
 ResourceAttributes {_MAP}, ScopeName String, ScopeVersion String, SpanAttributes {_MAP}, Duration UInt64,
 StatusCode LowCardinality(String), StatusMessage String,
 Events Nested(Timestamp DateTime64(9), Name LowCardinality(String), Attributes {_MAP}),
 Links Nested(TraceId String, SpanId String, TraceState String, Attributes {_MAP}),
 INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1)
 ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)""",
    "otel_logs": f"""Timestamp DateTime64(9), TimestampTime DateTime DEFAULT toDateTime(Timestamp), TraceId String,
 SpanId String, TraceFlags UInt8, SeverityText LowCardinality(String), SeverityNumber UInt8,
 ServiceName LowCardinality(String), Body String, ResourceSchemaUrl LowCardinality(String), ResourceAttributes {_MAP},
 ScopeSchemaUrl LowCardinality(String), ScopeName String, ScopeVersion LowCardinality(String), ScopeAttributes {_MAP},
 LogAttributes {_MAP})
 ENGINE = MergeTree PARTITION BY toDate(TimestampTime) PRIMARY KEY (ServiceName, TimestampTime)
 ORDER BY (ServiceName, TimestampTime, Timestamp)""",
    "otel_metrics_gauge": f"{_METRIC}, Value Float64, {_EXEMPLARS}) {_METRIC_ENGINE}",
    "otel_metrics_sum": f"""{_METRIC}, Value Float64, {_EXEMPLARS}, AggregationTemporality Int32, IsMonotonic Boolean)
 {_METRIC_ENGINE}""",
    "otel_metrics_histogram": f"""{_METRIC}, Count UInt64, Sum Float64, BucketCounts Array(UInt64),
 ExplicitBounds Array(Float64), {_EXEMPLARS}, Min Float64, Max Float64, AggregationTemporality Int32)
 {_METRIC_ENGINE}""",
    "otel_metrics_exponential_histogram": f"""{_METRIC}, Count UInt64, Sum Float64, Scale Int32, ZeroCount UInt64,
 PositiveOffset Int32, PositiveBucketCounts Array(UInt64), NegativeOffset Int32, NegativeBucketCounts Array(UInt64),
 {_EXEMPLARS}, Min Float64, Max Float64, AggregationTemporality Int32) {_METRIC_ENGINE}""",
    "otel_metrics_summary": f"""{_METRIC}, Count UInt64, Sum Float64,
 ValueAtQuantiles Nested(Quantile Float64, Value Float64)) {_METRIC_ENGINE}""",
    "otel_traces_trace_id_ts": """TraceId String, Start SimpleAggregateFunction(min, DateTime),
 End SimpleAggregateFunction(max, DateTime)) ENGINE = MergeTree PARTITION BY toStartOfWeek(Start) ORDER BY TraceId""",
    "aetia_changes": """Timestamp DateTime64(9), Kind LowCardinality(String), ServiceName LowCardinality(String),
 Description String, Attributes String) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY Timestamp""",
}
VIEWS = (
    """CREATE MATERIALIZED VIEW otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts AS SELECT TraceId,
 min(Timestamp) AS Start, max(Timestamp) AS End FROM otel_traces WHERE TraceId != '' GROUP BY TraceId""",
)


class Chdb:
    """ClickHouse in process. One of its kind may exist at a time with one path, so databases tell tests apart."""

    def __init__(self) -> None:
        import chdb.session

        self.session = chdb.session.Session()
        # Hundreds of different statements over few rows: compiling them costs more than running them.
        for setting in ("expressions", "aggregate_expressions", "sort_description", "regular_expressions"):
            self.query(f"SET compile_{setting} = 0")
        self.query("SET max_threads = 1")

    def close(self) -> None:
        self.session.close()

    def query(self, sql: str, params: Mapping[str, str] | None = None) -> bytes:
        """One statement with the texts of its parameters. Raises RuntimeError (its base of errors) as chDB does."""
        return self.session.query(sql, "ArrowStream", params=dict(params or {})).bytes()

    def executor(self, database: str = "default") -> Execute:
        def execute(sql: str, params: Mapping[str, Any]) -> pa.Table:
            self.query(f"USE {database}")
            try:
                return read_stream(self.query(sql, parameter_texts(params)))
            except Exception as failed:
                raise StoreError(str(failed).splitlines()[0]) from failed

        return execute

    def create(self, database: str, tables: Mapping[str, str] = TABLES, views: tuple[str, ...] = VIEWS) -> None:
        self.query(f"CREATE DATABASE IF NOT EXISTS {database}")
        self.query(f"USE {database}")
        for name, definition in tables.items():
            self.query(f"CREATE TABLE {name} ({definition}")
        for view in views:
            self.query(view)

    def insert(self, table: str, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        columns = ", ".join(f"`{name}`" for name in rows.column_names)
        with self.session.send_insert(f"INSERT INTO {table} ({columns})", "ArrowStream") as insertion:
            insertion.append(sink.getvalue().to_pybytes())
            insertion.finish()

    def backend(self, database: str, tables: Tables) -> ClickHouseBackend:
        """A backend over a new database with the exporter's rows for these (carried) stored tables."""
        self.create(database)
        for name, rows in exporter_rows(tables).items():
            self.insert(name, rows)
        return ClickHouseBackend(self.executor(database))


# ---- stored rows as they look to a decoder ----------------------------------------------------------------


def carried(sample: Sample, *, named: bool = False) -> Sample:
    """The sample with attributes and resources that carry what the store derives from them (service, instance,
    version, environment, peer, code), derived anew: rows that OTLP could have brought. With `named` every row has a
    service, as it is where SDKs are configured."""
    some = {"service": "named"} if named else {}

    def given(signal: Signal) -> list[dict[str, Any]]:
        return [row if row["service"] else row | some for row in _rows(sample.tables[signal])]

    tables: Tables = dict(sample.tables)
    spans = [_carried_span(row) for row in given("spans")]
    tables["spans"] = _table("spans", spans)
    lines = [_carried_log(row) for row in given("logs")]
    tables["logs"] = _table("logs", lines + [line for span in spans for line in _exception_lines(span)])
    tables["metrics"] = _table("metrics", [_carried_point(row) for row in given("metrics")])
    return Sample(tables, sample.window)


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    times = table["time"].cast("int64").to_pylist()
    rows = table.drop_columns("time").to_pylist()
    return [row | {"time": time} for row, time in zip(rows, times, strict=True)]


def _table(signal: Signal, rows: list[dict[str, Any]]) -> pa.Table:
    arrays: list[Any] = []
    for field in STORED[signal]:
        values = [row[field.name] for row in rows]
        if field.name == "time":
            arrays.append(pa.array(values, pa.int64()).cast(TIME))
        elif pa.types.is_map(field.type):
            arrays.append(pa.array([list(value.items()) for value in values], field.type))
        else:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            arrays.append(pa.array(values, kind).cast(field.type))
    return pa.table(arrays, schema=STORED[signal])


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _placed(row: dict[str, Any]) -> dict[str, Any]:
    resource = json.loads(row["resource"] or "{}")
    for key, column in (
        ("service.name", "service"), ("k8s.pod.name", "instance"), ("service.version", "version"),
        ("deployment.environment.name", "environment"),
    ):  # fmt: skip
        if row[column] and row[column] != "unknown_service":
            resource[key] = row[column]
    instance = semconv.first(resource, semconv.INSTANCE_KEYS)
    return row | {"instance": instance, "resource": _json(resource), "attributes": dict(row["attributes"] or ())}


def _carried_span(row: dict[str, Any]) -> dict[str, Any]:
    row = _placed(row | {"service": row["service"] or "unknown_service"})
    attributes = row["attributes"]
    if row["status_code"]:
        attributes[semconv.CODE_KEYS[0]] = row["status_code"]
    calling = row["kind"] in ("client", "producer")
    if row["peer"] and calling:
        attributes[semconv.PEER_KEYS[0]] = row["peer"]
    events = [{"time": row["time"] + 5, "attributes": {}} | event for event in json.loads(row["events"] or "[]")]
    return row | {
        "status_code": _code(semconv.code_of(attributes)), "peer": semconv.peer_of(row["kind"], attributes),
        "duration_ns": row["duration_ns"] or 0, "status": row["status"] or "unset",
        "events": _json(events) if events else None, "links": row["links"] if row["links"] != "[]" else None,
    }  # fmt: skip


@functools.cache
def _code(raw: str | None) -> str | None:
    return status_code(pa.chunked_array([pa.array([raw], pa.string())])).to_pylist()[0]


def _carried_log(row: dict[str, Any]) -> dict[str, Any]:
    row = _placed(row) | {"template": None}
    return row | {"severity": row["severity"] or _level(row["body"])}


@functools.cache
def _level(body: str | None) -> str | None:
    return severity(None, pa.chunked_array([pa.array([body], pa.string())])).to_pylist()[0]


def _exception_lines(span: dict[str, Any]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for event in json.loads(span["events"] or "[]"):
        said = semconv.exception_line(event["attributes"])
        if event["name"] == "exception" and said:
            more = {"time": event["time"], "severity": "error", "body": said, "template": None}
            kept = {name: span[name] for name in STORED["logs"].names if name in span}
            out.append(kept | more | {"attributes": event["attributes"]})
    return out


def _carried_point(row: dict[str, Any]) -> dict[str, Any]:
    labels = json.loads(row["attributes"] or "{}")
    return row | {"type": row["type"] or "gauge", "attributes": _json(labels) if labels else None}


# ---- stored rows as the exporter's ------------------------------------------------------------------------

_STATUS = {"ok": "Ok", "error": "Error", "unset": "Unset"}
_MAPS = pa.map_(pa.string(), pa.string())


def exporter_rows(tables: Tables) -> dict[str, pa.Table]:
    """The rows of the exporter's tables for carried ones. Half of the spans use the older words of the enums."""
    return {"otel_traces": _traces(_rows(tables["spans"])), "otel_logs": _logs(tables), **_points(_rows(tables["metrics"]))} | {
        "aetia_changes": _changes(_rows(tables["changes"]))
    }  # fmt: skip


def _columns(columns: Mapping[str, tuple[list[Any], pa.DataType]]) -> pa.Table:
    return pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})


def _texts(rows: list[dict[str, Any]], column: str) -> tuple[list[Any], pa.DataType]:
    return [row[column] or "" for row in rows], pa.string()


def _times(rows: list[dict[str, Any]]) -> tuple[list[Any], pa.DataType]:
    return [row["time"] for row in rows], pa.timestamp("ns")


def _resources(rows: list[dict[str, Any]]) -> tuple[list[Any], pa.DataType]:
    return [list(json.loads(row["resource"]).items()) for row in rows], _MAPS


def _attributes(rows: list[dict[str, Any]]) -> tuple[list[Any], pa.DataType]:
    return [list(dict(row["attributes"] or ()).items()) for row in rows], _MAPS


def _traces(rows: list[dict[str, Any]]) -> pa.Table:
    events = [json.loads(row["events"] or "[]") for row in rows]
    kinds = [
        "" if not row["kind"] else row["kind"].capitalize() if at % 2 else f"SPAN_KIND_{row['kind'].upper()}"
        for at, row in enumerate(rows)
    ]
    states = [
        _STATUS[row["status"]] if at % 2 else f"STATUS_CODE_{row['status'].upper()}" for at, row in enumerate(rows)
    ]
    return _columns(
        {
            "Timestamp": _times(rows), "TraceId": _texts(rows, "trace_id"), "SpanId": _texts(rows, "span_id"),
            "ParentSpanId": _texts(rows, "parent_span_id"), "SpanName": _texts(rows, "name"),
            "SpanKind": (kinds, pa.string()), "ServiceName": _texts(rows, "service"),
            "ResourceAttributes": _resources(rows), "ScopeName": _texts(rows, "scope"),
            "SpanAttributes": _attributes(rows), "Duration": ([row["duration_ns"] for row in rows], pa.uint64()),
            "StatusCode": (states, pa.string()), "StatusMessage": _texts(rows, "status_message"),
            "Events.Timestamp": ([[e["time"] for e in one] for one in events], pa.list_(pa.timestamp("ns"))),
            "Events.Name": ([[e["name"] for e in one] for one in events], pa.list_(pa.string())),
            "Events.Attributes": ([[list(e["attributes"].items()) for e in one] for one in events], pa.list_(_MAPS)),
        }
    )  # fmt: skip


def _logs(tables: Tables) -> pa.Table:
    rows = _rows(tables["logs"])
    made = sum(len(_exception_lines(span)) for span in _rows(tables["spans"]))
    rows = rows[: len(rows) - made]  # the exporter leaves exceptions in their spans
    return _columns(
        {
            "Timestamp": _times(rows), "TraceId": _texts(rows, "trace_id"), "SpanId": _texts(rows, "span_id"),
            "SeverityText": ([(row["severity"] or "").upper() for row in rows], pa.string()),
            "ServiceName": _texts(rows, "service"), "Body": _texts(rows, "body"),
            "ResourceAttributes": _resources(rows), "ScopeName": _texts(rows, "scope"),
            "LogAttributes": _attributes(rows),
        }
    )  # fmt: skip


def _points(rows: list[dict[str, Any]]) -> dict[str, pa.Table]:
    gauges = [row for row in rows if row["type"] == "gauge"]
    counters = [row for row in rows if row["type"] == "counter"]
    cumulative = {
        "AggregationTemporality": ([2] * len(counters), pa.int32()), "IsMonotonic": ([True] * len(counters), pa.bool_()),
    }  # fmt: skip
    return {
        "otel_metrics_gauge": _columns(_values(gauges)),
        "otel_metrics_sum": _columns(_values(counters) | cumulative),
    }


def _values(rows: list[dict[str, Any]]) -> dict[str, tuple[list[Any], pa.DataType]]:
    keys = (("service.name", "service"), ("k8s.pod.name", "instance"), ("k8s.node.name", "node"))
    resources = [[(key, row[column]) for key, column in keys if row[column]] for row in rows]
    labels = [list(json.loads(row["attributes"] or "{}").items()) for row in rows]
    return {
        "TimeUnix": _times(rows), "MetricName": _texts(rows, "name"), "MetricUnit": _texts(rows, "unit"),
        "ServiceName": _texts(rows, "service"), "ResourceAttributes": (resources, _MAPS), "Attributes": (labels, _MAPS),
        "Value": ([row["value"] for row in rows], pa.float64()),
    }  # fmt: skip


def _changes(rows: list[dict[str, Any]]) -> pa.Table:
    return _columns(
        {
            "Timestamp": _times(rows), "Kind": _texts(rows, "kind"), "ServiceName": _texts(rows, "service"),
            "Description": _texts(rows, "description"), "Attributes": _texts(rows, "attributes"),
        }
    )  # fmt: skip


# ---- metrics of every kind --------------------------------------------------------------------------------


def metric_rows() -> dict[str, pa.Table]:
    """A few rows of each of the exporter's metric tables: running and delta totals, merged and negative buckets, one
    histogram whose counts do not fit its bounds."""
    at = 1_760_000_040_000_000_000

    def rows(names: list[str], **columns: tuple[list[Any], pa.DataType]) -> pa.Table:
        count = len(names)
        resource = [
            ("service.name", "shop"),
            ("k8s.pod.name", "shop-1"),
            ("container.name", "main"),
            ("host.name", "h"),
        ]
        shared = {
            "TimeUnix": ([at + 1_000_000_000 * number for number in range(count)], pa.timestamp("ns")),
            "MetricName": (names, pa.string()), "MetricUnit": (["s"] * count, pa.string()),
            "ServiceName": (["shop"] * count, pa.string()), "ResourceAttributes": ([resource] * count, _MAPS),
            "Attributes": ([[("route", "/a\"b/é"), ("a", "1")]] * count, _MAPS),
        }  # fmt: skip
        return _columns(shared | columns)

    integers, floats = pa.list_(pa.uint64()), pa.list_(pa.float64())
    histogram = rows(
        ["took", "took", "odd"], Count=([3, 6, 1], pa.uint64()), Sum=([2.5, 4.5, 1.0], pa.float64()),
        BucketCounts=([[0, 1, 2], [1, 2, 3], [1]], integers),
        ExplicitBounds=([[0.5, 1.0], [0.5, 1.0], [0.5, 1.0]], floats), AggregationTemporality=([2, 2, 1], pa.int32()),
    )  # fmt: skip
    exponential = rows(
        ["size", "size", "size"], Count=([9, 7, 0], pa.uint64()), Sum=([20.0, 1.5, 0.0], pa.float64()),
        Scale=([3, -1, 20], pa.int32()), ZeroCount=([1, 2, 0], pa.uint64()), PositiveOffset=([-3, 0, 5], pa.int32()),
        PositiveBucketCounts=([[1, 0, 2, 3, 0, 1], [4], []], integers), NegativeOffset=([-9, 1, 0], pa.int32()),
        NegativeBucketCounts=([[1, 1], [1], []], integers), AggregationTemporality=([1, 2, 2], pa.int32()),
    )  # fmt: skip
    summary = rows(
        ["pause"], Count=([4], pa.uint64()), Sum=([0.9], pa.float64()),
        **{"ValueAtQuantiles.Quantile": ([[0.5, 0.999]], floats), "ValueAtQuantiles.Value": ([[0.25, 0.5]], floats)},
    )  # fmt: skip
    gauge = rows(["free"], Value=([7.0], pa.float64()))
    return {
        "otel_metrics_histogram": histogram, "otel_metrics_exponential_histogram": exponential,
        "otel_metrics_summary": summary, "otel_metrics_gauge": gauge,
    }  # fmt: skip
