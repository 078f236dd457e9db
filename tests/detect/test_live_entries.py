"""Entry requests of a stream are those of the whole, whatever the order in which spans arrive."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from live_traffic import SECOND, START, spans

from aetia.detect._live_entries import EntryStream
from aetia.detect._live_memory import Memory
from aetia.lab.sim import Load, Scenario, make_system, simulate
from aetia.model.tables import Telemetry
from aetia.signals.view import Facts


def entered(batches: list[pa.Table], *, ticks_after: int = 8) -> set[tuple[int, str]]:
    """(start, operation) of the requests that a stream of batches, one every 5 s, was found to hold."""
    stream = EntryStream(grace_ns=30 * SECOND, short_grace_ns=10 * SECOND, keep_ns=300 * SECOND)
    empty, found = batches[0].slice(0, 0), list[tuple[int, str]]()
    for number, table in enumerate([*batches, *[empty] * ticks_after]):
        rows = stream.take(table, START + number * 5 * SECOND).entries
        names = [stream.operations.entities[code].name for code in rows.operation.tolist()]
        found += zip(rows.start_ns.tolist(), names, strict=True)
    assert len(found) == len(set(found))
    return set(found)


def offline(table: pa.Table) -> set[tuple[int, str]]:
    facts = Facts(Telemetry(spans=table))
    rows = np.flatnonzero(facts.spans.entry)
    names = facts.names
    texts = [f"{names.services[s]} {name}" for s, name in names.operations]
    return {(int(facts.spans.start_ns[row]), texts[facts.spans.operation[row]]) for row in rows.tolist()}


def shuffled(table: pa.Table, seed: int, parts: int = 5) -> list[pa.Table]:
    """The rows in random order, in batches that arrive within the grace, some of them twice."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(table.num_rows)
    cuts = np.array_split(order, parts)
    again = rng.choice(order, size=max(table.num_rows // 10, 1), replace=False)
    return [table.take(pa.array(np.concatenate([cut, again]) if at == 2 else cut)) for at, cut in enumerate(cuts)]


def shapes(keep: list[str]) -> pa.Table:
    """Traces of every shape: a top, a probe above it, a message, a trace whose top is lost, a call by a lost top."""
    rows = [
        ("plain", "t1", "1", None, "web", "GET /", "server"), ("plain", "t1", "2", "1", "web", "db.get", "client"),
        ("plain", "t1", "3", "2", "db", "query", "server"),
        ("probe", "t2", "4", None, "probe", "check", "client"), ("probe", "t2", "5", "4", "web", "GET /health", "server"),
        ("probe", "t2", "6", "5", "db", "query", "server"), ("probe", "t2", "7", "4", "probe", "inner", "internal"),
        ("message", "t3", "8", None, "jobs", "work", "consumer"),
        ("lost", "t4", "9", "99", "cart", "POST /add", "server"), ("lost", "t4", "10", "9", "db", "query", "server"),
        ("lost", "t4", "11", "98", "cart", "later", "server"),
        ("called", "t5", "12", "97", "web", "db.get", "client"), ("called", "t5", "13", "12", "db", "query", "server"),
        ("itself", "t6", "14", "14", "web", "GET /odd", "server"),
        ("unknown", "t7", "15", None, "web", "cron", None),
    ]  # fmt: skip
    rows = [row for row in rows if row[0] in keep]
    columns = list(zip(*rows, strict=True))
    return spans(
        time=[START + 1_000_000 * int(span) for span in columns[2]], trace_id=columns[1], span_id=columns[2],
        parent_span_id=columns[3], service=columns[4], name=columns[5], kind=columns[6],
        duration_ns=[5_000_000] * len(rows),
    )  # fmt: skip


@pytest.mark.parametrize("shape", ["plain", "probe", "message", "lost", "called", "itself", "unknown"])
def test_every_shape_of_trace_is_entered_where_the_whole_says(shape: str) -> None:
    table = shapes([shape])
    for seed in range(6):
        assert entered(shuffled(table, seed)) == offline(table)


def test_a_simulated_system_in_any_order() -> None:
    scenario = Scenario(id="s", system=make_system(12, 4), seed=2, load=Load(rate=15), baseline_s=20, incident_s=20)
    table = simulate(scenario)[1].spans
    assert entered(shuffled(table, 1)) == offline(table) != set()


def test_operations_that_always_enter_alone_are_decided_sooner() -> None:
    stream = EntryStream(grace_ns=30 * SECOND, short_grace_ns=10 * SECOND, keep_ns=300 * SECOND)
    waited = []
    for number in range(60):
        ids = [f"{number}-{k}" for k in range(5)]
        table = spans(
            time=[START + number * 5 * SECOND] * 5, trace_id=ids, span_id=ids, parent_span_id=["lost"] * 5,
            service=["cart"] * 5, name=["GET /"] * 5, kind=["server"] * 5, duration_ns=[1] * 5,
        )  # fmt: skip
        rows = stream.take(table, START + number * 5 * SECOND).entries
        waited += ((START + number * 5 * SECOND - rows.arrived_ns) // SECOND).tolist()
    assert waited[0] == 30 and waited[-1] == 10


def test_names_that_hold_ids_do_not_grow_without_bound() -> None:
    stream = EntryStream(grace_ns=30 * SECOND, short_grace_ns=10 * SECOND, keep_ns=300 * SECOND)
    for number in range(4):
        ids = [f"{number}-{k}" for k in range(500)]
        table = spans(
            time=[START] * 500, trace_id=ids, span_id=ids, service=["web"] * 500, kind=["server"] * 500,
            name=[f"GET /user/{i.replace('-', '')}" for i in ids], duration_ns=[1] * 500,
        )  # fmt: skip
        assert len(stream.take(table, START + number * SECOND).entries) == 500
    assert len(stream.operations) <= 201


def test_spans_that_there_is_no_room_for_are_decided_early_and_counted() -> None:
    stream = EntryStream(grace_ns=30 * SECOND, short_grace_ns=10 * SECOND, keep_ns=300 * SECOND, most_waiting=50)
    found = 0
    for number in range(4):
        ids = [f"{number}{k}" for k in range(40)]
        lost = spans(
            time=[START] * 40, trace_id=ids, span_id=ids, parent_span_id=["lost"] * 40, service=["shop"] * 40,
            name=["GET /"] * 40, kind=["server"] * 40,
        )  # fmt: skip
        found += len(stream.take(lost, START + number * 5 * SECOND).entries)
        assert stream.waiting <= 50
    assert found == 120 and stream.hurried == 120 and stream.waiting == 40


def test_a_span_whose_trace_has_a_top_waits_for_another_one_only_shortly() -> None:
    stream = EntryStream(grace_ns=30 * SECOND, short_grace_ns=10 * SECOND, keep_ns=300 * SECOND)
    tree = spans(
        time=[START] * 2, trace_id=["t"] * 2, span_id=["1", "2"], parent_span_id=[None, "1"], service=["web", "db"],
        name=["GET /", "query"], kind=["server"] * 2,
    )  # fmt: skip
    assert len(stream.take(tree, START).entries) == 1 and stream.waiting == 1
    assert len(stream.take(tree.slice(0, 0), START + 10 * SECOND).entries) == 0 and stream.waiting == 0


def test_a_full_memory_forgets_the_oldest_keys_and_not_all() -> None:
    memory = Memory(300 * SECOND, most=600)
    for number in range(20):
        keys = np.arange(1 + number * 60, 61 + number * 60, dtype=np.uint64)
        memory.add(START + number * SECOND, keys, np.full(60, number, np.int32))
        assert 0 < len(memory) <= 600
    latest = np.arange(20 * 60 - 450, 20 * 60, dtype=np.uint64)
    assert (memory.find(latest) >= 0).all()
    assert (memory.find(np.arange(1, 60, dtype=np.uint64)) < 0).all()
    assert memory.find(latest[-1:], since_ns=START + 19 * SECOND).tolist() == [19]
