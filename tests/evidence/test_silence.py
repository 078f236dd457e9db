"""Silent or starved: who serves less although as much is asked, and whose telemetry stopped."""

from __future__ import annotations

import pytest
from small_shop import (
    CONTAMINATED_S,
    SECOND,
    START,
    Call,
    blamed,
    everybody,
    from_onset,
    gauges,
    look,
    measured,
    read,
    steady,
    table,
    told,
)

from aetia.model.tables import SPANS


def unanswered(service: str):
    return lambda call: call.to(service, answered=False, failed=True, code="503")


@pytest.mark.parametrize("culprit", ["stock", "price", "cart"])
def test_a_service_that_is_asked_and_serves_nothing_is_silent(culprit: str) -> None:
    view = look(**told(from_onset(unanswered(culprit))))
    reading = read("silence", view)
    assert blamed(reading) == [culprit] and reading.findings[0].score > 0.8 and reading.findings[0].own
    assert (reading.findings[0].fault_class, reading.findings[0].claim.direction) == ("E", "down")
    numbers = measured("silence", view, reading.findings[0])
    assert numbers["incident"] == 0.0 and numbers["baseline"] == pytest.approx(1.0, rel=0.2)


def test_a_service_that_nobody_asks_any_more_is_starved() -> None:
    def story(call: Call) -> Call:
        return call.to("order", answered=False, failed=True, code="503")

    assert blamed(read("silence", look(**told(from_onset(story))))) == ["order"]


def test_a_caller_that_asks_less_does_not_make_its_callee_silent() -> None:
    view = look(**told(from_onset(lambda call: call.without("stock"))))
    assert read("silence", view).findings == ()


def test_a_third_of_the_work_may_go_missing() -> None:
    view = look(**told(from_onset(unanswered("stock"), every=3), per_second=2.0))
    assert read("silence", view).findings == ()


def test_an_instance_falls_silent_while_its_sibling_goes_on() -> None:
    def story(call: Call, second: float, number: int) -> Call:
        return call.to("stock", instance=f"stock-{1 if second >= 0 else 1 + number % 2}")

    (finding,) = read("silence", look(**told(story, per_second=2.0))).findings
    assert (finding.entity.level, finding.entity.instance, finding.entity.service) == ("instance", "stock-2", "stock")


def test_an_instance_that_left_long_before_is_not_blamed() -> None:
    from small_shop import BASE_S, SECOND, START

    from aetia.model.window import Window

    def story(call: Call, second: float, number: int) -> Call:
        return call.to("stock", instance=f"stock-{1 if second >= -BASE_S + 60 else 1 + number % 2}")

    late = Window(START + 3600 * SECOND, START + 3700 * SECOND)
    assert read("silence", look(late, **told(story, per_second=2.0))).findings == ()


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    reading = read("silence", look(**told(from_onset(unanswered("stock"), since=-CONTAMINATED_S))))
    assert blamed(reading) == ["stock"] and reading.findings[0].score > 0.5


def test_metrics_that_stop_are_a_death() -> None:
    def until_onset(second: float) -> float | None:
        return 5.0 if second < 0 else None

    names = ("container_cpu_usage_percent", "container_memory_usage_bytes", "widgets_turning")
    metrics = gauges(*(column for name in names for column in everybody(name, steady(5.0), order=until_onset)))
    view = look(metrics=metrics)
    (finding,) = read("silence", view).findings
    assert finding.entity.service == "order" and finding.fault_class == "A" and finding.claim.direction == "gone"
    assert measured("silence", view, finding) == {"baseline": 3, "incident": 0, "unit": "series"}


def test_when_all_metrics_stop_it_is_the_collector() -> None:
    metrics = gauges(*everybody("container_cpu_usage_percent", lambda second: 5.0 if second < 0 else None),
                     ("node_load1", {"node": "n"}, steady(1.0)))  # fmt: skip
    assert read("silence", look(metrics=metrics)).findings == ()


def test_instances_that_nobody_places_in_a_service_are_passed_over() -> None:
    rows = [
        {
            "time": START + k * SECOND,
            "trace_id": f"{k:x}",
            "span_id": "a",
            "instance": "i-1",
            "name": "x",
            "duration_ns": 5,
        }
        for k in range(300)
    ]
    assert read("silence", look(spans=table(SPANS, rows))).findings == ()
