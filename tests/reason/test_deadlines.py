"""The deadline is split by what was seen of each kind; nothing begins after it, and the journal alone repeats it."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.model import entity
from aetia.model.diagnosis import Diagnosis, Hypothesis
from aetia.model.journal import (
    Answered,
    Closed,
    Event,
    ModelAnswer,
    ModelCall,
    Request,
    ToolAnswer,
    ToolCall,
    ToolError,
)
from aetia.reason.deadlines import ENOUGH, LEAST_S, SAFETY, SIDE_BY_SIDE, Pace, kind_of
from aetia.reason.engine import Given, investigate
from aetia.reason.policy import Desk, Limits, Steps
from aetia.reason.replay import replay
from aetia.reason.run import run

SECONDS = st.floats(0.001, 50.0)
PRIOR = Diagnosis(
    localizer="explain", incident=None, roots=(0,),
    hypotheses=(Hypothesis(entity=entity.service("cart"), score=0.6, probability=0.6),),
)  # fmt: skip


def turn(agent: str = "node:a", **more: float) -> ModelCall:
    return ModelCall(messages=({"role": "user", "content": "{}"},), agent=agent, **more)


def seen(pace: Pace, request: Request, *seconds: float) -> Pace:
    for value in seconds:
        answer = ModelAnswer(seconds=value) if isinstance(request, ModelCall) else ToolAnswer(seconds=value)
        pace.saw(request, answer)
    return pace


class Clock:
    """Time that passes only while somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A toolbox and a model whose answers take given times, over and over; they know how long they took at most."""

    def __init__(self, clock: Clock, tools: dict[str, list[float]], turns: list[float]) -> None:
        self.clock, self.tools, self.turns = clock, tools, turns
        self.asked: dict[str, int] = {}
        self.longest = 0.0

    def tool(self, call: ToolCall) -> ToolAnswer:
        number = self.asked[call.tool] = self.asked.get(call.tool, 0) + 1
        took = self.tools[call.tool][number % len(self.tools[call.tool])]
        self.clock.now += took
        self.longest = max(self.longest, took)
        return ToolAnswer(rows=({"n": number},))

    def turn(self, timeout_s: float) -> ModelAnswer:
        number = self.asked["model"] = self.asked.get("model", 0) + 1
        took = self.turns[number % len(self.turns)]
        self.clock.now += min(took, timeout_s)
        if took > timeout_s:
            return ModelAnswer(error=ToolError(category="timeout", code="late", message="too late"))
        return ModelAnswer(text="hm")


class Toolbox:
    def __init__(self, slow: Slow) -> None:
        self._slow = slow

    def answer(self, call: ToolCall) -> ToolAnswer:
        return self._slow.tool(call)


class Talker:
    def __init__(self, slow: Slow) -> None:
        self._slow = slow

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        return self._slow.turn(timeout_s)


class Greedy:
    """Asks several tools at once and then a model, without end."""

    def __init__(self, tools: list[str], at_once: int) -> None:
        self._tools, self._at_once = tools, at_once

    def steps(self, desk: Desk) -> Steps:
        for number in range(10_000):
            name = self._tools[number % len(self._tools)]
            yield tuple(ToolCall(tool=name, args={"n": number, "k": k}) for k in range(self._at_once))
            yield (turn(most_s=desk.pace.allotment("model node", desk.left_s, 3)),)


def pursue(policy: Greedy, slow: Slow, deadline_s: float) -> tuple[Diagnosis, list[Event]]:
    events: list[Event] = []
    limits = Limits(deadline_s=deadline_s, max_calls=400)
    found = run(PRIOR, policy, Toolbox(slow), name="greedy", limits=limits, model=Talker(slow), tell=events.append,
                clock=slow.clock)  # fmt: skip
    return found, events


@settings(max_examples=60, deadline=None)
@given(
    tools=st.dictionaries(st.sampled_from("abc"), st.lists(SECONDS, min_size=1, max_size=4), min_size=1),
    turns=st.lists(SECONDS, min_size=1, max_size=4),
    at_once=st.integers(1, 9),
    deadline_s=st.floats(0.5, 60.0),
)
def test_the_deadline_is_exceeded_by_one_run_of_one_tool_at_most_and_a_replay_is_the_same(
    tools: dict[str, list[float]], turns: list[float], at_once: int, deadline_s: float
) -> None:
    slow = Slow(Clock(), tools, turns)
    found, events = pursue(Greedy(list(tools), at_once), slow, deadline_s)
    assert slow.clock.now <= deadline_s + slow.longest + 0.01
    end = events[-1]
    assert isinstance(end, Closed) and found.hypotheses[0].entity.name == "cart"
    told: list[Event] = []
    again = replay(events, policy=Greedy(list(tools), at_once), checks=(), tell=told.append)
    assert msgspec.json.encode(again) == msgspec.json.encode(found) and told == events


@given(
    left=st.floats(0.0, 200.0), whole=st.floats(0.1, 200.0), planned=st.integers(1, 20), at_once=st.integers(1, 90),
    past=st.lists(SECONDS, max_size=30),
)  # fmt: skip
def test_no_turn_gets_more_than_what_is_left_nor_less_than_the_least(
    left: float, whole: float, planned: int, at_once: int, past: list[float]
) -> None:
    pace = seen(Pace(whole), turn(), *past)
    waves = math.ceil(at_once / SIDE_BY_SIDE)
    got = pace.allotment("model node", left, planned, at_once)
    assert got * waves <= left + 0.01
    assert got >= min(LEAST_S, left / waves) - 0.001
    p95 = pace.p95("model node")
    if p95 is not None:
        assert got <= max(LEAST_S, 0.1 * whole, p95 * SAFETY) + 0.001


def test_each_kind_has_its_own_latency() -> None:
    pace = seen(Pace(60.0), turn("synthesis"), 9.0, 10.0, 9.5)
    seen(pace, turn("node:a"), 0.2, 0.3)
    seen(pace, turn("node:b"), 0.2)
    assert kind_of(turn("node:a")) == kind_of(turn("node:b")) == "model node"
    assert pace.p95("model node") == 0.3 and pace.p95("model synthesis") == 10.0
    assert pace.allotment("model node", 50.0, 2) == 6.0  # the least, and not three times what the synthesis takes
    assert pace.allotment("model synthesis", 50.0, 2) == 25.0
    assert pace.p95("model join") is None and pace.expected("model join") == 10.0
    assert pace.expected("tool hop") is None


def test_a_time_out_tells_of_latency_and_other_failures_do_not() -> None:
    pace = Pace(60.0)
    for category in ("transient", "validation", "dependency"):
        pace.saw(turn(), ModelAnswer(error=ToolError(category=category, code="x", message="x"), seconds=0.001))
    assert pace.p95("model node") is None
    for _ in range(ENOUGH):
        pace.saw(turn(), ModelAnswer(error=ToolError(category="timeout", code="x", message="x"), seconds=4.0))
    assert pace.p95("model node") == 4.0


def test_a_tool_that_would_not_end_in_time_is_refused_and_a_fast_one_is_not() -> None:
    class Two:
        def steps(self, desk: Desk) -> Steps:
            for number in range(4):
                yield (ToolCall(tool="slow", args={"n": number}), ToolCall(tool="fast", args={"n": number}))

    slow = Slow(Clock(), {"slow": [3.0], "fast": [0.01]}, [1.0])
    _, events = pursue(Two(), slow, 11.0)  # type: ignore[arg-type]
    answers = [event.answer for event in events if isinstance(event, Answered)]
    errors = [answer.error for answer in answers if isinstance(answer, ToolAnswer)]
    assert [error.code if error else None for error in errors] == [None] * 6 + ["no_time", None]
    assert errors[6] is not None and errors[6].category == "budget" and "slow takes up to 3.0 s" in errors[6].message
    assert slow.asked == {"slow": 3, "fast": 4} and slow.clock.now < 11.0


def test_a_journal_of_before_is_not_refused_what_was_answered_then() -> None:
    class Four:
        def steps(self, desk: Desk) -> Steps:
            for number in range(4):
                yield (ToolCall(tool="slow", args={"n": number}),)

    events: list[Event] = []
    work = investigate(PRIOR, Four(), name="four", limits=Limits(deadline_s=11.0), tell=events.append, paced=False)
    asked = next(work)
    while True:
        try:
            asked = work.send(Given(answers=(ToolAnswer(seconds=3.0),), at_s=3.0 * asked[0].number))
        except StopIteration:
            break
    assert [event.number for event in events if isinstance(event, Answered)] == [1, 2, 3, 4]
    told: list[Event] = []
    replay(events, policy=Four(), checks=(), tell=told.append)
    assert told == events


def test_a_model_that_keeps_no_time_is_left_alone() -> None:
    import threading
    import time

    release = threading.Event()

    class Deaf:
        def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
            release.wait(20)
            return ModelAnswer(text="at last")

    class Once:
        def steps(self, desk: Desk) -> Steps:
            yield (turn(),)

    events: list[Event] = []
    began = time.monotonic()
    run(PRIOR, Once(), Toolbox(Slow(Clock(), {}, [])), name="once", model=Deaf(), tell=events.append,
        limits=Limits(deadline_s=0.3))  # fmt: skip
    took = time.monotonic() - began
    release.set()
    (answer,) = [event.answer for event in events if isinstance(event, Answered)]
    assert took < 2.0 and isinstance(answer, ModelAnswer)
    assert answer.error is not None and answer.error.category == "timeout"
