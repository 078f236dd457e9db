"""What a journal holds of the system around its incident, and that a memory of it ends when that has changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from aetia import api
from aetia.cli.main import main
from aetia.ingest.reader import Loaded
from aetia.model import entity
from aetia.model.diagnosis import Diagnosis, Hop, Hypothesis
from aetia.model.journal import Event, Situation
from aetia.model.tables import CHANGES
from aetia.model.window import NS_PER_SECOND
from aetia.reason.journals import JournalFile, encoded, opened, read_journal
from aetia.reason.memory import IncidentMemory, memories_of
from aetia.reason.replay import replay
from aetia.reason.situations import MOST_NAMES, joined, situation_of, told, versions_of

Investigated = Callable[[int], api.Investigation]


def deployed(found: api.Investigation, *changes: tuple[float, str, str, str | None, str | None]) -> api.Investigation:
    """The incident with recorded changes: (seconds after the onset, kind, service, description, attributes)."""
    assert found.view is not None
    onset_ns = found.view.incident.start_ns
    rows = [{"time": onset_ns + int(at * NS_PER_SECOND), "kind": kind, "service": service, "description": text,
             "attributes": attributes} for at, kind, service, text, attributes in changes]  # fmt: skip
    case = msgspec.structs.replace(found.loaded.case, incident=found.view.incident, baseline=found.view.baseline[0])
    table = pa.Table.from_pylist(rows, schema=CHANGES)
    return api.investigate(Loaded(case=case, telemetry=replace(found.loaded.telemetry, changes=table)))


def elsewhere(found: Diagnosis) -> Diagnosis:
    return msgspec.structs.replace(found, source=("elsewhere",), case="another")


def test_versions_are_those_that_deploys_name_as_of_the_onset(investigated: Investigated) -> None:
    found = deployed(
        investigated(11),
        (-300, "deploy", "a", "rollout of v1.2.0", None),
        (-200, "deploy", "a", "from 1.2.0 to 1.3.0-rc.1.", None),
        (900, "deploy", "a", "rollout of 9.9.9", None),
        (-100, "config", "a", "limit 2.5", None),
        (-90, "deploy", "b", "moved to 10.0.0.1", '{"service.version": "v7"}'),
        (-80, "deploy", "c", "moved to 10.0.0.1 within 1.5s", "no JSON"),
        (-70, "deploy", "", "rollout of v1.0", None),
    )
    assert found.view is not None
    assert versions_of(found.view) == {"a": "1.3.0-rc.1", "b": "7"}
    plain = investigated(11).view
    assert plain is not None and situation_of(plain).versions == {}


def test_a_journal_is_remembered_with_versions_and_neighbours_and_ends_when_they_change(
    investigated: Investigated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blamed = investigated(11).diagnosis.hypotheses[0].entity.service
    assert blamed is not None
    found = deployed(investigated(11), (-500, "deploy", blamed, "rollout of v1.2.0", None))
    place, folder = tmp_path / "j.jsonl", tmp_path / "memory"
    with JournalFile(place) as file:
        end = api.pursue(found, "rules", tell=file.write).diagnosis
    events = read_journal(place)
    assert msgspec.json.encode(replay(events)) == msgspec.json.encode(end)
    remember = ["memory", "remember", str(place), "--system", "shop", "--confirmed-by", "Anna", "--folder", str(folder)]
    assert main(remember) == 0 and capsys.readouterr().out
    memory = IncidentMemory(folder)
    (kept,) = memory.all()
    assert found.view is not None
    now = situation_of(found.view, "shop")
    assert kept.situation.versions[blamed] == "1.2.0" and kept.situation.system == "shop"
    assert kept.situation.neighbours == {blamed: now.neighbours[blamed]} and now.neighbours[blamed]

    def weight(situation: Situation) -> float:
        (item,) = memory.recall(elsewhere(end), end.hypotheses[0], situation)
        return item.weight

    newer = deployed(investigated(11), (-500, "deploy", blamed, "rollout of v1.3.0", None))
    assert newer.view is not None
    moved = msgspec.structs.replace(now, neighbours={blamed: ("calls nobody-else",)})
    assert weight(now) > 0.0 and weight(situation_of(newer.view, "shop")) == weight(moved) == 0.0


def test_a_journal_without_a_situation_still_loads_and_is_remembered(make_journal: Callable[..., list[Event]]) -> None:
    first, *rest = make_journal(11)
    plain = msgspec.json.decode(encoded(first))
    del plain["situation"]
    old = msgspec.json.decode(msgspec.json.encode(plain), type=Event)
    assert opened([old]).situation is None
    (kept,) = memories_of([old, *rest], situation=Situation(system="shop"))
    assert kept.situation == Situation(system="shop")


def test_a_situation_in_a_journal_is_bounded_and_never_has_a_part_of_the_neighbours() -> None:
    names = [f"s{at}" for at in range(200)]
    hops = tuple(Hop(source=a, target=b, relation="called by") for a, b in itertools.pairwise(names))
    first, second = (Hypothesis(entity=entity.service(name), score=1.0) for name in ("s0", "s1"))
    found = Diagnosis(localizer="x", incident=None, hypotheses=(first, second), roots=(0,), propagation=hops)
    near = {"s0": tuple(f"calls n{at}" for at in range(MOST_NAMES)), "s1": ("calls s0",), "s2": ("calls s1",)}
    kept = told(Situation(system="x" * 500, versions=dict.fromkeys(names, "1.0"), neighbours=near), found)
    assert kept.neighbours == {"s1": near["s1"]} or kept.neighbours == {}
    assert len(kept.versions) + sum(1 + len(item) for item in kept.neighbours.values()) <= MOST_NAMES
    assert "s0" in kept.versions and len(kept.system) < 200 and len(msgspec.json.encode(kept)) < 8_000


def test_the_word_of_whoever_remembers_comes_first() -> None:
    one = Situation(system="a", versions={"x": "1", "y": "1"}, neighbours={"x": ("calls y",)})
    both = joined(one, Situation(system="b", versions={"x": "2"}))
    assert both == Situation(system="b", versions={"x": "2", "y": "1"}, neighbours={"x": ("calls y",)})
    assert joined(one, Situation()) == one and joined(None, None) == Situation()
