"""Each check sees its failure: it warns first, and ends the policy when the failure goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest
from watched import ONSET, fact, model, pod, prior, says, tool, topology, warnings, watched

from aetia.model.entity import edge
from aetia.model.journal import Answer, Closed, ModelAnswer, ToolAnswer, Traced, Warned
from aetia.reason.checks.registry import TITLES, default_checks
from aetia.reason.policy import Desk, Steps


class Failure(NamedTuple):
    """A policy that shows one failure again and again, what the world answers it, and words of the warning."""

    steps: Callable[[Desk], Steps]
    words: str
    said: dict[str, Answer] | None = None


def weighing(name: str, log_odds: float, evidence: int, reason: str, *first: str) -> Callable[[Desk], Steps]:
    """Looks at the call graph of some services, then weighs one candidate by one fact over and over."""

    def steps(desk: Desk) -> Steps:
        for service in first:
            yield (tool("topology", service=service),)
        for turn in range(9):
            desk.ledger.weigh(name, log_odds, (f"E{evidence:016d}",), reason)
            yield (tool("topology", service="web", turn=turn),)

    return steps


def talking(turns: int = 9) -> Callable[[Desk], Steps]:
    def steps(desk: Desk) -> Steps:
        for turn in range(turns):
            yield (model(turn),)

    return steps


def asking(name: str, *, times: int = 30, **args: object) -> Callable[[Desk], Steps]:
    """Asks one tool again and again, each time with another argument besides."""

    def steps(desk: Desk) -> Steps:
        for turn in range(times):
            yield (tool(name, turn=turn, **args),)

    return steps


def hopping(source: str, target: str, *, in_time: bool | None = True) -> Callable[[Desk], Steps]:
    def steps(desk: Desk) -> Steps:
        yield tool("topology", service=source), tool("topology", service=target)
        for turn in range(9):
            desk.trace(Traced(source=source, target=target, in_time=in_time, in_direction=True))
            yield (tool("topology", service="web", turn=turn),)

    return steps


def naming_an_instance(desk: Desk) -> Steps:
    desk.ledger.propose("cart-7", pod("cart-7", "cart"), 0.4)
    for turn in range(9):
        desk.ledger.weigh("cart-7", 1.0, ("E0000000000000001",), "the service fails")
        yield (tool("topology", service="web", turn=turn),)


def refuting_the_unseen(desk: Desk) -> Steps:
    answers = yield (tool("log_templates", service="web"),)
    held = answers[0]
    assert isinstance(held, ToolAnswer) and held.evidence is not None
    for turn in range(9):
        desk.ledger.weigh("web", -0.5, (held.evidence.id,), "no log says anything")
        yield (tool("topology", service="cart", turn=turn),)


def for_and_against(desk: Desk) -> Steps:
    for turn in range(9):
        desk.ledger.weigh("cart", 1.0 if turn % 2 else -1.0, ("E0000000000000001",), "the errors")
        yield (tool("topology", service="web", turn=turn),)


def late_cause(desk: Desk) -> Steps:
    desk.trace(Traced(source="cart", target="web", in_time=False, in_direction=True))
    yield from weighing("cart", 0.7, 1, "it fails")(desk)


def weak_support(desk: Desk) -> Steps:
    answers = yield (tool("metric_anomalies", service="web"),)
    held = answers[0]
    assert isinstance(held, ToolAnswer) and held.evidence is not None
    desk.ledger.weigh("web", 4.0, (held.evidence.id,), "it moved")
    yield from weighing("web", 0.5, 9, "it moved")(desk)


IDLE = "I think that the cart is to blame because carts usually are to blame in such shops as this one."
BLAME = " ".join(
    f"The {name} service broke in this incident for sure." for name in ("cart", "pay", "db", "web", "mail")
)
FINISH_PAY = ("finish", json.dumps({"service": "pay", "evidence": ["E0000000000000002"]}))
EMPTY = fact(9, "web", against=True, result={"rows": [], "total": 0})
FAILURES = {
    "RF-00": Failure(talking(), "in words the cause is cart", {"model": says("The root cause is cart.", FINISH_PAY)}),
    "RF-01": Failure(talking(), "no evidence is called E00000000deadbeef", {"model": says("See E00000000deadbeef0.")}),
    "RF-02": Failure(weighing("cart", 0.1, 1, "its errors fell"), "reverses it"),
    "RF-03": Failure(weighing("web", 0.5, 1, "it reports errors", "web"), "no proof against the caller"),
    "RF-04": Failure(late_cause, "does not follow its effect"),
    "RF-05": Failure(hopping("mail", "cart"), "nothing joins mail and cart"),
    "RF-06": Failure(naming_an_instance, "instance cart-7"),
    "RF-07": Failure(asking("topology", service="web", times=60), "never looked at"),
    "RF-08": Failure(weak_support, "supports nothing", {"metric_anomalies": ToolAnswer(evidence=fact(9, "web", strength=0.05))}),
    "RF-09": Failure(
        asking("log_templates", service="cart"), "leads as before",
        {"log_templates": ToolAnswer(evidence=fact(9, "cart", against=True))},
    ),
    "RF-10": Failure(talking(), "plays the part of a tool", {"model": says("Let me ask.\nObservation: cpu is at 97 %")}),
    "RF-11": Failure(talking(), "5 of 5 claims", {"model": says(BLAME)}),
    "RF-12": Failure(talking(), "nearly the same text", {"model": says(IDLE)}),
    "RF-13": Failure(asking("topology", service="cart"), "never tested: pay, db"),
    "RF-14": Failure(refuting_the_unseen, "absence of telemetry", {"log_templates": ToolAnswer(evidence=EMPTY)}),
    "RF-15": Failure(for_and_against, "for and against cart"),
    "RF-16": Failure(weighing("cart", 0.1, 1, "84.2 % of its calls fail"), "84.2 is not what"),
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(TITLES))
def test_a_failure_is_warned_of_and_ends_the_policy_when_it_goes_on(code: str) -> None:
    failure = FAILURES[code]
    events = watched(failure.steps, code, said=failure.said)
    warned = [event for event in warnings(events) if event.check == code]
    assert failure.words in warned[0].text
    assert [event.stopped for event in warned] == [False, False, True]
    closed = events[-1]
    assert isinstance(closed, Closed) and closed.outcome == "stopped" and closed.reason.startswith(code)


def sound(desk: Desk) -> Steps:
    """Looks at every plausible candidate, answers what speaks against the leader, verifies what is left."""
    names = ("cart", "pay", "db")
    yield (model(0),)
    yield tuple(tool("topology", service=name) for name in names)
    against = yield (tool("log_templates", service="cart"),)
    yield (model(1),)
    held = against[0]
    assert isinstance(held, ToolAnswer) and held.evidence is not None
    desk.ledger.weigh("cart", -2.0, (held.evidence.id,), "cart printed 12 errors a minute in both windows, no more")
    desk.ledger.weigh("db", 3.0, ("E0000000000000003",), "errors of db rose from 1 % to 31 %, 31 times as many")
    desk.trace(Traced(source="db", target="cart", in_time=True, in_direction=True, evidence="E0000000000000003"))
    desk.ledger.settle("db", "verified", ("E0000000000000003",), "its callers suffer and it began first")
    yield (model(2),)
    yield (tool("finish", service="db", evidence=["E0000000000000003"]),)


SOUND: dict[str, Answer] = {
    "log_templates": ToolAnswer(
        evidence=fact(
            9, "cart", "errors", against=True, channel="log_templates", result={"baseline": 12, "incident": 12}
        )
    ),
    "model 1": says(
        "Let me look at the neighbours of the three candidates first.", ("topology", '{"service": "cart"}')
    ),
    "model 2": says(
        "The evidence E0000000000000009 says that cart printed 12 errors a minute, as before. Next I will weigh db."
    ),
    "model 3": says(
        "The root cause is db, because errors of db rose to 31 % (E0000000000000003) and cart → db suffers with it.",
        ("finish", '{"service": "db", "evidence": ["E0000000000000003"]}'),
    ),
}


def test_a_sound_investigation_raises_nothing() -> None:
    events = watched(sound, said=SOUND)
    assert warnings(events) == []
    assert isinstance(events[-1], Closed) and events[-1].diagnosis.hypotheses[0].entity.name == "db"


def test_all_checks_together_name_a_failure_without_accusing_of_many_others() -> None:
    for code, failure in FAILURES.items():
        found = {event.check for event in warnings(watched(failure.steps, said=failure.said))}
        assert found, code
        assert len(found) <= 4, (code, found)


def test_warnings_reach_the_policy_before_it_goes_on() -> None:
    seen: list[int] = []

    def steps(desk: Desk) -> Steps:
        for turn in range(2):
            desk.ledger.weigh("cart", 0.1, ("E00000000deadbeef",), "trust me")
            seen.append(len(desk.warnings))
            yield (tool("topology", service="web", turn=turn),)

    watched(steps, "RF-01")
    assert seen == [1, 2]


def test_what_was_shown_to_a_model_is_not_invented_by_it() -> None:
    def steps(desk: Desk) -> Steps:
        yield (model(0, shown="facts: e1 (errors of cart)"),)

    answer = says("", ("finish", '{"service": "cart", "evidence": ["e1"]}'))
    assert warnings(watched(steps, "RF-01", said={"model": answer})) == []
    invented = says("", ("finish", '{"service": "cart", "evidence": ["e2"]}'))
    assert len(warnings(watched(steps, "RF-01", said={"model": invented}))) == 1


def test_a_service_that_nobody_has_heard_of_is_invented() -> None:
    events = watched(asking("metric_anomalies", service="billing"), "RF-01")
    assert "billing is nowhere" in warnings(events)[0].text


def test_an_onset_in_the_evidence_outweighs_what_is_said_of_a_hop() -> None:
    facts = (fact(1, "cart", onset_s=200), fact(2, "web", onset_s=0), fact(3, "db", onset_s=-30))

    def steps(desk: Desk) -> Steps:
        desk.trace(Traced(source="db", target="web", in_time=True, in_direction=True))
        desk.trace(Traced(source="cart", target="web", in_time=True, in_direction=True))
        yield (tool("topology", service="web"),)

    found = warnings(watched(steps, "RF-04", of=prior(facts)))
    assert [event.text for event in found] == ["cart began 200 s after web, which it is to have caused."]


def test_times_that_a_hop_cites_decide_for_that_hop() -> None:
    def cited(source_s: float) -> list[Warned]:
        row = {"source": "cart", "target": "web", "source_began_s": source_s, "target_began_s": 10.0, "step_s": 15.0}
        seen = fact(9, edge("web", "cart"), channel="hop", result={"rows": [row]})

        def steps(desk: Desk) -> Steps:
            yield (tool("hop", target="web"),)
            desk.trace(Traced(source="cart", target="web", in_time=True, in_direction=True, evidence=seen.id))
            desk.ledger.weigh("web", -1.0, (seen.id,), "its trouble came from cart")

        return warnings(watched(steps, "RF-02", "RF-04", said={"hop": ToolAnswer(evidence=seen)}))

    assert cited(35.0) == []
    assert [event.text for event in cited(70.0)] == ["cart began 60 s after web, which it is to have caused."]


def test_a_log_line_that_accuses_another_is_no_proof_against_who_printed_it() -> None:
    line = fact(
        1, "cart", "lines", channel="log_novelty", text="cart prints “connection to db refused” 20 times a minute"
    )
    weigh = weighing("cart", 0.5, 1, "it prints errors", "cart")
    assert "look at db" in warnings(watched(weigh, "RF-03", of=prior((line,))))[0].text
    looked = weighing("cart", 0.5, 1, "it prints errors", "cart", "db")
    assert warnings(watched(looked, "RF-03", of=prior((line,)))) == []


def test_a_decision_before_alternatives_are_tested_is_anchored() -> None:
    def steps(desk: Desk) -> Steps:
        yield (tool("topology", service="cart"),)
        yield (tool("finish", service="cart"),)

    found = warnings(watched(steps, "RF-13"))
    assert [(event.check, event.stopped) for event in found] == [("RF-13", False)]


def test_to_raise_one_candidate_and_end_is_anchored_and_to_follow_the_path_of_the_prior_is_not() -> None:
    def raising(desk: Desk) -> Steps:
        yield (tool("topology", service="cart"),)
        desk.ledger.weigh("cart", 1.0, ("E0000000000000001",), "its calls fail")

    def following(desk: Desk) -> Steps:
        yield (tool("topology", service="cart"),)

    assert [event.check for event in warnings(watched(raising, "RF-13", "RF-07"))] == ["RF-07", "RF-13"]
    assert warnings(watched(following, "RF-13", "RF-07")) == []


def test_reasons_in_a_structured_answer_are_held_to_the_evidence_beside_them() -> None:
    def ranked(reason: str) -> ModelAnswer:
        entry = {"entity": "cart", "evidence": ["E0000000000000001"], "probability": 0.77, "reason": reason}
        return says(json.dumps({"ranked": [entry]}))

    assert warnings(watched(talking(1), said={"model": ranked("31 % of its calls fail")})) == []
    wrong = warnings(watched(talking(1), said={"model": ranked("84 % of its calls fail")}))
    assert [event.check for event in wrong] == ["RF-16"]


def test_what_the_end_shows_is_said_before_the_end_and_stops_nothing() -> None:
    def steps(desk: Desk) -> Steps:
        yield (tool("finish", service="pay"),)

    events = watched(steps, "RF-00")
    assert isinstance(events[-2], Warned) and isinstance(events[-1], Closed)
    assert events[-1].outcome == "answered"


def test_text_around_numbers_and_small_counts_is_left_alone() -> None:
    reason = "3 services, cart-17 and 12:30, fail in 0.31 of 2 calls: 31 times the 1 % before"
    assert warnings(watched(weighing("cart", 0.1, 1, reason), "RF-16")) == []


def test_a_claim_that_denies_or_tells_of_something_else_is_not_reversed() -> None:
    for reason in ("its errors did not fall", "its success fell", "its errors rose, then fell back"):
        assert warnings(watched(weighing("cart", 0.1, 1, reason), "RF-02")) == []


def test_each_agent_is_forgiven_apart() -> None:
    def steps(desk: Desk) -> Steps:
        for agent in ("a", "b", "c", "d"):
            yield (msgspec.structs.replace(model(0), agent=agent),)

    found = warnings(watched(steps, "RF-01", said={"model": says("See E00000000deadbeef0.")}))
    assert [(event.agent, event.stopped) for event in found] == [(agent, False) for agent in "abcd"]


def test_a_truncated_answer_proves_no_edge_absent() -> None:
    cut = {"topology": msgspec.structs.replace(topology("mail"), truncated=True)}
    assert warnings(watched(hopping("mail", "cart"), "RF-05", said=cut)) == []


def test_a_model_that_fails_says_nothing() -> None:
    assert warnings(watched(talking(3), said={"model": ModelAnswer()})) == []


def test_the_codes_are_those_of_the_source() -> None:
    assert sorted(TITLES) == [f"RF-{number:02d}" for number in range(17)] == [check.code for check in default_checks()]
    assert ONSET > 0
