"""OTLP export requests as stored tables: the same values as the readers, whatever else a body holds."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_samples import SECOND, T0, otlp_logs, otlp_metrics, otlp_traces, protobuf
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from aetia.ingest.otlp import OtlpRows
from aetia.ingest.otlp_columns import Batch, Limits, decode
from aetia.ingest.semconv import CODE_KEYS, EXCEPTION_MESSAGE_KEYS, EXCEPTION_TYPE_KEYS, PEER_KEYS
from aetia.ingest.wire import padded, scan, tag
from aetia.model.stored import LOGS, PROMOTED, SPANS, STORED

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ---- random requests --------------------------------------------------------------------------------------

WORDS = st.sampled_from(["", "a", " padded ", "é́", "GET /x", "503", "UNAVAILABLE", "200.0", "x" * 40, "日本", "\t"])


@st.composite
def any_values(draw: st.DrawFn, depth: int = 2) -> AnyValue:
    kind = draw(st.integers(0, 9 if depth else 6))
    if kind == 0:
        return AnyValue()
    if kind <= 2:
        return AnyValue(string_value=draw(WORDS | st.text(max_size=12)))
    if kind == 3:
        return AnyValue(int_value=draw(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 600)))
    if kind == 4:
        return AnyValue(bool_value=draw(st.booleans()))
    if kind == 5:
        return AnyValue(double_value=draw(st.floats()))
    if kind == 6:
        return AnyValue(bytes_value=draw(st.binary(max_size=6)))
    value = AnyValue()
    inner = draw(st.lists(any_values(depth - 1), max_size=3))
    if kind == 7:
        value.array_value.values.extend(inner)
    else:
        value.kvlist_value.values.extend(KeyValue(key=f"k{n}", value=one) for n, one in enumerate(inner))
    return value


@st.composite
def attribute_lists(draw: st.DrawFn, keys: tuple[str, ...]) -> list[KeyValue]:
    some = draw(st.lists(st.sampled_from(keys) | st.text(max_size=6), max_size=9))
    return [KeyValue(key=key, value=draw(any_values())) for key in some]


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start = T0 + draw(st.integers(0, 10**12))
    made = Span(
        trace_id=draw(st.binary(min_size=16, max_size=16).filter(any)),
        span_id=draw(st.binary(min_size=8, max_size=8).filter(any)),
        parent_span_id=draw(st.sampled_from([b"", bytes(8), b"parent01"])),
        name=draw(WORDS), kind=draw(st.integers(0, 5)), start_time_unix_nano=start,
        end_time_unix_nano=start + draw(st.integers(0, 10**10)), flags=draw(st.sampled_from([0, 1, 0x301])),
        attributes=draw(attribute_lists((*CODE_KEYS, *PEER_KEYS))),
    )  # fmt: skip
    if draw(st.booleans()):
        made.status.code = draw(st.integers(0, 2))
        made.status.message = draw(WORDS)
    for _ in range(draw(st.integers(0, 2))):
        made.events.add(
            time_unix_nano=draw(st.sampled_from([0, start + 1])), name=draw(st.sampled_from(["exception", "retry"])),
            attributes=draw(attribute_lists((*EXCEPTION_TYPE_KEYS, *EXCEPTION_MESSAGE_KEYS))),
        )  # fmt: skip
    if draw(st.booleans()):
        made.links.add(trace_id=made.trace_id, span_id=b"linked01", attributes=draw(attribute_lists(("x",))))
    return made


@st.composite
def records(draw: st.DrawFn) -> LogRecord:
    return LogRecord(
        time_unix_nano=draw(st.sampled_from([0, T0 + 1])), observed_time_unix_nano=T0 + 2,
        severity_number=draw(st.integers(0, 24)), severity_text=draw(st.sampled_from(["", "WARN", "bogus", "Error"])),
        body=draw(any_values() | st.just(AnyValue(string_value="ERROR: it broke"))),
        attributes=draw(attribute_lists(("k",))), trace_id=draw(st.sampled_from([b"", bytes(16), b"t" * 16])),
        span_id=draw(st.sampled_from([b"", b"s" * 8])),
    )  # fmt: skip


RESOURCES = st.sampled_from(
    [
        {"service.name": "cart", "k8s.pod.name": "cart-0", "service.version": "1"},
        {"service.name": "unknown_service:java", "k8s.deployment.name": "shop", "host.name": "h"},
        {"k8s.pod.name": "cart-7f9c8d5b6-x2x4z", "deployment.environment.name": "prod"},
    ]
)


def fill(groups: Any, scopes: str, items: str, drawn: list[tuple[dict[str, str], list[Any]]]) -> None:
    for resource, some in drawn:
        group = groups.add()
        group.resource.attributes.extend(
            KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in resource.items()
        )
        getattr(getattr(group, scopes).add(), items).extend(some)


def requests(item: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[dict[str, str], list[Any]]]]:
    return st.lists(st.tuples(RESOURCES, st.lists(item, max_size=30)), max_size=3)


def by_readers(*messages: Any, full: bool = True) -> OtlpRows:
    rows = OtlpRows(full=full)
    for message in messages:
        rows.add_document(message)
    return rows


def columns(table: pa.Table, *without: str) -> dict[str, list[Any]]:
    plain = table.set_column(0, "time", table["time"].cast(pa.int64()))
    return {name: plain[name].to_pylist() for name in plain.column_names if name not in without}


def same(found: pa.Table, expected: pa.Table) -> None:
    found.validate(full=True)
    ours, theirs = columns(found), columns(expected, "attributes", "events", "links")
    for name, values in theirs.items():
        assert ours[name] == values, name


@quick
@given(st.lists(requests(spans()), min_size=1, max_size=3))
def test_spans_have_the_values_that_the_readers_give(drawn: list[Any]) -> None:
    bodies = [TracesData() for _ in drawn]
    for body, some in zip(bodies, drawn, strict=True):
        fill(body.resource_spans, "scope_spans", "spans", some)
    batch = decode("spans", [body.SerializeToString() for body in bodies])
    expected = by_readers(*bodies).telemetry("")
    assert batch.failed == {}
    assert batch.rows == tuple(sum(len(items) for _, items in some) for some in drawn)
    same(batch.table, expected.spans)
    if batch.exceptions is None:
        assert expected.logs.num_rows == 0
    else:
        same(batch.exceptions, expected.logs)


@quick
@given(st.lists(requests(records()), min_size=1, max_size=2))
def test_log_records_have_the_values_that_the_readers_give(drawn: list[Any]) -> None:
    bodies = [LogsData() for _ in drawn]
    for body, some in zip(bodies, drawn, strict=True):
        fill(body.resource_logs, "scope_logs", "log_records", some)
    batch = decode("logs", [body.SerializeToString() for body in bodies])
    same(batch.table, by_readers(*bodies).telemetry("").logs)


@quick
@given(requests(spans()))
def test_full_adds_every_attribute_and_changes_nothing_else(drawn: Any) -> None:
    body = TracesData()
    fill(body.resource_spans, "scope_spans", "spans", drawn)
    raw = body.SerializeToString()
    promoted, full = decode("spans", [raw]), decode("spans", [raw], full=True)
    full.table.validate(full=True)
    assert full.table.schema == SPANS
    assert full.table.select(promoted.table.column_names).to_pylist() == promoted.table.to_pylist()
    expected = by_readers(body)
    for row, text in zip(full.table["attributes"].to_pylist(), expected.spans["attributes"], strict=True):
        given_values = json.loads(text)
        assert {key for key, _ in row} == set(given_values)
        for key, value in row:
            if isinstance(given_values[key], str):
                assert value == given_values[key]
            elif isinstance(given_values[key], dict | list):
                assert json.loads(value) == given_values[key]
    for name in ("events", "links"):
        assert [text or "[]" for text in full.table[name].to_pylist()] == expected.spans[name]


# ---- the samples ------------------------------------------------------------------------------------------


def one(table: pa.Table) -> dict[str, Any]:
    (row,) = table.set_column(0, "time", table["time"].cast(pa.int64())).to_pylist()
    return {key: value for key, value in row.items() if value is not None}


def test_a_span_has_all_stored_columns() -> None:
    batch = decode("spans", [protobuf(otlp_traces())], full=True)
    row = one(batch.table)
    assert row | {"events": "", "links": ""} == {
        "time": T0, "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174",
        "parent_span_id": "eee19b7ec3c1b173", "service": "cart", "instance": "cart-0", "name": "GET /cart",
        "kind": "client", "duration_ns": 5_000_000, "status": "error", "status_code": "503", "peer": "redis",
        "status_message": "down",
        "resource": '{"k8s.node.name":"node-1","k8s.pod.name":"cart-0","service.name":"cart"}',
        "attributes": [("http.response.status_code", "503"), ("server.address", "redis")], "events": "", "links": "",
    }  # fmt: skip
    assert batch.exceptions is not None
    line = one(batch.exceptions)
    assert (line["severity"], line["body"], line["time"], line["attributes"]) == (
        "error", "Boom", T0 + 1, [("exception.type", "Boom")],
    )  # fmt: skip


def test_metrics_are_the_rows_of_the_readers() -> None:
    raw = protobuf(otlp_metrics())
    batch = decode("metrics", [raw, raw])
    rows = OtlpRows(full=False)
    rows.add_message(raw)
    expected = rows.telemetry("").metrics
    assert batch.rows == (expected.num_rows, expected.num_rows)
    assert batch.table.to_pylist() == expected.to_pylist() * 2


@pytest.mark.parametrize("signal", ["spans", "logs", "metrics"])
def test_nothing_gives_empty_tables_in_the_stored_order(signal: Any) -> None:
    for bodies in ([], [b""], [b"", b"\x0a\x00"]):
        batch = decode(signal, bodies)
        assert batch.table.column_names == list(PROMOTED[signal])
        assert (batch.table.num_rows, batch.rows, batch.failed) == (0, (0,) * len(bodies), {})


def test_stored_types_are_those_of_the_store() -> None:
    assert decode("logs", [protobuf(otlp_logs())], full=True).table.schema == LOGS
    table = decode("metrics", [protobuf(otlp_metrics())]).table
    assert table.column_names == STORED["metrics"].names
