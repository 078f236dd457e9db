"""`aetia diagnose --policy learned` and its replay from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aetia.cli.main import main
from aetia.contracts.policies import small_scorer
from aetia.ingest.case import write_case
from aetia.ingest.reader import Loaded
from aetia.model.case import Case
from aetia.reason.journals import opened, read_journal
from aetia.reason.observations import NAMES
from aetia.reason.scorers import linear, save


@pytest.fixture(scope="module")
def incident(small_incident: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("telemetry") / "incident"
    write_case(folder, Case(id="incident"), small_incident.telemetry)
    return folder


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AETIA_POLICY_FILE", raising=False)


def test_a_file_or_the_environment_names_the_weights_and_a_replay_is_the_same(
    incident: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scorer, journals = tmp_path / "scorer.json", [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    digest = save(scorer, small_scorer())
    command = ["diagnose", str(incident), "--policy", "learned", "--quiet"]
    assert main([*command, "--policy-file", str(scorer), "--journal", str(journals[0])]) == 0
    monkeypatch.setenv("AETIA_POLICY_FILE", str(scorer))
    assert main([*command, "--journal", str(journals[1])]) == 0
    monkeypatch.delenv("AETIA_POLICY_FILE")
    for journal in journals:
        assert opened(read_journal(journal)).options["sha256"] == digest
        assert main(["replay", str(journal), "--quiet"]) == 0
    save(scorer, linear(np.ones(len(NAMES))))
    capsys.readouterr()
    assert main(["replay", str(journals[0]), "--quiet"]) == 2
    assert "is not the scorer that is meant" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--policy", "learned"], "needs a scorer; give its file with --policy-file or in AETIA_POLICY_FILE"),
        (["--policy", "learned", "--policy-file", "nowhere.json"], "nowhere.json cannot be read"),
        (["--policy", "rules", "--policy-file", "s.json"], "rules is not one of them"),
        (["--policy-file", "s.json"], "rules is not one of them"),
        (["--policy", "none", "--policy-file", "s.json"], "--policy-file needs --policy learned"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence_before_anything_is_read(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(tmp_path / "never-read"), *options, "--quiet"]) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.out == "" and len(captured.err.splitlines()) == 1


def test_a_replay_says_why_it_proves_nothing(
    incident: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "rules.jsonl"
    assert main(["diagnose", str(incident), "--policy", "rules", "--quiet", "--journal", str(journal)]) == 0
    lines = journal.read_text("utf-8").splitlines(keepends=True)
    closed = lines[-1].replace('"probability":0.', '"probability":0.0')
    capsys.readouterr()
    for kept, words in (([*lines[:-1]], "cut off before its end"), ([*lines[:-1], closed], "another diagnosis")):
        journal.write_text("".join(kept))
        assert main(["replay", str(journal), "--quiet"]) == 1
        assert words in capsys.readouterr().err
