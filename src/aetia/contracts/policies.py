"""What every policy of an investigation has to keep: it ends, it invents nothing, and it repeats itself exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from aetia import plugins
from aetia.contracts.rules import require
from aetia.contracts.situations import Situation, ordinary
from aetia.localize.localizer import Localizer
from aetia.model.diagnosis import Cost, Diagnosis
from aetia.model.journal import Answered, Asked, Believed, Closed, Event, ModelCall, Steer, ToolCall
from aetia.reason.observations import NAMES
from aetia.reason.policy import Limits
from aetia.reason.replay import replay
from aetia.reason.run import run
from aetia.reason.scorers import Network, linear
from aetia.reason.toolbox import ViewTools

Factory = Callable[[], Any]
NAME = "under_test"
FEW_CALLS = 3


def small_scorer() -> Network:
    """A scorer for policies that need one: it prefers now this and now that question, and ends after about twenty."""
    weights = np.random.default_rng(11).normal(size=len(NAMES))
    at = {name: number for number, name in enumerate(NAMES)}
    for name, weight in {"form.finish": -4.0, "form.abstain": -40.0, "ending.asked": 40.0}.items():
        weights[at[name]] = weight
    return linear(weights)


def prior_of(situation: Situation) -> Diagnosis:
    """What the default localizer says of a situation, without its cost."""
    localizer: Localizer = plugins.create("localizer", "explain")
    found = localizer.localize(situation.view(), situation.incident)
    return Diagnosis(
        localizer="explain", incident=situation.incident, hypotheses=found.hypotheses, roots=found.roots,
        evidence=found.evidence, propagation=found.propagation, rejected=found.rejected, abstained=found.abstained,
        missing=found.missing, silent=dict(found.silent), cost=Cost(),
    )  # fmt: skip


def pursue(factory: Factory, situation: Situation, **more: Any) -> tuple[Diagnosis, list[Event]]:
    """One investigation without a model and without a person; every event was checked."""
    events: list[Event] = []
    ticks = iter(range(1_000_000))
    found = run(prior_of(situation), factory(), ViewTools(situation.view()), name=NAME, tell=events.append,
                clock=lambda: next(ticks) / 1000.0, **more)  # fmt: skip
    sound(found, events)
    return found, events


def sound(found: Diagnosis, events: list[Event]) -> None:
    """Raises ContractBroken unless the journal ends, beliefs cite evidence that was seen, and tools exist."""
    require(isinstance(events[-1], Closed), "an investigation ends with its end")
    seen = {item.id for event in events if isinstance(event, Closed) for item in event.diagnosis.evidence}
    known = set(seen)
    for event in events:
        if isinstance(event, Answered):
            evidence = getattr(event.answer, "evidence", None)
            known |= {evidence.id} if evidence is not None else set()
        if isinstance(event, Asked) and isinstance(event.request, ToolCall):
            require(event.request.tool in plugins.names("tool"), f"there is no tool {event.request.tool}")
            require(bool(event.request.why), f"question {event.number} does not say why it is asked")
        if isinstance(event, Asked) and isinstance(event.request, ModelCall):
            require(bool(event.request.messages), f"question {event.number} says nothing to the model")
    prior = {item.id for item in _prior(events).evidence}
    for event in events:
        if isinstance(event, Believed):
            require(set(event.because) <= known | prior, f"a belief cites evidence that nobody saw: {event}")
    cited = {item for h in found.hypotheses for item in (*h.evidence, *h.against)}
    require(cited <= {item.id for item in found.evidence}, "the diagnosis cites evidence that it does not hold")
    require((found.abstained is None) == bool(found.hypotheses), "it names somebody, or says why it does not")


def _prior(events: list[Event]) -> Diagnosis:
    first = events[0]
    prior: Diagnosis = first.prior  # type: ignore[union-attr]
    return prior


def investigates(factory: Factory, situation: Situation) -> None:
    pursue(factory, situation)


def repeats_itself(factory: Factory) -> None:
    first, again = pursue(factory, ordinary())[1], pursue(factory, ordinary())[1]
    require(_without_seconds(first) == _without_seconds(again), "the same answers make it ask something else")


def replays(factory: Factory) -> None:
    found, events = pursue(factory, ordinary())
    again = replay(events, policy=factory(), checks=())
    require(msgspec.json.encode(found) == msgspec.json.encode(again), "its journal does not replay to its diagnosis")


def keeps_to_its_calls(factory: Factory) -> None:
    _, events = pursue(factory, ordinary(), limits=Limits(max_calls=FEW_CALLS))
    asked = [event for event in events if isinstance(event, Asked)]
    end = events[-1]
    require(isinstance(end, Closed) and end.outcome in ("answered", "abstained", "out of budget"), f"it ends: {end}")
    answered = {event.number: event.answer for event in events if isinstance(event, Answered)}
    paid = [item for item in asked if getattr(answered.get(item.number), "error", None) is None]
    require(len(paid) <= FEW_CALLS, f"{len(paid)} calls were answered of {FEW_CALLS} that were granted")


def leaves_out_whom_a_person_excludes(factory: Factory) -> None:
    prior = prior_of(ordinary())
    first = prior.hypotheses[0].entity.name
    wishes = iter([(Steer(wish="exclude", entity=first),)])
    found, events = pursue(factory, ordinary(), steers=lambda: next(wishes, ()))
    if any(isinstance(event, Asked) for event in events):
        require(all(h.entity.name != first for h in found.hypotheses), f"{first} was excluded and is in the ranking")


def _without_seconds(events: list[Event]) -> list[Any]:
    """Events as plain values without the time that answers took on this machine."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if key not in ("seconds", "at_s")}
        return [bare(item) for item in value] if isinstance(value, list) else value

    return [bare(msgspec.to_builtins(event)) for event in events]
