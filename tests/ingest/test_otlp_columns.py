"""OTLP export requests as stored tables: the same values as the readers, whatever else a body holds."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_samples import SECOND, T0, otlp_logs, otlp_metrics, otlp_traces, protobuf
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from aetia.ingest.otlp import OtlpRows
from aetia.ingest.otlp_columns import Batch, Limits, decode, to_protobuf
from aetia.ingest.redaction import Redactor
from aetia.ingest.semconv import CODE_KEYS, EXCEPTION_MESSAGE_KEYS, EXCEPTION_TYPE_KEYS, PEER_KEYS
from aetia.ingest.wire import padded, scan, tag
from aetia.model.errors import IngestError
from aetia.model.stored import LOGS, PROMOTED, SPANS, STORED
from plainly import rows

quick = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32)


# ---- random requests --------------------------------------------------------------------------------------

WORDS = (
    "",
    "a",
    " padded ",
    "e\u0301",
    "GET /x",
    "503",
    "UNAVAILABLE",
    "200.0",
    "x" * 40,
    "日本",
    "\t",
    "ERROR: it broke",
)
WHOLE = (0, 1, 127, 128, 503, 2**31, 2**63 - 1, -1, -(2**63))
FRACTIONS = (0.0, -0.0, 1.5, 1e300, float("inf"), float("nan"))


def any_value(rng: random.Random, depth: int = 2) -> AnyValue:
    kind = rng.randrange(10 if depth else 7)
    if kind == 0:
        return AnyValue()
    if kind <= 2:
        return AnyValue(string_value=rng.choice(WORDS))
    if kind == 3:
        return AnyValue(int_value=rng.choice((*WHOLE, rng.randrange(600))))
    if kind == 4:
        return AnyValue(bool_value=rng.random() < 0.5)
    if kind == 5:
        return AnyValue(double_value=rng.choice(FRACTIONS))
    if kind == 6:
        return AnyValue(bytes_value=rng.randbytes(rng.randrange(6)))
    value = AnyValue()
    inner = [any_value(rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == 7:
        value.array_value.values.extend(inner)
    else:
        value.kvlist_value.values.extend(KeyValue(key=f"k{n}", value=one) for n, one in enumerate(inner))
    return value


def attribute_list(rng: random.Random, *keys: str) -> list[KeyValue]:
    return [
        KeyValue(key=rng.choice((*keys, "other", "", "日本")), value=any_value(rng)) for _ in range(rng.randrange(9))
    ]


def a_random_span(rng: random.Random) -> Span:
    start = T0 + rng.randrange(10**12)
    made = Span(
        trace_id=b"t" + rng.randbytes(15), span_id=b"s" + rng.randbytes(7),
        parent_span_id=rng.choice([b"", bytes(8), b"parent01"]), name=rng.choice(WORDS), kind=rng.randrange(6),
        start_time_unix_nano=start, end_time_unix_nano=start + rng.randrange(10**10),
        flags=rng.choice([0, 1, 0x301]), attributes=attribute_list(rng, *CODE_KEYS, *PEER_KEYS),
    )  # fmt: skip
    if rng.random() < 0.5:
        made.status.code = rng.randrange(3)
        made.status.message = rng.choice(WORDS)
    for _ in range(rng.randrange(3)):
        made.events.add(
            time_unix_nano=rng.choice([0, start + 1]), name=rng.choice(["exception", "retry"]),
            attributes=attribute_list(rng, *EXCEPTION_TYPE_KEYS, *EXCEPTION_MESSAGE_KEYS),
        )  # fmt: skip
    if rng.random() < 0.5:
        made.links.add(trace_id=made.trace_id, span_id=b"linked01", attributes=attribute_list(rng, "x"))
    return made


def a_random_record(rng: random.Random) -> LogRecord:
    return LogRecord(
        time_unix_nano=rng.choice([0, T0 + 1]), observed_time_unix_nano=T0 + 2, severity_number=rng.randrange(25),
        severity_text=rng.choice(["", "WARN", "bogus", "Error"]), body=any_value(rng),
        attributes=attribute_list(rng, "k"), trace_id=rng.choice([b"", bytes(16), b"t" * 16]),
        span_id=rng.choice([b"", b"s" * 8]),
    )  # fmt: skip


RESOURCES = (
    {"service.name": "cart", "k8s.pod.name": "cart-0", "service.version": "1"},
    {"service.name": "unknown_service:java", "k8s.deployment.name": "shop", "host.name": "h"},
    {"k8s.pod.name": "cart-7f9c8d5b6-x2x4z", "deployment.environment.name": "prod"},
)


def fill(groups: Any, scopes: str, items: str, drawn: list[tuple[dict[str, str], list[Any]]]) -> None:
    for resource, some in drawn:
        group = groups.add()
        group.resource.attributes.extend(
            KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in resource.items()
        )
        getattr(getattr(group, scopes).add(), items).extend(some)


Item = Callable[[random.Random], Any]


def random_request(rng: random.Random, item: Item) -> list[tuple[dict[str, str], list[Any]]]:
    return [
        (rng.choice(RESOURCES), [item(rng) for _ in range(rng.choice((0, 1, 3, 40)))]) for _ in range(rng.randrange(4))
    ]


def by_readers(*messages: Any, full: bool = True) -> OtlpRows:
    made = OtlpRows(full=full)
    for message in messages:
        made.add_document(message)
    return made


def columns(table: pa.Table, *without: str) -> dict[str, list[Any]]:
    plain = table.set_column(0, "time", table["time"].cast(pa.int64()))
    return {name: plain[name].to_pylist() for name in plain.column_names if name not in without}


def same(found: pa.Table, expected: pa.Table) -> None:
    found.validate(full=True)
    ours, theirs = columns(found), columns(expected, "attributes", "events", "links")
    for name, values in theirs.items():
        assert ours[name] == values, name


@quick
@given(SEEDS)
def test_spans_have_the_values_that_the_readers_give(seed: int) -> None:
    rng = random.Random(seed)
    drawn = [random_request(rng, a_random_span) for _ in range(rng.randint(1, 3))]
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
@given(SEEDS)
def test_log_records_have_the_values_that_the_readers_give(seed: int) -> None:
    rng = random.Random(seed)
    bodies = [LogsData() for _ in range(rng.randint(1, 3))]
    for body in bodies:
        fill(body.resource_logs, "scope_logs", "log_records", random_request(rng, a_random_record))
    batch = decode("logs", [body.SerializeToString() for body in bodies])
    same(batch.table, by_readers(*bodies).telemetry("").logs)


@quick
@given(SEEDS)
def test_full_adds_every_attribute_and_changes_nothing_else(seed: int) -> None:
    body = TracesData()
    fill(body.resource_spans, "scope_spans", "spans", random_request(random.Random(seed), a_random_span))
    raw = body.SerializeToString()
    promoted, full = decode("spans", [raw]), decode("spans", [raw], full=True)
    full.table.validate(full=True)
    assert full.table.schema == SPANS
    assert rows(full.table.select(promoted.table.column_names)) == rows(promoted.table)
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
    made = OtlpRows(full=False)
    made.add_message(raw)
    expected = made.telemetry("").metrics
    assert batch.rows == (expected.num_rows, expected.num_rows)
    assert rows(batch.table) == rows(expected) * 2


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


# ---- what is wrong with one item --------------------------------------------------------------------------


def a_span(**fields: Any) -> Span:
    return Span(
        **{
            "trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "GET /", "start_time_unix_nano": T0,
            "end_time_unix_nano": T0 + SECOND, **fields,
        }
    )  # fmt: skip


def a_request(*items: Span) -> TracesData:
    body = TracesData()
    fill(body.resource_spans, "scope_spans", "spans", [({"service.name": "cart"}, list(items))])
    return body


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b"short"}, "trace id"), ({"trace_id": bytes(16)}, "trace id"), ({"trace_id": b""}, "trace id"),
        ({"span_id": bytes(8)}, "span id"), ({"span_id": b"123456789"}, "span id"),
        ({"parent_span_id": b"1"}, "parent span id"), ({"start_time_unix_nano": 0}, "start time"),
        ({"start_time_unix_nano": 2**64 - 1}, "start time"), ({"end_time_unix_nano": 0}, "end time"),
        ({"end_time_unix_nano": T0 - 1}, "ends before"),
    ],
)  # fmt: skip
def test_an_invalid_span_is_rejected_and_no_other(fields: dict[str, Any], reason: str) -> None:
    good = a_request(a_span()).SerializeToString()
    batch = decode("spans", [good, a_request(a_span(), a_span(**fields), a_span()).SerializeToString()])
    assert batch.rows == (1, 2)
    assert batch.rejected[0] == (0, "")
    assert batch.rejected[1][0] == 1
    assert reason in batch.rejected[1][1]


def test_a_record_without_any_time_is_rejected_and_a_bad_trace_id_is_none() -> None:
    body = LogsData()
    some = [LogRecord(), LogRecord(observed_time_unix_nano=T0, trace_id=b"x", body=AnyValue(string_value="hello"))]
    fill(body.resource_logs, "scope_logs", "log_records", [({}, some)])
    batch = decode("logs", [body.SerializeToString()])
    assert (batch.rows, batch.rejected[0][0]) == ((1,), 1)
    assert one(batch.table) == {"time": T0, "body": "hello"}


def test_a_body_that_is_no_message_fails_alone() -> None:
    good = a_request(a_span()).SerializeToString()
    batch = decode("spans", [b"\xff\xff", good, good[:-3]])
    assert set(batch.failed) == {0, 2}
    assert batch.rows == (0, 1, 0)


def test_text_that_is_no_utf8_is_replaced_in_its_span_alone() -> None:
    raw = a_request(a_span(name="AAAA"), a_span()).SerializeToString().replace(b"AAAA", b"A\xffAA")
    assert decode("spans", [raw]).table["name"].to_pylist() == ["A\ufffdAA", "GET /"]


def test_a_resource_that_is_malformed_loses_its_own_spans() -> None:
    body = a_request(a_span())
    fill(body.resource_spans, "scope_spans", "spans", [({"service.name": "AAAA"}, [a_span()])])
    batch = decode("spans", [body.SerializeToString().replace(b"AAAA", b"A\xffAA")])
    assert (batch.rows, batch.rejected) == ((1,), ((1, "1 spans: its resource is malformed"),))


def test_a_span_without_a_service_is_of_an_unknown_one() -> None:
    body = TracesData()
    fill(body.resource_spans, "scope_spans", "spans", [({}, [a_span()])])
    assert decode("spans", [body.SerializeToString()]).table["service"].to_pylist() == ["unknown_service"]


def test_points_without_a_time_or_a_number_are_rejected_and_no_other() -> None:
    body = MetricsData()
    points = body.resource_metrics.add().scope_metrics.add().metrics.add(name="cpu").gauge.data_points
    for at, value, flags in ((T0, 1.0, 0), (0, 2.0, 0), (T0, float("nan"), 0), (T0, 0.0, 1), (T0 + 1, 3.0, 0)):
        points.add(time_unix_nano=at, as_double=value, flags=flags)
    batch = decode("metrics", [body.SerializeToString()])
    assert (batch.rows, batch.table["value"].to_pylist()) == ((2,), [1.0, 3.0])
    assert batch.rejected == ((2, "1 points: no time, or one before 2000; 1 points: a value that is NaN or infinite"),)


# ---- limits -----------------------------------------------------------------------------------------------


def pairs(count: int, value: str = "v") -> list[KeyValue]:
    return [KeyValue(key=f"k{number}", value=AnyValue(string_value=value)) for number in range(count)]


@pytest.mark.parametrize("count", [257, 5_000])
def test_attributes_beyond_the_limit_are_left_out_and_said(count: int) -> None:
    raw = a_request(a_span(attributes=pairs(count)), a_span(attributes=pairs(256))).SerializeToString()
    batch = decode("spans", [raw], full=True)
    assert [len(row) for row in batch.table["attributes"].to_pylist()] == [256, 256]
    assert batch.rejected == ((0, "1 spans lost attributes beyond the limits"),)


def test_long_values_are_cut_where_a_character_begins() -> None:
    raw = a_request(a_span(name="ä" * 40_000, attributes=pairs(1, "€" * 30_000))).SerializeToString()
    row = one(decode("spans", [raw], full=True).table)
    assert row["name"] == "ä" * 32_768
    assert row["attributes"] == [("k0", "€" * 21_845)]


def test_more_items_than_a_request_may_hold_are_rejected() -> None:
    batch = decode("spans", [a_request(*[a_span()] * 5).SerializeToString()], limits=Limits(items=3))
    assert (batch.rows, batch.rejected) == ((3,), ((2, "2 spans: more than 3 in one request"),))


def test_values_nested_too_deeply_end_in_words() -> None:
    value = AnyValue(string_value="x")
    for _ in range(40):
        value = AnyValue(array_value={"values": [value]})
    raw = a_request(a_span(attributes=[KeyValue(key="deep", value=value)])).SerializeToString()
    ((_, text),) = decode("spans", [raw], full=True).table["attributes"].to_pylist()[0]
    assert text == "[" * 16 + '"nested too deeply"' + "]" * 16


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x0a\x00" * 200_000, id="empty resources"),
        pytest.param(
            a_request(a_span(attributes=pairs(100_000))).SerializeToString(), id="a hundred thousand attributes"
        ),
        pytest.param(a_request(*[Span()] * 150_000).SerializeToString(), id="empty spans"),
        pytest.param(a_request(*[a_span()] * 40).SerializeToString().replace(b"GET /", b"\x0a\x01x\x28\x01"), id="odd"),
    ],
)
def test_hostile_bodies_cost_bounded_time(body: bytes) -> None:
    began = time.process_time()
    decode("spans", [body], full=True)
    decode("spans", [body], redactor=Redactor())
    assert time.process_time() - began < 3


# ---- damaged bodies ---------------------------------------------------------------------------------------


def damaged(raw: bytes, rng: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        if not out:
            break
        place, length = rng.randrange(len(out)), rng.randint(1, 30)
        kind = rng.randrange(5)
        if kind == 0:
            out[place] = rng.randrange(256)
        elif kind == 1:
            del out[place:]
        elif kind == 2:
            del out[place : place + length]
        elif kind == 3:
            out[place:place] = out[place : place + length] * rng.randint(1, 4)
        else:
            out[place] ^= 1 << rng.randrange(8)
    return bytes(out)


def sample(signal: str) -> bytes:
    return protobuf({"spans": otlp_traces, "logs": otlp_logs, "metrics": otlp_metrics}[signal]())


@pytest.mark.parametrize("signal", ["spans", "logs", "metrics"])
@settings(max_examples=40, deadline=None)
@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=3))
def test_damaged_bodies_spoil_no_other(signal: Any, seeds: list[int]) -> None:
    good = sample(signal)
    bodies = [good, *(damaged(good * 2, random.Random(seed)) for seed in seeds), good]
    promoted, full = decode(signal, bodies), decode(signal, bodies, full=True)
    check(promoted, len(bodies))
    check(full, len(bodies))
    alone = decode(signal, [good])
    assert 0 not in promoted.failed
    assert promoted.rows[0] == promoted.rows[-1] == alone.rows[0]
    first = promoted.table.slice(0, alone.rows[0])
    assert rows(first) == rows(alone.table)
    assert promoted.rows == full.rows
    assert rows(promoted.table) == rows(full.table.select(promoted.table.column_names))


def check(batch: Batch, bodies: int) -> None:
    batch.table.validate(full=True)
    assert sum(batch.rows) == batch.table.num_rows
    assert len(batch.rows) == len(batch.rejected) == len(batch.bodies) == bodies
    if batch.exceptions is not None:
        batch.exceptions.validate(full=True)


# ---- the scanner ------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=24), max_size=40), st.integers(0, 2**32))
def test_the_vectors_and_the_loop_read_messages_alike(messages: list[bytes], seed: int) -> None:
    rng = random.Random(seed)
    whole = a_span(flags=1, kind=2, attributes=pairs(2)).SerializeToString()
    messages = [*messages, *(damaged(whole, rng) for _ in range(6)), whole, b""]
    ends = np.cumsum([len(message) for message in messages])
    start = np.concatenate(([0], ends[:-1]))
    single = tuple((tag(number, wire),) for number in range(1, 10) for wire in (0, 1, 2, 5))
    args = {"single": single, "repeated": (tag(9), tag(1)), "most": 6}
    args["single"] = tuple(slot for slot in single if slot[0] not in args["repeated"])
    vectors = scan(padded(messages), start, ends, few=0, **args)
    loop = scan(padded(messages), start, ends, few=1 << 30, **args)
    assert vectors.bad.tolist() == loop.bad.tolist()
    assert vectors.long.tolist() == loop.long.tolist()
    for ours, theirs in zip((*vectors.slots, *vectors.pieces), (*loop.slots, *loop.pieces), strict=True):
        assert [column.tolist() for column in ours] == [column.tolist() for column in theirs]


# ---- JSON -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["spans", "logs", "metrics"])
def test_json_gives_what_protobuf_gives(signal: Any) -> None:
    document = {"spans": otlp_traces, "logs": otlp_logs, "metrics": otlp_metrics}[signal]()
    raw, lost, reason = to_protobuf(signal, json.dumps(document).encode())
    assert (lost, reason) == (0, "")
    full = signal != "metrics"
    found, expected = decode(signal, [raw], full=full), decode(signal, [protobuf(document)], full=full)
    assert found.table.num_rows > 0
    assert rows(found.table) == rows(expected.table)


def test_json_keeps_scopes_numbers_and_nested_values() -> None:
    nested = {"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [{"intValue": "9"}]}}}]}}
    record = {
        "time_unix_nano": str(T0), "severity_number": "SEVERITY_NUMBER_ERROR", "body": nested,
        "attributes": [{"key": "big", "value": {"intValue": "9007199254740993"}}],
    }  # fmt: skip
    scope = {"scope": {"name": "lib"}, "log_records": [record]}
    raw, lost, _ = to_protobuf("logs", json.dumps({"resource_logs": [{"scope_logs": [scope]}]}).encode())
    row = one(decode("logs", [raw], full=True).table)
    assert (lost, row["scope"], row["severity"], row["body"]) == (0, "lib", "error", '{"a":[9]}')
    assert row["attributes"] == [("big", "9007199254740993")]


def test_a_json_span_that_cannot_be_converted_is_counted() -> None:
    document = json.loads(json.dumps(otlp_traces()))
    spans_of = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans_of.append({**spans_of[0], "traceId": "no hex at all"})
    spans_of.append({**spans_of[0], "startTimeUnixNano": {}})
    raw, lost, reason = to_protobuf("spans", json.dumps(document).encode())
    assert (lost, decode("spans", [raw]).rows) == (2, (1,))
    assert reason


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[1]", b'{"resourceSpans": 1}', b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    try:
        raw, _, _ = to_protobuf("spans", body)
    except IngestError as error:
        assert "OTLP/JSON" in str(error)
    else:
        assert decode("spans", [raw]).table.num_rows == 0


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["resourceSpans", "scopeSpans", "spans", "attributes", "key", "value", "kvlistValue", "values",
                             "traceId", "status", "arrayValue"]), inner, max_size=4),
        max_leaves=15,
    )
)  # fmt: skip
def test_any_json_is_converted_or_refused(value: Any) -> None:
    try:
        raw, _, _ = to_protobuf("spans", json.dumps(value).encode())
    except IngestError:
        return
    decode("spans", [raw])
