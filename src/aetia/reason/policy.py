"""What decides which question comes next, and the desk it works at."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

from aetia.model.diagnosis import Diagnosis, Evidence, Precedent, digest
from aetia.model.journal import (
    Answer,
    Event,
    Opened,
    Price,
    Request,
    Sentence,
    Steer,
    ToolAnswer,
    ToolCall,
    Traced,
    Warned,
)
from aetia.reason.deadlines import Pace
from aetia.reason.ledger import Ledger

Questions = tuple[Request, ...]
"""Asked side by side; the answers come back in the same order."""
Steps = Generator[Questions, tuple[Answer, ...], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an investigation may spend. Money is counted where a `price` is given, and limited by `max_cost`, which is
    in the same currency."""

    deadline_s: float = 30.0
    max_calls: int = 200
    max_tokens: int = 200_000
    max_cost: float | None = None
    price: Price | None = None

    def __post_init__(self) -> None:
        if self.max_cost is not None and self.price is None:
            raise ValueError("max_cost needs a price: what tokens cost is never guessed")


@dataclass(slots=True)
class Spent:
    """What it has spent; `at_s` is the time of the last answer."""

    at_s: float = 0.0
    calls: int = 0
    tokens: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(slots=True, kw_only=True)
class Desk:
    """The working memory of one investigation: a policy reads all of it and writes through the ledger and `trace`.

    `prior` is what the localizer said, `evidence` all facts by id, `warnings` what the checks found so far,
    `excluded` the candidates that a person took out, `wished` those that a person wants to see looked at.
    """

    prior: Diagnosis
    limits: Limits
    seed: int
    ledger: Ledger
    note: Callable[[Event], None]
    spent: Spent = field(default_factory=Spent)
    evidence: dict[str, Evidence] = field(default_factory=dict[str, Evidence])
    answered: list[tuple[ToolCall, ToolAnswer]] = field(default_factory=list[tuple[ToolCall, ToolAnswer]])
    """What tools were asked and what they said, in order; refused questions never reached one and are not here."""
    hops: list[Traced] = field(default_factory=list[Traced])
    warnings: list[Warned] = field(default_factory=list[Warned])
    excluded: set[str] = field(default_factory=set[str])
    wished: list[str] = field(default_factory=list[str])
    abstained: str = ""
    """Why a policy found that the evidence names nobody; then the diagnosis abstains."""
    question: str = ""
    """What a person wants to know, once the policy has ended."""
    answer: tuple[Sentence, ...] = ()
    pace: Pace = field(default_factory=Pace)

    @property
    def left_s(self) -> float:
        return self.limits.deadline_s - self.spent.at_s

    @property
    def cost(self) -> float | None:
        """What the tokens cost so far; None without a price."""
        price = self.limits.price
        return None if price is None else price.of(self.spent.tokens_in, self.spent.tokens_out)

    @property
    def left_cost(self) -> float:
        """What may still be paid; infinite where money has no limit."""
        cost, most = self.cost, self.limits.max_cost
        return math.inf if cost is None or most is None else most - cost

    @property
    def precedents(self) -> tuple[Precedent, ...]:
        """Earlier incidents like this one; they may order questions, and no belief can cite them."""
        return self.prior.precedents

    def trace(self, hop: Traced) -> None:
        """Record one hop of a propagation with what was observed of it."""
        self.hops.append(hop)
        self.note(hop)

    def steered(self, steer: Steer) -> None:
        """A person's wish; taken up by the policy when it looks next."""
        if steer.wish == "exclude":
            self.excluded.add(steer.entity)
        elif steer.wish == "look_at" and steer.entity not in self.wished:
            self.wished.append(steer.entity)


def limits_of(opened: Opened) -> Limits:
    """The limits that a journal was written under."""
    return Limits(
        deadline_s=opened.deadline_s, max_calls=opened.max_calls, max_tokens=opened.max_tokens,
        max_cost=opened.max_cost, price=opened.price,
    )  # fmt: skip


def key_of(call: ToolCall) -> str:
    """What makes two questions the same, whoever asks them and why."""
    return f"{call.tool} {digest(call.args)}"


class Policy(Protocol):
    """Yields questions, receives their answers, and moves beliefs in the desk's ledger; returns when it has nothing
    left to ask. It does no I/O of its own and the same answers make it ask the same questions. What it needs to be made
    again, such as the hash of its weights, it may hold as plain values in `options`: they are written to the journal,
    and a replay passes them to its constructor."""

    def steps(self, desk: Desk) -> Steps: ...
