"""`aetia ask`: nothing is asked uninvited, and every sentence cites evidence that exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import server
from scenes import ROOT, Scene
from server import Request, Scripted, Turn

from aetia.cli.main import main
from aetia.ingest.case import write_case
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.reason.answering import Answering, evidence_of
from aetia.reason.journals import closed, opened, read_journal
from aetia.reason.models.openai import OpenAIModel
from aetia.reason.policies.llm import Llm


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ask") / "case"
    write_case(folder, *next(generate(1, [make_system(8, 3)], 5, faults=["latency"], two_roots=0.0)))
    return folder


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AETIA_MODEL_URL", "AETIA_MODEL", "AETIA_MODEL_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_model_it_says_how_to_configure_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "why?", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert "--model-url" in said and "AETIA_MODEL_URL" in said and len(said.splitlines()) == 1


def test_a_question_that_asks_nothing_costs_no_turn(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Scripted(server.engineer) as scripted:
        for blank in ("", " \n"):
            assert main(["ask", blank, str(case), "--model-url", scripted.url, "--model", "m"]) == 2
        assert scripted.requests == []
    assert "what do you want to know?" in capsys.readouterr().err


def test_bytes_of_a_question_that_are_no_text_do_not_end_it(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Scripted(server.engineer) as scripted:
        assert main(["ask", "why \udce9?", str(case), "--model-url", scripted.url, "--model", "m", "--quiet"]) == 0
    assert "[1]" in capsys.readouterr().out


def test_the_answer_cites_evidence(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Scripted(server.engineer) as scripted:
        code = main(["ask", "why is it slow?", str(case), "--model-url", scripted.url, "--model", "m", "--quiet"])
        assert scripted.requests[-1]["response_format"]["json_schema"]["name"] == "answer"
    said = capsys.readouterr().out
    sentences, _, cited = said.partition("\n\n")
    assert code == 0 and all(re.search(r"\[\d+\]$", line) for line in sentences.splitlines())
    assert re.findall(r"^\[(\d+)\] E[0-9a-f]{16}  \S", cited, re.M)


def test_pseudonyms_keep_names_at_home(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {item.name for item in make_system(8, 3).services}
    with Scripted(server.engineer) as scripted:
        arguments = ["--model-url", scripted.url, "--model", "m", "--quiet", "--pseudonyms"]
        assert main(["ask", "why is it slow?", str(case), *arguments]) == 0
        shown = [m["content"] for request in scripted.requests for m in request["messages"] if m["role"] in "user tool"]
    said = capsys.readouterr().out
    assert len(shown) > 5 and any(name in said for name in names)
    values = " ".join(value for text in shown for value in strings_of(json.loads(text)))
    assert not [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", values)]


def strings_of(value: object) -> list[str]:
    """The texts in a document; its keys are ours."""
    if isinstance(value, dict | list):
        return [text for item in (value.values() if isinstance(value, dict) else value) for text in strings_of(item)]
    return [value] if isinstance(value, str) else []


def invents(request: Request, number: int) -> Turn:
    if server.asked_for(request) != "answer":
        return server.engineer(request, number)
    real = server.seen(request)[0]["evidence"]
    said = [
        {"text": "The moon did it.", "evidence": ["E0000000000000000"]},
        {"text": "It was full.", "evidence": []},
        {"text": "Something is slow.", "evidence": [real]},
    ]
    return Turn(json.dumps({"sentences": said}))


def test_sentences_without_evidence_are_left_out(scene: Scene) -> None:
    with Scripted(invents) as scripted:
        question = f"why did {ROOT} fail?"
        scene.investigate(OpenAIModel(scripted.url, "m"), policy=Answering(Llm()), question=question)
    assert [item.text for item in scene.closed.answer] == ["Something is slow."]
    held = evidence_of(scene.events)
    assert all(key in held for item in scene.closed.answer for key in item.evidence) and "RF-01" in scene.warned


def test_a_question_is_in_its_journal_and_a_replay_answers_it_again(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "asked.jsonl"
    with Scripted(server.engineer) as scripted:
        arguments = ["--model-url", scripted.url, "--model", "m", "--quiet", "--journal", str(journal)]
        assert main(["ask", "why is it slow?", str(case), *arguments]) == 0
        answered, turns = capsys.readouterr().out, len(scripted.requests)
        assert main(["ask", "why is it slow?", str(case), *arguments]) == 2, "a journal is never overwritten"
        assert len(scripted.requests) == turns and "never overwritten" in capsys.readouterr().err
    events = read_journal(journal)
    end = closed(events)
    assert opened(events).question == "why is it slow?" and opened(events).policy == "llm"
    assert end is not None and end.answer and all(item.evidence for item in end.answer)
    assert main(["replay", str(journal)]) == 0
    assert capsys.readouterr().out == answered
    assert main(["incident", str(journal), "--postmortem"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "why is it slow?" in told and all(key in told for item in end.answer for key in item.evidence)


def test_where_nothing_can_be_investigated_no_journal_is_left(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "asked.jsonl"
    with Scripted(server.engineer) as scripted:
        model = ["--model-url", scripted.url, "--model", "m"]
        assert main(["ask", "why?", str(case), "--baseline", "start..+2s", *model, "--journal", str(journal)]) == 1
        assert scripted.requests == [] and not journal.exists()
    assert "was not written" in capsys.readouterr().err


@pytest.mark.parametrize("role", ["refusing", "malformed", "truncated", "limited"])
def test_a_bad_model_gives_no_answer(role: str, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Scripted(getattr(server, role)) as scripted:
        assert main(["ask", "why?", str(case), "--model-url", scripted.url, "--model", "m", "--quiet"]) == 1
    assert "The diagnosis says" in capsys.readouterr().out
