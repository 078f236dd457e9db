"""Metric rows become series on one grid."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aetia.model.tables import METRICS, Telemetry
from aetia.signals.frames import MetricFrame
from aetia.signals.metrics import build_metrics
from aetia.signals.names import build_names

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def point(seconds: float | None, value: float | None, name: str = "queue_length", **more: Any) -> dict[str, Any]:
    labels = more.pop("labels", None)
    row = {
        "time": None if seconds is None else T0 + round(seconds * SECOND), "name": name, "value": value, "service": "a",
        "type": "gauge", "attributes": json.dumps(labels) if labels else None,
    }  # fmt: skip
    return row | more


def series_of(times: Any, values: Any, name: str = "queue_length", **more: Any) -> list[dict[str, Any]]:
    return [point(t, v, name, **more) for t, v in zip(times, values, strict=True)]


def build(rows: list[dict[str, Any]]) -> MetricFrame:
    telemetry = Telemetry(metrics=pa.Table.from_pylist(rows, schema=METRICS))
    return build_metrics(telemetry, build_names(telemetry))


def values(frame: MetricFrame, raw: str, statistic: str | None = None) -> list[float]:
    found = [i for i, s in enumerate(frame.series) if s.raw == raw and statistic in (None, s.statistic)]
    assert len(found) == 1, [(s.raw, s.statistic) for s in frame.series]
    return [round(float(v), 6) for v in frame.values[found[0]]]


def test_no_metrics_give_an_empty_frame():
    assert len(build([])) == 0
    assert len(build([point(0, np.nan), point(None, 1.0), point(1, np.inf)])) == 0


def test_samples_fall_into_bins_of_the_sampling_interval():
    frame = build(series_of(range(0, 60, 15), [1, 2, 3, 4]))
    assert frame.step_ns == 15 * SECOND
    assert frame.bin_start_ns.tolist() == [T0 + t * SECOND for t in range(0, 60, 15)]
    assert values(frame, "queue_length") == [1, 2, 3, 4]


def test_most_series_decide_on_the_step_not_most_samples():
    rows = series_of(range(600), np.ones(600), "fast")
    for k in range(3):
        rows += series_of(range(0, 600, 60), np.ones(10), f"slow{k}")
    frame = build(rows)
    assert frame.step_ns == 60 * SECOND
    assert values(frame, "fast") == [1.0] * 10


def test_jittered_samples_neither_share_bins_nor_leave_holes():
    rng = np.random.default_rng(0)
    times = np.arange(0, 6000, 60) + 37 + rng.uniform(0, 3, 100)
    frame = build(series_of(times, np.arange(100)))
    assert frame.step_ns == 60 * SECOND
    assert values(frame, "queue_length") == list(range(100))
    # A bin begins before its samples, but never by more than a tenth of the step.
    lag = (T0 + times * SECOND - frame.bin_start_ns) / SECOND
    assert lag.min() >= 0 and lag.max() < 10


def test_missing_samples_are_not_filled_in_and_several_are_averaged():
    frame = build(series_of([0, 10, 40, 41], [1, 2, 4, 6]) + series_of(range(0, 50, 10), range(5), "other_queue"))
    found = values(frame, "queue_length")
    assert found[:2] == [1, 2]
    assert np.isnan(found[2:4]).all()
    assert found[4] == 5


def test_long_stretches_without_samples_are_left_out_of_the_grid():
    day = 86_400
    frame = build(series_of([0, 10, 20, day, day + 10, day + 20], range(6)))
    assert len(frame.bin_start_ns) == 6
    assert (np.diff(frame.bin_start_ns) > 0).all()
    assert values(frame, "queue_length") == [0, 1, 2, 3, 4, 5]


def test_counters_become_rates_and_resets_count_from_zero():
    frame = build(series_of(range(0, 60, 10), [100, 150, 200, 20, 40, 60], "jobs_total", type="counter"))
    assert values(frame, "jobs_total") == [5, 5, 2, 2, 2]
    assert frame.series[0].unit == "1/s"
    assert frame.series[0].statistic == "rate"


def test_untyped_counters_are_told_by_name_and_movement():
    rising = series_of(range(0, 100, 10), range(0, 100, 10), "http_requests_total", type=None)
    rates = series_of(range(0, 100, 10), [3, 1, 2, 3, 1, 2, 3, 1, 2, 3], "retries_total", type=None)
    leak = series_of(range(0, 100, 10), range(10), "memory_usage", type=None)
    frame = build(rising + rates + leak)
    assert values(frame, "http_requests_total")[1:] == [1.0] * 9
    assert values(frame, "retries_total") == [3, 1, 2, 3, 1, 2, 3, 1, 2, 3]
    assert values(frame, "memory_usage") == list(range(10))


def test_increments_are_divided_by_their_interval():
    rows = series_of(range(0, 40, 10), [50, 60, 0, 20], "jobs", type="counter", labels={"aetia.temporality": "delta"})
    assert values(build(rows), "jobs") == [5, 6, 0, 2]


def test_units_are_brought_to_milliseconds_and_shares():
    rows = series_of([0, 1], [0.25, 0.5], "http.server.latency", unit="s")
    rows += series_of([0, 1], [50, 75], "CpuUsageRate(%)")
    frame = build(rows)
    assert values(frame, "http.server.latency") == [250, 500]
    assert values(frame, "CpuUsageRate(%)") == [0.5, 0.75]


def test_labels_with_few_values_keep_series_apart_and_many_are_added_up():
    rows = []
    for k in range(20):
        rows += series_of(
            [0, 1, 2],
            [1, 1, 1],
            "jvm_memory_used_bytes",
            labels={"area": "heap" if k % 2 else "other", "pool": f"p{k}"},
        )
    frame = build(rows)
    assert [s.raw for s in frame.series] == ["jvm_memory_used_bytes{area=heap}", "jvm_memory_used_bytes{area=other}"]
    assert (frame.values == 10).all()


def test_shares_are_averaged_over_labels_with_many_values():
    rows = []
    for k in range(20):
        rows += series_of([0, 1, 2], [k, k, k], "cpu_usage_percent", labels={"core": str(k)})
    assert values(build(rows), "cpu_usage_percent") == [0.095, 0.095, 0.095]


def test_the_ends_of_a_call_are_taken_from_the_labels():
    ends = {"source": "a", "destination": "b"}
    rows = [*series_of([0, 1], [3, 4], "latency_p95", labels=ends), point(0, 1, service="b")]
    frame = build(rows)
    edge = next(s for s in frame.series if s.raw == "latency_p95")
    assert (edge.caller, edge.callee, edge.statistic) == (0, 1, "p95")


def test_node_metrics_belong_to_the_node_once():
    rows = []
    for pod in ("a-1", "a-2"):
        rows += series_of([0, 1], [10, 20], "NodeCpuUsageRate(%)", instance=pod, node="n1")
    frame = build(rows)
    assert [(s.service, s.instance, s.node) for s in frame.series] == [(-1, -1, 0)]
    assert frame.values.tolist() == [[0.1, 0.2]]


def test_prometheus_histograms_become_quantiles_a_mean_and_a_rate():
    rows = []
    for t in range(0, 50, 10):
        n = t  # one observation a second, all between 0.1 s and 0.2 s
        for le, share in (("0.1", 0), ("0.2", 1), ("+Inf", 1)):
            rows.append(point(t, n * share, "http_request_duration_seconds_bucket", type="counter", labels={"le": le}))
        rows.append(point(t, n * 0.15, "http_request_duration_seconds_sum", type="counter"))
        rows.append(point(t, n, "http_request_duration_seconds_count", type="counter"))
    frame = build(rows)
    assert values(frame, "http_request_duration_seconds", "p50") == [150.0] * 4
    assert values(frame, "http_request_duration_seconds", "p99") == [199.0] * 4
    assert values(frame, "http_request_duration_seconds", "mean") == [150.0] * 4
    assert values(frame, "http_request_duration_seconds_count") == [1.0] * 4
    assert {s.what for s in frame.series} == {"latency", "traffic"}


def test_histograms_of_increments_need_no_first_sample():
    rows = []
    for t in (0, 10):
        for le, count in (("100", 10), ("+Inf", 20)):
            labels = {"le": le, "aetia.temporality": "delta"}
            rows.append(point(t, count, "rpc.duration_bucket", type="histogram", unit="ms", labels=labels))
    assert values(build(rows), "rpc.duration", "p50") == [100.0, 100.0]


def test_requests_by_outcome_become_traffic_and_an_error_share():
    rows = []
    for code, step in (("200", 9), ("404", 9), ("503", 2)):
        rows += series_of(
            range(0, 40, 10), range(0, 4 * step, step), "http_requests_total", type="counter", labels={"code": code}
        )
    frame = build(rows)
    assert values(frame, "http_requests_total") == [2.0, 2.0, 2.0]
    assert values(frame, "failed share of http_requests_total") == [0.1, 0.1, 0.1]
    assert {s.what: s.unit for s in frame.series} == {"traffic": "1/s", "errors": "share"}


def test_errors_and_requests_of_one_entity_combine_to_a_share():
    rows = series_of(range(4), [10, 10, 10, 0], "workload") + series_of(range(4), [1, 2, 0, 0], "error")
    frame = build(rows)
    found = values(frame, "error of workload")
    assert found[:3] == [0.1, 0.2, 0.0]
    assert np.isnan(found[3])


def test_the_order_of_rows_and_the_encoding_of_text_do_not_matter():
    rng = np.random.default_rng(3)
    rows = []
    for k in range(5):
        rows += series_of(range(0, 300, 15), rng.random(20), f"m{k}", service=f"s{k % 2}", labels={"pool": str(k % 3)})
        rows += series_of(range(0, 300, 15), np.arange(20), f"c{k}_total", type="counter", instance=f"i{k}")
    first = build(rows)
    table = pa.Table.from_pylist([rows[i] for i in rng.permutation(len(rows))], schema=METRICS)
    coded = pa.table(
        {n: table[n].dictionary_encode() if pa.types.is_string(table[n].type) else table[n] for n in table.column_names}
    )
    telemetry = Telemetry(metrics=coded)
    second = build_metrics(telemetry, build_names(telemetry))
    assert first.series == second.series
    np.testing.assert_allclose(first.values, second.values)


@pytest.mark.parametrize("attributes", ["not json", "[1, 2]", "", '{"a": {"b": 1}}'])
def test_attributes_that_are_no_flat_object_are_ignored(attributes):
    rows = [point(t, 1.0, attributes=attributes) for t in range(3)]
    assert values(build(rows), "queue_length") == [1, 1, 1]


def test_a_single_sample_makes_one_bin():
    frame = build([point(5, 2.0)])
    assert frame.values.tolist() == [[2.0]]
    assert frame.step_ns == SECOND
