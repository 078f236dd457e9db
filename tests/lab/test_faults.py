"""Every fault leaves the trace of its mechanism, where it strikes and nowhere before its onset."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import ONSET_S, increase, metric, scenario, small_system, spans_of, struck

from aetia.lab.sim import FAULTS, FaultSpec, simulate
from aetia.lab.sim.faults import APPLY
from aetia.model.faults import class_of


def shares(mask, spans, since=ONSET_S):
    """Mean of a mask before the onset and after it."""
    return mask[spans.start < ONSET_S].mean(), mask[spans.start >= since].mean()


def medians(mask, spans, values):
    early, late = mask & (spans.start < ONSET_S), mask & (spans.start >= ONSET_S)
    return np.median(values[early]), np.median(values[late])


def lines(telemetry, word):
    """(seconds, service) of the log lines that contain a word."""
    logs = telemetry.logs
    hit = np.array([word in body for body in logs["body"].to_pylist()])
    times = (logs["time"].cast("int64").to_numpy() - 1_700_000_000_000_000_000) / 1e9
    return times[hit], np.array(logs["service"].to_pylist(), dtype=object)[hit]


def test_every_fault_has_a_mechanism_and_a_class():
    assert set(FAULTS) < set(APPLY)
    assert all(class_of(fault) is not None for fault in APPLY)
    assert {class_of(fault) for fault in FAULTS} == set("ABCDEF")


def test_a_crashed_service_is_silent_and_callers_are_refused():
    _, telemetry, spans, name = struck("crash")
    assert not (spans.of(name) & (spans.start >= ONSET_S)).any()
    calls = spans.calls_to(name) & (spans.start >= ONSET_S)
    assert calls.sum() > 50 and (spans.status[calls] == "error").all()
    times, services = lines(telemetry, "connection refused")
    assert (services != name).all() and (times >= ONSET_S - 0.1).all()
    sampled, _ = metric(telemetry, "cpu_limit", service=name)
    assert sampled.max() <= ONSET_S + 1


def test_other_instances_take_over_when_one_of_several_crashes():
    system = small_system()
    target = max((s for s in system.services if s.layer > 0), key=lambda s: len(s.instances))
    spec = FaultSpec(fault="crash", service=target.name, instance=target.instances[0], onset_s=ONSET_S, magnitude=1.0)
    telemetry = simulate(scenario(spec))[1]
    spans = spans_of(telemetry, 1_700_000_000_000_000_000)
    dead = spans.of(target.name) & (spans.instance == target.instances[0])
    late = spans.start > 85
    assert not (dead & (spans.start >= ONSET_S)).any() and dead.any()
    assert (spans.of(target.name) & late).sum() > 0.6 * (spans.of(target.name) & (spans.start < 35)).sum()


def test_a_restart_loop_counts_restarts_and_resets_uptime():
    _, telemetry, spans, name = struck("restart_loop")
    _, counts = metric(telemetry, "restarts", service=name)
    assert counts.max() - counts.min() >= 2
    times, uptime = metric(telemetry, "uptime", service=name)
    assert uptime[times < ONSET_S].min() > 1000 and uptime[times > ONSET_S].min() < 30
    assert (spans.of(name) & (spans.start > ONSET_S)).any()
    assert len(lines(telemetry, "starting process")[0]) > 0


def test_cpu_stress_fills_the_cpu_and_slows_the_service():
    _, telemetry, spans, name = struck("cpu")
    times, used = metric(telemetry, "cpu_limit", service=name)
    assert used[times > ONSET_S + 5].mean() > 0.8 and used[times < ONSET_S].mean() < 0.6
    early, late = (
        np.quantile(spans.took[spans.of(name) & m], 0.9) for m in (spans.start < ONSET_S, spans.start > ONSET_S)
    )
    assert late > 2 * early


def test_node_pressure_shows_on_the_node_and_its_instances():
    _, telemetry, _, name = struck("node_pressure", place="node")
    for word in ("system.cpu.utilization", "node_cpu"):
        times, used = metric(telemetry, word, node=name)
        if len(used):
            assert used[times > ONSET_S + 5].mean() > used[times < ONSET_S].mean() + 0.4


def test_a_memory_leak_grows_until_the_process_is_killed():
    _, telemetry, _, name = struck("memory_leak")
    times, used = metric(telemetry, "memory_limit", service=name)
    assert used[times > ONSET_S].max() > used[times < ONSET_S].max() + 0.2
    _, restarts = metric(telemetry, "restarts", service=name)
    assert restarts.max() > restarts.min()


def test_an_exhausted_pool_waits_at_its_maximum_with_an_idle_cpu():
    _, telemetry, spans, name = struck("pool_exhaustion")
    times, pending = metric(telemetry, "pending", service=name)
    assert pending[times > ONSET_S + 20].mean() > 0.9 > pending[times < ONSET_S].mean()
    _, cpu = metric(telemetry, "cpu_limit", service=name)
    assert cpu.mean() < 0.6
    assert (lines(telemetry, "connection from the pool")[1] == name).all()
    before, after = medians(spans.of(name), spans, spans.took)
    assert after > before


def test_a_failing_disk_is_slow_busy_and_says_so():
    _, telemetry, spans, name = struck("disk")
    before, after = medians(spans.of(name), spans, spans.took)
    assert after > 3 * before
    assert set(lines(telemetry, "no space left")[1]) == {name}


@pytest.mark.parametrize(
    ("fault", "word"), [("exception", "unhandled exception"), ("bad_config", "invalid configuration")]
)
def test_thrown_exceptions_come_with_errors_and_a_stack_trace(fault, word):
    case, telemetry, spans, name = struck(fault)
    before, after = shares(spans.of(name) & (spans.status == "error"), spans)
    assert after > before + 0.01
    times, services = lines(telemetry, word)
    assert set(services) == {name} and times.min() >= ONSET_S
    changed = telemetry.changes["service"].to_pylist()
    assert changed == ([name] if fault == "bad_config" else [])
    assert case.truth is not None and case.truth[0].fault_class == "C"


def test_wrong_codes_come_without_an_exception():
    _, telemetry, spans, name = struck("wrong_code")
    usual = {"200", "0", None}
    odd = spans.of(name) & np.array([code not in usual for code in spans.code])
    assert odd[spans.start >= ONSET_S].sum() > 20
    assert len(lines(telemetry, "unhandled exception")[0]) == 0


def test_an_early_return_skips_the_calls_without_an_error_of_its_own():
    system = small_system()
    operation = max(
        (op for op in system.operations if system.services[op.service].layer > 0 and op.calls),
        key=lambda op: len(op.calls),
    )
    name = system.services[operation.service].name
    spec = FaultSpec(fault="early_return", service=name, operation=operation.name, onset_s=ONSET_S, magnitude=1.0)
    telemetry = simulate(scenario(spec))[1]
    spans = spans_of(telemetry, 1_700_000_000_000_000_000)
    mine = spans.of(name) & (spans.name == operation.name)
    parents = {parent for parent in spans.parent if parent is not None}
    busy = mine & np.array([span in parents for span in spans.id])
    assert busy[spans.start < ONSET_S].any() and not busy[spans.start >= ONSET_S + 0.1].any()
    assert not (mine & (spans.start > ONSET_S + 0.1) & (spans.status == "error")).any()


def test_a_bad_release_is_recorded_just_before_it_hurts():
    _, telemetry, spans, name = struck("bad_release")
    assert telemetry.changes["kind"].to_pylist() == ["deploy"]
    at = (telemetry.changes["time"].cast("int64").to_numpy() - 1_700_000_000_000_000_000) / 1e9
    assert ONSET_S - 5 < at[0] < ONSET_S
    errors = shares(spans.of(name) & (spans.status == "error"), spans)
    slower = medians(spans.of(name), spans, spans.took)
    assert errors[1] > errors[0] + 0.02 or slower[1] > 2 * slower[0]


def test_in_service_latency_costs_no_cpu():
    _, telemetry, spans, name = struck("latency", 0.4)
    before, after = (spans.took[spans.of(name) & m].max() for m in (spans.start < ONSET_S, spans.start >= ONSET_S))
    assert after > 1.5 * before
    times, cpu = metric(telemetry, "cpu_limit", service=name)
    assert cpu[times > ONSET_S].mean() < cpu[times < ONSET_S].mean() + 0.1


def gaps(spans, name):
    """Client duration minus server duration of the calls to a service, with the start of the call."""
    row = {span: i for i, span in enumerate(spans.id)}
    server = np.array([i for i in np.flatnonzero(spans.of(name)) if spans.parent[i] is not None])
    client = np.array([row[spans.parent[i]] for i in server])
    return spans.start[client], spans.took[client] - spans.took[server]


def test_a_slow_network_opens_a_gap_between_client_and_server():
    _, _, spans, name = struck("network_delay", 0.7)
    start, gap = gaps(spans, name)
    assert np.median(gap[start < ONSET_S]) < 0.002
    assert np.median(gap[start >= ONSET_S]) > 0.05


def test_only_the_named_edge_is_slow_when_one_edge_is_struck():
    system = small_system()
    caller, callee, _ = next(e for e in system.edges() if e[2] == "rpc")
    names = system.services[caller].name, system.services[callee].name
    case, telemetry = simulate(scenario(FaultSpec(fault="network_delay", edge=names, onset_s=ONSET_S, magnitude=0.7)))
    assert case.truth is not None and case.truth[0].edge == names and case.truth[0].service == names[1]
    spans = spans_of(telemetry, 1_700_000_000_000_000_000)
    others = spans.calls_to(names[1]) & (spans.service != names[0])
    mine = spans.calls_to(names[1]) & (spans.service == names[0])
    assert spans.took[mine & (spans.start >= ONSET_S)].min() > 0.1
    assert not others.any() or np.median(spans.took[others & (spans.start >= ONSET_S)]) < 0.1


def test_packet_loss_delays_some_calls_and_loses_others():
    _, telemetry, spans, name = struck("network_loss")
    start, gap = gaps(spans, name)
    assert 0.2 < (gap[start >= ONSET_S] > 0.19).mean() < 1.0 and (gap[start < ONSET_S] < 0.19).all()
    lost = spans.calls_to(name) & (spans.status == "error") & (spans.start >= ONSET_S)
    assert lost.any()
    word = "retransmits" if small_system().metric_style == "prometheus" else "network.errors"
    before, after = increase(telemetry, word, name)
    assert after > 1 and after > 10 * before


def test_a_partitioned_service_falls_silent_while_its_process_lives():
    _, telemetry, spans, name = struck("partition")
    assert (spans.of(name) & (spans.start < ONSET_S)).sum() > 100
    assert not (spans.of(name) & (spans.start >= ONSET_S + 0.1)).any()
    calls = spans.calls_to(name) & (spans.start >= ONSET_S)
    assert (spans.status[calls] == "error").all() and np.median(spans.took[calls]) > 0.5
    sampled, _ = metric(telemetry, "cpu_limit", service=name)
    assert sampled.max() > 115


def test_name_resolution_fails_fast_at_the_callers():
    _, telemetry, spans, name = struck("dns")
    calls = spans.calls_to(name) & (spans.start >= ONSET_S)
    assert (spans.status[calls] == "error").all() and np.median(spans.took[calls]) < 0.05
    times, services = lines(telemetry, f"cannot resolve {name}")
    assert len(times) > 20 and name not in services and times.min() >= ONSET_S


def test_collector_pauses_stop_all_operations_and_are_measured():
    _, telemetry, spans, name = struck("gc")
    mine = spans.of(name)
    late = np.quantile(spans.took[mine & (spans.start >= ONSET_S)], 0.9)
    assert late > 5 * np.quantile(spans.took[mine & (spans.start < ONSET_S)], 0.9)
    before, after = increase(telemetry, "gc", name)
    assert after > 3 * before


def test_a_contended_lock_blocks_threads_with_an_idle_cpu():
    _, telemetry, spans, name = struck("lock", 0.5)
    before, after = medians(spans.of(name), spans, spans.took)
    assert after > 2 * before
    times, blocked = metric(telemetry, "block", service=name)
    assert blocked[times > ONSET_S + 5].mean() > blocked[times < ONSET_S].mean() + 0.5
    assert metric(telemetry, "cpu_limit", service=name)[1].mean() < 0.5


def test_a_slow_dependency_shows_on_client_spans_only():
    case, _, spans, name = struck("slow_dependency", place="external")
    before, after = medians(spans.calls_to(name), spans, spans.took)
    assert after > 10 * before and not spans.of(name).any()
    assert case.truth is not None and case.truth[0].service == name


def test_a_dependency_that_is_down_refuses_connections():
    _, _, spans, name = struck("dependency_down", place="external")
    calls = spans.calls_to(name)
    assert (spans.status[calls & (spans.start >= ONSET_S)] == "error").all()
    assert (spans.status[calls & (spans.start < ONSET_S)] != "error").all()


def test_a_skewed_clock_moves_the_spans_of_the_instance():
    _, _, spans, name = struck("clock_skew")
    row = {span: i for i, span in enumerate(spans.id)}
    mine = [i for i in np.flatnonzero(spans.of(name)) if spans.parent[i] is not None]
    shift = np.array([spans.start[i] - spans.start[row[spans.parent[i]]] for i in mine])
    assert (np.abs(shift) > 10).any() and (np.abs(shift) < 0.1).any()


def test_a_load_surge_raises_traffic_and_utilisation_without_hurting():
    from aetia.lab.sim import Load

    load = Load(rate=15, surge=1.7, surge_at_s=60.0)
    case, telemetry = simulate(scenario(label="load_surge", load=load))
    spans = spans_of(telemetry, 1_700_000_000_000_000_000)
    top = np.array([parent is None for parent in spans.parent])
    assert (top & (spans.start > 80)).sum() > 1.3 * (top & (spans.start < 40)).sum()
    assert (case.label, case.truth) == ("load_surge", ())
