"""Files in the columns of the OpenTelemetry ClickHouse exporter."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_samples import CLICKHOUSE_TRACES, T0

from aetia.ingest.otel_clickhouse import OtelClickHouseReader
from aetia.model.tables import Telemetry


def load(path: Path) -> Telemetry:
    match = OtelClickHouseReader().recognise(path)
    assert match is not None
    assert match.confidence > 0.9
    return OtelClickHouseReader().load(path, full=True).telemetry


@pytest.mark.parametrize("name", ["otel_traces.csv", "otel_traces.csv.gz", "export.tsv"])
def test_traces_in_text_with_single_quoted_maps(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = CLICKHOUSE_TRACES.encode()
    if name.endswith(".tsv"):
        lines = [line.split(",") for line in CLICKHOUSE_TRACES.splitlines()[:1]]
        path.write_text(
            "\t".join(lines[0]) + "\n" + "2023-11-14 22:13:20\tt1\ts1\t\tGET /\tServer\tshop\t{}\t{}\t9\tOk\t[]\t[]\n"
        )
        assert load(path).spans["name"].to_pylist() == ["GET /"]
        return
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    table = load(path).spans
    assert table["time"].cast(pa.int64()).to_pylist() == [T0 + 1, T0 + 1_000_000]
    assert table["instance"].to_pylist() == ["shop-0", "cart-0"]
    assert table["status_code"].to_pylist() == ["503", "14"]
    assert table["status"].to_pylist() == ["error", "unset"]
    assert table["peer"].to_pylist() == [None, "it's redis"]
    assert json.loads(table["events"].to_pylist()[0]) == [
        {"name": "exception", "timestamp": "2023-11-14 22:13:20.000000002"}
    ]


def maps(*values: dict[str, str]) -> pa.Array:
    return pa.array([list(value.items()) for value in values], pa.map_(pa.string(), pa.string()))


def test_logs_in_parquet_with_map_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "Timestamp": pa.array([T0, T0 + 1], pa.timestamp("ns")), "TraceId": ["t1", ""], "SpanId": ["s1", ""],
            "SeverityText": ["", "Warn"], "SeverityNumber": pa.array([17, 0], pa.uint8()), "ServiceName": ["", "cart"],
            "Body": ["boom", "slow"], "ResourceAttributes": maps({"k8s.deployment.name": "shop"}, {}),
            "LogAttributes": maps({"a": "b"}, {}),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "otel_logs.parquet")
    logs = load(tmp_path / "otel_logs.parquet").logs
    assert logs["severity"].to_pylist() == ["error", "warn"]
    assert logs["service"].to_pylist() == ["shop", "cart"]
    assert logs["trace_id"].to_pylist() == ["t1", None]
    assert logs["attributes"].to_pylist() == ['{"a":"b"}', "{}"]


def points(**columns: Any) -> pa.Table:
    base = {
        "ResourceAttributes": maps({"k8s.pod.name": "cart-0", "k8s.node.name": "n1"}), "ServiceName": ["cart"],
        "MetricName": ["m"], "MetricUnit": ["ms"], "Attributes": maps({"route": "/"}),
        "TimeUnix": pa.array([T0], pa.timestamp("ns", "UTC")),
    }  # fmt: skip
    return pa.table({**base, **columns})


def test_sums_and_gauges_are_told_apart_by_monotonicity(tmp_path: Path) -> None:
    pq.write_table(points(Value=[2.0]), tmp_path / "gauge.parquet")
    pq.write_table(points(Value=[3.0], IsMonotonic=[True], AggregationTemporality=[1]), tmp_path / "sum.parquet")
    found = load(tmp_path).metrics.drop(["time"]).to_pylist()
    place = {"name": "m", "unit": "ms", "service": "cart", "instance": "cart-0", "node": "n1"}
    assert found == [
        {**place, "value": 2.0, "type": "gauge", "attributes": '{"route":"/"}'},
        {**place, "value": 3.0, "type": "counter", "attributes": '{"aetia.temporality":"delta","route":"/"}'},
    ]


def test_histograms_exponential_histograms_and_summaries_follow_the_convention(tmp_path: Path) -> None:
    tables = {
        "histogram": points(Count=[3], Sum=[5.0], BucketCounts=[[1, 2]], ExplicitBounds=[[10.0]]),
        "exponential_histogram": points(
            Count=[4], Sum=[5.0], Scale=[0], ZeroCount=[1], PositiveOffset=[0], PositiveBucketCounts=[[2, 1]],
            NegativeOffset=[0], NegativeBucketCounts=pa.array([[]], pa.list_(pa.int64())),
        ),
        "summary": points(
            Count=[9], Sum=[3.0], **{"ValueAtQuantiles.Quantile": [[0.5]], "ValueAtQuantiles.Value": [[0.1]]}
        ),
    }  # fmt: skip
    found: dict[str, list[tuple[str, float]]] = {}
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"otel_metrics_{name}.parquet")
        metrics = load(tmp_path / f"otel_metrics_{name}.parquet").metrics
        labels = [json.loads(text) for text in metrics["attributes"].to_pylist()]
        assert all(label.pop("route") == "/" for label in labels)
        keys = ["".join(label.values()) for label in labels]
        found[name] = [
            (f"{metric}{key}", value)
            for metric, key, value in zip(metrics["name"].to_pylist(), keys, metrics["value"].to_pylist(), strict=True)
        ]
    assert found == {
        "histogram": [("m_count", 3), ("m_sum", 5), ("m_bucket10", 1), ("m_bucket+Inf", 3)],
        "exponential_histogram": [
            ("m_count", 4), ("m_sum", 5), ("m_bucket0", 1), ("m_bucket2", 3), ("m_bucket4", 4), ("m_bucket+Inf", 4),
        ],
        "summary": [("m_count", 9), ("m_sum", 3), ("m0.5", 0.1)],
    }  # fmt: skip


def test_histograms_in_csv_have_their_arrays_as_text(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text(
        "MetricName,TimeUnix,Count,Sum,BucketCounts,ExplicitBounds,Attributes,ServiceName\n"
        'm,2023-11-14 22:13:20,3,5,"[1,2]","[10]","{}",cart\nm,2023-11-14 22:13:21,3,5,"[1,x]","[10]","{}",cart\n'
    )
    assert load(path).metrics["value"].to_pylist() == [3, 5, 1, 3, 3, 5]


def test_a_table_that_lacks_columns_says_which(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Timestamp,TraceId,SpanId,SpanName\n1,a,b,c\n")
    match = OtelClickHouseReader().recognise(path)
    assert match is not None
    assert match.confidence < 0.5
    assert match.missing == ("column duration",)


@pytest.mark.parametrize("attributes", [
    [{"exception.type": "KeyError", "exception.message": "it's {gone}"}],
    "[{'exception.type':'KeyError','exception.message':'it\\'s {gone}'}]",
])  # fmt: skip
def test_exceptions_of_spans_are_lines_of_theirs(tmp_path: Path, attributes: object) -> None:
    if isinstance(attributes, list):
        kind = pa.list_(pa.map_(pa.string(), pa.string()))
        column = pa.array([[list(one.items()) for one in attributes], []], kind)
        names: pa.Array = pa.array([["exception"], []], pa.list_(pa.string()))
    else:
        column, names = pa.array([attributes, "[]"]), pa.array(["['exception']", "[]"])
    table = pa.table(
        {
            "Timestamp": pa.array([T0, T0 + 1], pa.timestamp("ns")), "TraceId": ["t1", "t2"], "SpanId": ["s1", "s2"],
            "SpanName": ["GET /", "GET /"], "Duration": [5, 5], "ServiceName": ["shop", "cart"], "Events.Name": names,
            "Events.Attributes": column,
        }
    )  # fmt: skip
    path = tmp_path / "traces.parquet"
    pq.write_table(table, path)
    (row,) = load(path).logs.to_pylist()
    assert (row["service"], row["span_id"], row["severity"]) == ("shop", "s1", "error")
    assert row["body"] == "KeyError: it's {gone}"
