"""Vocabularies and coded columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from span_tables import facts, span, table

from aetia.model.tables import CHANGES, LOGS, METRICS, TOPOLOGY, Telemetry
from aetia.signals.names import build_names, build_operations, code_column, column_of, encode, metric_edges


def rows(schema: pa.Schema, **columns: list) -> pa.Table:
    n = len(next(iter(columns.values())))
    return pa.table([pa.array(columns.get(f.name, [None] * n), f.type) for f in schema], schema=schema)


def test_names_are_the_sorted_union_over_all_tables():
    telemetry = Telemetry(
        spans=table([span("1", service="span", instance="span-1")]),
        logs=rows(LOGS, service=["log", None], instance=["log-1", ""]),
        metrics=rows(
            METRICS, service=["metric", ""], node=["node-b", "node-a"], attributes=['{"caller":"x","callee":"y"}', None]
        ),
        changes=rows(CHANGES, service=["change"]),
        topology=rows(TOPOLOGY, caller=["up"], callee=["down"]),
    )
    names = build_names(telemetry)
    assert names.services == ("change", "down", "log", "metric", "span", "up", "x", "y")
    assert names.instances == ("log-1", "span-1")
    assert names.nodes == ("node-a", "node-b")


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ('{"source":"a","destination":"b"}', (("a", "b"),)),
        ('{"source_workload":"a","destination_workload":"b","pod":"p"}', (("a", "b"),)),
        ('{"client":"a","server":"b"}', (("a", "b"),)),
        ('{"source_workload":"unknown","destination_workload":"b"}', ()),
        ('{"source":"a"}', ()),
        ('{"source":1,"destination":"b"}', ()),
        ("[1]", ()),
        ("not json", ()),
    ],
)
def test_metric_attributes_name_edges(text: str, edges: tuple):
    assert metric_edges(rows(METRICS, attributes=[text, text, None])) == edges


@pytest.mark.parametrize("dictionary", [False, True])
def test_columns_become_codes_with_minus_one_for_null_empty_and_unknown(dictionary: bool):
    parts = [pa.array(["b", None, "a"]), pa.array([], pa.string()), pa.array(["", "z", "b"])]
    column = pa.chunked_array([p.dictionary_encode() if dictionary else p for p in parts])
    codes = code_column(column, ("a", "b", "c"))
    assert codes.dtype == np.int32
    assert codes.tolist() == [1, -1, 0, -1, -1, 1]


def test_a_dictionary_with_null_and_unused_values_is_read_by_what_is_used():
    column = pa.chunked_array(
        [pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["a", None, "unused"]))]
    )
    telemetry = Telemetry(logs=pa.table({"service": column}))
    assert build_names(telemetry).services == ("a",)
    codes, values = encode(column)
    assert [values[c] if c >= 0 else None for c in codes] == ["a", None, None]


def test_a_missing_column_reads_as_null():
    assert column_of(pa.table({"x": [1, 2]}), "service").to_pylist() == [None, None]


def test_operations_are_sorted_pairs_of_service_and_name():
    f = facts(
        span("1", service="b", name="z"),
        span("2", None, 1, service="a", name="z"),
        span("3", None, 2, service="b", name=None),
        span("4", None, 3, service=None),
    )
    assert f.names.operations == ((0, "z"), (1, ""), (1, "z"))
    assert f.spans.operation.tolist() == [2, 0, 1, -1]


def test_many_names_take_the_sparse_way_to_the_same_answer(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    service, name = rng.integers(-1, 20, 500).astype(np.int32), rng.integers(-1, 30, 500).astype(np.int32)
    values = [f"n{i:02d}" for i in range(30)]
    dense = build_operations(service, name, values)
    monkeypatch.setattr("aetia.signals.names._DENSE_PAIRS", 0)
    sparse = build_operations(service, name, values)
    assert np.array_equal(dense[0], sparse[0])
    assert dense[1] == sparse[1]
