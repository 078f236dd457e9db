"""The tools about incidents, and the commands for them, on an incident that a real server has diagnosed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mcp_client import call, problem, walk
from test_incident_questions import Diagnosed, diagnosed

from aetia.cli.main import main
from aetia.serve.mcp.values import MOST_BYTES, size

__all__ = ["diagnosed"]


def test_incidents_are_listed_and_read(diagnosed: Diagnosed) -> None:
    found = call(diagnosed.one.url, "incidents", {"state": ["closed"]})
    assert [row["id"] for row in found["rows"]] == [diagnosed.id] and found["total"] == 1
    assert diagnosed.id in found["summary"] and diagnosed.root in found["summary"]
    happened = walk(diagnosed.one.url, "incidents", {"view": "events", "incident_id": diagnosed.id, "limit": 2})
    assert happened[0]["what"] == "opened" and "diagnosed" in {row["what"] for row in happened}
    one = call(diagnosed.one.url, "incidents", {"view": "one", "incident_id": diagnosed.id})
    assert one["incident"]["title"] == "users complain" and one["incident"]["window"]["start"].endswith("Z")


def test_a_diagnosis_names_the_cause_and_what_it_stands_on(diagnosed: Diagnosed) -> None:
    url, about = diagnosed.one.url, {"incident_id": diagnosed.id}
    found = call(url, "diagnosis", about)
    assert found["roots"][0].startswith(diagnosed.root) and found["rows"][0]["rank"] == 1
    assert found["summary"].startswith("Root cause: ") and diagnosed.root in found["summary"]
    facts = walk(url, "diagnosis", {**about, "view": "evidence", "limit": 5})
    assert len(facts) == found["evidence"] == len({row["id"] for row in facts})
    assert set(found["rows"][0]["evidence"]) <= {row["id"] for row in facts}
    some = call(url, "diagnosis", {**about, "view": "evidence", "about": facts[0]["about"]})
    assert {row["about"] for row in some["rows"]} == {facts[0]["about"]}
    wrong = problem(url, "diagnosis", {**about, "view": "evidence", "about": facts[0]["about"] + "x"})
    assert wrong["kind"] == "not_found" and facts[0]["about"] in wrong["try"]
    steps = walk(url, "diagnosis", {**about, "view": "steps"})
    assert len(steps) == diagnosed.one.get(diagnosed.path("/journal")).json["total"]
    assert len(call(url, "diagnosis", {**about, "view": "revisions"})["rows"]) >= 1
    told = walk(url, "diagnosis", {**about, "view": "postmortem"})
    assert (
        "ostmortem" in told[0]["text"] and size(call(url, "diagnosis", {**about, "view": "postmortem"})) <= MOST_BYTES
    )


def test_evidence_is_measured_again(diagnosed: Diagnosed) -> None:
    url, about = diagnosed.one.url, {"incident_id": diagnosed.id}
    found = call(url, "recheck_evidence", about)
    assert found["checked"] == found["hold"] == found["total"] > 0 and "still hold" in found["summary"]
    one = found["rows"][0]["id"]
    assert [row["id"] for row in call(url, "recheck_evidence", {**about, "evidence_id": one})["rows"]] == [one]
    assert "nothing" in problem(url, "recheck_evidence", {**about, "evidence_id": "nothing"})["message"]


def test_the_tools_of_the_investigation_are_one_call_away(diagnosed: Diagnosed) -> None:
    url, about = diagnosed.one.url, {"incident_id": diagnosed.id}
    found = call(url, "investigate", {**about, "tool": "overview"})
    assert found["rows"] and found["evidence"]["id"] in found["summary"]
    wrong = problem(url, "investigate", {**about, "tool": "hop", "args": {"component": diagnosed.root + "x"}})
    assert diagnosed.root in wrong["try"] or wrong["kind"] in ("unanswerable", "not_found")
    assert "overview" in problem(url, "investigate", {**about, "tool": "crystal_ball"})["try"]


def test_an_incident_that_is_not_there_gets_the_nearest(diagnosed: Diagnosed) -> None:
    for tool, args in (("diagnosis", {}), ("incidents", {"view": "one"}), ("recheck_evidence", {})):
        found = problem(diagnosed.one.url, tool, {**args, "incident_id": diagnosed.id[:-1]})
        assert found["kind"] == "not_found" and found["try"] == f"incident_id={diagnosed.id}"


def test_incidents_are_listed_by_the_command(diagnosed: Diagnosed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["incidents", "--url", diagnosed.one.url, "--state", "closed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith(diagnosed.id) and diagnosed.root in lines[1]
    assert main(["incidents", "--data", str(diagnosed.one.state.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 1
    assert main(["incidents", "--url", diagnosed.one.url, "--state", "open", "--service", "nobody"]) == 0
    assert capsys.readouterr().out == "no incidents\n"


def test_one_incident_is_shown_by_the_command(
    diagnosed: Diagnosed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data", str(diagnosed.one.state.folder)]
    assert main(["incident", diagnosed.id, *where]) == 0
    assert diagnosed.root in capsys.readouterr().out
    assert main(["incident", diagnosed.id, *where, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["hypotheses"]
    assert main(["incident", diagnosed.id, *where, "--postmortem", "-o", str(tmp_path / "a.md")]) == 0
    assert (tmp_path / "a.md").read_text("utf-8").startswith("# Postmortem")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["incident", "i-20200101-000000-0000"], "no incident is called"),
        (["incidents", "--limit", "0"], "limit"),
        (["incidents", "--data", "/nowhere"], "not both"),
    ],
)
def test_what_the_server_refuses_is_one_sentence(
    diagnosed: Diagnosed, args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*args, "--url", diagnosed.one.url]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.startswith("aetia: ") and len(captured.err.splitlines()) == 1


def test_where_no_server_answers_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["incidents", "--url", "http://127.0.0.1:9"]) != 0
    assert "no server answers at http://127.0.0.1:9" in capsys.readouterr().err
    assert main(["incidents", "--data", str(tmp_path)]) != 0
    assert "no server owns" in capsys.readouterr().err
