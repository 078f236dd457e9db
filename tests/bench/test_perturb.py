"""Perturbations change what they say and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aetia.bench.perturb import PERTURBATIONS, Unapplied, apply, parse, times_ns
from aetia.model.case import Case
from aetia.model.errors import BenchError
from aetia.model.tables import METRICS, Telemetry
from aetia.model.window import Window
from aetia.signals.view import Facts

CaseOf = Callable[..., Case]
TelemetryOf = Callable[..., Telemetry]
Clock = tuple[int, int, int, int]

EXAMPLES = {
    "late": "late=60", "contaminated": "contaminated=60", "short_baseline": "short_baseline=120", "drop_spans": "drop_spans=0.3",
    "drop_span_rows": "drop_span_rows=0.3", "without": "without=spans+logs", "metrics_only": "metrics_only",
    "edge_metrics_only": "edge_metrics_only=1", "skew": "skew=5", "hide_root_spans": "hide_root_spans",
}  # fmt: skip


@pytest.fixture
def case(case_of: CaseOf) -> Case:
    return case_of("c", "store")


@pytest.fixture(scope="module")
def telemetry(telemetry_of: TelemetryOf) -> Telemetry:
    return telemetry_of("store")


def test_every_perturbation_is_exercised_here() -> None:
    assert set(EXAMPLES) == set(PERTURBATIONS)


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_a_perturbation_repeats_exactly_keeps_the_truth_and_changes_something(
    text: str, case: Case, telemetry: Telemetry
) -> None:
    before = [telemetry.table(name) for name in ("spans", "logs", "metrics")]
    first_case, first = apply(text, case, telemetry, seed=3)
    second_case, second = apply(text, case, telemetry, seed=3)
    assert first_case == second_case
    assert all(first.table(n).equals(second.table(n)) for n in ("spans", "logs", "metrics", "topology"))
    assert first_case.truth == case.truth
    assert first_case != case or first.rows != telemetry.rows or not first.spans.equals(telemetry.spans)
    assert [telemetry.table(name) for name in ("spans", "logs", "metrics")] == before


def test_none_is_the_case_as_it_is(case: Case, telemetry: Telemetry) -> None:
    assert apply("none", case, telemetry) == (case, telemetry)


@pytest.mark.parametrize(
    "text",
    [
        "later=5",
        "late",
        "late=-1",
        "late=soon",
        "drop_spans=1.5",
        "without=traces",
        "metrics_only=1",
        "edge_metrics_only=-1",
    ],
)
def test_a_specification_that_makes_no_sense_says_what_would(text: str) -> None:
    with pytest.raises(BenchError, match=r"known|write"):
        parse(text)


def test_several_steps_apply_from_left_to_right(case: Case, telemetry: Telemetry, clock: Clock) -> None:
    changed, less = apply("late=60,without=logs", case, telemetry)
    assert changed.incident is not None and changed.incident.start_ns == clock[1] + 60 * clock[3]
    assert less.logs.num_rows == 0 < less.spans.num_rows


def test_late_moves_the_incident_and_leaves_the_baseline(case: Case, telemetry: Telemetry, clock: Clock) -> None:
    _, incident, end, second = clock
    changed, same = apply("late=120", case, telemetry)
    assert changed.incident == Window(incident + 120 * second, end)
    assert changed.baseline == case.baseline
    assert same is telemetry


def test_late_beyond_the_end_cannot_be_applied(case: Case, telemetry: Telemetry) -> None:
    with pytest.raises(Unapplied, match="nothing is left"):
        apply("late=300", case, telemetry)


def test_contamination_of_a_distant_baseline_adds_the_minute_before_the_incident(
    case_of: CaseOf, telemetry: Telemetry, clock: Clock
) -> None:
    start, incident, _, second = clock
    quiet = Window(start, start + 60 * second)
    before_incident = Window(start, incident)
    case = case_of("c", "store", baseline=before_incident, baselines={"spans": (quiet,), "logs": (quiet,)})
    changed, _ = apply("contaminated=60", case, telemetry)
    assert changed.baselines["spans"] == (quiet, Window(incident - 60 * second, incident))
    assert changed.baselines["logs"] == changed.baselines["spans"]
    assert changed.baseline == before_incident
    assert changed.incident == case.incident


def test_a_baseline_from_a_later_day_is_contaminated_like_any_distant_one(
    case_of: CaseOf, telemetry: Telemetry, clock: Clock
) -> None:
    _, incident, end, second = clock
    later = Window(end + 3600 * second, end + 3660 * second)
    changed, _ = apply("contaminated=60", case_of("c", "store", baseline=later), telemetry)
    assert changed.baselines["spans"] == (Window(incident - 60 * second, incident), later)
    assert changed.incident == Window(incident, end)


def test_contamination_of_an_adjoining_baseline_swallows_the_first_faulty_minute(
    case: Case, telemetry: Telemetry, clock: Clock
) -> None:
    start, incident, end, second = clock
    changed, _ = apply("contaminated=60", case, telemetry)
    assert changed.incident == Window(incident + 60 * second, end)
    assert changed.baseline == Window(start, incident + 60 * second)


def test_a_short_baseline_is_the_last_of_it_and_the_rest_is_gone(
    case: Case, telemetry: Telemetry, clock: Clock
) -> None:
    _, incident, end, second = clock
    changed, less = apply("short_baseline=120", case, telemetry)
    assert changed.baseline == Window(incident - 120 * second, incident)
    for name in ("spans", "logs", "metrics"):
        times = times_ns(less.table(name))
        assert times.min() >= incident - 120 * second
        assert times.max() < end


def test_dropped_traces_vanish_whole_and_dropped_rows_leave_orphans(case: Case, telemetry: Telemetry) -> None:
    _, traces = apply("drop_spans=0.5", case, telemetry)
    sizes = traces.spans["trace_id"].value_counts().field("counts").to_pylist()
    assert set(sizes) == {3}
    assert 0 < traces.spans.num_rows < telemetry.spans.num_rows
    _, rows = apply("drop_span_rows=0.5", case, telemetry)
    kept = set(rows.spans["span_id"].to_pylist())
    assert any(parent and parent not in kept for parent in rows.spans["parent_span_id"].to_pylist())


def test_metrics_only_keeps_the_declared_graph_and_nothing_of_spans(case: Case, telemetry: Telemetry) -> None:
    _, less = apply("metrics_only", case, telemetry)
    assert less.spans.num_rows == less.logs.num_rows == 0
    assert less.metrics.equals(telemetry.metrics)
    assert less.topology.equals(telemetry.topology)


def test_hidden_spans_are_those_of_the_root(case: Case, telemetry: Telemetry, case_of: CaseOf) -> None:
    _, less = apply("hide_root_spans", case, telemetry)
    assert set(less.spans["service"].to_pylist()) == {"web", "cart"}
    with pytest.raises(Unapplied):
        apply("hide_root_spans", case_of("calm", None), telemetry)


def test_skew_moves_some_services_by_exactly_that_much(case: Case, telemetry: Telemetry, clock: Clock) -> None:
    _, moved = apply("skew=-5", case, telemetry)
    shift = times_ns(moved.spans) - times_ns(telemetry.spans)
    services = np.array(telemetry.spans["service"].to_pylist())
    assert set(shift.tolist()) == {0, -5 * clock[3]}
    assert len(set(services[shift != 0])) == 1
    assert moved.metrics.equals(telemetry.metrics)


def test_skew_works_on_dictionary_columns(case: Case, telemetry: Telemetry) -> None:
    from dataclasses import replace

    spans = telemetry.spans
    coded = spans.set_column(spans.schema.get_field_index("service"), "service", spans["service"].dictionary_encode())
    _, moved = apply("skew=5", case, replace(telemetry, spans=coded))
    _, plain = apply("skew=5", case, telemetry)
    assert times_ns(moved.spans).tolist() == times_ns(plain.spans).tolist()


def test_edge_metrics_from_spans_are_five_minute_rates_and_latencies(
    case: Case, telemetry: Telemetry, clock: Clock
) -> None:
    start, incident, end, second = clock
    changed, less = apply("edge_metrics_only=0", case, telemetry)
    assert less.spans.num_rows == less.logs.num_rows == 0
    assert {(a, b) for a, b in zip(*(less.topology[n].to_pylist() for n in ("caller", "callee")), strict=True)} == {
        ("web", "cart"), ("cart", "store"),
    }  # fmt: skip
    edges = {json.loads(text)["callee"] for text in less.metrics["attributes"].to_pylist()}
    assert edges == {"cart", "store"}
    assert set((times_ns(less.metrics) % (300 * second)).tolist()) == {0}
    errors = less.metrics.filter(pc.equal(less.metrics["name"], "edge_error_share"))
    store = errors.filter(pc.equal(errors["service"], "store"))
    assert store["value"].to_pylist() == [0.0, 0.0, 1.0]
    latency = less.metrics.filter(pc.equal(less.metrics["name"], "edge_latency_mean"))
    assert set(latency.filter(pc.equal(latency["service"], "cart"))["value"].to_pylist()) == {8.0}
    assert (changed.incident, changed.baselines["metrics"]) == (Window(incident, end), (Window(start, incident),))


def test_edge_metrics_reach_the_signals_as_edges(case: Case, telemetry: Telemetry) -> None:
    _, less = apply("edge_metrics_only=0", case, telemetry)
    facts = Facts(less)
    services = facts.names.services
    pairs = {(services[s.caller], services[s.callee]) for s in facts.metrics.series if s.caller >= 0 and s.callee >= 0}
    assert pairs == {("web", "cart"), ("cart", "store")}
    assert {"latency", "errors", "traffic"} <= {s.what for s in facts.metrics.series}


def test_the_busiest_edges_are_kept_and_the_whole_graph(case: Case, telemetry: Telemetry) -> None:
    _, less = apply("edge_metrics_only=1", case, telemetry)
    assert len(set(less.metrics["attributes"].to_pylist())) == 1
    assert less.topology.num_rows == 2


def test_given_edge_metrics_are_averaged_into_bins(case: Case, telemetry: Telemetry, clock: Clock) -> None:
    from dataclasses import replace

    start, incident, _, second = clock
    attributes = json.dumps({"caller": "web", "callee": "cart"})
    rows = [
        {
            "time": start + k * 60 * second,
            "name": "client_latency_ms",
            "value": float(k),
            "type": "gauge",
            "attributes": attributes,
        }
        for k in range(15)
    ]
    columns = {name: [row.get(name) for row in rows] for name in METRICS.names}
    given = replace(telemetry, metrics=pa.concat_tables([telemetry.metrics, pa.table(columns, schema=METRICS)]))
    changed, less = apply("edge_metrics_only=0", case, given)
    assert less.metrics["value"].to_pylist() == [2.0, 7.0, 12.0]
    assert set(less.metrics["name"].to_pylist()) == {"client_latency_ms"}
    assert changed.incident is not None and changed.incident.start_ns == incident


def test_windows_of_binned_cases_widen_to_whole_bins(case_of: CaseOf, telemetry: Telemetry, clock: Clock) -> None:
    start, incident, _, second = clock
    late = Window(incident + 30 * second, incident + 200 * second)
    case = case_of("c", "store", incident=late, baseline=Window(start + 10 * second, incident + 30 * second))
    changed, _ = apply("edge_metrics_only=0", case, telemetry)
    assert changed.incident == Window(incident, incident + 300 * second)
    assert changed.baseline == Window(start, incident)


def test_a_case_without_calls_has_no_edges(case: Case) -> None:
    with pytest.raises(Unapplied, match="no calls"):
        apply("edge_metrics_only=0", case, Telemetry())


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_empty_telemetry_is_perturbed_or_said_to_be_impossible(text: str, case: Case) -> None:
    try:
        _, result = apply(text, case, Telemetry())
    except Unapplied:
        return
    assert result.spans.num_rows == 0
