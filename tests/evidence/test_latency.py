"""Own time is blamed where it is spent, not where it is waited for."""

from __future__ import annotations

import pytest
from small_shop import (
    CONTAMINATED_S,
    blamed,
    call_graph,
    everybody,
    from_onset,
    gauges,
    look,
    measured,
    read,
    steady,
    stepped,
    told,
)

SLOW = {"stock": 80.0, "order": 60.0, "price": 40.0, "cart": 50.0}


@pytest.mark.parametrize("culprit", SLOW)
def test_the_service_that_takes_longer_itself_is_blamed_and_nobody_above_it(culprit: str) -> None:
    view = look(**told(from_onset(lambda call: call.to(culprit, own=SLOW[culprit]))))
    (finding,) = read("latency", view).findings
    assert finding.entity.service == culprit and finding.score > 0.5 and finding.own
    assert (finding.fault_class, finding.claim.direction, finding.claim.unit) == ("D", "up", "ms")


def test_the_measurement_gives_the_medians_that_the_claim_speaks_of() -> None:
    view = look(**told(from_onset(lambda call: call.to("stock", own=80.0))))
    (finding,) = read("latency", view).findings
    numbers = measured("latency", view, finding)
    assert numbers["incident"] == pytest.approx(80.0, rel=0.05) and numbers["baseline"] == pytest.approx(5.0, rel=0.1)
    assert finding.claim.magnitude == pytest.approx(numbers["incident"] - numbers["baseline"], abs=1e-3)
    assert numbers["baseline_calls"] > 150 and numbers["incident_calls"] > 60


def test_one_slow_operation_of_several_is_named() -> None:
    def story(call, second, number):
        if number % 2:
            call = call.to("stock", name="Count")
        return call.to("stock", own=90.0) if second >= 0 and number % 2 == 0 else call

    (finding,) = read("latency", look(**told(story, per_second=2.0))).findings
    assert (finding.entity.level, finding.entity.operation, finding.entity.service) == ("operation", "Reserve", "stock")


def test_a_slow_link_or_external_is_not_own_time() -> None:
    for slow in (lambda call: call.to("price", gap=60.0), lambda call: call.to("vault", own=80.0)):
        assert read("latency", look(**told(from_onset(slow)))).findings == ()


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    early = look(**told(from_onset(lambda call: call.to("stock", own=80.0), since=-CONTAMINATED_S)))
    reading = read("latency", early)
    assert blamed(reading)[0] == "stock" and reading.findings[0].score > 0.4
    assert reading.findings[0].claim.direction == "up"


def test_a_faster_service_is_no_suspect() -> None:
    view = look(**told(from_onset(lambda call: call.to("stock", own=0.5))))
    assert "stock" not in blamed(read("latency", view))


def test_a_millisecond_that_nobody_notices_is_no_evidence_to_speak_of() -> None:
    view = look(**told(from_onset(lambda call: call.to("price", own=call.calls[1].calls[1].own + 0.8)), per_second=3.0))
    assert all(finding.score < 0.3 for finding in read("latency", view).findings)


def climbing(**levels: float):
    """Latency metrics of all services that rise by these ms at the onset."""
    for service, rise in levels.items():
        yield "request_duration_ms", {"service": service}, stepped(20.0, 20.0 + rise)


def test_without_spans_the_rise_of_callees_is_taken_off_their_callers() -> None:
    metrics = gauges(*climbing(web=60.0, order=60.0, stock=60.0, cart=0.0, price=0.0))
    reading = read("latency", look(metrics=metrics, topology=call_graph()))
    assert blamed(reading) == ["stock"] and reading.findings[0].own


def test_without_a_call_graph_latency_metrics_are_symptoms() -> None:
    metrics = gauges(*climbing(web=60.0, stock=60.0, cart=0.0))
    reading = read("latency", look(metrics=metrics))
    assert sorted(blamed(reading)) == ["stock", "web"] and not any(finding.own for finding in reading.findings)


def test_latency_metrics_that_stay_are_silent() -> None:
    metrics = gauges(*everybody("request_duration_ms", steady(20.0)))
    assert read("latency", look(metrics=metrics, topology=call_graph())).silent == "no operation takes longer by itself"
