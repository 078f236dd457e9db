"""Errors are blamed where they begin: on the deepest failing service, or on the link when nobody answered."""

from __future__ import annotations

import pytest
from small_shop import CONTAMINATED_S, Call, blamed, call_graph, from_onset, gauges, look, measured, read, stepped, told


def failing(service: str):
    """Requests that fail from one service up to the entry."""
    above = {
        "price": ("order", "web"),
        "stock": ("order", "web"),
        "order": ("web",),
        "cart": ("web",),
        "vault": ("cart", "web"),
    }

    def change(call: Call) -> Call:
        for name in (service, *above[service]):
            call = call.to(name, failed=True)
        return call

    return change


@pytest.mark.parametrize("culprit", ["price", "stock", "order", "cart"])
def test_the_deepest_failing_service_is_blamed_and_nobody_above_it(culprit: str) -> None:
    reading = read("errors", look(**told(from_onset(failing(culprit), every=2))))
    assert blamed(reading) == [culprit]
    finding = reading.findings[0]
    assert finding.score > 0.8 and finding.own and finding.fault_class == "C" and finding.claim.direction == "up"


def test_the_measurement_gives_the_share_of_failed_calls() -> None:
    view = look(**told(from_onset(failing("price"), every=2)))
    numbers = measured("errors", view, read("errors", view).findings[0])
    assert numbers["baseline"] == 0.0 and numbers["incident"] == pytest.approx(0.5, abs=0.1)


def test_calls_that_nobody_answers_are_blamed_on_the_callee_as_silence() -> None:
    def change(call: Call) -> Call:
        return failing("price")(call).to("price", answered=False, code="503")

    finding = read("errors", look(**told(from_onset(change, every=2)))).findings[0]
    assert finding.entity.service == "price" and finding.fault_class == "E"
    assert finding.claim.what == "unanswered calls"


def test_one_broken_link_of_several_is_named_as_a_link() -> None:
    def change(call: Call) -> Call:
        return call.to("order", answered=False, failed=True, code="503").to("web", failed=True)

    finding = read("errors", look(**told(from_onset(change, every=2)))).findings[0]
    assert (finding.entity.level, finding.entity.caller, finding.entity.callee) == ("edge", "web", "order")


def test_an_external_that_does_not_answer_is_a_dependency_that_is_down() -> None:
    def change(call: Call) -> Call:
        return failing("vault")(call).to("vault", code="503")

    finding = read("errors", look(**told(from_onset(change, every=2)))).findings[0]
    assert (finding.entity.level, finding.entity.name, finding.fault) == ("external", "vault", "dependency_down")


def test_an_external_that_answers_badly_answers() -> None:
    finding = read("errors", look(**told(from_onset(failing("vault"), every=2)))).findings[0]
    assert (finding.entity.name, finding.fault, finding.claim.what) == ("vault", "wrong_code", "refused calls")


def test_failures_that_happen_at_all_times_are_no_evidence() -> None:
    view = look(**told(from_onset(failing("price"), every=10, since=-1e9), per_second=2.0))
    assert read("errors", view).findings == ()


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    reading = read("errors", look(**told(from_onset(failing("stock"), every=2, since=-CONTAMINATED_S))))
    assert blamed(reading)[0] == "stock" and reading.findings[0].score > 0.4


def test_recovery_is_no_evidence() -> None:
    def story(call: Call, second: float, number: int) -> Call:
        return failing("price")(call) if second < 0 and number % 2 else call

    assert read("errors", look(**told(story))).findings == ()


def test_without_spans_error_metrics_blame_the_lowest_service_that_fails() -> None:
    metrics = gauges(
        *(("request_error_ratio", {"service": s, "unit": "1"}, stepped(0.01, 0.3)) for s in ("web", "order", "stock")),
        *(("request_error_ratio", {"service": s, "unit": "1"}, stepped(0.01, 0.01)) for s in ("cart", "price")),
    )
    reading = read("errors", look(metrics=metrics, topology=call_graph()))
    assert blamed(reading) == ["stock"] and reading.findings[0].own


def test_success_metrics_that_fall_count_as_well() -> None:
    metrics = gauges(("request_success_ratio", {"service": "cart", "unit": "1"}, stepped(0.99, 0.6)))
    (finding,) = read("errors", look(metrics=metrics, topology=call_graph())).findings
    assert finding.entity.service == "cart" and finding.claim.direction == "down"
