"""Metrics of unknown meaning that left their baseline, either way, as symptoms."""

from __future__ import annotations

import pytest
from small_shop import CONTAMINATED_S, blamed, everybody, gauges, look, measured, read, steady, stepped


@pytest.mark.parametrize(("after", "direction"), [(90.0, "up"), (1.0, "down")])
def test_whatever_moves_is_named_either_way(after: float, direction: str) -> None:
    view = look(metrics=gauges(*everybody("widgets_turning", steady(15.0), price=stepped(15.0, after))))
    (finding,) = read("metric_shift", view).findings
    assert finding.entity.service == "price" and finding.claim.direction == direction and not finding.own
    numbers = measured("metric_shift", view, finding)
    assert numbers["incident"] - numbers["baseline"] == pytest.approx(finding.claim.magnitude, abs=1e-3)


def test_what_other_channels_read_is_left_to_them() -> None:
    for metric in ("container_cpu_usage_percent", "request_duration_ms", "jvm_gc_pause_ms", "db_connections_active"):
        view = look(metrics=gauges(*everybody(metric, steady(15.0), price=stepped(15.0, 90.0))))
        assert read("metric_shift", view).findings == ()


def test_it_is_never_surer_than_its_weight() -> None:
    view = look(metrics=gauges(*everybody("widgets_turning", steady(15.0), price=stepped(15.0, 1e6))))
    assert 0.4 < read("metric_shift", view).findings[0].score <= 0.6


def test_two_metrics_of_one_service_are_enough() -> None:
    many = [c for k in range(5) for c in everybody(f"widgets_{'abcde'[k]}", steady(15.0), price=stepped(15.0, 90.0))]
    assert blamed(read("metric_shift", look(metrics=gauges(*many)))) == ["price", "price"]


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    early = gauges(*everybody("widgets_turning", steady(15.0), price=stepped(15.0, 90.0, at=-CONTAMINATED_S)))
    assert blamed(read("metric_shift", look(metrics=early))) == ["price"]
