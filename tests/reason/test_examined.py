"""Nothing is asked twice: not by several symptoms of one incident, and not by several investigations of one telemetry."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from aetia import api, plugins
from aetia.ingest.reader import Loaded
from aetia.lab.sim.suites import generate, random_systems
from aetia.model import entity
from aetia.model.diagnosis import Claim, Diagnosis, Hypothesis
from aetia.model.journal import Answered, Asked, Event, ToolAnswer, ToolCall, ToolError
from aetia.model.window import Window
from aetia.reason.policy import Desk, Steps, key_of
from aetia.reason.run import run
from aetia.reason.toolbox import Found, Tool, ViewTools, ask
from aetia.signals.view import View

LEAST = 5


class Counting:
    """The tools of a view, and how often each question reached them."""

    def __init__(self, view: View) -> None:
        self._tools, self.asked = ViewTools(view, shared=True), Counter[str]()  # the count is taken before

    def answer(self, call: ToolCall) -> ToolAnswer:
        self.asked[key_of(call)] += 1
        return self._tools.answer(call)


def drawn() -> Iterator[api.Investigation]:
    """Simulated incidents in which two services that users call are broken."""
    for seed in (4, 5, 6, 11, *range(12, 60)):  # those that have some come first
        case, telemetry = next(generate(1, random_systems(1, seed, (8, 20)), seed, two_roots=1.0))
        found = api.investigate(Loaded(case=case, telemetry=telemetry))
        if found.view is not None and found.diagnosis.abstained is None and len(entries(found.diagnosis)) > 1:
            yield found


@pytest.fixture(scope="module")
def incidents() -> list[api.Investigation]:
    return list(itertools.islice(drawn(), LEAST))


def entries(diagnosis: Diagnosis) -> list[str]:
    breaches = diagnosis.incident.breaches if diagnosis.incident is not None else ()
    return sorted({breach.entry.service for breach in breaches if breach.entry.service is not None})


def with_entry(prior: Diagnosis, service: str) -> Diagnosis:
    """The incident as it looks from one entry point alone."""
    assert prior.incident is not None
    mine = tuple(breach for breach in prior.incident.breaches if breach.entry.service == service)
    return msgspec.structs.replace(prior, incident=msgspec.structs.replace(prior.incident, breaches=mine))


def in_doubt(prior: Diagnosis) -> Diagnosis:
    beliefs = (0.45, 0.4, 0.3, 0.2, 0.1)
    flat = [msgspec.structs.replace(item, probability=beliefs[at] if at < len(beliefs) else 0.05)
            for at, item in enumerate(prior.hypotheses)]  # fmt: skip
    return msgspec.structs.replace(prior, hypotheses=tuple(flat), roots=(0,))


def questions(prior: Diagnosis, view: View) -> Counter[str]:
    tools = Counting(view)
    run(prior, plugins.create("policy", "rules"), tools, name="rules")  # type: ignore[arg-type]
    return tools.asked


@pytest.mark.parametrize("doubt", [False, True])
def test_symptoms_of_one_incident_share_what_was_examined(doubt: bool, incidents: list[api.Investigation]) -> None:
    together = apart = 0
    for found in incidents:
        assert found.view is not None
        prior = in_doubt(found.diagnosis) if doubt else found.diagnosis
        asked = questions(prior, found.view)
        assert max(asked.values()) == 1
        together += asked.total()
        apart += sum(questions(with_entry(prior, name), found.view).total() for name in entries(prior))
    assert len(incidents) == LEAST and 0 < together <= 0.7 * apart


class Policy:
    def __init__(self, *rounds: tuple[ToolCall, ...]) -> None:
        self.rounds = rounds

    def steps(self, desk: Desk) -> Steps:
        for calls in self.rounds:
            given = yield calls
            assert len(given) == len(calls)


class Box:
    """Knows carts alone."""

    def __init__(self) -> None:
        self.asked: list[ToolCall] = []

    def answer(self, call: ToolCall) -> ToolAnswer:
        self.asked.append(call)
        if call.args["service"] == "cart":
            return ToolAnswer(rows=({"n": len(self.asked)},))
        error = ToolError(category="validation", code="unknown_service", message="there is no such service.")
        return ToolAnswer(error=error)


def look(service: str, agent: str = "root") -> ToolCall:
    return ToolCall(tool="look", args={"service": service}, agent=agent)


def answers(*rounds: tuple[ToolCall, ...]) -> tuple[list[ToolAnswer], Box, list[Event]]:
    box, events = Box(), list[Event]()
    one = Hypothesis(entity=entity.service("cart"), score=1.0, probability=0.5)
    prior = Diagnosis(localizer="explain", incident=None, hypotheses=(one,), roots=(0,))
    run(prior, Policy(*rounds), box, name="policy", tell=events.append)
    said = [event.answer for event in events if isinstance(event, Answered)]
    return [item for item in said if isinstance(item, ToolAnswer)], box, events


def test_a_question_that_two_agents_put_at_once_goes_out_once() -> None:
    said, box, events = answers((look("cart", "a"), look("cart", "b"), look("cart", "c")))
    assert len(box.asked) == 1 and said[0].error is None
    assert [item.error.category for item in said[1:] if item.error is not None] == ["repeated", "repeated"]
    assert [event.number for event in events if isinstance(event, Asked)] == [1, 2, 3]


def test_a_question_that_cannot_be_answered_is_not_put_again() -> None:
    said, box, _ = answers((look("moon"), look("moon")), (look("moon"),))
    assert len(box.asked) == 1
    assert [item.error.category for item in said if item.error is not None] == ["validation", "repeated", "repeated"]


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    service: str
    deep: bool = False


class Slow(Tool[Args]):
    """A tool that counts how often it looks."""

    Args = Args

    def __init__(self) -> None:
        self.looks = 0

    def look(self, view: View, args: Args) -> Found:
        self.looks += 1
        claim = Claim(what="x", direction="up", magnitude=1.0, unit="share", text=f"{args.service} {self.looks}")
        return Found(rows=({"deep": args.deep},), total=1, about=entity.service(args.service), claim=claim)


@pytest.fixture(scope="module")
def found(incidents: list[api.Investigation]) -> api.Investigation:
    return incidents[0]


def test_the_same_question_about_the_same_windows_is_looked_up_once(found: api.Investigation) -> None:
    view, tool = found.view, Slow()
    assert view is not None
    same = View(view.facts, view.baseline, view.incident, {"spans": view.baseline_of("spans"),
                "logs": view.baseline_of("logs"), "metrics": view.baseline_of("metrics")})  # fmt: skip
    later = View(view.facts, view.baseline, Window(view.incident.start_ns, view.incident.end_ns - 10**9))
    first = ask(tool, "slow", view, {"service": "a"}, shared=True)
    for args in ({"service": "a"}, {"service": "a", "deep": False}):
        assert ask(tool, "slow", same, args, shared=True).evidence == first.evidence
    assert tool.looks == 1
    ask(tool, "slow", later, {"service": "a"}, shared=True)
    ask(tool, "slow", view, {"service": "a", "deep": True}, shared=True)
    ask(tool, "slow", view, {"service": "a"})  # who measures wants it anew
    assert tool.looks == 4


def test_an_investigation_again_is_told_what_the_first_one_found(
    found: api.Investigation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aetia.reason.tools.hop import Hop

    fresh = api.investigate(found.loaded)
    looks: list[object] = []
    plain = Hop.look

    def counted(self: Hop, view: View, args: object) -> Found:
        looks.append(args)
        return plain(self, view, args)  # type: ignore[arg-type]

    monkeypatch.setattr(Hop, "look", counted)
    journals: list[list[Event]] = [[], []]
    one = api.pursue(fresh, "rules", tell=journals[0].append)
    first = len(looks)
    two = api.pursue(fresh, "rules", tell=journals[1].append)
    assert fresh.diagnosis.incident is not None
    again = api.investigate(fresh, at=fresh.diagnosis.incident.onset_ns + 10**9)
    assert again.facts is fresh.facts and again.loaded is fresh.loaded
    assert first > 0 and len(looks) == first
    held = [[event.answer.evidence for event in events
             if isinstance(event, Answered) and isinstance(event.answer, ToolAnswer)] for events in journals[:2]]  # fmt: skip
    assert held[0] == held[1] and held[0]
    assert [item.entity for item in one.diagnosis.hypotheses] == [item.entity for item in two.diagnosis.hypotheses]
