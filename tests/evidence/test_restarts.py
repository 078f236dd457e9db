"""Restarts that were counted, uptimes that fell back, and instances that were replaced."""

from __future__ import annotations

from small_shop import ONSET, blamed, everybody, gauges, look, measured, read, steady, stepped, told


def test_a_counter_that_moves_names_its_instance() -> None:
    view = look(metrics=gauges(*everybody("container_restarts", steady(2.0), stock=stepped(2.0, 4.0)), noise=0.0))
    (finding,) = read("restarts", view).findings
    assert finding.entity.service == "stock" and finding.fault_class == "A" and finding.own
    assert finding.claim.direction == "up" and finding.onset_ns is not None and finding.onset_ns >= ONSET


def test_restarts_long_ago_are_none() -> None:
    view = look(metrics=gauges(*everybody("container_restarts", steady(7.0)), noise=0.0))
    assert read("restarts", view).silent == "no restart was counted, no instance replaced"


def test_an_uptime_that_falls_back_is_a_restart_and_one_that_grows_is_none() -> None:
    def uptime(second: float) -> float:
        return 5000.0 + second

    def again(second: float) -> float:
        return uptime(second) if second < 30 else second - 30 + 1.0

    view = look(metrics=gauges(*everybody("process_uptime_seconds", uptime, stock=again), noise=0.0))
    (finding,) = read("restarts", view).findings
    assert finding.entity.service == "stock" and finding.claim.direction == "down"
    assert measured("restarts", view, finding)["baseline"] > 100


def test_a_new_instance_in_place_of_one_that_stopped_is_a_replacement() -> None:
    def story(call, second, number):
        return call.to("stock", instance="stock-2" if second >= 0 else "stock-1")

    view = look(**told(story))
    (finding,) = read("restarts", view).findings
    assert (finding.entity.level, finding.entity.instance, finding.entity.service) == ("instance", "stock-2", "stock")
    numbers = measured("restarts", view, finding)
    assert numbers["baseline"] == 0 and numbers["incident"] > 50 and numbers["first_seen_ns"] >= ONSET


def test_an_instance_more_is_no_replacement() -> None:
    def story(call, second, number):
        return call.to("stock", instance="stock-2" if second >= 0 and number % 2 else "stock-1")

    assert read("restarts", look(**told(story))).findings == ()


def test_a_counted_restart_is_believed_more_than_a_replacement() -> None:
    def story(call, second, number):
        return call.to("price", instance="price-2" if second >= 0 else "price-1")

    metrics = gauges(
        *(
            c
            for c in everybody("container_restarts", steady(2.0), stock=stepped(2.0, 3.0))
            if c[1]["service"] != "price"
        ),
        noise=0.0,
    )
    reading = read("restarts", look(**told(story), metrics=metrics))
    assert blamed(reading) == ["stock", "price"] and reading.findings[0].score > reading.findings[1].score
