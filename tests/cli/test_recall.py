"""Earlier incidents on the command line: read by default, left out on request, and what was done about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aetia.cli.main import main
from aetia.ingest.case import write_case
from aetia.ingest.reader import Loaded
from aetia.reason.memory import IncidentMemory


@pytest.fixture(scope="module")
def cases(small_incident: Loaded, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two incidents, as alike as they can be."""
    places = [tmp_path_factory.mktemp("recall") / name for name in ("here", "there")]
    for place in places:
        write_case(place, msgspec.structs.replace(small_incident.case, id=place.name), small_incident.telemetry)
    return places


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def diagnosed(capsys: pytest.CaptureFixture[str], *tokens: str) -> dict[str, Any]:
    assert main(["diagnose", *tokens, "--policy", "rules", "--quiet", "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_investigation_is_told_of_earlier_incidents_unless_it_must_not_be(
    cases: list[Path], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = (str(case) for case in cases)
    assert diagnosed(capsys, here, "--journal", str(tmp_path / "j.jsonl"))["precedents"] == []
    assert not home.exists()
    assert main(["memory", "remember", str(tmp_path / "j.jsonl"), "--system", "shop", "--confirmed-by", "Anna"]) == 0
    id = capsys.readouterr().out.split()[0]
    assert main(["memory", "fix", id, "restarted it", "--in-vain"]) == 0
    assert main(["memory", "fix", id[:6], "rolled back", "--by", "Anna"]) == 0
    assert "rolled back: helped" in capsys.readouterr().out
    assert [fix.worked for fix in IncidentMemory().get(id).fixes] == [False, True]
    (told,) = diagnosed(capsys, there, "--system", "shop")["precedents"]
    (less,) = diagnosed(capsys, there)["precedents"]
    assert told["id"] == id and told["likeness"] > 0.8 and told["weight"] > less["weight"]
    assert diagnosed(capsys, there, "--no-memory")["precedents"] == []
    assert diagnosed(capsys, here)["precedents"] == []
    assert main(["diagnose", there, "--policy", "rules", "--quiet"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Seen before" in said and f"aetia memory show {id}" in said and "“rolled back” helped" in said


def test_the_memory_is_for_investigations(cases: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(cases[0]), "--policy", "none", "--no-memory"]) == 2
    assert "need --policy" in capsys.readouterr().err


def test_a_damaged_memory_is_named_and_ends_nothing(
    cases: list[Path], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "aetia").mkdir(parents=True)
    (home / "aetia" / "memory.db").write_text("hello " * 500)
    found = diagnosed(capsys, str(cases[0]))
    assert found["hypotheses"] and any("memory.db is no memory of incidents" in item for item in found["missing"])
