"""Jaeger's JSON export."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from ingest_samples import T0, jaeger

from aetia.ingest.jaeger import JaegerReader
from aetia.model.errors import CorruptSource


def test_spans_have_parents_processes_and_microsecond_times(tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(jaeger()))
    assert JaegerReader().recognise(path) is not None
    table = JaegerReader().load(path, full=True).telemetry.spans
    assert table["time"].cast(pa.int64()).to_pylist() == [T0, T0 + 1_000_000]
    assert table["duration_ns"].to_pylist() == [9_000_000, 5_000_000]
    assert table["parent_span_id"].to_pylist() == [None, "1"]
    assert table["service"].to_pylist() == ["shop", "cart"]
    assert table["instance"].to_pylist() == ["shop-0", None]
    assert table["kind"].to_pylist() == ["server", "client"]
    assert table["status"].to_pylist() == ["error", "unset"]
    assert table["status_code"].to_pylist() == ["500", None]
    assert table["peer"].to_pylist() == [None, "redis"]
    assert json.loads(table["events"].to_pylist()[0])[0]["event"] == "retry"


@pytest.mark.parametrize("wrap", [lambda export: export["data"], lambda export: export["data"][0]])
def test_a_bare_list_or_a_single_trace_is_read_too(tmp_path: Path, wrap: object) -> None:
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(wrap(jaeger())))  # type: ignore[operator]
    assert JaegerReader().load(path).telemetry.spans.num_rows == 2


def test_spans_without_a_process_are_counted_as_dropped(tmp_path: Path) -> None:
    export = jaeger()
    export["data"][0]["processes"].pop("p2")  # type: ignore[index]
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(export))
    loaded = JaegerReader().load(path).telemetry
    assert loaded.spans.num_rows == 1
    assert [(one.rows, one.reason) for one in loaded.dropped] == [(1, "no service name")]


def test_an_export_of_nothing_says_so(tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    path.write_text('{"data": [], "total": 0}')
    with pytest.raises(CorruptSource, match="without traces"):
        JaegerReader().load(path)


def test_an_exception_among_the_logs_of_a_span_is_a_line_of_that_span(tmp_path: Path) -> None:
    export = jaeger()
    fields = [{"key": k, "type": "string", "value": v} for k, v in
              (("event", "error"), ("error.kind", "KeyError"), ("message", "'sku-17'\nTraceback …"))]  # fmt: skip
    span = export["data"][0]["spans"][1]  # type: ignore[index]
    span["logs"] = [{"timestamp": span["startTime"] + 7, "fields": fields}]
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(export))
    logs = JaegerReader().load(path).telemetry.logs
    (row,) = logs.to_pylist()
    assert (row["service"], row["severity"], row["body"]) == ("cart", "error", "KeyError: 'sku-17'")
    assert (row["trace_id"], row["span_id"]) == (span["traceID"], span["spanID"])
    assert logs["time"].cast(pa.int64()).to_pylist() == [T0 + 1_000_000 + 7_000]
