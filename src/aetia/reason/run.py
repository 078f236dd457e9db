"""Drives an investigation over real telemetry: tools answer from a view, models over HTTP, a person when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import (
    Answer,
    Approval,
    Approved,
    Asked,
    Event,
    ModelAnswer,
    ModelCall,
    Request,
    Situation,
    Steer,
    ToolAnswer,
    ToolCall,
    ToolError,
)
from aetia.reason.deadlines import SIDE_BY_SIDE, no_time
from aetia.reason.engine import Check, Given, investigate
from aetia.reason.policy import Limits, Policy

GRACE_S = 0.25
"""A model that does not keep to its time is waited for so much longer before it is left alone."""


class Toolbox(Protocol):
    """Answers tool calls; it never raises and never changes anything."""

    def answer(self, call: ToolCall) -> ToolAnswer: ...


class Model(Protocol):
    """A language model; `answer` returns its failure as the answer's error, within `timeout_s`."""

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer: ...


def run(
    prior: Diagnosis,
    policy: Policy,
    toolbox: Toolbox,
    *,
    name: str,
    limits: Limits | None = None,
    seed: int = 0,
    checks: Sequence[Check] = (),
    model: Model | None = None,
    ask: Callable[[Approval], Approved] | None = None,
    steers: Callable[[], Sequence[Steer]] = tuple,
    tell: Callable[[Event], None] = lambda event: None,
    clock: Callable[[], float] = time.monotonic,
    options: Mapping[str, Any] | None = None,
    question: str = "",
    situation: Situation | None = None,
) -> Diagnosis:
    """Investigate until the policy has nothing left to ask or a limit is reached.

    Questions of one yield are answered side by side, models in threads, tools one after the other. Nothing begins after
    the deadline, and a model that keeps on is left alone then, so what is exceeded is at most one run of one tool.
    `steers` is called after each of them for what a person wished meanwhile; without `ask` every approval is denied.
    """
    began = clock()
    limits = limits or Limits()
    work = investigate(
        prior, policy, name=name, limits=limits, seed=seed, checks=checks, tell=tell, options=options,
        question=question, situation=situation,
    )  # fmt: skip
    pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="aetia-ask")
    driver = _Driver(toolbox, model, ask, pool, clock, until=began + limits.deadline_s)
    try:
        asked = next(work)
        while True:
            answers = driver.answers(asked)
            asked = work.send(Given(answers=answers, at_s=round(clock() - began, 3), steers=tuple(steers())))
    except StopIteration as end:
        return end.value
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Driver:
    """Answers the questions of one yield, none of them after `until`."""

    toolbox: Toolbox
    model: Model | None
    ask: Callable[[Approval], Approved] | None
    pool: ThreadPoolExecutor
    clock: Callable[[], float]
    until: float

    def answers(self, asked: tuple[Asked, ...]) -> tuple[Answer, ...]:
        """Models in threads; tools here, one by one: they share one view's memory and gain nothing side by side."""
        turns = {item.number: self.pool.submit(self._timed, item.request)
                 for item in asked if isinstance(item.request, ModelCall)}  # fmt: skip
        found = {item.number: self._timed(item.request) for item in asked if item.number not in turns}
        found |= {number: self._awaited(turn) for number, turn in turns.items()}
        return tuple(found[item.number] for item in asked)

    def _timed(self, request: Request) -> Answer:
        began = self.clock()
        answer = self._answer(request, self.until - began)
        return msgspec.structs.replace(answer, seconds=round(self.clock() - began, 4))

    def _answer(self, request: Request, left_s: float) -> Answer:
        if isinstance(request, Approval):
            return self.ask(request) if self.ask is not None else Approved(granted=False, by=NOBODY)
        if isinstance(request, ToolCall):
            return self.toolbox.answer(request) if left_s > 0 else ToolAnswer(error=no_time(PASSED))
        if self.model is None:
            return ModelAnswer(error=NO_MODEL)
        within_s = left_s if request.most_s is None else min(left_s, request.most_s)
        return self.model.answer(request, within_s) if within_s > 0 else ModelAnswer(error=no_time(PASSED))

    def _awaited(self, turn: Future[Answer]) -> Answer:
        """The answer of a thread; a time-out where it neither answers nor keeps to its time."""
        left_s = max(self.until - self.clock(), 0.0)
        try:
            return turn.result(left_s + GRACE_S)
        except TimeoutError:
            return ModelAnswer(error=OVERDUE, seconds=round(left_s, 4))


NOBODY = "nobody was there to ask"
PASSED = "the deadline has passed."
OVERDUE = ToolError(
    category="timeout", code="no_answer_in_time", message="the model gave no answer before the deadline.",
    instruction="give more time",
)  # fmt: skip
NO_MODEL = ToolError(
    category="dependency", code="no_model", message="no language model is configured.",
    instruction="give --model-url and --model, or use --policy rules",
)  # fmt: skip
