"""The answer at hand at any time of an investigation, from journals made by hand and by the real engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aetia.bench.anytime import area, leads, right_at
from aetia.bench.messages import Stood
from aetia.model.diagnosis import Claim, Diagnosis, Hypothesis, Query, make_evidence
from aetia.model.entity import service
from aetia.model.journal import Answered, Asked, Believed, Closed, Event, Opened, ToolAnswer, ToolCall
from aetia.reason.checks.registry import default_checks
from aetia.reason.desks import follow
from aetia.reason.engine import Given, investigate
from aetia.reason.policy import Desk, Limits, Steps


def fact(name: str) -> ToolAnswer:
    claim = Claim(what="errors", direction="up", magnitude=0.3, unit="share", text=f"{name} fails")
    query = Query(channel="compare", args={"service": name})
    made = make_evidence(about=service(name), claim=claim, polarity="for", strength=0.6, query=query, result={"x": 1})
    return ToolAnswer(evidence=made)


def prior(**beliefs: float) -> Diagnosis:
    ranked = tuple(Hypothesis(entity=service(n), score=b, probability=b) for n, b in beliefs.items())
    return Diagnosis(localizer="scripted", incident=None, hypotheses=ranked, roots=(0,))


OPEN = Opened(prior=prior(web=0.5, db=0.3), policy="p", seed=0, deadline_s=30, max_calls=200, max_tokens=1000)


def asked(number: int, at_s: float) -> list[Event]:
    request = ToolCall(tool="topology", args={"service": f"s{number}"})
    return [
        Asked(number=number, request=request, at_s=at_s),
        Answered(number=number, answer=ToolAnswer(), at_s=at_s + 1),
    ]


def believed(name: str, before: float, after: float, at_s: float) -> Believed:
    return Believed(entity=name, before=before, after=after, state="proposed", because=("E1",), at_s=at_s)


PROPOSED = [
    Believed(entity=n, before=b, after=b, state="proposed", reason="proposed") for n, b in (("web", 0.5), ("db", 0.3))
]
JOURNAL: list[Event] = [
    OPEN, *PROPOSED, *asked(1, 0.0), believed("db", 0.3, 0.7, 1.0), *asked(2, 1.0), *asked(3, 2.0),
    believed("cart", 0.05, 0.9, 3.0), *asked(4, 3.0), believed("cart", 0.9, 0.1, 4.0),
]  # fmt: skip


def first_of(events: list[Event]) -> list[tuple[str, float, int]]:
    return [(lead.answer.hypotheses[0].entity.name, lead.at_s, lead.calls) for lead in leads(events)]


def test_the_answer_at_hand_is_the_leader_of_the_ledger_from_when_its_belief_moved() -> None:
    assert first_of(JOURNAL) == [("web", 0.0, 0), ("db", 1.0, 1), ("cart", 3.0, 3), ("db", 4.0, 4)]


def test_the_last_answer_is_the_one_that_was_given() -> None:
    silent = Diagnosis(localizer="scripted", incident=None, abstained="nothing tells them apart")
    closed = Closed(outcome="abstained", diagnosis=silent, calls=9, tokens=70, at_s=5.0)
    last = leads([*JOURNAL, closed])[-1]
    assert (last.answer.abstained, last.answer.hypotheses) == ("nothing tells them apart", ())
    assert (last.at_s, last.calls, last.tokens) == (5.0, 9, 70)


def test_equals_share_the_first_place() -> None:
    tied = OPEN.__class__(prior=prior(web=0.4, db=0.4), policy="p", seed=0, deadline_s=30, max_calls=9, max_tokens=9)
    events: list[Event] = [tied, *(Believed(entity=n, before=0.4, after=0.4, state="proposed") for n in ("web", "db"))]
    (lead,) = leads(events)
    assert {item.entity.name for item in lead.answer.hypotheses} == {"web", "db"}


COURSE = (Stood(0.0, 0, 0, False), Stood(2.0, 10, 0, True), Stood(4.0, 20, 0, False), Stood(6.0, 50, 0, True))


def test_the_area_is_the_share_of_the_budget_over_which_the_answer_was_right() -> None:
    assert area(COURSE, "calls", 100) == pytest.approx((10 + 50) / 100)
    assert area(COURSE, "calls", 15) == pytest.approx(5 / 15)
    assert area(COURSE, "seconds", 20, before=4.0) == pytest.approx((2 + 10) / 20)
    assert area(COURSE, "seconds", 5, before=4.0) == 0.0
    assert area((Stood(0, 0, 0, True),), "calls", 7) == 1.0 and area((), "calls", 7) == 0.0


def test_the_curve_is_right_where_the_answer_at_hand_is() -> None:
    assert [right_at(COURSE, "calls", at) for at in (0, 9, 10, 19, 20, 49, 50, 200)] == [
        False, False, True, True, False, False, True, True,
    ]  # fmt: skip
    assert not right_at((Stood(0, 0, 0, True),), "seconds", 1.0, before=2.0)


def journal(steps: Callable[[Desk], Steps], answers: dict[str, ToolAnswer], watching: bool = True) -> list[Event]:
    class Policy:
        def steps(self, desk: Desk) -> Steps:
            return steps(desk)

    events: list[Event] = []
    run = investigate(
        OPEN.prior, Policy(), name="p", limits=Limits(max_calls=40), tell=events.append,
        checks=default_checks() if watching else (),
    )  # fmt: skip
    try:
        questions = next(run)
        while True:
            said = tuple(answers[str(item.request.args["service"])] for item in questions)  # type: ignore[union-attr]
            questions = run.send(Given(answers=said, at_s=0.1 * len(events)))
    except StopIteration:
        return events


def wandering(desk: Desk) -> Steps:
    """Finds evidence, moves beliefs both ways, proposes, settles, and asks what was asked before."""
    for turn, name in enumerate(("web", "db", "cart", "web", "db", "mail")):
        (answer,) = yield (ToolCall(tool="compare", args={"service": name}),)
        assert isinstance(answer, ToolAnswer)
        if answer.evidence is not None:
            desk.ledger.propose(name, service(name), 0.05)
            desk.ledger.weigh(name, 3.0 if turn % 2 else -2.0, (answer.evidence.id,), "it fails")
    desk.ledger.settle("web", "refuted", (next(iter(desk.evidence)),), "it is not")


def test_a_journal_gives_the_desk_back_and_the_checks_say_the_same_again() -> None:
    answers = {name: fact(name) for name in ("web", "db", "cart", "mail")}
    desks: list[Desk] = []

    def steps(desk: Desk) -> Steps:
        desks.append(desk)
        return wandering(desk)

    events = journal(steps, answers)
    again, checks = [], default_checks()
    end = None
    for event, end in follow(events):
        again += [found for check in checks if (found := check.look(event, end)) is not None]
    warned = [event for event in events if event.__class__.__name__ == "Warned"]
    assert warned and [(w.check, w.text, w.stopped) for w in again] == [(w.check, w.text, w.stopped) for w in warned]  # type: ignore[union-attr]
    live = desks[0]
    assert end is not None
    for name, entry in live.ledger.entries.items():
        same = end.ledger.entries[name]
        assert (same.belief, same.state, same.entity) == (entry.belief, entry.state, entry.entity)
        assert (same.evidence_for, same.against, same.reasons) == (entry.evidence_for, entry.against, entry.reasons)
    assert end.evidence == live.evidence and (end.spent.calls, end.spent.tokens) == (
        live.spent.calls,
        live.spent.tokens,
    )


def test_the_last_lead_of_a_whole_journal_is_its_diagnosis() -> None:
    events = journal(wandering, {name: fact(name) for name in ("web", "db", "cart", "mail")})
    closed = events[-1]
    assert isinstance(closed, Closed)
    assert first_of(events)[-1][0] == closed.diagnosis.hypotheses[0].entity.name
    cut_off = first_of(events[:-1])
    assert cut_off[-1][0] == closed.diagnosis.hypotheses[0].entity.name
