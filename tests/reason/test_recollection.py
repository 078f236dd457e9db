"""What a memory may do to an investigation: remind a person and order questions. What it may not: change the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aetia import api, plugins
from aetia.ingest.reader import Loaded
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.model.diagnosis import Diagnosis, Hypothesis, Precedent
from aetia.model.journal import Asked, Believed, Event, Opened, ToolCall
from aetia.reason.fingerprints import component, fingerprint
from aetia.reason.journals import JournalFile, closed, read_journal
from aetia.reason.memory import IncidentMemory
from aetia.reason.precedents import Fix, Memory, Provenance, pointed, precedents, remind
from aetia.reason.replay import replay
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools

Journals = Callable[..., list[Event]]
DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def incidents() -> list[api.Investigation]:
    cases = generate(5, [make_system(12, 7), make_system(20, 8)], 29, two_roots=0.4)
    found = [api.investigate(Loaded(case=case, telemetry=telemetry)) for case, telemetry in cases]
    return [item for item in found if item.view is not None and len(item.diagnosis.hypotheses) > 5]


def doubtful(prior: Diagnosis) -> Diagnosis:
    beliefs = (0.4, 0.35, 0.3, 0.2, 0.15, 0.1, 0.08)
    flat = [msgspec.structs.replace(item, probability=beliefs[at] if at < len(beliefs) else 0.03)
            for at, item in enumerate(prior.hypotheses)]  # fmt: skip
    return msgspec.structs.replace(prior, hypotheses=tuple(flat))


def told_of(name: str, source: str = "person Eve", weight: float = 1.0) -> Precedent:
    return Precedent(
        id="M0123456789ab", candidate=name, component=name, fault_class="A", fault="crash", happened_ns=0, likeness=1.0,
        weight=weight, source=source, vouched="person",
    )  # fmt: skip


def ruled(prior: Diagnosis, found: api.Investigation) -> tuple[Diagnosis, list[Event]]:
    assert found.view is not None
    events: list[Event] = []
    policy = plugins.create("policy", "rules")
    tools = ViewTools(found.view, shared=True)  # the same questions about one incident come many times
    return run(prior, policy, tools, name="rules", tell=events.append), events  # type: ignore[arg-type]


def answer(found: Diagnosis) -> tuple[object, ...]:
    """What a diagnosis says: who, how sure, proven how, and by which way it spread."""
    leading = [(item.entity, item.probability, item.verdict, item.evidence, item.against)
               for item in found.hypotheses[:4]]  # fmt: skip
    return leading, found.roots, found.propagation, found.abstained


def asked(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.request.tool, str(event.request.args)) for event in events
            if isinstance(event, Asked) and isinstance(event.request, ToolCall)]  # fmt: skip


def test_a_poisoned_memory_cannot_change_the_answer_of_the_rules(incidents: list[api.Investigation]) -> None:
    more = 0
    for found in incidents:
        prior = doubtful(found.diagnosis)
        plain, before = ruled(prior, found)
        for at in range(len(prior.hypotheses)):
            lies = tuple(told_of(prior.hypotheses[at].entity.name, f"person {n}") for n in range(5))
            misled, after = ruled(msgspec.structs.replace(prior, precedents=lies), found)
            assert answer(misled) == answer(plain)
            assert asked(after)[: len(asked(before))] == asked(before)
            more += len(asked(after)) - len(asked(before))
    assert more > 0


def test_what_precedents_point_to_is_asked_last_and_refuted_by_what_tools_said_alone(
    incidents: list[api.Investigation],
) -> None:
    refuted = 0
    for found in incidents:
        prior = doubtful(found.diagnosis)
        name = prior.hypotheses[-1].entity.name
        _, events = ruled(msgspec.structs.replace(prior, precedents=(told_of(name),)), found)
        moved = [event for event in events if isinstance(event, Believed) and "earlier incident" in event.reason]
        assert all(event.entity == name and event.state == "refuted" and event.because for event in moved)
        assert all(event.after == event.before for event in moved)
        assert not any("M0123456789ab" in event.because for event in events if isinstance(event, Believed))
        refuted += len(moved)
    assert refuted > 0


def test_nobody_looks_where_the_prior_is_sure(incidents: list[api.Investigation]) -> None:
    found = incidents[0]
    first, *rest = found.diagnosis.hypotheses
    sure = msgspec.structs.replace(
        found.diagnosis, hypotheses=(msgspec.structs.replace(first, probability=0.96), *rest)
    )
    lies = msgspec.structs.replace(sure, precedents=(told_of(rest[-1].entity.name),))
    assert asked(ruled(lies, found)[1]) == asked(ruled(sure, found)[1])


def elsewhere(found: api.Investigation) -> api.Investigation:
    """The same incident, read from another place: as alike as two incidents can be."""
    there = msgspec.structs.replace(found.diagnosis, source=("elsewhere",), case="another")
    return api.Investigation(diagnosis=there, loaded=found.loaded, facts=found.facts, view=found.view)


def test_precedents_of_the_memory_are_in_the_journal_and_a_replay_needs_no_memory(
    make_journal: Journals, investigated: Callable[[int], api.Investigation], tmp_path: Path
) -> None:
    memory = IncidentMemory(tmp_path / "memory")
    (kept,) = memory.remember(make_journal(11, plugins.create("policy", "rules"), name="rules"))
    memory.record_fix(kept.id, "restart", False)
    memory.record_fix(kept.id, "roll back", True)
    with JournalFile(tmp_path / "j.jsonl") as file:
        found = api.pursue(elsewhere(investigated(11)), "rules", memory=memory, tell=file.write).diagnosis
    (told,) = found.precedents
    assert (told.id, told.component) == (kept.id, kept.component) and told.likeness > 0.8
    assert [(item.action, item.worked) for item in told.remedies] == [("roll back", True), ("restart", False)]
    events = read_journal(tmp_path / "j.jsonl")
    assert isinstance(events[0], Opened) and events[0].prior.precedents == found.precedents
    memory.path.unlink()
    assert msgspec.json.encode(replay(events)) == msgspec.json.encode(found)


def test_an_incident_is_no_precedent_of_itself_under_whatever_name_of_the_system(
    make_journal: Journals, tmp_path: Path
) -> None:
    from aetia.reason.precedents import Situation

    events, memory = make_journal(11), IncidentMemory(tmp_path)
    memory.remember(events, situation=Situation(system="shop"))
    end = closed(events)
    assert end is not None
    for system in ("", "shop", "other"):
        assert memory.precedents(end.diagnosis, Situation(system=system)) == ()


def test_no_memory_is_made_by_asking_it_and_one_that_cannot_be_read_is_named(
    investigated: Callable[[int], api.Investigation], tmp_path: Path
) -> None:
    found, memory = investigated(11), IncidentMemory(tmp_path / "none")
    assert api.pursue(found, "rules", memory=memory).diagnosis.precedents == ()
    assert not (tmp_path / "none").exists()
    (tmp_path / "none").mkdir()
    memory.path.write_text("hello\n" * 200)
    after = api.pursue(found, "rules", memory=memory).diagnosis
    assert answer(after) == answer(api.pursue(found, "rules").diagnosis)
    assert any(str(memory.path) in item and "move it away" in item for item in after.missing)


def remembered(prior: Diagnosis, of: Hypothesis, number: int, **changes: object) -> Memory:
    held = Memory(
        id=f"M{number:012x}", incident=f"I{number}", fingerprint=fingerprint(prior, of), component=component(of.entity),
        fault_class=of.fault_class, fault=of.fault, summary="", happened_ns=0, remembered_ns=0,
        provenance=Provenance(journal="j", source=f"person {number}", vouched="person", by="x"),
    )  # fmt: skip
    return msgspec.structs.replace(held, **changes)


def test_only_what_was_confirmed_counts_and_a_source_has_one_voice(
    make_journal: Journals, investigated: Callable[[int], api.Investigation]
) -> None:
    from aetia.reason.memory import question_of

    prior = investigated(11).diagnosis
    first = prior.hypotheses[0]
    at = question_of(prior, first).at_ns
    flood = [remembered(prior, first, n, happened_ns=at, provenance=Provenance(
        journal="j", source="person Eve", vouched="person", by="Eve")) for n in range(50)]  # fmt: skip
    nobody = [remembered(prior, first, 60 + n, happened_ns=at, provenance=Provenance(
        journal="j", source=f"telemetry {n}", vouched="nobody")) for n in range(5)]  # fmt: skip
    anna = remembered(prior, first, 99, happened_ns=at - DAY_NS)
    told = precedents([(first, remind(question_of(prior, first), [*flood, *nobody, anna]))])
    assert sorted(item.source for item in told) == ["person 99", "person Eve"]
    assert pointed(told) == [first.entity.name]


def test_a_memory_speaks_for_the_candidate_of_its_own_component(
    investigated: Callable[[int], api.Investigation],
) -> None:
    from aetia.reason.memory import question_of

    prior = investigated(11).diagnosis
    first = prior.hypotheses[0]
    other = msgspec.structs.replace(first, entity=msgspec.structs.replace(first.entity, name="twin", service="twin"))
    mine = remembered(prior, first, 1, happened_ns=question_of(prior, first).at_ns)
    found = [(item, remind(question_of(prior, item), [mine])) for item in (other, first)]
    assert [item.candidate for item in precedents(found)] == [first.entity.name]


def test_words_of_a_memory_are_one_short_line_whatever_wrote_the_file(
    investigated: Callable[[int], api.Investigation],
) -> None:
    from aetia.reason.memory import question_of

    prior, evil = investigated(11).diagnosis, "ignore all\n\x1b[2J" + "x" * 5000
    first = prior.hypotheses[0]
    at = question_of(prior, first).at_ns
    mine = remembered(prior, first, 1, happened_ns=at, component=evil, fault=evil,
                      fixes=tuple(Fix(action=evil, worked=True, at_ns=n) for n in range(9)))  # fmt: skip
    (told,) = precedents([(first, remind(question_of(prior, first), [mine]))])
    raw = msgspec.json.encode(told)
    assert b"\\u001b" not in raw and b"\\n" not in raw and len(raw) < 1500 and len(told.remedies) == 3
