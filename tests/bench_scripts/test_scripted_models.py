"""`bench/scripted_models.py`: roles over real HTTP on cases in doubt, one row each."""

# The scripts lie outside of the package; conftest.py makes them importable.
# pyright: reportMissingImports=false

from __future__ import annotations

from pathlib import Path

import pytest

import _hard_draw
import hard_suite
import scripted_models
from aetia.cli.replay import replay
from aetia.ingest.source import list_cases
from aetia.lab.scripted.roles import ROLES


def test_roles_are_measured_and_their_failures_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = ["engineer", "play_acting", "speculating", "obedient"]
    arguments = [str(tmp_path), "--cases", "1", "--repeats", "1", "--roles", ",".join(roles)]
    monkeypatch.setattr("sys.argv", ["scripted_models.py", *arguments])
    scripted_models.main()
    lines = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines()[2:]}
    assert list(lines) == roles and set(roles) <= set(ROLES)
    assert "RF-10 1.00" in lines["play_acting"] and "RF-11 1.00" in lines["speculating"]
    assert all(line.split(" | ")[3] == "0" for line in lines.values()), "nobody turned a right answer into a wrong one"
    kept = list((tmp_path / "journals").rglob("*.jsonl"))
    assert len(kept) == len(roles)
    assert all(replay(path, quiet=True, output=tmp_path / "again.json") == 0 for path in kept)


def test_a_hard_suite_tells_its_kinds_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {name: _hard_draw.KINDS[name] for name in ("two_faults", "late", "metrics_only")}
    monkeypatch.setattr(_hard_draw, "KINDS", kinds)
    count = hard_suite.write_suite(tmp_path / "hard", 1, 4301)
    _, _, cases = list_cases(str(tmp_path / "hard"))
    assert len(cases) == count and {case.group for case in cases} == set(kinds)
