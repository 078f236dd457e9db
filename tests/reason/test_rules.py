"""The rules policy: what it moves, what it leaves alone, and the path it walks, on simulated incidents."""

from __future__ import annotations

import functools
from dataclasses import replace

import msgspec
import pytest

from aetia import api, plugins
from aetia.bench import perturb
from aetia.ingest.reader import Loaded
from aetia.lab.sim.run import simulate
from aetia.lab.sim.scenario import FaultSpec, Load, Scenario
from aetia.lab.sim.system import make_system
from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import Asked, Believed, Event, ToolCall, Traced
from aetia.reason.hops import seen
from aetia.reason.replay import replay
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools
from aetia.report.recheck import recheck

EDGES = {(a, b) for a, b, kind in make_system(9, 5).edges() if kind == "rpc"}


@functools.cache
def scenario(fault: str) -> Scenario:
    """A fault in the service that most others depend on and that calls others itself."""
    system = make_system(9, 5)
    names = [service.name for service in system.services]
    calls = [(a, b) for a, b, kind in system.edges() if kind == "rpc"]
    inner = sorted({b for _, b in calls} & {a for a, _ in calls} - {0}) or sorted({b for _, b in calls})
    spec = FaultSpec(fault=fault, service=names[inner[0]], onset_s=130.0, magnitude=0.95)
    return Scenario(id="one", system=system, seed=3, load=Load(rate=25.0), faults=(spec,), baseline_s=120.0,
                    incident_s=90.0)  # fmt: skip


@functools.cache
def investigated(fault: str, hidden: str = perturb.NONE) -> api.Investigation:
    case, telemetry = simulate(scenario(fault))
    case, telemetry = perturb.apply(hidden, case, telemetry)
    return api.investigate(Loaded(case=case, telemetry=telemetry))


def root(fault: str) -> str:
    service = scenario(fault).faults[0].service
    assert service is not None
    return service


def ruled(prior: Diagnosis, found: api.Investigation) -> tuple[Diagnosis, list[Event]]:
    assert found.view is not None
    events: list[Event] = []
    policy = plugins.create("policy", "rules")
    return run(prior, policy, ViewTools(found.view), name="rules", tell=events.append), events  # type: ignore[arg-type]


def doubtful(found: api.Investigation, wrong: str, right: str) -> Diagnosis:
    """The prior with a victim in the lead and the root behind it."""

    def one(name: str, probability: float):
        from aetia.model import entity
        from aetia.model.diagnosis import Hypothesis

        return Hypothesis(entity=entity.service(name), score=probability, probability=probability)

    return msgspec.structs.replace(found.diagnosis, hypotheses=(one(wrong, 0.6), one(right, 0.2)), roots=(0,))


def callers_of(name: str) -> list[str]:
    services = [service.name for service in make_system(9, 5).services]
    return [services[a] for a, b in sorted(EDGES) if services[b] == name]


@pytest.mark.parametrize("fault", ["exception", "latency"])
def test_a_right_prior_stays_right(fault: str) -> None:
    found = investigated(fault)
    after, _ = ruled(found.diagnosis, found)
    assert found.diagnosis.hypotheses[0].entity.service == root(fault)
    assert after.hypotheses[0].entity.service == root(fault)


@pytest.mark.parametrize("fault", ["exception", "latency"])
def test_a_victim_in_the_lead_hands_the_blame_to_the_service_it_came_from(fault: str) -> None:
    found = investigated(fault)
    after, events = ruled(doubtful(found, callers_of(root(fault))[0], root(fault)), found)
    assert after.hypotheses[0].entity.service == root(fault)
    assert any(isinstance(event, Believed) and event.because for event in events)


def test_every_hop_of_the_path_is_checked_and_ends_where_users_are_hurt() -> None:
    found = investigated("exception")
    after, events = ruled(found.diagnosis, found)
    hops = [event for event in events if isinstance(event, Traced)]
    assert found.diagnosis.incident is not None
    entries = {breach.entry.service for breach in found.diagnosis.incident.breaches}
    if root("exception") not in entries:
        assert hops
        assert hops[0].source == root("exception")
        assert hops[-1].target in entries
        assert all(hop.in_direction for hop in hops)
    assert after.propagation or root("exception") in entries


def test_nothing_is_asked_twice_and_all_evidence_can_be_run_again() -> None:
    found = investigated("exception")
    after, events = ruled(doubtful(found, callers_of(root("exception"))[0], root("exception")), found)
    asked = [msgspec.json.encode((e.request.tool, e.request.args)) for e in events
             if isinstance(e, Asked) and isinstance(e.request, ToolCall)]  # fmt: skip
    assert len(asked) == len(set(asked))
    assert found.view is not None
    assert all(item.holds for item in recheck(after, found.view))


def test_the_same_again_from_the_journal() -> None:
    found = investigated("latency")
    after, events = ruled(doubtful(found, callers_of(root("latency"))[0], root("latency")), found)
    assert replay(events) == after


def test_complaints_lay_the_blame_on_who_cannot_be_reached_where_no_spans_tell() -> None:
    found = investigated("crash", "without=spans")
    if found.diagnosis.abstained is not None:
        pytest.skip("nothing broke in this incident")
    after, _ = ruled(doubtful(found, callers_of(root("crash"))[0], root("crash")), found)
    assert after.hypotheses[0].entity.service == root("crash")


def test_hollow_answers_are_laid_on_who_gave_them() -> None:
    found = investigated("early_return")
    assert found.view is not None
    answer = ViewTools(found.view).answer(ToolCall(tool="hop", args={"target": root("early_return")}))
    one = seen(answer)
    assert one is not None
    assert one.own is not None
    assert one.sick > 0.05
    assert one.own > 0.8


def test_a_prior_without_candidates_is_left_alone() -> None:
    found = investigated("exception")
    bare = replace(found, diagnosis=msgspec.structs.replace(found.diagnosis, hypotheses=(), roots=()))
    after, events = ruled(bare.diagnosis, found)
    assert after.abstained is not None
    assert not any(isinstance(event, Asked) for event in events)


@functools.cache
def emptied(hidden: str) -> api.Investigation:
    """Users fail because one service returns early, without an error, which the telemetry hides in part."""
    spec = FaultSpec(fault="early_return", service=EMPTY, onset_s=130.0, magnitude=0.95)
    case, telemetry = simulate(replace(scenario("early_return"), faults=(spec,)))
    case, telemetry = perturb.apply(hidden, case, telemetry)
    return api.investigate(Loaded(case=case, telemetry=telemetry))


EMPTY = "permit-svc"


@pytest.mark.parametrize(
    ("hidden", "tool"), [("hide_root_spans", "before_failure"), ("without=spans", "workload")], ids=["spans", "metrics"]
)
def test_a_leader_that_fails_over_an_early_answer_hands_the_blame_to_the_callee_that_gave_it(
    hidden: str, tool: str
) -> None:
    found = emptied(hidden)
    leader = found.diagnosis.hypotheses[0].entity.service
    assert leader in callers_of(EMPTY)
    after, events = ruled(found.diagnosis, found)
    assert after.hypotheses[0].entity.service == EMPTY
    assert found.view is not None
    answer = ViewTools(found.view).answer(ToolCall(tool=tool, args={"service": leader}))
    assert answer.evidence is not None
    assert answer.evidence.id in after.hypotheses[0].evidence
    assert all(item.holds for item in recheck(after, found.view))
    assert replay(events) == after


def test_a_leader_that_breaks_by_itself_keeps_the_blame() -> None:
    found = investigated("exception")
    after, events = ruled(found.diagnosis, found)
    asked = {event.request.tool for event in events if isinstance(event, Asked) and isinstance(event.request, ToolCall)}
    assert {"before_failure", "workload"} <= asked
    assert after.hypotheses[0].entity.service == root("exception")
