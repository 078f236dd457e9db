"""Journals of real investigations: simulated telemetry, the real localizer, tools and engine, and a small policy."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aetia import api
from aetia.ingest.case import trace_hash, write_case
from aetia.ingest.reader import Loaded
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.model.case import Case
from aetia.model.journal import Approval, Approved, Event, Steer, ToolAnswer, ToolCall, Traced
from aetia.model.tables import Telemetry
from aetia.reason.policy import Desk, Limits, Policy, Steps
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools


class Engineer:
    """Looks at the neighbours of the first two candidates, rules the second out, and verifies the first."""

    def __init__(self, *, verify: bool = True, second_look: bool = False) -> None:
        self.verify, self.second_look = verify, second_look

    def steps(self, desk: Desk) -> Steps:
        ranked = desk.ledger.ranked()[:2]
        calls = [ToolCall(tool="topology", args={"service": entry.entity.service}, why=f"who depends on {name}")
                 for name, entry in ranked if entry.entity.service]  # fmt: skip
        answers = yield (*calls, ToolCall(tool="crystal_ball", args={}, agent="dreamer", why="what lies ahead"))
        if self.second_look:
            yield (*calls[:1], Approval(question="may I look at the deploys?"))
        held = [answer.evidence for answer in answers if isinstance(answer, ToolAnswer) and answer.evidence is not None]
        leader = ranked[0][0]
        desk.ledger.weigh(leader, 2.0, (held[0].id,), "those who depend on it suffer with it")
        for name, _ in ranked[1:]:
            desk.ledger.weigh(name, -6.0, (held[-1].id,), "nobody who depends on it suffers")
        for hop in desk.prior.propagation:
            desk.trace(Traced(source=hop.source, target=hop.target, in_time=True, in_direction=None,
                              evidence=held[0].id, reason="the callee began first"))  # fmt: skip
        if self.verify:
            desk.ledger.settle(leader, "verified", desk.prior.hypotheses[0].evidence, "all checks hold")


Journals = Callable[..., list[Event]]

if importlib.util.find_spec("dateutil") is None:
    sys.modules["dateutil"] = None  # type: ignore[assignment]  # pyarrow searches for it at every scalar otherwise

# The tests start a hundred processes, and where no bytecode is kept, each of them compiles all of Aetia again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

gc.disable()  # while tests are collected: thousands of them stay, and each pass would look at them all again


def pytest_collection_finish() -> None:
    """What is collected stays until the end; from here on the collector looks at what the tests leave."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_memory_of_whoever_runs_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Investigations on the command line read the memory of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))
        yield


@pytest.fixture(scope="session")
def small_incident() -> Loaded:
    """A system of six services of which one throws exceptions; one trace in twelve."""
    case, telemetry = next(generate(1, [make_system(6, 3)], 11, faults=["exception"], two_roots=0.0))

    def thin(table: pa.Table) -> pa.Table:
        return table.filter(pa.array(trace_hash(table["trace_id"]) < np.uint64(0.08 * 2**64)))

    return Loaded(
        case=case,
        telemetry=Telemetry(
            spans=thin(telemetry.spans), logs=thin(telemetry.logs), metrics=telemetry.metrics,
            changes=telemetry.changes, topology=telemetry.topology,
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def investigated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], api.Investigation]:
    """The statistical diagnosis and the view of the simulated incident of a seed."""
    known: dict[int, api.Investigation] = {}

    def found(seed: int) -> api.Investigation:
        if seed not in known:
            _, telemetry = next(generate(1, [make_system(6, 3)], seed, faults=["exception"], two_roots=0.0))
            folder = tmp_path_factory.mktemp("telemetry") / f"incident-{seed}"
            write_case(folder, Case(id=f"incident-{seed}"), telemetry)
            known[seed] = api.investigate(str(folder))
        return known[seed]

    return found


@pytest.fixture(scope="session")
def make_journal(investigated: Callable[[int], api.Investigation]) -> Journals:
    """`make_journal(seed, policy=…, name=…, limits=…, wishes=…)`: the events of one investigation."""

    def make(
        seed: int = 11, policy: Policy | None = None, limits: Limits | None = None, wishes: Sequence[Steer] = (),
        name: str = "engineer",
    ) -> list[Event]:  # fmt: skip
        found, events, waiting = investigated(seed), list[Event](), [list(wishes)]
        assert found.view is not None
        run(
            found.diagnosis, policy or Engineer(), ViewTools(found.view), name=name, limits=limits,
            ask=lambda request: Approved(granted=True, by="Anna"),
            steers=lambda: waiting.pop() if waiting else (), tell=events.append,
        )  # fmt: skip
        return events

    return make


@pytest.fixture(scope="session")
def engineer() -> Callable[..., Policy]:
    return Engineer


@pytest.fixture
def journal_file(make_journal: Journals, tmp_path: Path) -> Path:
    """A journal on disk, of an investigation with a person in it."""
    from aetia.reason.journals import JournalFile

    wishes = (Steer(wish="look_at", entity="front"), Steer(wish="exclude", entity="nobody"))
    path = tmp_path / "incident.jsonl"
    with JournalFile(path) as file:
        for event in make_journal(11, Engineer(second_look=True), wishes=wishes):
            file.write(event)
    return path
