"""What a policy was made with is in the journal, and a replay makes the same; journals of before still load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from aetia import plugins
from aetia.model import entity
from aetia.model.diagnosis import Diagnosis, Hypothesis
from aetia.model.errors import UsageError
from aetia.model.journal import Closed, Event, ModelAnswer, ModelCall, Opened, Price, ToolAnswer, ToolCall
from aetia.plugins import Plugin
from aetia.reason import making
from aetia.reason.desks import follow
from aetia.reason.journals import JournalFile, encoded, opened, read_journal
from aetia.reason.making import make_policy
from aetia.reason.policy import Desk, Limits, Steps
from aetia.reason.replay import replay
from aetia.reason.run import run

PRIOR = Diagnosis(
    localizer="explain", incident=None, roots=(0,),
    hypotheses=(Hypothesis(entity=entity.service("cart"), score=0.6, probability=0.6),),
)  # fmt: skip


class Curious:
    """Asks as often as it was told to, about those that it was told of."""

    def __init__(self, rounds: int = 1, about: tuple[str, ...] | list[str] = ("cart",)) -> None:
        self._rounds, self._about = rounds, about

    def steps(self, desk: Desk) -> Steps:
        for number in range(self._rounds):
            yield tuple(ToolCall(tool="look", args={"service": name, "n": number}) for name in self._about)


class Box:
    def answer(self, call: ToolCall) -> ToolAnswer:
        return ToolAnswer(rows=({"n": 1},))


class Costly:
    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        return ModelAnswer(text="hm", tokens_in=1000, tokens_out=100)


class Chatty:
    def steps(self, desk: Desk) -> Steps:
        for _ in range(50):
            yield (ModelCall(messages=({"role": "user", "content": "{}"},), max_tokens=100, agent="chat"),)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = plugins.find

    def find(kind: Any, name: str) -> Plugin:
        if name == "curious":
            return Plugin(kind="policy", name=name, module=__name__, factory=Curious)
        return known(kind, name)

    monkeypatch.setattr(making.plugins, "find", find)


def test_a_replay_makes_the_policy_with_the_same_options(tmp_path: Path) -> None:
    options = {"rounds": 3, "about": ("cart", "price")}
    with JournalFile(tmp_path / "j.jsonl") as file:
        found = run(PRIOR, make_policy("curious", options), Box(), name="curious", options=options, tell=file.write)
    events = read_journal(tmp_path / "j.jsonl")
    assert opened(events).options == {"rounds": 3, "about": ["cart", "price"]}
    told: list[Event] = []
    assert msgspec.json.encode(replay(events, tell=told.append)) == msgspec.json.encode(found)
    assert [encoded(event) for event in told] == [encoded(event) for event in events]
    assert isinstance(told[-1], Closed) and told[-1].calls == 6


@pytest.mark.parametrize("options", [{"wrong": 1}, {"rounds": object()}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="curious cannot be made"):
        make_policy("curious", options)


def test_a_journal_of_before_still_replays() -> None:
    events: list[Event] = []
    found = run(PRIOR, Curious(), Box(), name="curious", tell=events.append)
    plain = [msgspec.json.decode(encoded(event)) for event in events]
    for name in ("options", "question", "price", "max_cost", "paced", "situation"):
        del plain[0][name]
    for name in ("tokens_in", "tokens_out", "cost", "answer"):
        del plain[-1][name]
    del plain[-1]["diagnosis"]["cost"]["money"]
    old = [msgspec.json.decode(msgspec.json.encode(item), type=Event) for item in plain]
    assert isinstance(old[0], Opened) and not old[0].paced and old[0].options == {}
    assert replay(old) == found


def test_money_is_counted_by_the_prices_given_and_ends_an_investigation() -> None:
    events: list[Event] = []
    price = Price(per_million_in=2.0, per_million_out=10.0)
    limits = Limits(price=price, max_cost=0.02)  # a turn costs 0.003
    found = run(PRIOR, Chatty(), Box(), name="chatty", model=Costly(), limits=limits, tell=events.append)
    end = events[-1]
    assert isinstance(end, Closed) and end.cost == found.cost.money == price.of(end.tokens_in, end.tokens_out)
    assert 0.015 < end.cost <= 0.02 and (end.tokens_in, end.tokens_out) == (6000, 600)
    assert found.hypotheses[0].entity.name == "cart"
    again = replay(events, policy=Chatty(), checks=())
    assert again == found
    desk = [desk for _, desk in follow(events)][-1]  # the desk of a journal knows money as well
    assert (desk.limits, desk.cost) == (limits, end.cost) and desk.left_cost == 0.02 - end.cost


def test_without_a_price_money_is_not_counted() -> None:
    events: list[Event] = []
    found = run(PRIOR, Chatty(), Box(), name="chatty", model=Costly(), limits=Limits(max_calls=3), tell=events.append)
    end = events[-1]
    assert isinstance(end, Closed) and end.cost is None and found.cost.money is None and end.tokens == 3300
    with pytest.raises(ValueError, match="needs a price"):
        Limits(max_cost=1.0)
