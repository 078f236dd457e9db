"""An investigation as it stands, from its events alone: what a terminal draws now and a web page can draw later."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import (
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
    Price,
    Request,
    State,
    Steered,
    ToolAnswer,
    Traced,
    Warned,
)
from aetia.report import wording

KEPT = 20
"""Answers, hops, warnings and wishes that are kept, newest last."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """One hypothesis: the belief at first, before its last movement and now, and what moved it."""

    name: str
    first: float
    before: float
    belief: float
    state: State
    reason: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """One question: who asks what and why; how it ended once it did."""

    number: int
    agent: str
    what: str
    why: str
    asked_s: float
    answer: str = ""


@dataclass(slots=True, kw_only=True)
class Scene:
    """Everything that can be shown; plain values, so that it is JSON by msgspec. `take` brings it up to date."""

    policy: str = ""
    headline: str = ""
    severity: str = ""
    """How badly users are hurt, where that is known."""
    at_s: float = 0.0
    deadline_s: float = 0.0
    calls: int = 0
    max_calls: int = 0
    tokens: int = 0
    max_tokens: int = 0
    price: Price | None = None
    cost: float | None = None
    """What the tokens cost so far; None without a price."""
    max_cost: float | None = None
    standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    waiting: dict[int, Inquiry] = field(default_factory=dict[int, Inquiry])
    answered: list[Inquiry] = field(default_factory=list[Inquiry])
    hops: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    wishes: list[str] = field(default_factory=list[str])
    excluded: list[str] = field(default_factory=list[str])
    """Candidates that a person took out."""
    seen_before: list[str] = field(default_factory=list[str])
    outcome: str = ""

    @property
    def left(self) -> tuple[float, int, int]:
        """Seconds, calls and tokens that are left."""
        return (
            max(0.0, self.deadline_s - self.at_s), max(0, self.max_calls - self.calls),
            max(0, self.max_tokens - self.tokens),
        )  # fmt: skip

    def ranked(self) -> list[Standing]:
        """Whom nobody took out, most believed first; beliefs as the probabilities of one ranking, at most 1 together,
        as the diagnosis gives them."""
        kept = [item for item in self.standings.values() if item.name not in self.excluded]
        total = max(sum(item.belief for item in kept), 1.0)
        shown = [
            replace(item, first=item.first / total, before=item.before / total, belief=item.belief / total)
            for item in kept
        ]
        return sorted(shown, key=lambda item: -item.belief)

    def take(self, event: Event) -> None:
        """One event more."""
        self.at_s = max(self.at_s, event.at_s)
        if isinstance(event, Opened):
            self._open(event)
        elif isinstance(event, Asked):
            self.calls += 1
            self.waiting[event.number] = _inquiry(event)
        elif isinstance(event, Answered):
            self._answer(event)
        elif isinstance(event, Believed):
            self._believe(event)
        elif isinstance(event, Traced):
            _keep(self.hops, _hop(event))
        elif isinstance(event, Warned):
            end = ", and ended it" if event.stopped else ""
            _keep(self.warnings, wording.plain(f"{event.check} at {event.agent}{end}: {event.text}"))
        elif isinstance(event, Steered):
            if event.steer.wish == "exclude":
                self.excluded.append(event.steer.entity)
            _keep(self.wishes, wording.plain(f"{event.steer.wish.replace('_', ' ')} {event.steer.entity}"))
        elif isinstance(event, Closed):  # pyright: ignore[reportUnnecessaryIsInstance]
            self.outcome, self.headline = event.outcome, wording.headline(event.diagnosis)
            self.seen_before = wording.seen_before(event.diagnosis)
            self.calls, self.tokens, self.cost = event.calls, event.tokens, event.cost
            self.severity = _severity(event.diagnosis)
            self.waiting.clear()
        else:
            assert_never(event)

    def _open(self, event: Opened) -> None:
        self.policy, self.headline = event.policy, wording.headline(event.prior)
        self.seen_before = wording.seen_before(event.prior)
        self.severity = _severity(event.prior)
        self.deadline_s, self.max_calls, self.max_tokens = event.deadline_s, event.max_calls, event.max_tokens
        self.price, self.max_cost = event.price, event.max_cost
        self.cost = None if event.price is None else 0.0

    def _answer(self, event: Answered) -> None:
        inquiry = self.waiting.pop(event.number, None)
        answer = event.answer
        if isinstance(answer, ModelAnswer):
            self.tokens += answer.tokens_in + answer.tokens_out
            if self.price is not None and self.cost is not None:
                self.cost += self.price.of(answer.tokens_in, answer.tokens_out)
        if inquiry is not None:
            inquiry.answer = _said(answer)
            self.answered = [*self.answered, inquiry][-KEPT:]

    def _believe(self, event: Believed) -> None:
        old = self.standings.get(event.entity)
        before = old.before if old is not None and event.before == event.after else event.before  # a verdict alone
        self.standings[event.entity] = Standing(
            name=event.entity, first=old.first if old else event.before, before=before, belief=event.after,
            state=event.state, reason=wording.plain(event.reason), evidence=event.because,
        )  # fmt: skip


def _severity(diagnosis: Diagnosis) -> str:
    level = diagnosis.severity.level if diagnosis.severity is not None else "unknown"
    return "" if level == "unknown" else level


def _keep(lines: list[str], line: str) -> None:
    lines.append(line)
    del lines[:-KEPT]


def _inquiry(event: Asked) -> Inquiry:
    request = event.request
    why = "" if isinstance(request, Approval) else wording.plain(request.why)
    return Inquiry(number=event.number, agent=wording.plain(request.agent, 40), what=_what(request), why=why,
                   asked_s=event.at_s)  # fmt: skip


def _what(request: Request) -> str:
    if isinstance(request, Approval):
        return wording.plain(f"leave: {request.question}")
    if isinstance(request, ModelCall):
        return f"language model, {len(request.messages)} messages"
    args = ", ".join(f"{key} {value}" for key, value in request.args.items())
    return wording.plain(f"{request.tool} {args}")


def _said(answer: ToolAnswer | ModelAnswer | Approved) -> str:
    if isinstance(answer, Approved):
        return "granted" if answer.granted else "denied"
    if answer.error is not None:
        return wording.plain(f"failed: {answer.error.message}")
    if isinstance(answer, ModelAnswer):
        return f"{answer.tokens_in + answer.tokens_out} tokens, {len(answer.calls)} questions"
    if answer.evidence is not None:
        return wording.claim(answer.evidence)
    return f"{len(answer.rows)} rows{', cut' if answer.truncated else ''}"


def _hop(event: Traced) -> str:
    signs = {True: "✓", False: "✗", None: "?"}
    return wording.plain(
        f"{event.source} → {event.target}  time {signs[event.in_time]} direction {signs[event.in_direction]}"
    )
