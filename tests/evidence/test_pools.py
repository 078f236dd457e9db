"""The channel of connection and worker pools that fill up: where it is counted, and nowhere else."""

from __future__ import annotations

from small_shop import CONTAMINATED_S, blamed, everybody, gauges, look, measured, read, steady, stepped

METRIC, LEVEL = "db_connections_active", 5.0


def test_the_service_where_it_rises_is_blamed() -> None:
    view = look(metrics=gauges(*everybody(METRIC, steady(LEVEL), order=stepped(LEVEL, 6 * LEVEL))))
    (finding,) = read("pools", view).findings
    assert finding.entity.service == "order" and finding.own and finding.score > 0.3
    assert (finding.fault_class, finding.fault, finding.claim.direction) == ("B", "pool_exhaustion", "up")
    numbers = measured("pools", view, finding)
    assert 4.0 < numbers["incident"] / numbers["baseline"] < 8.0
    assert finding.claim.magnitude > 4.0


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    early = gauges(*everybody(METRIC, steady(LEVEL), order=stepped(LEVEL, 6 * LEVEL, at=-CONTAMINATED_S)))
    assert blamed(read("pools", look(metrics=early))) == ["order"]


def test_what_falls_or_stays_is_no_evidence() -> None:
    for after in (LEVEL, LEVEL / 8):
        view = look(metrics=gauges(*everybody(METRIC, steady(LEVEL), order=stepped(LEVEL, after))))
        reading = read("pools", view)
        assert reading.findings == () and reading.silent


def test_other_resources_are_left_to_other_channels() -> None:
    view = look(metrics=gauges(*everybody("container_cpu_usage_percent", steady(10.0), order=stepped(10.0, 90.0))))
    assert read("pools", view).findings == ()


def test_without_metrics_it_says_so() -> None:
    assert read("pools", look()).silent == "no metrics"


def test_idle_connections_that_run_out_count_as_well() -> None:
    view = look(metrics=gauges(*everybody("hikaricp_connections_idle", steady(20.0), order=stepped(20.0, 0.5))))
    assert blamed(read("pools", view)) == ["order"]
