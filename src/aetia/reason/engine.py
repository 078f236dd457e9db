"""The engine of an investigation: a generator without I/O that yields questions and returns a diagnosis.

Whoever drives it answers: the command line from telemetry and models, a replay from a journal, a trainer from a
simulator. Nothing in here reads a clock, a file or a socket, so the same answers give the same journal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import (
    Answer,
    Answered,
    Approval,
    Approved,
    Asked,
    Believed,
    Closed,
    Event,
    ModelAnswer,
    ModelCall,
    Opened,
    Request,
    Situation,
    Steer,
    Steered,
    ToolAnswer,
    ToolCall,
    ToolError,
    Warned,
)
from aetia.reason.conclusion import conclude
from aetia.reason.deadlines import Pace, kind_of
from aetia.reason.ledger import Ledger
from aetia.reason.models.wire import estimated
from aetia.reason.policy import Desk, Limits, Policy, Questions, key_of

Outcome = Literal["answered", "abstained", "out of budget", "stopped", "failed"]
REFUSED = ("repeated", "budget")
"""Categories of errors with which the engine answers a question itself."""
HOPELESS = ("validation", "permanent")
"""Categories of errors that the same question meets again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Answers to one yield, in its order; the time since the start; and what a person wished meanwhile."""

    answers: tuple[Answer, ...]
    at_s: float
    steers: tuple[Steer, ...] = ()


class Check(Protocol):
    """Looks at every event and says when reasoning fails; `stop` ends the policy."""

    def look(self, event: Event, desk: Desk) -> Warned | None: ...


Investigation = Generator[tuple[Asked, ...], Given, Diagnosis]


def investigate(
    prior: Diagnosis,
    policy: Policy,
    *,
    name: str,
    limits: Limits | None = None,
    seed: int = 0,
    checks: Sequence[Check] = (),
    tell: Callable[[Event], None] = lambda event: None,
    options: Mapping[str, Any] | None = None,
    question: str = "",
    paced: bool = True,
    situation: Situation | None = None,
) -> Investigation:
    """Investigate the incident of a prior diagnosis; `tell` hears every event as it happens.

    Questions that were asked before are refused with the evidence that answered them, and never reach the driver.
    When a limit is reached the policy is ended, and the answer is the best that was found until then. Where `paced`,
    a tool that would not end before the deadline by what was seen of it is refused as well. `options` and `question`
    say what the policy was made with, for the journal; a policy that says so itself, in `options` of its own, is
    believed. The `situation` is written to the journal and changes nothing.
    """
    limits = limits or Limits()
    opened = Opened(
        prior=prior, policy=name, seed=seed, question=question, paced=paced,
        options=dict(getattr(policy, "options", None) or options or {}),
        checks=tuple(str(getattr(check, "code", type(check).__name__)) for check in checks),
        deadline_s=limits.deadline_s, max_calls=limits.max_calls, max_tokens=limits.max_tokens,
        max_cost=limits.max_cost, price=limits.price, situation=situation,
    )  # fmt: skip
    return _Run(opened, policy, limits, checks, tell).run()


class _Run:
    """The state of one run; the policy sees the desk alone."""

    def __init__(
        self,
        opened: Opened,
        policy: Policy,
        limits: Limits,
        checks: Sequence[Check],
        tell: Callable[[Event], None],
    ) -> None:
        self._opened, self._policy, self._checks, self._tell = opened, policy, checks, tell
        self._number = 0
        self._known: dict[str, str | None] = {}
        self._outcome: Outcome = "answered"
        self._reason = ""
        self._stopped = False
        self._reckoned = 0
        prior = opened.prior
        self.desk = Desk(
            prior=prior, limits=limits, seed=opened.seed, ledger=Ledger(self._note), note=self._note,
            evidence={item.id: item for item in prior.evidence}, question=opened.question,
            pace=Pace(limits.deadline_s),
        )  # fmt: skip

    def run(self) -> Investigation:
        desk = self.desk
        self._note(self._opened)
        for hypothesis in desk.prior.hypotheses:
            desk.ledger.propose(hypothesis.entity.name, hypothesis.entity, hypothesis.probability or 0.0, hypothesis)
        work = self._policy.steps(desk)
        answers: tuple[Answer, ...] | None = None
        while not self._over():
            try:
                questions = work.send(answers) if answers is not None else next(work)
            except StopIteration:
                break
            answers = yield from self._ask(questions)
        work.close()
        diagnosis = conclude(desk, self._outcome)
        if diagnosis.abstained is not None and self._outcome == "answered":
            self._outcome = "abstained"
        self._note(
            Closed(
                outcome=self._outcome, diagnosis=diagnosis, calls=desk.spent.calls, tokens=desk.spent.tokens,
                reason=self._reason, tokens_in=desk.spent.tokens_in, tokens_out=desk.spent.tokens_out, cost=desk.cost,
                answer=desk.answer,
            )
        )  # fmt: skip
        return diagnosis

    def _ask(self, questions: Questions) -> Generator[tuple[Asked, ...], Given, tuple[Answer, ...]]:
        """Ask what is new; what is known or no longer affordable is answered here."""
        answers: dict[int, Answer] = {}
        asked: list[Asked] = []
        ahead = _Ahead()
        first: dict[str, int] = {}
        twice: dict[int, int] = {}
        for question in questions:
            self._number += 1
            asked.append(Asked(number=self._number, request=question, at_s=self.desk.spent.at_s))
            self._note(asked[-1])
            refused = self._refused(question) or self._unaffordable(question, ahead)
            self.desk.spent.calls += 1  # refused ones too: who only repeats itself must come to an end
            if refused is not None:
                answers[self._number] = refused
            elif isinstance(question, ToolCall):
                before = first.setdefault(key_of(question), self._number)
                if before != self._number:
                    twice[self._number] = before
        sent = tuple(item for item in asked if item.number not in answers and item.number not in twice)
        if sent:
            given = yield sent
            self.desk.spent.at_s = max(self.desk.spent.at_s, given.at_s)
            for steer in given.steers:
                self._steer(steer)
            answers |= {item.number: answer for item, answer in zip(sent, given.answers, strict=True)}
        for item in asked:
            if item.number in twice:  # what it was asked for at the same time is taken by now
                answers[item.number] = self._repeated(item.request) or answers[twice[item.number]]
            self._take(item.number, item.request, answers[item.number])
        return tuple(answers[item.number] for item in asked)

    def _refused(self, question: Request) -> Answer | None:
        if self.desk.spent.calls >= self.desk.limits.max_calls:
            error = ToolError(
                category="budget", code="calls_spent", instruction="finish with what is known, or abstain",
                message=f"all {self.desk.limits.max_calls} calls are spent.",
            )  # fmt: skip
            return _failed(question, error)
        return self._repeated(question)

    def _repeated(self, question: Request) -> Answer | None:
        """The refusal of a question that was asked before."""
        if isinstance(question, ToolCall) and (key := key_of(question)) in self._known:
            seen = self._known[key]
            error = ToolError(
                category="repeated", code="asked_before", message=f"{question.tool} was asked exactly this before.",
                instruction="use that answer, or ask something else", seen=seen,
            )  # fmt: skip
            return ToolAnswer(error=error)
        return None

    def _unaffordable(self, question: Request, ahead: _Ahead) -> Answer | None:
        """The answer to a question for which time or money do not suffice; what it will take counts as gone."""
        desk = self.desk
        if isinstance(question, ToolCall) and self._opened.paced:
            refused = desk.pace.refused(question, desk.left_s, ahead.seconds)
            ahead.seconds += desk.pace.usual(kind_of(question)) if refused is None else 0.0
            return refused
        if isinstance(question, ModelCall) and desk.limits.price is not None:
            known = max(desk.spent.tokens_in / self._reckoned, 1.0) if self._reckoned else 1.0
            cost = desk.limits.price.of(math.ceil(known * estimated(question)), question.max_tokens)
            if ahead.cost + cost > desk.left_cost:
                error = ToolError(
                    category="budget", code="money_spent", instruction="finish with what is known, or abstain",
                    message=f"a turn may cost {cost:.3g}, and {max(desk.left_cost - ahead.cost, 0.0):.3g} is left.",
                )  # fmt: skip
                return ModelAnswer(error=error)
            ahead.cost += cost
        return None

    def _take(self, number: int, question: Request, answer: Answer) -> None:
        self._note(Answered(number=number, answer=answer, at_s=self.desk.spent.at_s))
        self.desk.pace.saw(question, answer)
        if isinstance(answer, ModelAnswer):
            self.desk.spent.tokens += answer.tokens_in + answer.tokens_out
            self.desk.spent.tokens_in += answer.tokens_in
            if answer.tokens_in and isinstance(question, ModelCall):
                self._reckoned += estimated(question)  # servers count more than a quarter of the bytes
            self.desk.spent.tokens_out += answer.tokens_out
        if isinstance(answer, ToolAnswer) and isinstance(question, ToolCall):
            if answer.error is None or answer.error.category in HOPELESS:
                self._known[key_of(question)] = answer.evidence.id if answer.evidence is not None else None
            if answer.error is None or answer.error.category not in REFUSED:
                self.desk.answered.append((question, answer))
            if answer.evidence is not None:
                self.desk.evidence.setdefault(answer.evidence.id, answer.evidence)

    def _steer(self, steer: Steer) -> None:
        self._note(Steered(steer=steer, at_s=self.desk.spent.at_s))
        self.desk.steered(steer)
        if steer.wish == "stop":
            self._stopped, self._outcome, self._reason = True, "stopped", "a person ended it"

    def _over(self) -> bool:
        """Whether the policy must end now; says why in the outcome."""
        spent, limits = self.desk.spent, self.desk.limits
        over = {
            "the deadline has passed": spent.at_s >= limits.deadline_s,
            "all calls are spent": spent.calls >= limits.max_calls,
            "all tokens are spent": spent.tokens >= limits.max_tokens,
            "all money is spent": self.desk.left_cost <= 0,
        }
        why = next((text for text, true in over.items() if true), None)
        if why is not None and not self._stopped:
            self._outcome, self._reason = "out of budget", why
        return self._stopped or why is not None

    def _note(self, event: Event) -> None:
        """Tell an event, with the time, and let the checks look at it."""
        if isinstance(event, Believed | Closed):
            event = msgspec.structs.replace(event, at_s=self.desk.spent.at_s)
        if isinstance(event, Closed):
            self._watch(event)  # a journal ends with its end: what the checks say of it stands before
        self._tell(event)
        if not isinstance(event, Warned | Closed):
            self._watch(event)

    def _watch(self, event: Event) -> None:
        for check in self._checks:
            warning = check.look(event, self.desk)
            if warning is not None:
                warning = msgspec.structs.replace(warning, at_s=self.desk.spent.at_s)
                self.desk.warnings.append(warning)
                self._tell(warning)
                if warning.stopped:
                    self._stopped, self._outcome, self._reason = True, "stopped", f"{warning.check}: {warning.text}"


@dataclass(slots=True)
class _Ahead:
    """What the questions that go out together will take: seconds of tools one after the other, and money."""

    seconds: float = 0.0
    cost: float = 0.0


def _failed(question: Request, error: ToolError) -> Answer:
    if isinstance(question, ToolCall):
        return ToolAnswer(error=error)
    return Approved(granted=False) if isinstance(question, Approval) else ModelAnswer(error=error)
