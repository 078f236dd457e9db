"""`aetia diagnose --policy llm` and `aetia ask` take the same options of the model; money and time are kept to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import server
from scenes import ROOT, SCAPEGOAT, Scene, doubtful, loaded
from server import Request, Scripted, Turn

from aetia.cli.main import main
from aetia.ingest.case import write_case
from aetia.model.journal import Answered, Asked, Closed, ModelAnswer, ModelCall, Price, Traced
from aetia.reason.journals import closed, opened, read_journal
from aetia.reason.models.openai import OpenAIModel

PRICES = ["--price-in", "2", "--price-out", "8"]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options") / "case"
    there = loaded()
    write_case(folder, there.case, there.telemetry)
    return folder


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "KEY", "PRICE_IN", "PRICE_OUT"):
        monkeypatch.delenv(f"AETIA_MODEL_{name}", raising=False)
    monkeypatch.delenv("AETIA_MODEL", raising=False)
    monkeypatch.setattr("aetia.reason._llm_brief.SURE", 1.1)  # the prior is right here: ask nevertheless


def diagnosed(case: Path, journal: Path, *more: str) -> Closed:
    assert main(["diagnose", str(case), "--policy", "llm", "--journal", str(journal), *more]) == 0
    end = closed(read_journal(journal))
    assert end is not None
    return end


def test_recorded_turns_give_the_same_diagnosis_without_a_model(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = str(tmp_path / "turns.jsonl")
    with Scripted(server.engineer) as scripted:
        model = ["--model-url", scripted.url, "--model", "m", "--pseudonyms"]
        first = diagnosed(case, tmp_path / "a.jsonl", *model, "--record", turns, *PRICES)
        shown = json.dumps(scripted.requests)
        assert scripted.requests and f'"{ROOT}"' not in shown and f'\\"{ROOT}\\"' not in shown
    said = capsys.readouterr()
    assert "turns of the model" in said.err and f"{first.cost:.4g} by the prices given" in said.err
    assert f"tokens for {first.cost:.4g}" in said.out
    assert first.cost == Price(per_million_in=2, per_million_out=8).of(first.tokens_in, first.tokens_out)
    again = diagnosed(case, tmp_path / "b.jsonl", "--recorded", turns, "--pseudonyms")
    assert again.tokens == first.tokens and again.cost is None
    assert again.diagnosis.hypotheses == first.diagnosis.hypotheses


def test_a_limit_in_money_is_kept_and_the_best_answer_is_given(case: Path, tmp_path: Path) -> None:
    with Scripted(server.engineer) as scripted:
        model = ["--model-url", scripted.url, "--model", "m", "--quiet"]
        free = diagnosed(case, tmp_path / "a.jsonl", *model, *PRICES)
        assert free.cost is not None
        for share in (0.6, 0.1):
            most = share * free.cost
            end = diagnosed(case, tmp_path / f"{share}.jsonl", *model, *PRICES, "--max-cost", str(most))
            assert end.cost is not None and end.cost <= most
            assert end.diagnosis.hypotheses[0].entity.service == ROOT
            assert main(["replay", str(tmp_path / f"{share}.jsonl")]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "llm", "--max-cost", "1", "--recorded", "x"], "--price-in and --price-out"),
        (["--policy", "llm", "--price-in", "1", "--recorded", "x"], "two prices"),
        (["--policy", "llm", "--price-in", "-1", "--price-out", "1"], "--price-in is what"),
        (["--policy", "llm", *PRICES, "--max-cost", "0", "--recorded", "x"], "above 0"),
        (["--policy", "llm", *PRICES, "--max-cost", "inf", "--recorded", "x"], "above 0"),
        (["--policy", "llm", "--deadline", "0", "--recorded", "x"], "above 0"),
        (["--policy", "rules", "--deadline", "inf"], "above 0"),
        (["--policy", "llm", "--recorded", "nowhere.jsonl"], "cannot be read"),
        (["--policy", "llm", "--recorded", "x", "--record", "y"], "--recorded asks no model"),
        (["--policy", "rules", "--record", "y"], "rules asks none"),
        (["--policy", "llm"], "none is called uninvited"),
        (["--pseudonyms"], "rules asks none"),
        (["--policy", "none", "--pseudonyms"], "need --policy"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", "nowhere", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_prices_come_from_the_environment_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from aetia.model.errors import UsageError
    from aetia.reason.models.configured import price

    assert price(None, None) is None
    monkeypatch.setenv("AETIA_MODEL_PRICE_IN", "0.25")
    monkeypatch.setenv("AETIA_MODEL_PRICE_OUT", "1.25")
    assert price(None, None) == Price(per_million_in=0.25, per_million_out=1.25)
    assert price(1.0, None) == Price(per_million_in=1.0, per_million_out=1.25)
    monkeypatch.setenv("AETIA_MODEL_PRICE_OUT", "cheap")
    with pytest.raises(UsageError, match="AETIA_MODEL_PRICE_OUT"):
        price(None, None)


# Time.


@pytest.mark.parametrize("latency_s", [0.3, 0.8, 1.5])
def test_with_a_slow_model_it_ends_in_time_with_the_best_answer(scene: Scene, latency_s: float) -> None:
    scene.prior = doubtful(scene.prior)
    with Scripted(server.engineer, latency_s=latency_s) as scripted:
        diagnosis = scene.investigate(OpenAIModel(scripted.url, "m"), deadline_s=4.0)
    assert scene.closed.outcome == "answered" and scene.closed.at_s <= 4.3
    assert diagnosis.hypotheses[0].entity.service == ROOT
    assert [event for event in scene.events if isinstance(event, Traced)], "the path was checked in time"


def test_a_hanging_turn_costs_the_next_ones_nothing(scene: Scene) -> None:
    """The synthesis hangs: the agents, which are fast, keep their own pace, and there is time left for the checks."""

    def hangs(request: Request, number: int) -> Turn:
        turn = server.engineer(request, number)
        return Turn("late", wait_s=30.0) if server.asked_for(request) == "ranking" else turn

    with Scripted(hangs, latency_s=0.02) as scripted:
        diagnosis = scene.investigate(OpenAIModel(scripted.url, "m"), deadline_s=6.0)
    given = {e.number: e.request for e in scene.events if isinstance(e, Asked) and isinstance(e.request, ModelCall)}
    late = [given[e.number].agent for e in scene.events
            if isinstance(e, Answered) and isinstance(e.answer, ModelAnswer) and e.answer.error is not None]  # fmt: skip
    assert late == ["synthesis"] and "model-timeout" in scene.warned
    assert scene.closed.at_s < 4.0 and diagnosis.hypotheses[0].entity.service == ROOT
    assert [event for event in scene.events if isinstance(event, Traced)]


# Structure.


@pytest.mark.parametrize("kind", ["examine", "blame", "ranking"])
def test_what_cannot_be_read_may_be_mended_once(scene: Scene, kind: str) -> None:
    """Whoever is told the form keeps to it; nobody is told twice."""

    def once(request: Request, number: int) -> Turn:
        told = any('"problem"' in m["content"] or '"form"' in m["content"] for m in request["messages"][2:])
        if server.asked_for(request) != kind or told:
            return server.engineer(request, number)
        return Turn("{not json")

    scene.prior = doubtful(scene.prior, SCAPEGOAT)
    with Scripted(once) as scripted:
        diagnosis = scene.investigate(OpenAIModel(scripted.url, "m"))
    assert diagnosis.hypotheses[0].entity.service == ROOT and diagnosis.hypotheses[0].verdict == "verified"
    assert "malformed-answer" in scene.warned and "no-verdict" not in scene.warned


@pytest.mark.parametrize("kind", ["examine", "blame", "ranking"])
def test_nobody_is_told_the_form_twice(scene: Scene, kind: str) -> None:
    asked: dict[str, int] = {}

    def never(request: Request, number: int) -> Turn:
        if server.asked_for(request) != kind:
            return server.engineer(request, number)
        first = request["messages"][1]["content"]
        asked[first] = asked.get(first, 0) + 1
        return Turn("{not json") if kind != "examine" else Turn(calls=[("finish", "{verdict")])

    with Scripted(never) as scripted:
        diagnosis = scene.investigate(OpenAIModel(scripted.url, "m"))
    assert asked and set(asked.values()) == {2}
    assert diagnosis.hypotheses[0].entity.service == ROOT


def test_what_an_agent_asked_serves_the_checks_as_well(scene: Scene) -> None:
    """A hop that a model looked at is not asked again for the path, and is not lost to it either."""

    def hops(request: Request, number: int) -> Turn:
        looked = any(message["role"] == "tool" for message in request["messages"])
        if server.asked_for(request) == "examine" and not looked and len(server.offered(request)) > 2:
            return Turn(calls=[("hop", json.dumps({"target": server.document(request)["component"]}))])
        return server.engineer(request, number)

    with Scripted(hops) as scripted:
        scene.investigate(OpenAIModel(scripted.url, "m"))
    errors = [e.answer.error for e in scene.events if isinstance(e, Answered) and e.answer.error is not None]  # type: ignore[union-attr]
    assert errors == []
    assert [event for event in scene.events if isinstance(event, Traced) and event.in_direction]


def test_the_first_event_says_what_a_replay_needs(case: Path, tmp_path: Path) -> None:
    with Scripted(server.engineer) as scripted:
        diagnosed(case, tmp_path / "a.jsonl", "--model-url", scripted.url, "--model", "m", "--deadline", "50", *PRICES)
    first = opened(read_journal(tmp_path / "a.jsonl"))
    assert first.paced and first.deadline_s == 50.0 and first.price == Price(per_million_in=2, per_million_out=8)
