"""What the checks read in sentences: who is called the cause, who calls whom, and which numbers evidence holds."""

from __future__ import annotations

import pytest
from watched import fact, model, prior, says, tool, warnings, watched

from aetia.model.journal import Answer, ModelAnswer, ToolCall
from aetia.reason.checks._words import accused, joined
from aetia.reason.checks.numbers import known_numbers, stated_numbers
from aetia.reason.policy import Desk, Steps

NAMES = {"cart", "pay-service", "db", "ts-order.v2"}


@pytest.mark.parametrize(
    "text",
    [
        "The root cause is cart.", "Root cause: cart", "**Root cause**: `cart`", "cart is the root cause of this incident.",
        "I conclude that cart caused it.", "So the culprit has to be cart.", "The fault began in cart.", "cart is to blame.",
        "Everything points to cart as the origin.", "The real cause of the errors in db is cart.", "cart was at fault here.",
        "The incident was caused by the cart service.", "cart is responsible for this.", "It all started in cart.",
        "The root cause of this incident lies in cart, whose pool ran dry.", "The outage traces back to cart.",
        "We can attribute the incident to cart.", "Therefore I name cart as the root cause.", "cart failed first.",
    ],
)  # fmt: skip
def test_plain_sentences_name_the_cause(text: str) -> None:
    assert list(accused(text, NAMES)) == [("cart", True)]


@pytest.mark.parametrize(
    "text",
    [
        "cart is not the root cause.", "The root cause isn't cart.", "cart did not cause this incident.",
        "The fault never began in cart.", "The culprit is certainly not cart.",
    ],
)  # fmt: skip
def test_and_who_is_none(text: str) -> None:
    assert list(accused(text, NAMES)) == [("cart", False)]


@pytest.mark.parametrize(
    "text",
    [
        "Is cart the root cause?", "The root cause may be cart.", "If cart is the cause, db is a symptom.",
        "cart is responsible for sending mail.", "cart causes 20 % of the calls.", "The cause is unclear.",
        "The root cause is either cart or db.", "cart is slow.", "Let me see whether cart is the culprit.",
        "It is caused by nobody in particular. cart is fine.", "It began in the baseline of cart.",
        "cart is where the requests enter.", "This is triggered by cart each minute.", "The errors at cart started at 12:03.",
        "The answer of cart is slow.", "cart was restarted first.", "The cause of the delay in cart is unknown.",
    ],
)  # fmt: skip
def test_what_is_in_doubt_or_is_something_else_accuses_nobody(text: str) -> None:
    assert list(accused(text, NAMES)) == []


def test_each_sentence_speaks_for_itself() -> None:
    text = "cart is not the cause; it only waits. The root cause is pay-service, and ts-order.v2 is a victim."
    assert list(accused(text, NAMES)) == [("cart", False), ("pay-service", True)]


def test_calls_and_arrows_join_two_places() -> None:
    text = "Trouble went cart → db. `pay-service` calls db. db is called by ts-order.v2; cart likes db."
    assert list(joined(text, NAMES)) == [("cart", "db"), ("pay-service", "db"), ("db", "ts-order.v2")]


def test_a_call_in_words_that_the_graph_does_not_have_is_spurious() -> None:
    def steps(desk: Desk) -> Steps:
        yield (topology_of("mail"), topology_of("cart"))
        yield (model(0),)

    said: dict[str, Answer] = {"model": says("As mail calls cart, it failed too.")}
    assert [event.check for event in warnings(watched(steps, "RF-05", said=said))] == ["RF-05"]
    fine: dict[str, Answer] = {"model": says("As cart calls db, it failed too.")}
    assert warnings(watched(steps, "RF-05", said=fine)) == []


def topology_of(name: str) -> ToolCall:
    return tool("topology", service=name)


ROWS = {
    "rows": [
        {"source": "db", "accounts": 0.62, "requests": 400, "went_wrong": 96, "source_began_s": 12.0, "target_began_s": 30.0},
        {"source": "pay", "accounts": 0.21, "requests": 90, "went_wrong": 3, "source_began_s": None, "target_began_s": 30.0},
    ],
    "baseline": 0.012, "incident": 0.31,
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "62 % of its trouble comes from db", "it began there 18.0 s before", "24 % of its requests went wrong",
        "errors rose 25.8 times, from 1.2 % to 31 %", "30 percentage points more", "0.31 of all calls", "12000 ms after the start",
        "41 percent more trouble comes along db than along pay", "83 % of its trouble comes from the two", "490 requests in all",
    ],
)  # fmt: skip
def test_what_evidence_holds_or_what_follows_from_it_may_be_said(text: str) -> None:
    known = known_numbers([fact(1, "cart", result=ROWS)])
    assert all(known.holds(stated) for stated in stated_numbers(text)), text


@pytest.mark.parametrize(
    "text",
    [
        "84.2 % of its trouble comes from db", "it began there 42 s before", "11 % of its requests went wrong",
        "errors rose 12.4 times", "0.44 of all calls", "31 ms", "133 % of the requests",
    ],
)  # fmt: skip
def test_and_what_does_not_may_not(text: str) -> None:
    known = known_numbers([fact(1, "cart", result=ROWS)])
    assert not any(known.holds(stated) for stated in stated_numbers(text)), text


@pytest.mark.parametrize(
    "text",
    [
        "Output of log_templates: 31 new templates.", "[log_templates] 31 errors", "log_templates(cart) -> 31 errors",
        "According to log_templates it fails.", "The log_templates output lists 31 errors.",
    ],
)  # fmt: skip
def test_a_tool_that_never_answered_is_not_quoted(text: str) -> None:
    def steps(desk: Desk) -> Steps:
        yield (model(0),)

    def seen(words: str) -> list[str]:
        said: dict[str, Answer] = {"model": ModelAnswer(text=words)}
        return [event.check for event in warnings(watched(steps, "RF-10", said=said))]

    assert seen(text) == ["RF-10"]
    assert seen("I will ask log_templates, which shows new errors.") == []
    assert seen("If log_templates shows errors, it is cart.") == []


@pytest.mark.parametrize("verb", ["halved", "went down", "declined", "collapsed", "is lower"])
def test_many_words_say_that_something_fell(verb: str) -> None:
    def steps(desk: Desk) -> Steps:
        yield (model(0),)

    said: dict[str, Answer] = {"model": says(f"The errors of cart {verb} (E0000000000000001).")}
    assert [event.check for event in warnings(watched(steps, "RF-02", said=said))] == ["RF-02"]


def test_who_looked_at_many_things_and_found_nothing_has_looked() -> None:
    def refuting(text: str) -> list[str]:
        held = fact(9, "web", against=True, result={"rows": [], "total": 0}, text=text)

        def steps(desk: Desk) -> Steps:
            yield (topology_of("cart"),)
            desk.evidence[held.id] = held
            desk.ledger.weigh("web", -0.5, (held.id,), "nothing stands out")

        return [event.check for event in warnings(watched(steps, "RF-14", of=prior()))]

    assert refuting("none of 40 metrics of web left its baseline") == []
    assert refuting("no line was printed by web") == ["RF-14"] == refuting("none of 0 metrics of web left its baseline")
