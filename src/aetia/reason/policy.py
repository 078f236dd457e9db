"""What decides which question comes next, and the desk it works at."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

from aetia.model.diagnosis import Diagnosis, Evidence
from aetia.model.journal import Answer, Event, Request, Steer, Traced, Warned
from aetia.reason.ledger import Ledger

Questions = tuple[Request, ...]
"""Asked side by side; the answers come back in the same order."""
Steps = Generator[Questions, tuple[Answer, ...], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an investigation may spend."""

    deadline_s: float = 30.0
    max_calls: int = 200
    max_tokens: int = 200_000


@dataclass(slots=True)
class Spent:
    """What it has spent; `at_s` is the time of the last answer."""

    at_s: float = 0.0
    calls: int = 0
    tokens: int = 0


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
    hops: list[Traced] = field(default_factory=list[Traced])
    warnings: list[Warned] = field(default_factory=list[Warned])
    excluded: set[str] = field(default_factory=set[str])
    wished: list[str] = field(default_factory=list[str])
    abstained: str = ""
    """Why a policy found that the evidence names nobody; then the diagnosis abstains."""

    @property
    def left_s(self) -> float:
        return self.limits.deadline_s - self.spent.at_s

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


class Policy(Protocol):
    """Yields questions, receives their answers, and moves beliefs in the desk's ledger; returns when it has nothing
    left to ask. It does no I/O of its own and the same answers make it ask the same questions."""

    def steps(self, desk: Desk) -> Steps: ...
