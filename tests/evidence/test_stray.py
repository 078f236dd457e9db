"""The weakest channel: whose metrics lie furthest from where they were, however little that is."""

from __future__ import annotations

import pytest
from small_shop import blamed, everybody, gauges, look, measured, read, steady, stepped


@pytest.mark.parametrize(("after", "direction"), [(17.0, "up"), (13.0, "down")])
def test_a_movement_too_small_for_any_other_channel_is_seen(after: float, direction: str) -> None:
    view = look(metrics=gauges(*everybody("request_duration_ms", steady(15.0), price=stepped(15.0, after))))
    assert read("latency", view).findings == ()
    finding = read("stray", view).findings[0]
    assert finding.entity.service == "price" and finding.claim.direction == direction and not finding.own
    numbers = measured("stray", view, finding)
    assert numbers["incident"] - numbers["baseline"] == pytest.approx(finding.claim.magnitude, abs=1e-3)


def test_it_orders_by_strangeness() -> None:
    columns = everybody("widgets_turning", steady(15.0), price=stepped(15.0, 20.0), stock=stepped(15.0, 17.0))
    assert blamed(read("stray", look(metrics=gauges(*columns))))[:2] == ["price", "stock"]


def test_one_outlier_moves_no_median() -> None:
    def spike(second: float) -> float:
        return 900.0 if 30 <= second < 50 else 15.0

    assert "price" not in blamed(read("stray", look(metrics=gauges(*everybody("widgets", steady(15.0), price=spike)))))


def test_a_strange_call_is_laid_on_both_ends_the_callee_first() -> None:
    slow = [("latency_ms", {"attributes": '{"caller": "web", "callee": "cart"}'}, stepped(15.0, 25.0))]
    rest = [
        ("latency_ms", {"attributes": f'{{"caller": "{a}", "callee": "{b}"}}'}, steady(15.0))
        for a, b in (("web", "order"), ("order", "stock"), ("order", "price"))
    ]
    findings = read("stray", look(metrics=gauges(*slow, *rest))).findings
    assert [f.entity.service for f in findings[:2]] == ["cart", "web"]
    assert findings[1].score == pytest.approx(findings[0].score / 2)


def test_a_first_error_is_not_infinitely_strange() -> None:
    few = gauges(
        *everybody("errors_per_minute", steady(0.0), price=stepped(0.0, 1.0), stock=stepped(0.0, 400.0)), noise=0.0
    )
    price, stock = (next(f for f in read("stray", look(metrics=few)).findings if f.entity.service == s).score
                    for s in ("price", "stock"))  # fmt: skip
    assert price < 0.8 * stock
