"""Simulated telemetry: reproducible, consistent, streamed and exact in number."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from simulated import ONSET_S, busiest, scenario, small_system, spans_of, struck

from aetia.ingest.case import CaseReader
from aetia.lab.sim import FAULTS, Confounder, FaultSpec, large_incident, simulate, simulate_to
from aetia.lab.sim import run as run_module
from aetia.model.errors import UsageError
from aetia.model.tables import SCHEMAS

TABLES = tuple(SCHEMAS)
HURTFUL = ("crash", "network_loss", "exception", "memory_leak", "restart_loop", "gc")


def test_the_same_scenario_gives_the_same_case_and_telemetry():
    spec = FaultSpec(fault="gc", service=small_system().services[3].name, onset_s=ONSET_S)
    (case, one), (again, two) = simulate(scenario(spec)), simulate(scenario(spec))
    assert case == again
    for name in TABLES:
        assert one.table(name).equals(two.table(name)), name


def test_another_seed_gives_other_telemetry():
    one, two = simulate(scenario(label="none"))[1], simulate(scenario(label="none", seed=2))[1]
    assert not one.spans["trace_id"].slice(0, 5).equals(two.spans["trace_id"].slice(0, 5))


def test_files_of_the_same_scenario_are_identical(tmp_path):
    for name in ("a", "b"):
        simulate_to(tmp_path / name, scenario(label="none", incident_s=20.0))
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"case.json", "spans.parquet", "logs.parquet", "metrics.parquet", "topology.parquet"} <= set(names)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_streamed_case_holds_what_the_one_in_memory_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SPANS_PER_CHUNK", 2_000)
    spec = FaultSpec(fault="latency", service=small_system().services[3].name, onset_s=ONSET_S)
    wanted = scenario(spec)
    case, telemetry = simulate(wanted)
    written = simulate_to(tmp_path / "case", wanted)
    loaded = CaseReader().load(tmp_path / "case", full=True)
    assert written == case == loaded.case
    assert loaded.telemetry.rows == telemetry.rows
    assert loaded.telemetry.dropped == ()
    assert set(loaded.telemetry.spans["span_id"].to_pylist()) == set(telemetry.spans["span_id"].to_pylist())


@pytest.mark.parametrize("fault", HURTFUL)
def test_parents_exist_and_children_lie_inside_them_except_behind_a_queue(fault):
    _, telemetry, spans, _ = struck(fault)
    row = {span: i for i, span in enumerate(spans.id)}
    assert len(row) == len(spans.id)
    child = np.array([i for i, parent in enumerate(spans.parent) if parent is not None])
    parent = np.array([row[spans.parent[i]] for i in child])
    trace = np.array(telemetry.spans["trace_id"].to_pylist(), dtype=object)
    assert (trace[child] == trace[parent]).all()
    begin = telemetry.spans["time"].cast("int64").to_numpy()
    end = begin + telemetry.spans["duration_ns"].to_numpy()
    assert (end >= begin).all()
    assert (begin[child] >= begin[parent]).all()
    within = spans.kind[child] != "consumer"
    assert (end[child] <= end[parent])[within].all()
    server = spans.kind[child] == "server"
    assert (spans.kind[parent[server]] == "client").all()
    assert (spans.peer[parent[server]] == spans.service[child[server]]).all()


def test_identifiers_are_lower_case_hex_of_the_usual_length():
    _, telemetry, _, _ = struck("gc")
    assert all(re.fullmatch("[0-9a-f]{16}", span) for span in telemetry.spans["span_id"].slice(0, 50).to_pylist())
    assert all(re.fullmatch("[0-9a-f]{32}", trace) for trace in telemetry.spans["trace_id"].slice(0, 50).to_pylist())


def test_log_lines_belong_to_spans_of_their_service_or_to_none():
    _, telemetry, spans, _ = struck("exception")
    owner = dict(zip(spans.id, spans.service, strict=True))
    pairs = list(zip(telemetry.logs["span_id"].to_pylist(), telemetry.logs["service"].to_pylist(), strict=True))
    assert all(span is None or owner[span] == service for span, service in pairs)
    assert any(span is None for span, _ in pairs)
    times = telemetry.logs["time"].cast("int64").to_numpy()
    assert (np.diff(times) >= 0).all()


def test_consumers_begin_after_the_producer_that_feeds_them():
    system = small_system()
    queued = next(
        i for i, s in enumerate(system.services) if not s.queue and s.layer == max(s.layer for s in system.services)
    )
    services = tuple(replace(s, queue=i == queued) for i, s in enumerate(system.services))

    def through_queue(call):
        goes = call.kind == "rpc" and system.operations[call.callee].service == queued
        return replace(call, kind="async", retries=0) if goes else call

    operations = tuple(
        replace(op, steps=tuple(tuple(through_queue(call) for call in step) for step in op.steps))
        for op in system.operations
    )
    telemetry = simulate(scenario(system=replace(system, services=services, operations=operations), label="none"))[1]
    spans = spans_of(telemetry, 1_700_000_000_000_000_000)
    consumers = np.flatnonzero(spans.kind == "consumer")
    row = {span: i for i, span in enumerate(spans.id)}
    assert len(consumers) > 50
    for i in consumers:
        producer = row[spans.parent[i]]
        assert spans.kind[producer] == "producer"
        assert spans.start[i] >= spans.start[producer] + spans.took[producer] - 1e-9


def test_without_a_fault_the_truth_is_empty_and_nobody_is_hurt():
    case, telemetry = simulate(scenario(label="none"))
    assert (case.truth, case.label, case.sli["affected"]) == ((), "no_fault", [])
    assert telemetry.rows["spans"] > 3000


def test_some_requests_fail_every_day_without_a_fault():
    case, telemetry = simulate(scenario(label="none", everyday=1.0))
    spans = spans_of(telemetry, 1_700_000_000_000_000_000)
    failed = (spans.status == "error").mean()
    assert 0.0001 < failed < 0.02 and case.sli["affected"] == []
    assert (spans_of(simulate(scenario(label="none"))[1], 0).status != "error").all()


def test_windows_can_be_left_out_of_the_case():
    assert simulate(scenario(label="none", windows_given=False, incident_s=20.0))[0].incident is None


def test_confounders_hurt_nobody_but_show():
    system = small_system()
    items = (
        Confounder(kind="deploy", target=2, start_s=70, duration_s=1), Confounder(kind="backup", target=0, start_s=65, duration_s=40, size=0.4),
        Confounder(kind="log_noise", target=3, start_s=65, duration_s=50, size=1.0),
    )  # fmt: skip
    case, telemetry = simulate(scenario(label="deploy", confounders=items))
    assert (case.label, case.sli["affected"]) == ("deploy", [])
    assert telemetry.changes["service"].to_pylist() == [system.services[2].name]
    quiet = simulate(scenario(label="none"))[1]
    assert telemetry.logs.num_rows > quiet.logs.num_rows


def test_a_fault_at_a_place_that_does_not_exist_names_the_place():
    with pytest.raises(UsageError, match="service 'nowhere' is not in system"):
        simulate(scenario(FaultSpec(fault="cpu", service="nowhere", onset_s=1)))
    with pytest.raises(UsageError, match="strikes a external"):
        simulate(scenario(FaultSpec(fault="slow_dependency", service=small_system().services[2].name)))
    with pytest.raises(UsageError, match="no fault 'gremlin'"):
        simulate(scenario(FaultSpec(fault="gremlin", service=small_system().services[2].name)))


def test_the_large_incident_has_exactly_the_rows_that_were_asked_for(tmp_path):
    case = large_incident(tmp_path / "large", spans=20_000, logs=15_000, metrics=60_000, seed=2)
    telemetry = CaseReader().load(tmp_path / "large").telemetry
    assert (telemetry.rows["spans"], telemetry.rows["logs"], telemetry.rows["metrics"]) == (20_000, 15_000, 60_000)
    parents = set(telemetry.spans["parent_span_id"].drop_null().to_pylist())
    assert parents <= set(telemetry.spans["span_id"].to_pylist())
    assert case.truth is not None and case.truth[0].fault == "latency"


def test_an_instance_fault_names_the_instance():
    system = small_system()
    target = max(system.services, key=lambda s: len(s.instances) * (s.layer > 0))
    spec = FaultSpec(fault="cpu", service=target.name, instance=target.instances[0], onset_s=ONSET_S, magnitude=1.0)
    case, telemetry = simulate(scenario(spec))
    assert case.truth is not None
    assert (case.truth[0].service, case.truth[0].instance, case.truth[0].fault_class) == (
        target.name,
        target.instances[0],
        "B",
    )
    assert case.truth[0].onset_ns == 1_700_000_000_000_000_000 + round(ONSET_S * 1e9)
    assert telemetry.rows["spans"] > 0 and "cpu" in FAULTS and busiest(system) > 0
