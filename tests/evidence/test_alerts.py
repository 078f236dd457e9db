"""Alerts beyond their usual rate, as symptoms of the service that they are about."""

from __future__ import annotations

from small_shop import blamed, changes, look, measured, read


def test_alerts_in_the_incident_name_their_service_as_a_symptom() -> None:
    view = look(changes=changes(("alert", "order", 20.0), ("alert", "order", 50.0), ("alert", "web", 60.0)))
    reading = read("alerts", view)
    assert blamed(reading) == ["order", "web"] and not any(finding.own for finding in reading.findings)
    assert reading.findings[0].claim.direction == "up"
    assert measured("alerts", view, reading.findings[0]) == {"baseline": 0.0, "incident": 2, "unit": "alerts"}


def test_the_earlier_of_two_alerts_weighs_more() -> None:
    view = look(changes=changes(("alert", "web", 90.0), ("alert", "order", 5.0)))
    assert blamed(read("alerts", view)) == ["order", "web"]


def test_alerts_that_go_off_all_the_time_are_no_evidence() -> None:
    noisy = [("alert", "cart", float(s)) for s in range(-230, 120, 20)]
    assert read("alerts", look(changes=changes(*noisy))).silent == "no more alerts than usual"


def test_a_deploy_is_no_alert() -> None:
    assert read("alerts", look(changes=changes(("deploy", "cart", 10.0)))).silent == "no alerts in the changes table"
