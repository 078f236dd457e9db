"""Alerts of other systems, over HTTP: they join incidents or open them, once each, and are known to a diagnosis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("alerts")) as one:
        yield one


def managed(name: str, status: str = "firing", service: str = "checkout", **more: Any) -> dict[str, Any]:
    return {
        "status": status, "labels": {"alertname": name, "service": service, "severity": "critical"},
        "annotations": {"summary": f"{name} is bad"}, "startsAt": "2026-01-02T03:04:05.678Z",
        "endsAt": "2026-01-02T04:00:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph", "fingerprint": f"f-{name}-{service}", **more,
    }  # fmt: skip


def group(*alerts: dict[str, Any]) -> dict[str, Any]:
    """The whole body as Alertmanager 0.27 sends it."""
    return {
        "receiver": "aetia", "status": "firing", "alerts": list(alerts), "groupLabels": {"alertname": "x"},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager", "version": "4",
        "groupKey": '{}:{alertname="x"}', "truncatedAlerts": 0,
    }  # fmt: skip


def test_alertmanager_opens_one_incident_for_a_group_however_often_it_is_told(server: Served) -> None:
    body = group(managed("HighErrors"), managed("Slow"))
    first = server.post("/api/v1/alerts/alertmanager", body)
    assert first.status == 200, first.body
    assert first.json["taken"] == 2 and len(first.json["incidents"]) == 1
    assert server.post("/api/v1/alerts/alertmanager", body).json == first.json
    record = server.get(f"/api/v1/incidents/{first.json['incidents'][0]}").json
    held = record.get("incident", record)
    assert held["sources"] == ["alert"] and held["state"] == "open"
    assert {alert["name"] for alert in held["alerts"]} == {"HighErrors", "Slow"}


def test_an_alert_is_a_change_that_a_diagnosis_sees_once(server: Served) -> None:
    for _ in range(2):
        server.post("/api/v1/alerts/alertmanager", group(managed("DiskFull", service="ledger")))
    told = server.get("/api/v1/changes?start=2026-01-02T03:00:00Z&end=2026-01-02T04:00:00Z&service=ledger").json
    assert [(row["kind"], row["service"], row["description"]) for row in told["changes"]] == [
        ("alert", "ledger", "critical DiskFull: DiskFull is bad")
    ]


def test_the_incident_ends_when_its_alerts_are_resolved(server: Served) -> None:
    opened = server.post("/api/v1/alerts", {"name": "Down", "service": "search", "severity": "page"}).json
    incident = opened["incidents"][0]
    server.post("/api/v1/alerts", {"name": "Down", "service": "search", "status": "resolved"})
    record = server.get(f"/api/v1/incidents/{incident}").json
    held = record.get("incident", record)
    assert held["alerts"][0]["status"] == "resolved" and held["ended_ns"] <= time.time_ns()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"version": "3", "alerts": []}, "version 3"),
        ({"version": "4"}, "alerts"),
        (group(managed("x", startsAt="yesterday")), "startsAt"),
        (group(managed("x", startsAt="2999-01-01T00:00:00Z")), "startsAt"),
        (group(managed("x", status="burning")), "status"),
    ],
)
def test_what_is_no_alert_is_refused_with_the_place(server: Served, body: dict[str, Any], said: str) -> None:
    answer = server.post("/api/v1/alerts/alertmanager", body)
    assert answer.status == 400 and said in answer.json["error"]["message"]


def test_the_folder_keeps_them(tmp_path: Path) -> None:
    with served(tmp_path) as one:
        first = one.post("/api/v1/alerts", {"name": "Down", "service": "search"}).json
    with served(tmp_path) as again:
        assert again.post("/api/v1/alerts", {"name": "Down", "service": "search"}).json == first
