"""The checks are silent where the default policy investigates real cases, and where they ended it a replay agrees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from watched import Scripted

from aetia import api, plugins
from aetia.bench.suites import resolve
from aetia.ingest.case import write_case
from aetia.ingest.source import list_cases
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.model.case import Case
from aetia.model.errors import AetiaError
from aetia.model.journal import Event, ToolCall, Warned
from aetia.reason.checks.registry import TITLES, default_checks
from aetia.reason.journals import opened
from aetia.reason.policy import Desk, Policy, Steps
from aetia.reason.replay import replay
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools

Journal = Callable[[str, Policy, str], list[Event]]


def journal(source: str, policy: Policy, name: str) -> list[Event]:
    found = api.investigate(source)
    assert found.view is not None
    events: list[Event] = []
    run(found.diagnosis, policy, ViewTools(found.view), name=name, checks=default_checks(), tell=events.append)
    return events


@pytest.fixture(scope="module")
def incidents(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Simulated incidents of several faults."""
    root = tmp_path_factory.mktemp("incidents")
    faults = ("exception", "cpu", "crash", "network_delay")
    places: list[str] = []
    for seed, fault in enumerate(faults):
        case, telemetry = next(generate(1, [make_system(8, seed)], 40 + seed, faults=[fault], two_roots=0.0))
        write_case(root / fault, Case(id=fault, baseline=case.baseline, incident=case.incident), telemetry)
        places.append(str(root / fault))
    return places


def test_sound_investigations_of_simulated_incidents_raise_nothing(incidents: list[str]) -> None:
    for place in incidents:
        rules = cast("Policy", plugins.create("policy", "rules"))
        assert [event for event in journal(place, rules, "rules") if isinstance(event, Warned)] == [], place


@pytest.mark.data
@pytest.mark.parametrize("suite", ["nezha-tt", "nezha-ob"])
def test_sound_investigations_of_recorded_incidents_raise_nothing(suite: str) -> None:
    try:
        _, path, cases = list_cases(resolve(suite).source)
    except AetiaError:
        pytest.skip("the recorded incidents are not here")
    for case in cases[::15]:
        rules = cast("Policy", plugins.create("policy", "rules"))
        found = journal(f"{path}:{case.id}", rules, "rules")
        assert [event for event in found if isinstance(event, Warned)] == [], case.id


def test_a_replay_runs_the_checks_that_watched(incidents: list[str]) -> None:
    def steps(desk: Desk) -> Steps:
        for turn in range(20):
            yield (ToolCall(tool="topology", args={"service": f"nobody-{turn}"}),)

    events = journal(incidents[0], Scripted(steps), "scripted")
    assert opened(events).checks == tuple(TITLES)
    assert [event.stopped for event in events if isinstance(event, Warned)] == [False, False, True]
    again: list[Event] = []
    diagnosis = replay(events, policy=Scripted(steps), tell=again.append)
    assert again == events
    assert Path(incidents[0]).is_dir() and diagnosis.hypotheses
