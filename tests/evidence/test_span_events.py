"""What a request stopped doing, or newly does, is blamed on the service that does it."""

from __future__ import annotations

import pytest
from small_shop import CONTAMINATED_S, Call, blamed, from_onset, look, measured, read, told

FAILED = ("ERROR", "NullPointerException while placing")


def test_a_call_that_is_left_out_is_blamed_on_the_caller() -> None:
    view = look(**told(from_onset(lambda call: call.without("stock"), every=2)))
    reading = read("span_events", view)
    first = reading.findings[0]
    assert (first.entity.service, first.entity.operation) == ("order", "Place") and first.own
    assert (first.claim.what, first.claim.direction, first.fault_class) == ("missing", "gone", "C")
    numbers = measured("span_events", view, first)
    assert numbers["baseline"] == 0.0 and numbers["incident"] == pytest.approx(0.5, abs=0.1)
    assert numbers["incident"] == pytest.approx(first.claim.magnitude, abs=1e-3)


def test_a_severe_line_in_the_midst_of_a_request_is_an_exception_of_its_printer() -> None:
    view = look(**told(from_onset(lambda call: call.to("price", lines=(FAILED,)), every=2)))
    first = read("span_events", view).findings[0]
    assert (first.entity.service, first.fault, first.claim.direction) == ("price", "exception", "new")


def test_the_caller_of_a_failing_service_is_explained_by_it() -> None:
    def story(call: Call) -> Call:
        return call.to("price", lines=(FAILED,)).to("web", lines=(("ERROR", "could not finish"),))

    assert set(blamed(read("span_events", look(**told(from_onset(story, every=2)))))) == {"price"}


def test_a_usual_line_that_is_no_longer_printed_is_missing() -> None:
    view = look(**told(from_onset(lambda call: call.to("stock", lines=()), every=2)))
    first = read("span_events", view).findings[0]
    assert (first.entity.service, first.claim.what) == ("stock", "missing")


def test_fewer_requests_are_no_missing_calls() -> None:
    def story(call: Call, second: float, number: int) -> Call | None:
        return None if second >= 0 and number % 3 else call

    assert read("span_events", look(**told(story, per_second=2.0))).findings == ()


def test_an_event_that_always_followed_another_and_no_longer_does_is_a_broken_pair() -> None:
    def story(call: Call, second: float, number: int) -> Call:
        if number % 2:
            return call
        lines = (("INFO", "coupon found"), ("INFO", "coupon redeemed"))
        return call.to("order", lines=lines[:1] if second >= 0 else lines)

    view = look(**told(story, per_second=2.0))
    first = read("span_events", view).findings[0]
    assert first.entity.service == "order" and first.claim.what in ("broken_pair", "missing")


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    reading = read(
        "span_events", look(**told(from_onset(lambda call: call.to("price", lines=(FAILED,)), every=2, since=-30.0)))
    )
    assert blamed(reading)[0] == "price" and reading.findings[0].claim.direction == "new"
    reading = read(
        "span_events",
        look(**told(from_onset(lambda call: call.to("price", lines=(FAILED,)), since=-CONTAMINATED_S / 2))),
    )
    assert blamed(reading)[0] == "price"


def test_slower_work_is_no_event() -> None:
    view = look(**told(from_onset(lambda call: call.to("stock", own=30.0))))
    assert read("span_events", view).silent == "every context does what it did before"


def test_without_an_incident_it_says_so() -> None:
    def story(call: Call, second: float, number: int) -> Call | None:
        return call if second < 0 else None

    assert "none in the incident" in (read("span_events", look(**told(story))).silent or "")
