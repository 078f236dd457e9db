"""The ledger of hypotheses: what is believed of whom, and which evidence moved it.

Beliefs are probabilities that move in log-odds, so that evidence adds up and none of it is final. Every movement is an
event for the journal. Source: hypothesis ledger against anchoring and arbitrary evidence (RF-07, RF-09 and RF-13 of
arXiv 2601.22208).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from aetia.model.diagnosis import Hypothesis
from aetia.model.entity import Entity
from aetia.model.journal import Believed, State

LEAST, MOST = 0.001, 0.999
"""Beliefs stay inside: nobody is ever sure."""
SUPPORTED, REFUTED = 0.5, 0.02
KEPT = 2
"""Alternatives to the leader that are kept open however little is believed of them."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One candidate: its place, what the prior said of it, the belief now and the evidence on both sides."""

    entity: Entity
    prior: float
    belief: float
    state: State = "proposed"
    hypothesis: Hypothesis | None = None
    evidence_for: list[str] = field(default_factory=list[str])
    against: list[str] = field(default_factory=list[str])
    reasons: list[str] = field(default_factory=list[str])


class Ledger:
    """Entries by the name of their candidate; `tell` is called with every change."""

    def __init__(self, tell: Callable[[Believed], None]) -> None:
        self._tell = tell
        self.entries: dict[str, Entry] = {}

    def propose(self, name: str, entity: Entity, prior: float, hypothesis: Hypothesis | None = None) -> Entry:
        """A new candidate; one that is known already stays as it is."""
        if name not in self.entries:
            belief = _inside(prior)
            self.entries[name] = Entry(entity=entity, prior=belief, belief=belief, hypothesis=hypothesis)
            self._tell(Believed(entity=name, before=belief, after=belief, state="proposed", reason="proposed"))
        return self.entries[name]

    def weigh(self, name: str, log_odds: float, because: tuple[str, ...], reason: str) -> Entry:
        """Move a belief by evidence: positive log-odds speak for the candidate, negative against it.

        Raises KeyError for a candidate that was never proposed and ValueError without evidence.
        """
        if not because:
            raise ValueError(f"a belief about {name} moves only by evidence")
        entry = self.entries[name]
        before = entry.belief
        odds = math.log(before / (1.0 - before)) + log_odds
        entry.belief = _inside(1.0 / (1.0 + math.exp(-odds)))
        side = entry.evidence_for if log_odds >= 0 else entry.against
        side += [item for item in because if item not in side]
        entry.reasons.append(reason)
        entry.state = _state(entry.belief)
        self._tell(
            Believed(
                entity=name, before=before, after=entry.belief, state=entry.state, because=because, reason=reason
            )
        )  # fmt: skip
        return entry

    def settle(self, name: str, state: State, because: tuple[str, ...], reason: str) -> None:
        """Give a state that a check has decided; the belief stays."""
        entry = self.entries[name]
        entry.state = state
        self._tell(
            Believed(
                entity=name, before=entry.belief, after=entry.belief, state=state, because=because, reason=reason
            )
        )  # fmt: skip

    def ranked(self) -> list[tuple[str, Entry]]:
        """Candidates, most believed first; equals in the order in which they were proposed."""
        return sorted(self.entries.items(), key=lambda item: -item[1].belief)

    def open_alternatives(self) -> list[str]:
        """Candidates behind the leader that are neither refuted nor out of the KEPT first."""
        behind = [name for name, _ in self.ranked()[1:]]
        return [name for at, name in enumerate(behind) if at < KEPT or self.entries[name].state != "refuted"]


def _inside(probability: float) -> float:
    return min(max(probability, LEAST), MOST)


def _state(belief: float) -> State:
    if belief >= SUPPORTED:
        return "supported"
    return "refuted" if belief <= REFUTED else "proposed"
