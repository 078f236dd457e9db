"""The desk as it was at every event of a journal, for checks and figures that come after the fact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aetia.model import entity
from aetia.model.diagnosis import Evidence, Hypothesis
from aetia.model.entity import Entity
from aetia.model.journal import (
    Answered,
    Asked,
    Believed,
    Closed,
    Event,
    ModelAnswer,
    Opened,
    Request,
    Steered,
    ToolAnswer,
    ToolCall,
    Traced,
    Warned,
)
from aetia.reason.engine import REFUSED
from aetia.reason.journals import opened
from aetia.reason.ledger import Ledger
from aetia.reason.policy import Desk, limits_of


def follow(events: Sequence[Event]) -> Iterator[tuple[Event, Desk]]:
    """Each event of a journal, whole or cut off, with the desk as the engine showed it to the checks at that event.

    It is one desk, which moves on with the next event; nobody may write to it. After the last event it is the desk at
    the end. A settled state cannot be told from a weighing that moved nothing, and counts as settled.
    """
    first = opened(events)
    prior = first.prior
    desk = Desk(
        prior=prior, seed=first.seed, ledger=Ledger(lambda event: None), note=lambda event: None,
        limits=limits_of(first), evidence={item.id: item for item in prior.evidence},
    )  # fmt: skip
    said = {item.entity.name: item for item in reversed(prior.hypotheses)}
    places = _places(events)
    requests: dict[int, Request] = {}
    for event in events:
        desk.spent.at_s = max(desk.spent.at_s, event.at_s)
        if isinstance(event, Believed):
            _believe(desk.ledger, event, places.get(event.entity) or entity.service(event.entity), said)
        elif isinstance(event, Traced):
            desk.hops.append(event)
        elif isinstance(event, Warned):
            desk.warnings.append(event)
        yield event, desk
        if isinstance(event, Asked):
            desk.spent.calls += 1
            requests[event.number] = event.request
        elif isinstance(event, Answered):
            _take(desk, event, requests.get(event.number))
        elif isinstance(event, Steered):
            desk.steered(event.steer)


def _places(events: Sequence[Event]) -> dict[str, Entity]:
    """Candidates by name, as the answer, the prior or evidence describes them."""
    found: dict[str, Entity] = {}
    known: list[Evidence] = []
    hypotheses: list[Hypothesis] = []
    for event in events:
        if isinstance(event, Answered) and isinstance(event.answer, ToolAnswer) and event.answer.evidence is not None:
            known.append(event.answer.evidence)
        elif isinstance(event, Opened):
            hypotheses += event.prior.hypotheses
        elif isinstance(event, Closed):
            hypotheses += event.diagnosis.hypotheses
    for place in (*(item.entity for item in hypotheses), *(item.about for item in known)):
        found.setdefault(place.name, place)
    return found


def _believe(ledger: Ledger, event: Believed, place: Entity, said: dict[str, Hypothesis]) -> None:
    entry = ledger.entries.get(event.entity)
    if entry is None:
        entry = ledger.propose(event.entity, place, event.before, said.get(event.entity))
    entry.belief, entry.state = event.after, event.state
    if event.after != event.before:
        side = entry.evidence_for if event.after > event.before else entry.against
        side += [item for item in event.because if item not in side]
        entry.reasons.append(event.reason)


def _take(desk: Desk, event: Answered, request: Request | None) -> None:
    answer = event.answer
    if isinstance(answer, ModelAnswer):
        desk.spent.tokens += answer.tokens_in + answer.tokens_out
        desk.spent.tokens_in += answer.tokens_in
        desk.spent.tokens_out += answer.tokens_out
    elif isinstance(answer, ToolAnswer):
        if isinstance(request, ToolCall) and (answer.error is None or answer.error.category not in REFUSED):
            desk.answered.append((request, answer))
        if answer.evidence is not None:
            desk.evidence.setdefault(answer.evidence.id, answer.evidence)
