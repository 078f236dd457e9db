"""What corruptions of journals are made of: what is in a journal, and events to put in. See `_corruptions.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from aetia.model.diagnosis import Claim, Evidence, Query, make_evidence
from aetia.model.entity import Entity, service
from aetia.model.journal import (
    Answered,
    Asked,
    Believed,
    Closed,
    Event,
    ModelAnswer,
    ModelCall,
    Opened,
    ToolAnswer,
    ToolCall,
)
from aetia.reason.checks._notes import Notes

Events = list[Event]
Rng = np.random.Generator
Corruption = Callable[[Events, Rng], Events | None]
PLAYED = ("metric_anomalies", "log_templates", "span_self_time", "compare", "changes", "alerts", "trace_children")
TOOLS = (*PLAYED, "topology", "finish", "abstain")
FAR = 900_000
"""Numbers of questions that are put in; the journal's own are smaller."""


class Case(NamedTuple):
    """One way to fail, and the check that is to see it."""

    code: str
    name: str
    corrupt: Corruption


CASES: list[Case] = []


def corruption(code: str, name: str) -> Callable[[Corruption], Corruption]:
    def register(of: Corruption) -> Corruption:
        CASES.append(Case(code, name, of))
        return of

    return register


def replaced(event: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(event, **fields)


def closed(events: Events) -> Closed:
    assert isinstance(events[-1], Closed)
    return events[-1]


def names(events: Events) -> list[str]:
    """The answer's names, best first."""
    return [item.entity.name for item in closed(events).diagnosis.hypotheses]


def notes(events: Events) -> Notes:
    found = Notes()
    for event in events:
        found.take(event)
    return found


def held(events: Events) -> dict[str, Evidence]:
    first = events[0]
    assert isinstance(first, Opened)
    found = {item.id: item for item in first.prior.evidence}
    for event in events:
        if isinstance(event, Answered) and isinstance(event.answer, ToolAnswer) and event.answer.evidence is not None:
            found.setdefault(event.answer.evidence.id, event.answer.evidence)
    return found


def pick(rng: Rng, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))] if len(items) else None


def put(events: Events, *added: Event, at: int | None = None) -> Events:
    """The events with some more before one of them; before the end where no place is given."""
    place = len(events) - 1 if at is None else at
    return [*events[:place], *added, *events[place:]]


def swap(events: Events, one: Event, other: Event) -> Events:
    return [other if event is one else event for event in events]


def turn(number: int, text: str, *calls: tuple[str, dict[str, Any]], agent: str = "root") -> tuple[Asked, Answered]:
    """A turn of a model, with the calls that it wants."""
    tools = tuple({"type": "function", "function": {"name": name}} for name in TOOLS)
    message = {"role": "user", "content": f"go on ({number})"}
    asked = ModelCall(messages=(message,), tools=tools, agent=agent)
    wanted = tuple((f"c{k}", name, msgspec.json.encode(args).decode()) for k, (name, args) in enumerate(calls))
    said = ModelAnswer(text=text, calls=wanted, tokens_in=500, tokens_out=60)
    return Asked(number=FAR + number, request=asked, at_s=1.0), Answered(number=FAR + number, answer=said, at_s=1.0)


def question(number: int, tool: str, answer: ToolAnswer, **args: Any) -> tuple[Asked, Answered]:
    call = ToolCall(tool=tool, args=args)
    return Asked(number=FAR + number, request=call, at_s=1.0), Answered(number=FAR + number, answer=answer, at_s=1.0)


def fact(
    about: Entity, *, against: bool = False, strength: float = 0.6, what: str = "errors", result: Any = None
) -> Evidence:
    claim = Claim(what=what, direction="up", magnitude=0.3, unit="share", text=f"{what} of {about.name} rose to 31 %")
    return make_evidence(
        about=about, claim=claim, polarity="against" if against else "for", strength=strength,
        query=Query(channel="metric_anomalies", args={"component": about.name}),
        result=result if result is not None else {"baseline": 0.01, "incident": 0.31},
    )  # fmt: skip


def moved(events: Events, *, up: bool | None = None) -> list[Believed]:
    """Beliefs that evidence moved."""
    found = [e for e in events if isinstance(e, Believed) and e.because and abs(e.after - e.before) > 1e-3]
    return [e for e in found if up is None or (e.after > e.before) == up]


def entity_of(events: Events, name: str) -> Entity:
    for item in closed(events).diagnosis.hypotheses:
        if item.entity.name == name:
            return item.entity
    return service(name)


def believed(name: str, before: float, after: float, because: tuple[str, ...], reason: str = "it did") -> Believed:
    state = "supported" if after >= 0.5 else "refuted" if after <= 0.02 else "proposed"
    return Believed(entity=name, before=before, after=after, state=state, because=because, reason=reason, at_s=1.0)


def odds(belief: float) -> float:
    return math.log(belief / (1 - belief))


def own_of(events: Events, name: str) -> list[Evidence]:
    """Evidence for a candidate that is about it alone."""
    place = entity_of(events, name)
    return [i for i in held(events).values() if i.polarity == "for" and i.about.name in (place.name, place.service)]
