"""Checks of how beliefs move: RF-09, RF-13 and RF-15, over the hypothesis ledger.

Source: arXiv 2601.22208, section 7 of the agents survey. Cost per event: O(candidates).
"""

from __future__ import annotations

from aetia.model.journal import Answered, Asked, Believed, Closed, Event, ModelAnswer, ToolAnswer, ToolCall, Traced
from aetia.reason.checks._notes import (
    FINISH,
    PLAUSIBLE,
    Notes,
    decided,
    directly_about,
    lowered,
    names_of,
    places,
    raised,
)
from aetia.reason.checks._watch import Failing, Watch
from aetia.reason.checks._words import accused
from aetia.reason.policy import Desk

CONTRADICTS = 0.3
"""Strength from which evidence against a candidate has to be answered."""
PATIENCE, AGAIN = 8, 4
"""Questions for which a contradiction may wait, and after which it is called for again."""
ALTERNATIVES = 2
"""Alternatives that have to be tested, of those that are plausible by the prior."""
ANCHORED, FURTHER = 6, 3
"""Questions about the leader alone that are too many, and after which they are called so again."""


class NoBeliefUpdate(Watch):
    """RF-09: evidence speaks against a candidate and the belief in it stays, or rises without a word about it."""

    code, title = "RF-09", "no belief update"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._open: dict[str, dict[str, int]] = {}
        """Candidate → evidence against it that was not answered yet → questions since."""

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if isinstance(event, Answered) and isinstance(event.answer, ToolAnswer):
            item = event.answer.evidence
            if item is not None and item.polarity == "against" and item.strength >= CONTRADICTS:
                for name in desk.ledger.entries:
                    if directly_about(item, name, desk) and item.id not in desk.ledger.entries[name].against:
                        self._open.setdefault(name, {}).setdefault(item.id, 0)
            return None
        if not self._open:
            return None
        if isinstance(event, Believed):
            return self._moved(event)
        if isinstance(event, Asked) and isinstance(event.request, ToolCall):
            return self._kept(event.request, desk)
        if isinstance(event, Closed) and event.outcome == "answered" and event.diagnosis.hypotheses:
            return self._ended("root", event.diagnosis.hypotheses[0].entity.name)
        return None

    def _moved(self, event: Believed) -> Failing | None:
        waiting = self._open.get(event.entity, {})
        if raised(event) and waiting and not set(waiting) & set(event.because):
            first = next(iter(waiting))
            return Failing(
                "root", f"belief in {event.entity} rises though {first} speaks against it; answer that first."
            )
        if lowered(event) or set(waiting) & set(event.because):
            self._open.pop(event.entity, None)
        return None

    def _kept(self, call: ToolCall, desk: Desk) -> Failing | None:
        if call.tool == FINISH:
            ended = [self._ended(call.agent, name) for name in places(call)]
            return next((item for item in ended if item is not None), None)
        leader = desk.ledger.ranked()[0][0]
        for name, waiting in self._open.items():
            for item in waiting:
                waiting[item] += 1
                age = waiting[item] - PATIENCE
                if name == leader and age >= 0 and age % AGAIN == 0:
                    return Failing(
                        call.agent,
                        f"{item} speaks against {name}, which leads as before; move the belief or say why not.",
                    )
        return None

    def _ended(self, agent: str, name: str) -> Failing | None:
        waiting = self._open.get(name)
        return (
            Failing(agent, f"the answer is {name}, and {next(iter(waiting))} against it was never answered.")
            if waiting
            else None
        )


class Anchoring(Watch):
    """RF-13: asks about the leader alone, or decides, before two alternatives (or all plausible ones) were tested."""

    code, title = "RF-13", "anchoring"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._weighed: set[str] = set()
        self._raised: set[str] = set()

    def find(self, event: Event, desk: Desk) -> Failing | None:
        agent, due = "root", False
        if isinstance(event, Believed) and event.because:
            self._weighed.add(event.entity)
            if raised(event):
                self._raised.add(event.entity)
            due = event.state == "verified" and not raised(event) and not lowered(event)
        elif isinstance(event, Asked) and isinstance(event.request, ToolCall):
            agent = event.request.agent
            due = event.request.tool == FINISH or self._on_leader_alone(event.request, desk)
        elif isinstance(event, Closed):
            due = decided(event, self._raised)
        untested = self._untested(desk) if due else []
        if not untested:
            return None
        return Failing(
            agent, f"alternatives were never tested: {', '.join(untested[:3])}; look at them before deciding."
        )

    def _on_leader_alone(self, call: ToolCall, desk: Desk) -> bool:
        if not desk.ledger.entries:
            return False
        leader = names_of(desk.ledger.ranked()[0][1].entity)
        own = {name for name in leader if name} & places(call)
        count = max((self.notes.questions[name] for name in own), default=0)
        return count >= ANCHORED and (count - ANCHORED) % FURTHER == 0

    def _untested(self, desk: Desk) -> list[str]:
        """The alternatives to test that are left; empty when enough were tested."""
        behind = [(name, entry) for name, entry in desk.ledger.ranked()[1:] if name not in desk.excluded]
        tested = [
            name for name, entry in behind
            if name in self._weighed or any(part and self.notes.questions[part] for part in names_of(entry.entity))
        ]  # fmt: skip
        left = [name for name, entry in behind if entry.prior >= PLAUSIBLE and name not in tested]
        return left if len(tested) < ALTERNATIVES else []


class Contradiction(Watch):
    """RF-15: statements that exclude one another: one piece of evidence for and against one candidate, a hop in both
    directions, a cause that is none in the next breath, an answer that was refuted."""

    code, title = "RF-15", "internal contradiction"

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__(notes)
        self._sides: dict[tuple[str, str], bool] = {}
        self._hops: set[tuple[str, str]] = set()
        self._claims: dict[tuple[str, str], bool] = {}

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if isinstance(event, Believed):
            return self._turned(event)
        if isinstance(event, Traced) and event.in_direction:
            self._hops.add((event.source, event.target))
            if event.source != event.target and (event.target, event.source) in self._hops:
                return Failing("root", f"{event.source} cannot be both cause and effect of {event.target}.")
        if isinstance(event, Asked) and isinstance(event.request, ToolCall) and event.request.tool == FINISH:
            named = [name for name in places(event.request) if name in desk.ledger.entries]
            refuted = [name for name in named if desk.ledger.entries[name].state == "refuted"]
            return Failing(event.request.agent, f"the answer is {refuted[0]}, which was refuted.") if refuted else None
        if isinstance(event, Answered) and isinstance(event.answer, ModelAnswer):
            return self._spoken(self.notes.agent(event), event.answer.text)
        if isinstance(event, Answered) and isinstance(event.answer, ToolAnswer) and event.answer.evidence is not None:
            self._claims.clear()  # who has learned something may change their mind
        return None

    def _turned(self, event: Believed) -> Failing | None:
        if not raised(event) and not lowered(event):
            return None
        up, found = raised(event), None
        for item in event.because:
            if self._sides.setdefault((event.entity, item), up) != up:
                found = Failing("root", f"{item} was taken for and against {event.entity}.")
                self._sides[event.entity, item] = up
        return found

    def _spoken(self, agent: str, text: str) -> Failing | None:
        found: Failing | None = None
        for name, claim in accused(text, self.notes.names):
            if self._claims.setdefault((agent, name), claim) != claim:
                found = Failing(agent, f"{name} is and is not the cause, and nothing was learned in between.")
                self._claims[agent, name] = claim
        return found
