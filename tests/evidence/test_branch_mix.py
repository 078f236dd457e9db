"""Branches that requests take more or less often than before, where none of them is compulsory."""

from __future__ import annotations

import pytest
from small_shop import CONTAMINATED_S, Call, Story, blamed, look, measured, read, told


def discounts(before: int, after: int, since: float = 0.0) -> Story:
    """Of ten requests, so many get a discount: an internal span and one call of price less."""

    def story(call: Call, second: float, number: int) -> Call:
        share = after if second >= since else before
        return call.to("order", internal=("discount",)) if number % 10 < share else call

    return story


@pytest.mark.parametrize(("before", "after", "direction"), [(3, 8, "up"), (7, 1, "down")])
def test_a_branch_that_is_taken_at_another_rate_names_its_operation(before: int, after: int, direction: str) -> None:
    view = look(**told(discounts(before, after), per_second=2.0))
    first = read("branch_mix", view).findings[0]
    assert (first.entity.service, first.entity.operation, first.claim.direction) == ("order", "Place", direction)
    numbers = measured("branch_mix", view, first)
    assert numbers["incident"] - numbers["baseline"] == pytest.approx(first.claim.magnitude, abs=1e-3)
    assert abs(first.claim.magnitude) == pytest.approx(abs(after - before) / 10, abs=0.12)


def test_nobody_else_is_named() -> None:
    assert set(blamed(read("branch_mix", look(**told(discounts(3, 8), per_second=2.0))))) == {"order"}


def test_the_same_mix_is_silent() -> None:
    reading = read("branch_mix", look(**told(discounts(4, 4), per_second=2.0)))
    assert reading.findings == () and reading.silent == "no context changed its mix of branches"


def test_a_handful_of_requests_says_nothing() -> None:
    view = look(**told(discounts(3, 8), per_second=0.05))
    assert read("branch_mix", view).findings == ()


def test_a_contaminated_baseline_leaves_the_direction_as_it_is() -> None:
    first = read("branch_mix", look(**told(discounts(2, 9, since=-CONTAMINATED_S), per_second=2.0))).findings[0]
    assert first.entity.service == "order" and first.claim.direction == "up"
