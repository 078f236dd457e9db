"""The engine of an investigation: a generator without I/O that yields questions and returns a diagnosis.

Whoever drives it answers: the command line from telemetry and models, a replay from a journal, a trainer from a
simulator. Nothing in here reads a clock, a file or a socket, so the same answers give the same journal.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from aetia.model.diagnosis import Diagnosis, digest
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
    Opened,
    Request,
    Steer,
    Steered,
    ToolAnswer,
    ToolCall,
    ToolError,
    Warned,
)
from aetia.reason.conclusion import conclude
from aetia.reason.ledger import Ledger
from aetia.reason.policy import Desk, Limits, Policy, Questions, Spent

Outcome = Literal["answered", "abstained", "out of budget", "stopped", "failed"]


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
) -> Investigation:
    """Investigate the incident of a prior diagnosis; `tell` hears every event as it happens.

    Questions that were asked before are refused with the evidence that answered them, and never reach the driver.
    When a limit is reached the policy is ended, and the answer is the best that was found until then.
    """
    return _Run(prior, policy, name, limits or Limits(), seed, checks, tell).run()


class _Run:
    """The state of one run; the policy sees the desk alone."""

    def __init__(
        self,
        prior: Diagnosis,
        policy: Policy,
        name: str,
        limits: Limits,
        seed: int,
        checks: Sequence[Check],
        tell: Callable[[Event], None],
    ) -> None:
        self._policy, self._name, self._checks, self._tell = policy, name, checks, tell
        self._number = 0
        self._known: dict[str, str | None] = {}
        self._outcome: Outcome = "answered"
        self._reason = ""
        self._stopped = False
        spent = Spent()
        self.desk = Desk(
            prior=prior, limits=limits, seed=seed, ledger=Ledger(self._note), note=self._note, spent=spent,
            evidence={item.id: item for item in prior.evidence},
        )  # fmt: skip

    def run(self) -> Investigation:
        desk, limits = self.desk, self.desk.limits
        self._note(
            Opened(
                prior=desk.prior, policy=self._name, seed=desk.seed, deadline_s=limits.deadline_s,
                max_calls=limits.max_calls, max_tokens=limits.max_tokens,
                checks=tuple(str(getattr(check, "code", type(check).__name__)) for check in self._checks),
            )
        )  # fmt: skip
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
                reason=self._reason,
            )
        )  # fmt: skip
        return diagnosis

    def _ask(self, questions: Questions) -> Generator[tuple[Asked, ...], Given, tuple[Answer, ...]]:
        """Ask what is new; what is known or no longer affordable is answered here."""
        answers: dict[int, Answer] = {}
        asked: list[Asked] = []
        for question in questions:
            self._number += 1
            asked.append(Asked(number=self._number, request=question, at_s=self.desk.spent.at_s))
            self._note(asked[-1])
            refused = self._refused(question)
            self.desk.spent.calls += 1  # refused ones too: who only repeats itself must come to an end
            if refused is not None:
                answers[self._number] = refused
        sent = tuple(item for item in asked if item.number not in answers)
        if sent:
            given = yield sent
            self.desk.spent.at_s = max(self.desk.spent.at_s, given.at_s)
            for steer in given.steers:
                self._steer(steer)
            answers |= {item.number: answer for item, answer in zip(sent, given.answers, strict=True)}
        for item in asked:
            self._take(item.number, item.request, answers[item.number])
        return tuple(answers[item.number] for item in asked)

    def _refused(self, question: Request) -> Answer | None:
        if self.desk.spent.calls >= self.desk.limits.max_calls:
            error = ToolError(
                category="budget", code="calls_spent", instruction="finish with what is known, or abstain",
                message=f"all {self.desk.limits.max_calls} calls are spent.",
            )  # fmt: skip
            return _failed(question, error)
        if isinstance(question, ToolCall) and (key := _key(question)) in self._known:
            seen = self._known[key]
            error = ToolError(
                category="repeated", code="asked_before", message=f"{question.tool} was asked exactly this before.",
                instruction="use that answer, or ask something else", seen=seen,
            )  # fmt: skip
            return ToolAnswer(error=error)
        return None

    def _take(self, number: int, question: Request, answer: Answer) -> None:
        self._note(Answered(number=number, answer=answer, at_s=self.desk.spent.at_s))
        if isinstance(answer, ModelAnswer):
            self.desk.spent.tokens += answer.tokens_in + answer.tokens_out
        if isinstance(answer, ToolAnswer) and isinstance(question, ToolCall):
            if answer.error is None:
                self._known[_key(question)] = answer.evidence.id if answer.evidence is not None else None
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


def _failed(question: Request, error: ToolError) -> Answer:
    if isinstance(question, ToolCall):
        return ToolAnswer(error=error)
    return Approved(granted=False) if isinstance(question, Approval) else ModelAnswer(error=error)


def _key(call: ToolCall) -> str:
    return f"{call.tool} {digest(call.args)}"
