"""The SLI detector on traffic whose faults are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aetia.detect.sli import SliDetector
from aetia.model.tables import CHANGES, LOGS, METRICS, SPANS, TOPOLOGY, Telemetry
from aetia.model.window import Window
from aetia.signals.view import Facts

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def table(schema: pa.Schema, **columns: object) -> pa.Table:
    rows = len(next(iter(columns.values())))  # type: ignore[arg-type]
    data = {name: columns.get(name, [None] * rows) for name in schema.names}
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in data.items()}, schema=schema)


def traffic(
    times: np.ndarray, took_ms: np.ndarray, failed: np.ndarray, operation: str = "GET /", tag: str = "a"
) -> pa.Table:
    """One entry span per request, with one child span in the service `db`."""
    n = len(times)
    start = START + (times * SECOND).astype(np.int64)
    span = [f"{tag}{k:07d}" for k in range(n)]
    trace = [f"{tag}{k:031d}" for k in range(n)]
    top = table(
        SPANS, time=start, trace_id=trace, span_id=span, service=["web"] * n, name=[operation] * n, kind=["server"] * n,
        duration_ns=(took_ms * 1e6).astype(np.int64), status=np.where(failed, "error", "ok").tolist(),
    )  # fmt: skip
    child = table(
        SPANS, time=start + 100_000, trace_id=trace, span_id=[s + "c" for s in span], parent_span_id=span, service=["db"] * n,
        name=["query"] * n, kind=["server"] * n, duration_ns=(took_ms * 4e5).astype(np.int64), status=["ok"] * n,
    )  # fmt: skip
    return pa.concat_tables([top, child])


def steady(seconds: float, rate: float, seed: int = 0, first: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(times, ms, failed) of Poisson traffic with lognormal latencies around 40 ms and 0.5 % failures."""
    rng = np.random.default_rng(seed)
    times = first + np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
    return times, 40 * np.exp(rng.normal(0, 0.35, len(times))), rng.random(len(times)) < 0.005


def facts(*tables: pa.Table, **others: pa.Table) -> Facts:
    return Facts(Telemetry(spans=pa.concat_tables(tables) if tables else SPANS.empty_table(), **others))


def detect(*tables: pa.Table, **others: pa.Table) -> list:
    return SliDetector().detect(facts(*tables, **others))


@pytest.mark.parametrize("seed", range(5))
def test_quiet_traffic_opens_no_incident(seed: int) -> None:
    assert detect(traffic(*steady(600, 20, seed))) == []


@pytest.mark.parametrize("rate", [4, 20])
def test_an_error_burst_opens_one_incident_at_its_onset(rate: float) -> None:
    times, ms, failed = steady(600, rate)
    rng = np.random.default_rng(1)
    failed |= (times > 400) & (times < 520) & (rng.random(len(times)) < 0.3)
    (incident,) = detect(traffic(times, ms, failed))
    assert at(399) <= incident.onset_ns <= at(412)
    assert at(505) <= incident.window.end_ns <= at(535)
    assert incident.baseline.end_ns <= at(400)
    assert [b.sli for b in incident.breaches] == ["success"]
    assert 0.6 < incident.breaches[0].incident < 0.8 and incident.breaches[0].baseline > 0.98
    assert incident.breaches[0].entry.operation == "GET /"


def test_a_latency_step_is_dated_by_request_time_and_lasts_to_the_end() -> None:
    times, ms, failed = steady(600, 20)
    ms = np.where(times > 423.7, ms + 400, ms)
    (incident,) = detect(traffic(times, ms, failed))
    assert at(423.7) <= incident.onset_ns <= at(425)
    assert incident.window.end_ns >= at(595)
    assert {b.sli for b in incident.breaches} == {"latency"}
    assert incident.breaches[0].affected > 0.9 * incident.breaches[0].requests


def test_slowness_of_one_request_in_twelve_breaks_the_tail_only() -> None:
    times, ms, failed = steady(900, 20)
    slow = (times > 500) & (np.random.default_rng(2).random(len(times)) < 0.08)
    (incident,) = detect(traffic(times, np.where(slow, ms + 2000, ms), failed))
    assert incident.breaches[0].statistic == "p99"
    assert at(499) <= incident.onset_ns <= at(512)


def test_a_throughput_collapse_opens_although_nothing_is_slow_or_fails() -> None:
    times, ms, failed = steady(600, 20)
    kept = (times < 400) | (times > 500) | (np.random.default_rng(3).random(len(times)) < 0.1)
    (incident,) = detect(traffic(times[kept], ms[kept], failed[kept]))
    assert [b.sli for b in incident.breaches] == ["throughput"]
    assert at(397) <= incident.onset_ns <= at(405)
    assert incident.breaches[0].incident < 0.3 * incident.breaches[0].baseline


def test_total_silence_of_one_entry_point_counts_while_another_still_serves() -> None:
    times, ms, failed = steady(600, 10)
    kept = times < 430
    other = traffic(*steady(600, 10, 9), operation="GET /other", tag="b")
    (incident,) = detect(traffic(times[kept], ms[kept], failed[kept]), other)
    assert [(b.sli, b.entry.operation) for b in incident.breaches] == [("throughput", "GET /")]
    assert at(428) <= incident.onset_ns <= at(437)


def test_a_load_surge_with_mild_slowness_opens_nothing() -> None:
    times, ms, failed = steady(600, 20)
    more, more_ms, more_failed = steady(250, 40, 5, first=350)
    times, failed = np.concatenate([times, more]), np.concatenate([failed, more_failed])
    ms = np.concatenate([np.where(times[: len(ms)] > 350, ms * 1.6, ms), more_ms * 1.6])
    assert detect(traffic(times, ms, failed)) == []


def test_load_that_falls_slowly_is_no_loss() -> None:
    times, ms, failed = steady(3600, 10)
    kept = np.random.default_rng(4).random(len(times)) < 1 - 0.75 * times / 3600
    assert detect(traffic(times[kept], ms[kept], failed[kept])) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_spike_of_a_few_seconds_opens_nothing(seed: int) -> None:
    times, ms, failed = steady(600, 20, seed)
    failed |= (times > 402) & (times < 407)
    assert detect(traffic(times, ms, failed)) == []


def test_hours_without_observation_are_no_loss() -> None:
    minutes = [traffic(*steady(60, 10, k, first=k * 7200), tag=f"{k}") for k in range(5)]
    assert detect(*minutes) == []


def test_a_fault_in_one_of_several_separate_minutes_is_found_in_that_minute() -> None:
    parts = [steady(60, 10, k, first=k * 7200) for k in range(6)]
    times, ms, failed = parts[4]
    parts[4] = times, ms, failed | (times > 4 * 7200 + 20)
    (incident,) = detect(*[traffic(*part, tag=f"{k}") for k, part in enumerate(parts)])
    assert at(4 * 7200 + 20) <= incident.onset_ns <= at(4 * 7200 + 23)
    assert incident.window.end_ns <= at(4 * 7200 + 70)


def test_data_that_trickle_in_late_look_not_like_a_loss() -> None:
    times, ms, failed = steady(600, 20)
    kept = times + ms / 1e3 < 600 - np.random.default_rng(6).exponential(3, len(times))
    assert detect(traffic(times[kept], ms[kept], failed[kept])) == []


def test_two_incidents_apart_stay_apart_and_one_with_a_short_breath_is_one() -> None:
    times, ms, failed = steady(1800, 20)
    first, breath, second = (
        (times > 300) & (times < 400),
        (times > 345) & (times < 365),
        (times > 1200) & (times < 1300),
    )
    found = detect(traffic(times, ms, failed | (first & ~breath) | second))
    assert len(found) == 2
    assert found[1].baseline.start_ns >= at(390)


def test_an_incident_may_lie_at_the_very_beginning() -> None:
    times, ms, failed = steady(900, 20)
    (incident,) = detect(traffic(times, ms, failed | (times < 150)))
    assert incident.window.start_ns <= at(5)
    assert at(145) <= incident.window.end_ns <= at(160)
    assert incident.baseline.start_ns >= at(150)


def test_given_windows_are_measured_and_never_refused() -> None:
    times, ms, failed = steady(600, 20)
    data = facts(traffic(times, ms, failed | ((times > 400) & (times < 450))))
    base, window = Window(at(0), at(390)), Window(at(400), at(460))
    (incident,) = SliDetector().detect(data, baseline=base, incident=window)
    assert incident.given and incident.window == window and incident.baseline == base
    assert [b.sli for b in incident.breaches] == ["success"]
    (calm,) = SliDetector().detect(data, baseline=base, incident=Window(at(500), at(560)))
    assert calm.given and calm.breaches == ()


def test_a_given_baseline_is_used_as_it_is() -> None:
    times, ms, failed = steady(600, 20)
    data = facts(traffic(times, np.where(times > 300, ms * 8, ms), failed))
    (incident,) = SliDetector().detect(data, baseline=Window(at(0), at(250)))
    assert incident.baseline == Window(at(0), at(250))
    assert at(300) <= incident.onset_ns <= at(302)


def test_a_declared_operation_is_the_only_sli() -> None:
    times, ms, failed = steady(600, 20)
    other = traffic(*steady(600, 20, 3), operation="GET /health", tag="b")
    data = facts(traffic(times, ms, failed | (times > 400)), other)
    assert SliDetector().detect(data, sli={"operations": ["GET /health"]}) == []
    assert len(SliDetector().detect(data, sli={"operations": ["GET /"]})) == 1


def test_the_same_facts_give_the_same_answer_in_any_row_order() -> None:
    times, ms, failed = steady(600, 20)
    rows = traffic(times, ms, failed | (times > 400))
    mixed = rows.take(np.random.default_rng(0).permutation(len(rows)))
    assert detect(rows) == detect(mixed)


def metrics(
    name: str, values: np.ndarray, service: str = "web", step: float = 15.0, unit: str | None = None
) -> pa.Table:
    n = len(values)
    time = START + (np.arange(n) * step * SECOND).astype(np.int64)
    return table(
        METRICS, time=time, name=[name] * n, value=values, unit=[unit] * n, type=["gauge"] * n, service=[service] * n
    )


@pytest.mark.parametrize(
    ("name", "usual", "broken"),
    [
        ("latency_p95_ms", 80.0, 900.0),
        ("success_rate", 0.995, 0.7),
        ("requests_per_second", 40.0, 6.0),
        ("error_rate", 0.01, 0.4),
    ],
)
def test_metrics_alone_open_an_incident_on_the_entry_service(name: str, usual: float, broken: float) -> None:
    rng = np.random.default_rng(0)
    values = usual * (1 + rng.normal(0, 0.02, 60))
    values[40:52] = broken
    graph = table(TOPOLOGY, caller=["web"], callee=["db"], kind=["call"])
    (incident,) = detect(metrics=metrics(name, values), topology=graph)
    assert at(598) <= incident.onset_ns <= at(602)
    assert at(778) <= incident.window.end_ns <= at(782)
    assert incident.baseline.end_ns == incident.onset_ns and incident.baseline.seconds > 590
    assert detect(metrics=metrics(name, values, service="db"), topology=graph) == []


def test_a_metric_told_by_name_is_an_sli_whatever_it_is_called() -> None:
    values = np.full(60, 10.0) + np.random.default_rng(0).normal(0, 0.1, 60)
    values[30:40] += 50
    data = facts(metrics=metrics("queue_pain", values))
    assert SliDetector().detect(data) == []
    (incident,) = SliDetector().detect(data, sli={"metric": "queue_pain"})
    assert at(448) <= incident.onset_ns <= at(452)


def test_each_quantile_of_a_metric_is_named() -> None:
    values = np.where(np.arange(60) >= 40, 900.0, 80.0) * (1 + np.random.default_rng(0).normal(0, 0.02, 60))
    rows = [
        metrics("latency_ms", values * share).set_column(
            METRICS.get_field_index("attributes"), "attributes", pa.array([f'{{"quantile":"{share}"}}'] * 60)
        )
        for share in (0.5, 0.95)
    ]
    (incident,) = detect(metrics=pa.concat_tables(rows))
    assert {found.statistic for found in incident.breaches} == {"p50 of latency_ms", "p95 of latency_ms"}


def test_alerts_alone_are_the_incident() -> None:
    rows = table(
        CHANGES, time=[at(900), at(1000), at(0), at(9000)], kind=["alert", "alert", "deploy", "alert"],
        service=["web", "db", "web", "web"], description=["5xx", "slow", "v2", "5xx"],
    )  # fmt: skip
    first, second = detect(changes=rows)
    assert first.onset_ns == at(900) and second.onset_ns == at(9000)
    assert {b.entry.service for b in first.breaches} == {"web", "db"}
    assert first.baseline.end_ns <= at(900) and first.baseline.seconds > 0


def test_error_lines_are_the_last_resort() -> None:
    rng = np.random.default_rng(0)
    usual = np.sort(rng.uniform(0, 1200, 1200))
    loud = np.sort(rng.uniform(900, 1000, 400))
    time = START + (np.concatenate([usual, loud]) * SECOND).astype(np.int64)
    logs = table(
        LOGS, time=time, service=["web"] * len(time), severity=["INFO"] * len(usual) + ["ERROR"] * len(loud),
        body=["served"] * len(usual) + ["cannot reach the database"] * len(loud),
    )  # fmt: skip
    (incident,) = detect(logs=logs)
    assert at(875) <= incident.onset_ns <= at(925)


def test_nothing_at_all_is_no_incident() -> None:
    assert detect() == []
    (given,) = SliDetector().detect(facts(), incident=Window(at(0), at(10)))
    assert given.given and given.breaches == ()
