"""`aetia incident` and `aetia memory` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aetia.cli.main import main


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.md", "# Postmortem"), ("a.html", "<!doctype html>"), ("a.txt", "Postmortem. Root cause: ")],
)
def test_a_postmortem_is_written_in_the_format_of_the_file(
    journal_file: Path, tmp_path: Path, name: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / name
    assert main(["incident", str(journal_file), "--postmortem", "-o", str(target)]) == 0
    captured = capsys.readouterr()
    assert target.read_text("utf-8").startswith(start)
    assert captured.out == "" and f"wrote {target}" in captured.err


def test_the_same_journal_gives_the_same_postmortem_and_its_diagnosis(
    journal_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    for _ in range(2):
        assert main(["incident", str(journal_file), "--postmortem", "--format", "text"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "What was ruled out, and why" in said[0]
    assert main(["incident", str(journal_file), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["hypotheses"]


def test_a_journal_that_was_cut_off_is_said_to_be(
    journal_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = journal_file.read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[:-1]))
    assert main(["incident", str(tmp_path / "cut.jsonl")]) == 0
    assert "ends before the investigation does" in capsys.readouterr().err
    assert main(["incident", str(tmp_path / "cut.jsonl"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_no_journal_and_a_postmortem_as_json_are_one_sentence(
    journal_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.jsonl").write_text("hello\n")
    for tokens in (
        ["incident", str(tmp_path / "no.jsonl"), "--postmortem"], ["incident", str(tmp_path / "none.jsonl")],
        ["incident", str(journal_file), "--postmortem", "--format", "json"],
    ):  # fmt: skip
        assert main(tokens) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("aetia: ") and len(captured.err.splitlines()) == 1


def test_an_incident_is_remembered_listed_shown_and_forgotten(
    journal_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--folder", str(tmp_path / "memory")]

    def said(*tokens: str) -> str:
        assert main(["memory", *tokens, *place]) == 0
        return capsys.readouterr().out

    assert "nothing is remembered" in said("list") and not (tmp_path / "memory").exists()
    id = said("remember", str(journal_file), "--system", "shop", "--confirmed-by", "Anna").split()[0]
    assert id in said("list") and "confirmed by Anna" in said("show", id[:6])
    (held,) = json.loads(said("list", "--json"))
    assert held["id"] == id and json.loads(said("show", id, "--json")) == held
    assert held["situation"]["system"] == "shop" and held["provenance"]["source"] == "person Anna"
    assert f"forgot {id}" in said("forget", id)
    assert json.loads(said("list", "--json")) == []


def test_a_damaged_memory_and_an_unknown_id_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--folder", str(tmp_path)]
    assert main(["memory", "show", "Mnone", *place]) == 2
    assert "no memory is 'Mnone'" in capsys.readouterr().err
    (tmp_path / "memory.db").write_text("hello " * 500)
    for tokens in (["list"], ["show", "M"], ["forget", "M"]):
        assert main(["memory", *tokens, *place]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and "move it away" in captured.err and len(captured.err.splitlines()) == 1
