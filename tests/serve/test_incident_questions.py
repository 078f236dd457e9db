"""What can be asked about an incident: its diagnosis in every form, evidence, journal, postmortem, live steps."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from served import Served, served, until

from aetia.ingest.otlp_encode import to_request
from aetia.ingest.reader import Loaded
from aetia.lab.stream import PATHS


@dataclass(frozen=True)
class Diagnosed:
    one: Served
    id: str
    root: str

    def path(self, rest: str = "") -> str:
        return f"/api/v1/incidents/{self.id}{rest}"


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory, small_incident: Loaded) -> Iterator[Diagnosed]:
    """An incident of the simulator, received over HTTP as if it had just ended, opened by hand and diagnosed."""
    case, telemetry = small_incident.case, small_incident.telemetry
    assert case.incident is not None and case.truth is not None
    shift = time.time_ns() - case.incident.end_ns - 20 * 10**9
    with served(tmp_path_factory.mktemp("diagnosed") / "data", {"diagnosis": {"enabled": True}}) as one:
        for signal, path in PATHS.items():
            table = telemetry.table(signal)
            for first in range(0, table.num_rows, 50_000):
                body = to_request(signal, table.slice(first, 50_000), shift)
                assert one.send(path, body).status == 200
        window = {"start": str(case.incident.start_ns + shift), "end": str(case.incident.end_ns + shift)}
        made = one.post("/api/v1/incidents", {"title": "users complain", **window}).json
        path = f"/api/v1/incidents/{made['id']}/revisions"
        said = until(lambda: one.get(path).json["revisions"], 60)
        assert not said[0]["failed"], said
        yield Diagnosed(one, made["id"], case.truth[0].service or "")


def test_the_diagnosis_names_the_cause_in_every_form(diagnosed: Diagnosed) -> None:
    one = diagnosed.one
    found = one.get(diagnosed.path("/diagnosis"))
    assert found.headers["content-type"] == "application/json" and found.json["hypotheses"]
    root = found.json["hypotheses"][0]["entity"]["name"]
    assert root.startswith(diagnosed.root)
    for form, kind in (("text", "text/plain"), ("markdown", "text/markdown"), ("html", "text/html")):
        page = one.get(diagnosed.path(f"/diagnosis?format={form}"))
        assert page.status == 200 and page.headers["content-type"].startswith(kind) and root in page.body.decode()
    policy = page.headers["content-security-policy"]
    assert "sandbox" in policy and "default-src 'none'" in policy and page.headers["x-frame-options"] == "SAMEORIGIN"
    record = one.get(diagnosed.path()).json
    assert record["diagnosis"] is not None and record["state"] == "closed"
    assert one.get(diagnosed.path("/exhibits")).json


def test_evidence_is_checked_again_one_piece_or_all(diagnosed: Diagnosed) -> None:
    one = diagnosed.one
    found = one.post(diagnosed.path("/recheck"), {}).json
    assert found["checked"] == found["hold"] > 0
    key = found["evidence"][0]["id"]
    single = one.post(diagnosed.path("/recheck"), {"evidence_id": key}).json
    assert [row["id"] for row in single["evidence"]] == [key]
    assert one.post(diagnosed.path("/recheck"), {"evidence_id": "nothing"}).status in (400, 404, 503)


def test_the_journal_is_read_in_pages_and_followed_live(diagnosed: Diagnosed) -> None:
    one = diagnosed.one
    whole = one.get(diagnosed.path("/journal")).json
    assert whole["total"] == len(whole["events"]) > 2 and not whole["truncated"]
    first = one.get(diagnosed.path("/journal?limit=2")).json
    rest = one.get(diagnosed.path(f"/journal?after={first['cursor']}")).json
    assert first["events"] + rest["events"] == whole["events"] and first["truncated"]
    steps = followed(diagnosed, whole["total"])
    assert [step["data"] for step in steps] == whole["events"]
    assert [step["id"] for step in steps] == [f"{whole['revision']}.{n}" for n in range(whole["total"])]
    later = followed(diagnosed, 1, f"{whole['revision']}.{whole['total'] - 2}")
    assert later[0]["data"] == whole["events"][-1]


def followed(diagnosed: Diagnosed, count: int, last: str = "") -> list[dict[str, Any]]:
    """So many events of the stream."""
    one, found = diagnosed.one, []
    line = http.client.HTTPConnection(one.host, one.port, timeout=20)
    line.request("GET", diagnosed.path("/stream"), headers={"last-event-id": last} if last else {})
    answer = line.getresponse()
    event: dict[str, Any] = {}
    while len(found) < count:
        name, _, value = answer.readline().decode().rstrip("\n").partition(": ")
        if name == "data":
            event["data"] = json.loads(value)
        elif name in ("id", "event"):
            event[name] = value
        elif not name and event:
            found.append(event)
            event = {}
    answer.close()
    line.close()
    return found


def test_the_postmortem_is_written_from_the_journal(diagnosed: Diagnosed) -> None:
    for form, kind in (("markdown", "text/markdown"), ("text", "text/plain"), ("html", "text/html")):
        page = diagnosed.one.get(diagnosed.path(f"/postmortem?format={form}"))
        assert page.status == 200 and page.headers["content-type"].startswith(kind) and len(page.body) > 500


def test_a_person_steers_and_asks(diagnosed: Diagnosed) -> None:
    one = diagnosed.one
    answer = one.post(diagnosed.path("/ask"), {"tool": "overview"})
    assert answer.status == 200 and answer.json
    assert one.post(diagnosed.path("/steer"), {"wish": "exclude"}).status == 400
    assert one.post(diagnosed.path("/steer"), {"wish": "sing", "entity": "a"}).status == 400
    unknown = one.post(diagnosed.path("/steer"), {"wish": "exclude", "entity": f"{diagnosed.root}x"})
    assert unknown.status == 400 and diagnosed.root in unknown.json["error"]["try"]


def test_a_wish_is_listed_and_taken_back(diagnosed: Diagnosed) -> None:
    one = diagnosed.one
    before = len(one.get(diagnosed.path("/revisions")).json["revisions"])
    steered = one.post(diagnosed.path("/steer"), {"wish": "exclude", "entity": diagnosed.root})
    assert steered.status == 200 and steered.json["done"]
    (wish,) = one.get(diagnosed.path("/wishes")).json["wishes"]
    assert (wish["wish"], wish["entity"]) == ("exclude", diagnosed.root) and wish["by"]
    assert one.ask("DELETE", diagnosed.path("/wishes/99")).status == 404
    taken = one.ask("DELETE", diagnosed.path(f"/wishes/{wish['number']}"))
    assert taken.status == 200 and "taken back" in taken.json["done"]
    assert one.get(diagnosed.path("/wishes")).json["wishes"] == []
    found = until(lambda: (r := one.get(diagnosed.path("/revisions")).json["revisions"])[before + 1 :] and r, 60)
    assert "steered" in found[before]["why"] and "taken back" in found[before + 1]["why"]
    assert not any(event["type"] == "steered" for event in one.get(diagnosed.path("/journal")).json["events"])


def test_the_course_of_the_fault_is_in_order_of_time(diagnosed: Diagnosed) -> None:
    steps = diagnosed.one.get(diagnosed.path("/course")).json["steps"]
    assert steps[0]["kind"] == "root" and steps[0]["service"] == diagnosed.root and steps[-1]["kind"] == "hurt"
    assert [step["at_ns"] for step in steps] == sorted(step["at_ns"] for step in steps)
    record = diagnosed.one.get(diagnosed.path()).json
    assert diagnosed.root in record["diagnosis"]["causes"]
    assert record["diagnosis"]["hurt"] == list(dict.fromkeys(s["service"] for s in steps if s["kind"] == "hurt"))


@pytest.mark.parametrize(
    "rest", ["", "/diagnosis", "/journal", "/stream", "/postmortem", "/exhibits", "/revisions", "/course", "/wishes"]
)
def test_an_incident_that_is_not_there_is_not_found(diagnosed: Diagnosed, rest: str) -> None:
    for name in ("i-20200101-000000-0000", "..", "%2e%2e%2fother"):
        answer = diagnosed.one.get(f"/api/v1/incidents/{name}{rest}")
        assert answer.status == 404, (name, answer.body)
