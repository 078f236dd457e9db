"""The learned policy: it asks what its scorer finds best, is replayed with the same weights or not at all, and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from learning import Chooser, Looking, asking, found, prior, pursue, ruled, wandering

from aetia import api, contracts, plugins
from aetia.contracts.policies import small_scorer
from aetia.model.errors import PolicyError
from aetia.model.journal import Asked, Believed, Closed, Event, Opened, ToolAnswer, ToolCall
from aetia.reason.journals import JournalFile, read_journal
from aetia.reason.ledger import Ledger
from aetia.reason.observations import NAMES, Observation
from aetia.reason.policies.learned import Learned, choose
from aetia.reason.policies.rules import Rules
from aetia.reason.policy import Desk, Limits, Steps
from aetia.reason.replay import replay
from aetia.reason.scorers import linear, save
from aetia.reason.transitions import transitions
from aetia.reason.weighing import Weighing, believed


def asked(events: list[Event]) -> list[ToolCall]:
    return [e.request for e in events if isinstance(e, Asked) and isinstance(e.request, ToolCall)]


def closed(events: list[Event]) -> Closed:
    end = events[-1]
    assert isinstance(end, Closed)
    return end


def test_it_asks_what_the_scorer_finds_best_until_that_is_to_end() -> None:
    _, events = pursue(Learned(asking("metrics", "complaints")))
    assert [call.tool for call in asked(events)[:2]] == ["metric_anomalies", "hop"]
    assert asked(events)[1].args == {} and closed(events).outcome == "answered"


def test_it_can_abstain() -> None:
    diagnosis, events = pursue(Learned(asking("hop", end="abstain")))
    assert diagnosis.abstained is not None and "candidates" in diagnosis.abstained
    assert closed(events).outcome == "abstained" and len(asked(events)) == 1


def test_it_ends_even_if_it_never_wants_to() -> None:
    def never(observation: Observation) -> np.ndarray:
        return -np.arange(len(observation.actions), dtype=float)

    _, events = pursue(Learned(Chooser(never)), limits=Limits(max_calls=9))
    assert closed(events).outcome == "out of budget" and len(asked(events)) <= 10
    _, events = pursue(Learned(Chooser(never)), limits=Limits(max_calls=100_000, deadline_s=1e9))
    assert closed(events).outcome == "answered"
    assert len({(call.tool, str(call.args)) for call in asked(events)}) == len(asked(events))


def test_what_it_asked_moves_beliefs_as_the_rules_would_move_them() -> None:
    for policy in (Rules(), Learned(wandering())):
        seen: list[tuple[Desk, list[Believed]]] = []

        def steps(desk: Desk, policy: Any = policy, seen: Any = seen) -> Steps:
            yield from policy.steps(desk)
            ledger, moves = believed(desk)
            seen.append((desk, moves))
            for name, entry in ledger.entries.items():
                if isinstance(policy, Rules):
                    assert desk.ledger.entries[name].belief == pytest.approx(entry.belief, abs=1e-9)

        pursue(Looking(steps))
        assert seen
    _, events = pursue(Learned(wandering()))
    assert any(isinstance(event, Believed) and event.before != event.after for event in events)


def test_answers_to_the_questions_of_rules_give_the_beliefs_of_rules() -> None:
    """One by one and in any order: beliefs follow what is known and not who asked when."""
    pairs: list[tuple[ToolCall, ToolAnswer]] = []
    then: dict[str, float] = {}

    def record(desk: Desk) -> Steps:
        yield from Rules().steps(desk)
        pairs.extend(desk.answered)
        then.update({name: entry.belief for name, entry in desk.ledger.entries.items()})

    pursue(Looking(record))
    for order in (pairs, pairs[::-1]):
        desk = Desk(prior=prior(), limits=Limits(), seed=0, ledger=Ledger(lambda event: None), note=lambda event: None,
                    evidence={item.id: item for item in prior().evidence})  # fmt: skip
        for item in prior().hypotheses:
            desk.ledger.propose(item.entity.name, item.entity, item.probability or 0.0, item)
        weighing = Weighing(desk)
        for call, answer in order:
            desk.answered.append((call, answer))
            if answer.evidence is not None:
                desk.evidence.setdefault(answer.evidence.id, answer.evidence)
            weighing.take(call, answer)
        weighed = {name: desk.ledger.entries[name].belief for name in then}
        assert weighed == pytest.approx(then, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_replay_is_the_same_bit_by_bit(temperature: float, tmp_path: Path) -> None:
    save(tmp_path / "scorer.json", small_scorer())
    policy = Learned(file=tmp_path / "scorer.json", temperature=temperature)
    with JournalFile(tmp_path / "j.jsonl") as journal:
        diagnosis, events = pursue(policy, seed=11)
        for event in events:
            journal.write(event)
    again: list[Event] = []
    read = read_journal(tmp_path / "j.jsonl")
    assert msgspec.json.encode(replay(read, tell=again.append, checks=())) == msgspec.json.encode(diagnosis)
    assert msgspec.json.encode(again) == msgspec.json.encode(read)


def test_the_journal_names_the_weights_and_a_replay_with_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scorer.json"
    digest = save(path, small_scorer())
    _, events = pursue(Learned(file=path))
    first = events[0]
    assert isinstance(first, Opened)
    assert first.options == {"file": str(path), "sha256": digest, "temperature": 0.0}
    moved = path.rename(tmp_path / "elsewhere.json")
    with pytest.raises(PolicyError, match="cannot be read"):
        replay(events, checks=())
    monkeypatch.setenv("AETIA_POLICY_FILE", str(moved))
    replay(events, checks=())
    save(moved, linear(np.ones(len(NAMES))))
    with pytest.raises(PolicyError, match=r"is not the scorer that is meant: its SHA-256 begins with \w+"):
        replay(events, checks=())


def test_a_temperature_draws_by_the_seed() -> None:
    def scorer() -> Chooser:
        return Chooser(lambda observation: np.zeros(len(observation.actions)))

    runs = [asked(pursue(Learned(scorer(), temperature=1.0), seed=seed, limits=Limits(max_calls=6))[1])
            for seed in (1, 1, 2, -3)]  # fmt: skip
    assert runs[0] == runs[1] != runs[2] and runs[3]


def test_draws_follow_the_softmax_of_the_scores() -> None:
    (step, *_) = transitions(ruled())
    wide = len(step.observation.actions)
    scores = np.full(wide, -50.0)
    scores[:2] = (1.0, 0.0)
    chooser = Chooser(lambda observation: scores)
    drawn = np.array([choose(chooser, step.observation, 2.0, 7, at) for at in range(3000)])
    assert abs((drawn == 0).mean() - 1 / (1 + np.exp(-0.5))) < 0.03


def test_among_equals_the_first_is_taken_and_the_last_bits_do_not_matter() -> None:
    (step, *_) = transitions(ruled())
    nearly = np.zeros(len(step.observation.actions))
    nearly[3] = 1e-13
    assert choose(Chooser(lambda observation: nearly), step.observation, 0.0, 0, 0) == 0


@pytest.mark.parametrize("scores", [np.zeros(3), np.zeros((2, 2)), None, "nan"])
def test_scores_that_are_none_are_an_error(scores: Any) -> None:
    def score(observation: Observation) -> Any:
        return np.full(len(observation.actions), np.nan) if isinstance(scores, str | None) else scores

    with pytest.raises(PolicyError, match="one for each"):
        pursue(Learned(Chooser(score)))


def test_without_a_scorer_it_says_what_it_needs_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AETIA_POLICY_FILE", raising=False)
    with pytest.raises(PolicyError, match=r"^the policy learned needs a scorer; give its file .*\.$"):
        plugins.create("policy", "learned")


def test_a_prior_that_abstains_is_left_alone() -> None:
    silent = msgspec.structs.replace(prior(), abstained="nothing to see")
    chooser = asking("hop")

    def steps(desk: Desk) -> Steps:
        desk.prior = silent
        yield from Learned(chooser).steps(desk)

    pursue(Looking(steps))
    assert chooser.seen == []


def test_the_api_takes_its_file_as_an_option(tmp_path: Path) -> None:
    digest = save(tmp_path / "scorer.json", small_scorer())
    events: list[Event] = []
    after = api.pursue(found(), "learned", options={"file": str(tmp_path / "scorer.json")}, tell=events.append)
    assert after.diagnosis.hypotheses
    first = events[0]
    assert isinstance(first, Opened) and first.options["sha256"] == digest


@pytest.mark.parametrize("check", contracts.checks("policy"), ids=str)
def test_it_keeps_the_contract_with_a_temperature_too(check: contracts.Check) -> None:
    check.run(_warm)


def _warm() -> Learned:
    return Learned(small_scorer(), temperature=0.5)
