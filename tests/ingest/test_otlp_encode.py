"""Requests made of tables are the messages that protobuf makes of them."""

from __future__ import annotations

import random
from typing import Any

import otlp_by_protobuf
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_samples import T0
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from aetia.ingest.otlp_encode import to_request, to_requests
from aetia.model.stored import STORED

KINDS: dict[str, Any] = {"spans": TracesData, "logs": LogsData, "metrics": MetricsData}
WORDS = (None, "", "cart", "GET /", "é" * 70, "x" * 2000)
CHOICES: dict[str, tuple[Any, ...]] = {
    "trace_id": (None, "", "5b8efff798038103d269b633813fc60c", "no hex", "abc"), "span_id": ("eee19b7ec3c1b174", "1", None),
    "parent_span_id": (None, "", "eee19b7ec3c1b173", "1"), "kind": (None, "server", "client", "odd"),
    "status": (None, "ok", "error", "unset"), "severity": (None, "warn", "fatal", "odd"), "type": (None, "gauge", "counter",
    "histogram"), "status_code": (None, "503"), "duration_ns": (0, 5_000_000), "value": (0.0, -1.5, float("nan")),
    "time": (T0, T0 + 1),
}  # fmt: skip
TEXTS = (
    None,
    "{}",
    '{"a":"b","n":1,"deep":{"x":[1,null]}}',
    '{"server.address":"other"}',
    '{"long":"' + "y" * 2000 + '"}',
)
MAPS = (None, [], [("a", "b"), ("server.address", "other")])


def drawn(signal: Any, rng: random.Random, rows: int) -> pa.Table:
    schema = STORED[signal]
    held = MAPS if pa.types.is_map(schema.field("attributes").type) and rng.random() < 0.5 else TEXTS
    columns: dict[str, Any] = {}
    for field in schema:
        if field.name in ("events", "links", "resource", "template"):
            continue
        choices = held if field.name == "attributes" else CHOICES.get(field.name, WORDS)
        kind = field.type if field.name != "attributes" or held is MAPS else pa.string()
        plain = pa.array([rng.choice(choices) for _ in range(rows)], kind.value_type if is_coded(kind) else kind)
        columns[field.name] = plain.dictionary_encode() if is_coded(kind) else plain
    return pa.table(columns)


def is_coded(kind: Any) -> bool:
    return pa.types.is_dictionary(kind)


@pytest.mark.parametrize("signal", ["spans", "logs", "metrics"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_request_is_what_protobuf_makes_of_the_rows(signal: Any, seed: int) -> None:
    rng = random.Random(seed)
    table = drawn(signal, rng, rng.choice((0, 1, 30)))
    found = KINDS[signal].FromString(to_request(signal, table, 5))
    expected = KINDS[signal].FromString(otlp_by_protobuf.to_request(signal, table, 5))
    # A value that is no number differs from itself.
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def test_rows_are_shared_among_requests_in_order() -> None:
    table = drawn("logs", random.Random(1), 30)
    found = list(to_requests("logs", table, (10, 0, 20)))
    assert found == [to_request("logs", table.slice(at, size)) for at, size in ((0, 10), (10, 0), (10, 20))]
