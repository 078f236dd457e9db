"""What the tests of learned policies share: one incident, journals of it, and scorers that play a part."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from aetia import api
from aetia.ingest.reader import Loaded
from aetia.lab.sim.run import simulate
from aetia.lab.sim.scenario import FaultSpec, Load, Scenario
from aetia.lab.sim.system import make_system
from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import Event
from aetia.reason.observations import F64, NAMES, Observation
from aetia.reason.policies.rules import Rules
from aetia.reason.policy import Desk, Policy
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools


class Chooser:
    """A scorer from a function of an observation; keeps what it was shown."""

    def __init__(self, score: Callable[[Observation], Any]) -> None:
        self._score, self.seen = score, list[Observation]()

    def score(self, observation: Observation) -> F64:
        self.seen.append(observation)
        return np.asarray(self._score(observation), np.float64)


def asking(*forms: str, end: str = "finish") -> Chooser:
    """Asks the first question of each form in turn, then ends."""
    left = list(forms)

    def score(observation: Observation) -> list[float]:
        wanted = left.pop(0) if left else end
        return [float((action.form or action.kind) == wanted) for action in observation.actions]

    return Chooser(score)


def wandering(steps: int = 25) -> Chooser:
    """Asks whatever an arbitrary order has first, places that lead before others, then finishes."""
    at = NAMES.index("about.rank")

    def score(observation: Observation) -> F64:
        scores = np.random.default_rng(len(chooser.seen)).random(len(observation.actions)) + observation.values[:, at]
        scores[-2:] = (9.0, -9.0) if len(chooser.seen) > steps else -9.0
        return scores

    chooser = Chooser(score)
    return chooser


def column(observation: Observation, name: str) -> F64:
    return observation.values[:, NAMES.index(name)]


@functools.cache
def found() -> api.Investigation:
    """A fault in a service that calls others and is called, felt by users."""
    system = make_system(12, 6)
    edges = [(a, b) for a, b, kind in system.edges() if kind == "rpc"]
    inner = sorted({b for _, b in edges} & {a for a, _ in edges} - {0})
    spec = FaultSpec(fault="exception", service=system.services[inner[0]].name, onset_s=130.0, magnitude=0.9)
    scenario = Scenario(id="one", system=system, seed=3, load=Load(rate=25.0), faults=(spec,), baseline_s=120.0,
                        incident_s=90.0)  # fmt: skip
    case, telemetry = simulate(scenario)
    return api.investigate(Loaded(case=case, telemetry=telemetry))


def prior() -> Diagnosis:
    assert found().diagnosis.incident is not None and found().diagnosis.incident.breaches  # type: ignore[union-attr]
    return found().diagnosis


def pursue(policy: Policy, **more: Any) -> tuple[Diagnosis, list[Event]]:
    """An investigation of the incident, each question of which took a millisecond."""
    events: list[Event] = []
    ticks = iter(range(1_000_000))
    view = found().view
    assert view is not None
    more = {"name": "learned", "clock": lambda: next(ticks) / 1000.0, **more}
    return run(prior(), policy, ViewTools(view), tell=events.append, **more), events


@functools.cache
def ruled() -> tuple[Event, ...]:
    return tuple(pursue(Rules(), name="rules")[1])


class Looking:
    """A policy from a function over its desk."""

    def __init__(self, steps: Callable[[Desk], Any]) -> None:
        self.steps = steps
