"""The service graph."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from span_tables import facts, forests, span

from aetia.model.tables import METRICS, TOPOLOGY
from aetia.signals.view import Facts


def edges(f: Facts) -> dict[tuple[str, str], int]:
    names, t = f.names.services, f.topology
    return {
        (names[a], names[b]): n for a, b, n in zip(t.caller.tolist(), t.callee.tolist(), t.calls.tolist(), strict=True)
    }


def metric_rows(**columns: list) -> pa.Table:
    n = len(next(iter(columns.values())))
    return pa.table([pa.array(columns.get(f.name, [None] * n), f.type) for f in METRICS], schema=METRICS)


def test_calls_are_counted_and_declared_and_metric_edges_added_with_none():
    declared = pa.table([["a", "b", None], ["b", "d", "x"], [None, "external", None]], schema=TOPOLOGY)
    f = facts(
        span("1"), span("2", "1", 1, service="b"), span("3", "1", 2, service="b"), span("4", "3", 3, service="b"),
        topology=declared, metrics=metric_rows(attributes=['{"caller":"b","callee":"c"}', '{"caller":"a","callee":"a"}']),
    )  # fmt: skip
    assert edges(f) == {("a", "b"): 2, ("b", "d"): 0, ("b", "c"): 0}
    assert [n for n, x in zip(f.names.services, f.topology.external, strict=True) if x] == ["d"]


def test_a_blind_peer_is_an_external_edge_and_a_blind_service_an_ordinary_one():
    f = facts(
        span("1", kind="client", peer="redis:6379"),
        span("2", kind="client", start=1, peer="b"),
        span("3", start=2, service="b"),
    )
    assert edges(f) == {("a", "redis"): 1, ("a", "b"): 1}
    assert f.names.services == ("a", "b", "redis")
    assert f.topology.external.tolist() == [False, False, True]


def test_kinds_may_be_unknown_everywhere():
    f = facts(span("1"), span("2", "1", 1, service="b"))
    assert edges(f) == {("a", "b"): 1}
    assert f.topology.entry.tolist() == [True, False]
    assert f.topology.callees_of(0).tolist() == [1]
    assert f.topology.callers_of(1).tolist() == [0]


def test_instances_belong_to_the_service_and_node_that_most_rows_name():
    f = facts(
        span("1", instance="p1"), span("2", None, 1, instance="p1"), span("3", None, 2, service="b", instance="p1"), span("4", None, 3, service=None, instance="p2"),
        metrics=metric_rows(instance=["p1", "p1", "p1", "p3"], node=["n2", "n1", "n2", None], service=["a", None, None, "b"]),
    )  # fmt: skip
    assert f.names.instances == ("p1", "p2", "p3")
    assert f.topology.instance_service.tolist() == [0, -1, 1]
    assert f.topology.instance_node.tolist() == [1, -1, -1]


def test_empty_telemetry_has_an_empty_graph():
    f = facts()
    assert f.topology.caller.tolist() == []
    assert f.names.services == ()


@settings(max_examples=30, deadline=None)
@given(forests())
def test_calls_sum_to_the_links_between_services(rows):
    f = facts(*rows)
    s = f.spans
    below = s.parent >= 0
    assert f.topology.calls.sum() == (s.service[s.parent[below]] != s.service[below]).sum()
