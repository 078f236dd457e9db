"""What every channel has in common: quiet when nothing happens, with a reason, and not fooled by more load."""

from __future__ import annotations

import functools

import pyarrow as pa
import pytest
from small_shop import call_graph, changes, everybody, gauges, look, read, steady, stepped, table, told

from aetia.model.tables import LOGS
from aetia.plugins import names
from aetia.signals.view import View

CHANNELS = names("channel")
ANY_METRIC = ("metric_shift", "stray")
SURGE = 4.0


def background(load: float = 1.0) -> pa.Table:
    """Metrics of every kind that are as they always are; what follows the load rises with it from the onset on."""

    def follows(level: float) -> list[object]:
        return list(everybody("cpu_usage_percent", stepped(level, level * load)))

    usual = [
        *follows(8.0), *everybody("memory_usage_bytes", steady(3e8)), *everybody("jvm_gc_pause_ms", steady(5.0)),
        *everybody("db_connections_active", stepped(4.0, 4.0 * load)), *everybody("network_packets_dropped", steady(2.0)),
        *everybody("widgets_turning", steady(9.0)), *everybody("http_requests_per_second", stepped(3.0, 3.0 * load)),
        *everybody("request_duration_ms", steady(12.0)), *everybody("request_error_ratio", steady(0.01)),
    ]  # fmt: skip
    counted = gauges(*everybody("container_restarts", steady(2.0)), noise=0.0)
    return pa.concat_tables([gauges(*usual), counted])  # type: ignore[arg-type]


@functools.cache
def quiet() -> View:
    return look(**told(), metrics=background(), topology=call_graph())


@functools.cache
def surge() -> View:
    return look(**told(surge=SURGE), metrics=background(SURGE), topology=call_graph())


def test_there_are_as_many_channels_as_there_were() -> None:
    expected = {
        "alerts", "branch_mix", "call_mix", "changes", "edge_gap", "errors", "hosts", "latency", "log_novelty", "metric_shift",
        "network", "pools", "resources", "restarts", "runtime", "silence", "span_events", "stray",
    }  # fmt: skip
    assert expected <= set(CHANNELS)


@functools.cache
def half() -> View:
    return look(**told(surge=0.5, per_second=2.0), metrics=background(0.5), topology=call_graph())


@pytest.mark.parametrize("name", CHANNELS)
def test_a_quiet_time_is_silent_and_says_why(name: str) -> None:
    reading = read(name, quiet())
    assert reading.findings == () and reading.silent


@pytest.mark.parametrize("name", CHANNELS)
def test_four_times_the_load_is_no_fault(name: str) -> None:
    findings = read(name, surge()).findings
    if name in ANY_METRIC:  # traffic that rose is what they are there to report, as somebody's symptom
        assert not any(finding.own for finding in findings)
    else:
        assert findings == ()


@pytest.mark.parametrize("name", CHANNELS)
def test_half_the_load_is_no_fault_of_anybody_below_the_entry(name: str) -> None:
    # Nobody calls the entry: whether it went silent or was asked less cannot be told from inside.
    findings = read(name, half()).findings
    if name in ANY_METRIC:
        assert not any(finding.own for finding in findings)
    else:
        assert [f.entity.service for f in findings if f.entity.service != "web" or f.score > 0.3] == []


@pytest.mark.parametrize("name", CHANNELS)
def test_nothing_at_all_is_silent_and_says_why(name: str) -> None:
    for view in (look(), look(logs=table(LOGS, [])), look(changes=changes())):
        reading = read(name, view)
        assert reading.findings == () and reading.silent
