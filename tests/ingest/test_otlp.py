"""OTLP files: JSON lines and length-delimited protobuf give the same rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_samples import SECOND, T0, framed, json_lines, otlp_logs, otlp_metrics, otlp_traces, protobuf

from aetia.ingest.histograms import Exponential, explicit_buckets
from aetia.ingest.otlp import OtlpReader
from aetia.model.errors import CorruptSource
from aetia.model.tables import Telemetry

DOCUMENTS = (otlp_traces(), otlp_metrics(), otlp_logs())


def read(path: Path, content: bytes, *, full: bool = True) -> Telemetry:
    path.write_bytes(content)
    match = OtlpReader().recognise(path)
    assert match is not None
    assert match.confidence > 0.5
    return OtlpReader().load(path, full=full).telemetry


def rows(table: pa.Table) -> list[dict[str, Any]]:
    plain = table.set_column(0, "time", table["time"].cast(pa.int64()))
    return [{key: value for key, value in row.items() if value is not None} for row in plain.to_pylist()]


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


def test_a_span_has_its_place_code_peer_and_status(tmp_path: Path) -> None:
    (span,) = rows(read(tmp_path / "t.json", json_lines(otlp_traces())).spans)
    assert span | {"attributes": "", "events": "", "links": ""} == {
        "time": T0, "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174",
        "parent_span_id": "eee19b7ec3c1b173", "service": "cart", "instance": "cart-0", "name": "GET /cart",
        "kind": "client", "duration_ns": 5_000_000, "status": "error", "status_code": "503", "peer": "redis",
        "attributes": "", "events": "", "links": "",
    }  # fmt: skip
    assert json.loads(span["events"])[0]["attributes"] == {"exception.type": "Boom"}
    assert json.loads(span["links"])[0]["span_id"] == "eee19b7ec3c1b175"


def test_log_records_have_level_body_and_observed_time(tmp_path: Path) -> None:
    one, two = rows(read(tmp_path / "l.json", json_lines(otlp_logs())).logs)
    assert (one["severity"], one["body"], one["span_id"]) == ("error", "it broke", "eee19b7ec3c1b174")
    assert (two["severity"], two["time"], two["service"]) == ("warn", T0 + 5, "cart")


def test_metrics_follow_the_documented_convention(tmp_path: Path) -> None:
    found = rows(read(tmp_path / "m.json", json_lines(otlp_metrics())).metrics)
    assert {(row["service"], row["instance"], row["node"], row["time"]) for row in found} == {
        ("cart", "cart-0", "node-1", T0)
    }
    by_name = {
        (row["name"], row.get("attributes", "")): (row["type"], row["value"]) for row in found
    }  # fmt: skip
    assert by_name == {
        ("cpu", ""): ("gauge", 0.5), ("jobs", ""): ("gauge", 7.0), ("requests", ""): ("counter", 42.0),
        ("sent", '{"aetia.temporality":"delta"}'): ("counter", 3.0), ("open", ""): ("gauge", 4.0),
        ("latency_count", ""): ("counter", 6.0), ("latency_sum", ""): ("counter", 70.0),
        ("latency_bucket", '{"le":"10"}'): ("histogram", 1.0), ("latency_bucket", '{"le":"100"}'): ("histogram", 3.0),
        ("latency_bucket", '{"le":"+Inf"}'): ("histogram", 6.0), ("size_count", ""): ("counter", 4.0),
        ("size_sum", ""): ("counter", 10.0), ("size_bucket", '{"le":"0"}'): ("histogram", 1.0),
        ("size_bucket", '{"le":"2"}'): ("histogram", 3.0), ("size_bucket", '{"le":"4"}'): ("histogram", 4.0),
        ("size_bucket", '{"le":"+Inf"}'): ("histogram", 4.0), ("gc_count", ""): ("counter", 9.0),
        ("gc_sum", ""): ("counter", 3.0), ("gc", '{"quantile":"0.5"}'): ("gauge", 0.1),
    }  # fmt: skip


def snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            "".join("_" + sign.lower() if sign.isupper() else sign for sign in key): snake(item)
            for key, item in value.items()
        }
    return [snake(item) for item in value] if isinstance(value, list) else value


def base64_ids(content: bytes) -> bytes:
    import base64
    import re

    def swap(match: re.Match[bytes]) -> bytes:
        return match[1] + base64.b64encode(bytes.fromhex(match[2].decode()))

    return re.sub(rb'("(?:traceId|spanId|parentSpanId)": ")([0-9a-f]+)', swap, content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(framed(*(protobuf(one) for one in DOCUMENTS)), id="protobuf"),
        pytest.param(framed(*(zstd(protobuf(one)) for one in DOCUMENTS)), id="protobuf, each message zstd"),
        pytest.param(gzip.compress(framed(*(protobuf(one) for one in DOCUMENTS))), id="protobuf, file gzip"),
        pytest.param(zstd(json_lines(*DOCUMENTS)), id="json, file zstd"),
        pytest.param(framed(*(zstd(json.dumps(one).encode()) for one in DOCUMENTS)), id="json, each message zstd"),
        pytest.param(json_lines(*(snake(one) for one in DOCUMENTS)), id="json, snake case"),
        pytest.param(base64_ids(json_lines(*DOCUMENTS)), id="json, base64 ids"),
        pytest.param(json.dumps(list(DOCUMENTS), indent=1).encode(), id="json, one indented array"),
    ],
)
def test_every_form_of_a_file_gives_the_same_rows(tmp_path: Path, content: bytes) -> None:
    expected = read(tmp_path / "expected.json", json_lines(*DOCUMENTS))
    found = read(tmp_path / "file", content)
    assert found.dropped == ()
    for name in ("spans", "logs", "metrics"):
        assert expected.rows[name] > 0
        assert rows(found.table(name)) == rows(expected.table(name)), name


def test_what_precedes_a_break_is_used_and_the_rest_counted(tmp_path: Path) -> None:
    whole = json_lines(otlp_traces(), otlp_logs())
    found = read(tmp_path / "cut.json", whole[:-40])
    assert (found.rows["spans"], found.logs["body"].to_pylist()) == (1, ["Boom"])  # the exception of the span
    assert [(one.table, one.rows) for one in found.dropped] == [("messages", 1)]
    found = read(tmp_path / "cut.bin", framed(protobuf(otlp_traces()), protobuf(otlp_logs()))[:-5])
    assert found.rows["spans"] == 1
    assert sum(one.rows for one in found.dropped) == 1


def test_a_file_without_one_readable_message_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(json_lines(otlp_traces())[:-40])
    with pytest.raises(CorruptSource, match=r"x\.json holds no readable OTLP message"):
        OtlpReader().load(path)


def test_spans_that_end_before_they_start_are_set_aside(tmp_path: Path) -> None:
    document = json.loads(json.dumps(otlp_traces()))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["endTimeUnixNano"] = str(T0 - SECOND)
    found = read(tmp_path / "t.json", json_lines(otlp_traces(), document))
    assert found.rows["spans"] == 1
    assert "negative duration" in found.dropped[0].reason


@given(
    st.integers(-4, 12),
    st.integers(-20, 20),
    st.lists(st.integers(0, 50), max_size=40),
    st.lists(st.integers(0, 50), max_size=10),
)
def test_exponential_buckets_keep_every_count_within_their_bounds(
    scale: int, offset: int, positive: list[int], negative: list[int]
) -> None:
    bounds, counts = explicit_buckets(Exponential(scale, 3, 0.0, (offset, positive), (offset, negative)))
    assert bounds == sorted(bounds)
    assert sum(counts) == sum(positive) + sum(negative) + 3
    base = 2.0 ** (2.0**-scale)
    for index, count in enumerate(positive):
        if count:
            upper = base ** (offset + index + 1)
            merged = min(bound for bound in bounds if bound >= upper * (1 - 1e-9))
            assert upper * (1 - 1e-9) <= merged <= upper * max(1.19, base)
