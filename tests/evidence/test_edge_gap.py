"""Time that is lost between two services is blamed on the end that owns all slow links, or on the link."""

from __future__ import annotations

import pytest
from small_shop import CONTAMINATED_S, SECOND, blamed, from_onset, gauges, look, measured, read, stepped, told


def test_a_callee_whose_only_link_is_slow_is_blamed_before_its_caller() -> None:
    reading = read("edge_gap", look(**told(from_onset(lambda call: call.to("price", gap=60.0)))))
    assert blamed(reading)[0] == "price" and reading.findings[0].score > 0.6
    assert (reading.findings[0].fault_class, reading.findings[0].claim.direction) == ("D", "up")


def test_one_slow_link_of_several_is_named_as_a_link() -> None:
    finding = read("edge_gap", look(**told(from_onset(lambda call: call.to("order", gap=60.0))))).findings[0]
    assert finding.entity.level == "edge"
    assert (finding.entity.caller, finding.entity.callee, finding.entity.service) == ("web", "order", "order")


def test_a_service_with_all_its_links_slow_is_blamed_and_its_neighbours_less() -> None:
    def story(call):
        return call.to("order", gap=50.0).to("stock", gap=50.0).to("price", gap=50.0)

    reading = read("edge_gap", look(**told(from_onset(story))))
    assert blamed(reading)[0] == "order" and reading.findings[0].entity.level == "service"


def test_a_slow_external_is_blamed_as_an_external() -> None:
    reading = read("edge_gap", look(**told(from_onset(lambda call: call.to("vault", own=80.0)))))
    assert (reading.findings[0].entity.level, reading.findings[0].entity.name) == ("external", "vault")
    assert reading.findings[0].fault == "slow_dependency"


def test_work_of_the_callee_is_no_lost_time() -> None:
    view = look(**told(from_onset(lambda call: call.to("price", own=90.0).to("stock", own=90.0))))
    assert read("edge_gap", view).findings == ()


def test_the_measurement_gives_the_gap_in_milliseconds() -> None:
    view = look(**told(from_onset(lambda call: call.to("price", gap=60.0))))
    finding = read("edge_gap", view).findings[0]
    numbers = measured("edge_gap", view, finding)
    assert numbers["baseline"] == pytest.approx(0.5, abs=0.05) and numbers["incident"] == pytest.approx(60.0, abs=0.1)
    assert finding.claim.magnitude == pytest.approx(59.5, abs=0.1) and numbers["unit"] == "ms"


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    story = from_onset(lambda call: call.to("price", gap=60.0), since=-CONTAMINATED_S)
    reading = read("edge_gap", look(**told(story)))
    assert blamed(reading)[0] == "price" and reading.findings[0].claim.direction == "up"


def test_loss_that_delays_a_sixth_of_the_calls_is_seen() -> None:
    story = from_onset(lambda call: call.to("price", gap=200.0), every=6)
    assert "price" in blamed(read("edge_gap", look(**told(story, per_second=3.0))))


def link(caller: str, callee: str, after: float):
    attributes = f'{{"source": "{caller}", "destination": "{callee}"}}'
    return "request_duration_ms", {"attributes": attributes, "unit": "ms"}, stepped(20.0, after)


def test_metrics_of_links_alone_blame_the_callee_that_owns_the_slow_ones() -> None:
    slow = gauges(
        link("web", "order", 90.0), link("cart", "order", 90.0), link("web", "cart", 20.0), link("cart", "stock", 20.0)
    )
    reading = read("edge_gap", look(metrics=slow))
    assert blamed(reading)[0] == "order" and reading.findings[0].onset_ns is not None
    numbers = measured("edge_gap", look(metrics=slow), reading.findings[0])
    assert numbers["incident"] > 3 * numbers["baseline"] and len(numbers["series"]["values"]) <= 64
    assert numbers["series"]["step_ns"] == 10 * SECOND


def test_without_calls_it_says_so() -> None:
    assert "no calls" in (read("edge_gap", look()).silent or "")
