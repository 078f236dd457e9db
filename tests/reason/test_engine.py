"""The engine: questions out, answers in, limits kept, everything told, and the same again from the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aetia.model import entity
from aetia.model.diagnosis import Claim, Diagnosis, Evidence, Hypothesis, Query, make_evidence
from aetia.model.errors import ReportError
from aetia.model.journal import (
    Answered,
    Asked,
    Believed,
    Closed,
    Event,
    Opened,
    Steer,
    Steered,
    ToolAnswer,
    ToolCall,
    Traced,
)
from aetia.reason.journals import JournalFile, read_journal
from aetia.reason.policy import Desk, Limits, Steps
from aetia.reason.replay import replay
from aetia.reason.run import run


def fact(about: str, number: int = 1) -> Evidence:
    return make_evidence(
        about=entity.service(about), polarity="for", strength=0.5, result={"rows": [number]},
        claim=Claim(what="errors", direction="up", magnitude=1.0, unit="share", text=f"{about} fails"),
        query=Query(channel="errors", args={"n": number}),
    )  # fmt: skip


def prior(**probability: float) -> Diagnosis:
    hypotheses = tuple(Hypothesis(entity=entity.service(n), score=p, probability=p) for n, p in probability.items())
    return Diagnosis(localizer="explain", incident=None, hypotheses=hypotheses, roots=(0,) if hypotheses else ())


class Box:
    """Answers every call with a fact about the service it names."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []

    def answer(self, call: ToolCall) -> ToolAnswer:
        self.calls.append(call)
        return ToolAnswer(rows=({"n": len(self.calls)},), evidence=fact(str(call.args.get("service", "?"))))


class Script:
    """A policy from a function."""

    def __init__(self, steps: Callable[[Desk], Steps]) -> None:
        self.steps = steps


def look(service: str) -> ToolCall:
    return ToolCall(tool="look", args={"service": service})


def convinced(desk: Desk) -> Steps:
    (answer,) = yield (look("cart"),)
    assert isinstance(answer, ToolAnswer) and answer.evidence is not None
    desk.ledger.weigh("cart", 3.0, (answer.evidence.id,), "its own errors")
    desk.ledger.weigh("price", -3.0, (answer.evidence.id,), "explained by cart")
    desk.trace(Traced(source="cart", target="price", in_time=True, in_direction=True, evidence=answer.evidence.id))


def pursue(steps: Callable[[Desk], Steps], **more: Any) -> tuple[Diagnosis, list[Event], Box]:
    events: list[Event] = []
    box = more.pop("box", None) or Box()
    given = more.pop("given", prior(price=0.6, cart=0.3))
    return run(given, Script(steps), box, name="script", tell=events.append, **more), events, box


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_beliefs_make_the_ranking_and_only_cited_facts_are_kept() -> None:
    found, events, _ = pursue(convinced)
    assert [h.entity.name for h in found.hypotheses] == ["cart", "price"]
    assert found.hypotheses[0].verdict == "supported" and found.hypotheses[0].evidence == (found.evidence[0].id,)
    assert found.hypotheses[1].against == (found.evidence[0].id,)
    assert [(hop.source, hop.target) for hop in found.propagation] == [("cart", "price")]
    assert kinds(events)[0] == "Opened" and kinds(events)[-1] == "Closed"
    moved = [e for e in events if isinstance(e, Believed) and e.because]
    assert moved[0].before == pytest.approx(0.3) and moved[0].after > 0.85


def test_a_belief_moves_by_evidence_alone() -> None:
    def faith(desk: Desk) -> Steps:
        desk.ledger.weigh("cart", 5.0, (), "a feeling")
        yield ()

    with pytest.raises(ValueError, match="only by evidence"):
        pursue(faith)


def test_what_was_asked_before_is_refused_with_the_evidence_that_answered_it() -> None:
    def twice(desk: Desk) -> Steps:
        (first,) = yield (look("cart"),)
        (again,) = yield (look("cart"),)
        assert isinstance(first, ToolAnswer) and first.evidence is not None
        assert isinstance(again, ToolAnswer) and again.error is not None
        assert (again.error.category, again.error.seen) == ("repeated", first.evidence.id)

    _, events, box = pursue(twice)
    assert len(box.calls) == 1
    assert [e.number for e in events if isinstance(e, Answered)] == [1, 2]


def test_who_only_repeats_itself_comes_to_an_end() -> None:
    def forever(desk: Desk) -> Steps:
        while True:
            yield (look("cart"),)

    found, events, box = pursue(forever, limits=Limits(max_calls=30))
    end = events[-1]
    assert isinstance(end, Closed) and end.outcome in ("out of budget", "stopped")
    assert len(box.calls) == 1 and found.hypotheses[0].entity.name == "price"


def test_the_deadline_ends_the_policy_and_what_was_found_until_then_counts() -> None:
    times = iter(range(0, 1000, 4))

    def slow(desk: Desk) -> Steps:
        yield from convinced(desk)
        for number in range(100):
            yield (ToolCall(tool="look", args={"service": f"s{number}"}),)

    found, events, box = pursue(slow, limits=Limits(deadline_s=40.0), clock=lambda: float(next(times)))
    end = events[-1]
    assert isinstance(end, Closed) and end.outcome == "out of budget" and "deadline" in end.reason
    assert found.hypotheses[0].entity.name == "cart" and 1 < len(box.calls) < 20


def test_a_person_can_take_a_candidate_out_and_end_it() -> None:
    wishes = iter([(Steer(wish="exclude", entity="price"),), (Steer(wish="stop"),)])

    def ask(desk: Desk) -> Steps:
        for number in range(10):
            yield (ToolCall(tool="look", args={"service": f"s{number}"}),)

    found, events, box = pursue(ask, steers=lambda: next(wishes, ()))
    assert [h.entity.name for h in found.hypotheses] == ["cart"] and len(box.calls) == 2
    assert isinstance(events[-1], Closed) and events[-1].outcome == "stopped"
    assert sum(isinstance(e, Steered) for e in events) == 2


def test_nothing_learned_leaves_the_prior_as_it_was() -> None:
    def idle(desk: Desk) -> Steps:
        yield from ()

    found, _, _ = pursue(idle)
    assert [(h.entity.name, h.probability) for h in found.hypotheses] == [("price", 0.6), ("cart", 0.3)]


def test_a_journal_on_disk_replays_to_the_same_diagnosis_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with JournalFile(path) as file:
        wishes = iter([(Steer(wish="exclude", entity="price"),)])
        found = run(prior(price=0.6, cart=0.3), Script(convinced), Box(), name="script", tell=file.write,
                    steers=lambda: next(wishes, ()))  # fmt: skip
    events = read_journal(path)
    told: list[Event] = []
    again = replay(events, policy=Script(convinced), checks=(), tell=told.append)
    assert msgspec.json.encode(again) == msgspec.json.encode(found)
    assert told == events


def test_a_wish_that_came_while_one_of_the_questions_was_refused_is_replayed() -> None:
    wishes = iter([(), (Steer(wish="exclude", entity="price"),)])

    def ask(desk: Desk) -> Steps:
        yield (look("cart"),)
        yield (look("cart"), look("price"))
        yield (look("nobody" if "price" in desk.excluded else "price again"),)

    found, events, box = pursue(ask, steers=lambda: next(wishes, ()))
    assert [call.args["service"] for call in box.calls] == ["cart", "price", "nobody"]
    told: list[Event] = []
    assert replay(events, policy=Script(ask), checks=(), tell=told.append) == found
    assert told == events


def test_a_replay_that_asks_something_else_says_so() -> None:
    _, events, _ = pursue(convinced)

    def other(desk: Desk) -> Steps:
        yield (look("price"),)

    with pytest.raises(ReportError, match="question 1 differs"):
        replay(events, policy=Script(other), checks=())
    with pytest.raises(ReportError, match="question 1 differs"):
        replay([event for event in events if not isinstance(event, Asked | Answered)], policy=Script(convinced))
    for end in (1, 4):
        with pytest.raises(ReportError, match="ends before question 1"):
            replay(events[:end], policy=Script(convinced), checks=())
    cut = [event for event in events if not isinstance(event, Answered | Closed)]
    with pytest.raises(ReportError, match="ends before question 1"):
        replay(cut, policy=Script(convinced), checks=())


def test_a_journal_is_never_overwritten_and_survives_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with JournalFile(path) as file:
        for event in pursue(convinced)[1]:
            file.write(event)
    with pytest.raises(ReportError, match="never overwritten"):
        JournalFile(path)
    whole = read_journal(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert read_journal(path) == whole[:-1]
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(ReportError, match="line 1 is no event"):
        read_journal(tmp_path / "x.jsonl")


def test_the_first_event_carries_all_that_a_replay_needs() -> None:
    _, events, _ = pursue(convinced, seed=7)
    first = events[0]
    assert isinstance(first, Opened) and (first.policy, first.seed) == ("script", 7)
    assert [h.entity.name for h in first.prior.hypotheses] == ["price", "cart"]
    assert [e.number for e in events if isinstance(e, Asked)] == [1]


def test_a_journal_is_for_its_owner_and_one_that_cannot_be_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JournalFile(path) as journal:
        run(prior(price=0.6, cart=0.3), Script(convinced), Box(), name="script", tell=journal.write)
    assert path.stat().st_mode & 0o077 == 0
    lines = path.read_text().splitlines()
    damaged = {
        "endless.jsonl": [*lines[:-1], lines[-1].replace('"at_s":', '"at_s":1e300,"was":')],
        "older.jsonl": [lines[0].replace("aetia.journal/1", "aetia.journal/0"), *lines[1:]],
    }
    for name, changed in damaged.items():
        (tmp_path / name).write_text("\n".join(changed) + "\n")
    with pytest.raises(ReportError, match="damaged"):
        read_journal(tmp_path / "endless.jsonl")
    with pytest.raises(ReportError, match=r"version 'aetia.journal/0'"):
        read_journal(tmp_path / "older.jsonl")
