"""Drives an investigation over real telemetry: tools answer from a view, models over HTTP, a person when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

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
    Steer,
    ToolAnswer,
    ToolCall,
    ToolError,
)
from aetia.reason.engine import Check, Given, investigate
from aetia.reason.policy import Limits, Policy

MOST_AT_ONCE = 32


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
) -> Diagnosis:
    """Investigate until the policy has nothing left to ask or a limit is reached.

    Questions of one yield are answered side by side, models in threads. `steers` is called after each of them for what
    a person wished meanwhile; without `ask` every approval is denied.
    """
    began = clock()
    limits = limits or Limits()
    work = investigate(prior, policy, name=name, limits=limits, seed=seed, checks=checks, tell=tell)
    with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="aetia-ask") as pool:
        try:
            asked = next(work)
            while True:
                left = limits.deadline_s - (clock() - began)
                answers = _answers(asked, toolbox, model, ask, pool, left)
                asked = work.send(Given(answers=answers, at_s=round(clock() - began, 3), steers=tuple(steers())))
        except StopIteration as end:
            return end.value


def _answers(
    asked: tuple[Asked, ...],
    toolbox: Toolbox,
    model: Model | None,
    ask: Callable[[Approval], Approved] | None,
    pool: ThreadPoolExecutor,
    left_s: float,
) -> tuple[Answer, ...]:
    def one(item: Asked) -> Answer:
        began = time.monotonic()
        request = item.request
        if isinstance(request, ToolCall):
            answer: Answer = toolbox.answer(request)
        elif isinstance(request, ModelCall):
            within_s = left_s if request.most_s is None else min(left_s, request.most_s)
            answer = model.answer(request, within_s) if model is not None else ModelAnswer(error=NO_MODEL)
        else:
            answer = ask(request) if ask is not None else Approved(granted=False, by="nobody was there to ask")
        return msgspec.structs.replace(answer, seconds=round(time.monotonic() - began, 4))

    if any(isinstance(item.request, ModelCall) for item in asked):
        return tuple(pool.map(one, asked))
    return tuple(one(item) for item in asked)  # tools share one view's memory: side by side they gain nothing


NO_MODEL = ToolError(
    category="dependency", code="no_model", message="no language model is configured.",
    instruction="give --model-url and --model, or use --policy rules",
)  # fmt: skip
