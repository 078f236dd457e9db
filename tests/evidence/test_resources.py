"""Pressure on cpu, memory and disk: beyond the baseline, beyond the load, and where it is measured."""

from __future__ import annotations

import pytest
from small_shop import (
    BASE_S,
    CONTAMINATED_S,
    ONSET,
    SECOND,
    blamed,
    everybody,
    gauges,
    look,
    measured,
    read,
    steady,
    stepped,
    told,
)

CPU = "container_cpu_usage_percent"


@pytest.mark.parametrize(
    ("metric", "level", "fault"),
    [(CPU, 15.0, "cpu"), ("container_memory_usage_bytes", 3e8, "memory"), ("cpu_throttled_seconds_rate", 0.2, "cpu")],
)
def test_the_service_whose_resource_rises_is_blamed(metric: str, level: float, fault: str) -> None:
    view = look(metrics=gauges(*everybody(metric, steady(level), stock=stepped(level, 5 * level))))
    (finding,) = read("resources", view).findings
    assert finding.entity.service == "stock" and finding.own and finding.score > 0.4
    assert (finding.fault_class, finding.fault, finding.claim.direction) == ("B", fault, "up")


def test_the_onset_is_when_the_metric_left_its_baseline() -> None:
    view = look(metrics=gauges(*everybody(CPU, steady(15.0), stock=stepped(15.0, 75.0, at=60.0))))
    (finding,) = read("resources", view).findings
    assert finding.onset_ns is not None and abs(finding.onset_ns - (ONSET + 60 * SECOND)) <= 10 * SECOND


def test_the_measurement_gives_both_levels_and_a_series_for_a_chart() -> None:
    view = look(metrics=gauges(*everybody(CPU, steady(15.0), stock=stepped(15.0, 75.0))))
    numbers = measured("resources", view, read("resources", view).findings[0])
    assert numbers["baseline"] == pytest.approx(0.15, rel=0.1) and numbers["incident"] == pytest.approx(0.75, rel=0.1)
    assert numbers["series"]["unit"] == numbers["unit"] and 12 <= len(numbers["series"]["values"]) <= 64


def test_one_instance_of_several_is_named() -> None:
    levels = [
        (CPU, {"service": "stock", "instance": f"stock-{n}"}, stepped(15.0, 75.0 if n == 2 else 15.0))
        for n in (1, 2, 3)
    ]
    (finding,) = read("resources", look(metrics=gauges(*levels))).findings
    assert (finding.entity.level, finding.entity.instance, finding.entity.service) == ("instance", "stock-2", "stock")


def test_a_node_without_a_service_is_blamed_as_a_node() -> None:
    levels = [
        ("node_cpu_usage_percent", {"node": f"host-{n}"}, stepped(15.0, 80.0 if n == 2 else 15.0)) for n in (1, 2, 3)
    ]
    (finding,) = read("resources", look(metrics=gauges(*levels))).findings
    assert (finding.entity.level, finding.entity.node, finding.entity.service) == ("node", "host-2", None)


def test_usage_that_falls_is_no_pressure() -> None:
    view = look(metrics=gauges(*everybody(CPU, steady(15.0), stock=stepped(15.0, 1.0))))
    assert read("resources", view).findings == ()


def test_free_memory_that_falls_is() -> None:
    view = look(metrics=gauges(*everybody("memory_free_bytes", steady(4e9), stock=stepped(4e9, 2e8))))
    assert blamed(read("resources", view)) == ["stock"]


def test_an_idle_service_that_stirs_is_nothing() -> None:
    idle = gauges(*everybody(CPU, steady(30.0), stock=stepped(0.1, 0.5)))
    assert "stock" not in blamed(read("resources", look(metrics=idle)))


def test_usage_that_was_as_high_in_the_baseline_now_and_then_is_believed_less() -> None:
    def restless(second: float) -> float:
        return 60.0 if (second + BASE_S) // 60 % 2 else 15.0

    calm = look(metrics=gauges(*everybody(CPU, steady(15.0), stock=stepped(15.0, 60.0))))
    used = look(metrics=gauges(*everybody(CPU, steady(15.0), stock=lambda s: restless(s) if s < 0 else 60.0)))
    scores = [max([f.score for f in read("resources", view).findings], default=0.0) for view in (calm, used)]
    assert scores[1] < 0.7 * scores[0]


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    early = gauges(*everybody(CPU, steady(15.0), stock=stepped(15.0, 75.0, at=-CONTAMINATED_S)))
    (finding,) = read("resources", look(metrics=early)).findings
    assert finding.entity.service == "stock" and finding.claim.direction == "up"


@pytest.mark.parametrize("nodes", [False, True])
def test_cpu_that_follows_the_load_is_no_pressure(nodes: bool) -> None:
    load = gauges(*everybody(CPU, stepped(8.0, 32.0), nodes=nodes))
    assert read("resources", look(**told(surge=4.0), metrics=load)).findings == ()


def test_cpu_beyond_the_load_is() -> None:
    load = gauges(*everybody(CPU, stepped(8.0, 16.0), stock=stepped(8.0, 80.0)))
    assert blamed(read("resources", look(**told(surge=2.0), metrics=load)))[0] == "stock"


def test_without_a_single_bin_of_baseline_it_says_so() -> None:
    late = gauges(*((CPU, {"service": s}, lambda x: 15.0 if x >= 0 else None) for s in ("stock", "web")))
    assert read("resources", look(metrics=late)).silent == "no metric has a baseline and an incident value"


def test_one_bin_of_baseline_is_believed_little() -> None:
    levels = [stepped(15.0, 75.0), lambda x: None if x < -10 else 15.0 if x < 0 else 75.0]
    scores = []
    for level in levels:
        found = read("resources", look(metrics=gauges(*everybody(CPU, steady(15.0), stock=level)))).findings
        scores.append(max([f.score for f in found if f.entity.service == "stock"], default=0.0))
    assert scores[1] <= scores[0]
