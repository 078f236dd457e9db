"""From telemetry to the root cause: small incidents, each with the answer that a person would give."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from small_shop import (
    BASELINE,
    INCIDENT,
    SECOND,
    SERVICES,
    Call,
    Story,
    call_graph,
    changes,
    everybody,
    from_onset,
    gauges,
    look,
    steady,
    stepped,
    told,
)

import aetia
from aetia.api import recheck_sources
from aetia.contracts.shop import rows_permuted
from aetia.evidence.channel import Finding
from aetia.ingest.reader import Loaded
from aetia.lab.sim import FAULTS, FaultSpec, Load, Scenario, System, make_system, simulate
from aetia.lab.sim.draw import service_rates
from aetia.localize._answer import finest
from aetia.model import entity
from aetia.model.case import Case
from aetia.model.diagnosis import Claim, Diagnosis
from aetia.model.faults import FaultClass
from aetia.model.tables import Telemetry
from aetia.model.window import Window

Change = Callable[[Call], Call]
CPU = "container_cpu_usage_percent"


def diagnosed(telemetry: Telemetry, *, baseline: Window = BASELINE, incident: Window = INCIDENT) -> Diagnosis:
    return aetia.diagnose(
        Loaded(case=Case(id="small", baseline=baseline, incident=incident), telemetry=telemetry), policy="none"
    )


def shop(
    story: Story | None, metrics: pa.Table | None = None, *, per_second: float = 2.0, surge: float = 1.0
) -> Telemetry:
    return Telemetry(
        **told(story, per_second=per_second, surge=surge), metrics=everyday() if metrics is None else metrics
    )


def everyday() -> pa.Table:
    return gauges(*everybody(CPU, steady(10.0)), *everybody("container_memory_usage_bytes", steady(3e8)))


def failing(*services: str) -> Change:
    def change(call: Call) -> Call:
        for service in services:
            call = call.to(service, failed=True)
        return call

    return change


def both(*parts: Change) -> Change:
    return functools.partial(functools.reduce, lambda call, part: part(call), parts)


UNANSWERED = both(failing("price", "order", "web"), lambda call: call.to("price", answered=False, code="503"))
EXCEPTION = both(
    failing("price", "order", "web"),
    lambda call: call.to("price", lines=(("ERROR", "NullPointerException in Quote"),)),
    lambda call: call.to("order", lines=(("ERROR", "could not finish the order"),)),
)
INCIDENTS: dict[str, tuple[Change, int, tuple[str, str], str, tuple[str, ...]]] = {
    "own time": (lambda call: call.to("stock", own=120.0), 1, ("service", "stock"), "D", ("stock", "order", "web")),
    "errors": (failing("price", "order", "web"), 2, ("service", "price"), "C", ("price", "order", "web")),
    "an exception": (EXCEPTION, 2, ("service", "price"), "C", ("price", "order", "web")),
    "a slow link": (lambda call: call.to("price", gap=100.0), 1, ("service", "price"), "D", ("price", "order", "web")),
    "no answer": (UNANSWERED, 2, ("service", "price"), "E", ("price", "order", "web")),
    "a slow external": (lambda call: call.to("vault", own=150.0), 1, ("external", "vault"), "D", ("vault", "cart", "web")),
    "a dead external": (both(failing("vault", "cart", "web"), lambda call: call.to("vault", code="503")), 2,
                        ("external", "vault"), "A", ("vault", "cart", "web")),
}  # fmt: skip
"""name: (what happens, to every n-th request, root, fault class, path from the root to the entry)."""
NAMES = sorted(INCIDENTS)


@functools.cache
def telemetry(name: str, since: float = 0.0) -> Telemetry:
    change, every, *_ = INCIDENTS[name]
    return shop(from_onset(change, every=every, since=since))


@functools.cache
def answer(name: str, since: float = 0.0) -> Diagnosis:
    return diagnosed(telemetry(name, since))


def root(diagnosis: Diagnosis) -> tuple[str, str]:
    """(level, name) of the first hypothesis; a part of a service counts as the service."""
    assert diagnosis.hypotheses, diagnosis.abstained
    where = diagnosis.hypotheses[0].entity
    level = where.level if where.level in ("external", "node") else "service"
    return level, where.service or where.node or ""


@pytest.mark.parametrize("name", NAMES)
def test_the_root_comes_first_with_its_class_of_fault(name: str) -> None:
    *_, culprit, fault_class, _ = INCIDENTS[name]
    found = answer(name)
    assert root(found) == culprit and found.roots == (0,)
    first = found.hypotheses[0]
    assert first.fault_class == fault_class and first.verdict == "supported" and first.reason
    assert first.probability is not None and first.probability > 0.7


@pytest.mark.parametrize("name", NAMES)
def test_the_path_leads_from_the_root_to_the_entry_that_broke(name: str) -> None:
    path = INCIDENTS[name][4]
    hops = answer(name).propagation
    assert [(hop.source, hop.target) for hop in hops] == list(pairwise(path))
    incident = answer(name).incident
    assert incident is not None and {breach.entry.service for breach in incident.breaches} == {hops[-1].target}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_hypothesis_is_backed_by_evidence_about_the_root(name: str) -> None:
    found = answer(name)
    held = {item.id: item for item in found.evidence}
    proof = [held[i] for i in found.hypotheses[0].evidence]
    assert proof and {item.about.service for item in proof} == {INCIDENTS[name][2][1]}
    assert all(item.claim.text and 0 < item.strength <= 1 for item in proof)


@pytest.mark.parametrize("name", NAMES)
def test_every_query_gives_the_same_result_again(name: str) -> None:
    again = recheck_sources(answer(name), Loaded(case=Case(id="small"), telemetry=telemetry(name)))
    assert again and [result.why for result in again if not result.holds] == []


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_shares_and_the_root_has_the_largest(name: str) -> None:
    sure = [hypothesis.probability for hypothesis in answer(name).hypotheses]
    assert all(p is not None and 0.0 <= p <= 1.0 for p in sure)
    assert sum(p for p in sure if p is not None) <= 1.0 + 1e-4 * len(sure)
    assert sure[0] == max(p for p in sure if p is not None)


@pytest.mark.parametrize("name", NAMES)
def test_an_onset_that_lies_two_minutes_before_the_given_one_gives_the_same_root(name: str) -> None:
    assert root(answer(name, -120.0)) == INCIDENTS[name][2]


@pytest.mark.parametrize("name", NAMES)
def test_a_minute_of_trouble_in_the_baseline_gives_the_same_root(name: str) -> None:
    assert root(answer(name, -60.0)) == INCIDENTS[name][2]


@pytest.mark.parametrize("name", NAMES)
def test_a_minute_of_trouble_in_the_baseline_costs_next_to_nothing(name: str) -> None:
    sound, early = answer(name), answer(name, -60.0)
    assert early.hypotheses[0].score > 0.95 * sound.hypotheses[0].score
    assert early.hypotheses[0].fault_class == sound.hypotheses[0].fault_class


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    mixed = diagnosed(rows_permuted(telemetry(name)))
    for attribute in ("hypotheses", "roots", "propagation", "rejected", "evidence", "silent"):
        assert getattr(mixed, attribute) == getattr(answer(name), attribute)


def test_victims_are_ruled_out_with_a_reason() -> None:
    found = answer("an exception")
    (victim,) = [h for h in found.rejected if h.entity.service == "order"]
    assert victim.verdict == "refuted" and "depends on price" in victim.reason
    assert all(h.entity.service != "price" for h in found.rejected)


def test_work_that_is_left_out_is_blamed_on_who_leaves_it_out() -> None:
    found = diagnosed(shop(from_onset(lambda call: call.without("stock"), every=2)))
    assert root(found) == ("service", "order") and found.hypotheses[0].fault_class == "C"
    assert found.hypotheses[0].entity.operation == "Place"


def test_pressure_explains_the_slowness_of_the_same_service() -> None:
    busy = gauges(*everybody(CPU, steady(10.0), stock=stepped(10.0, 90.0)))
    found = diagnosed(shop(from_onset(lambda call: call.to("stock", own=60.0)), busy))
    assert root(found) == ("service", "stock")
    assert (found.hypotheses[0].fault_class, found.hypotheses[0].fault) == ("B", "cpu")


def test_a_busy_bystander_does_not_take_the_blame() -> None:
    busy = gauges(*everybody(CPU, steady(10.0), cart=stepped(10.0, 18.0)))
    assert root(diagnosed(shop(from_onset(EXCEPTION, every=2), busy))) == ("service", "price")


def test_a_release_is_named_as_the_cause_of_what_followed_it() -> None:
    story = told(from_onset(EXCEPTION, every=2), per_second=2.0)
    found = diagnosed(Telemetry(**story, metrics=everyday(), changes=changes(("deploy", "price", -20.0))))
    assert root(found) == ("service", "price") and found.hypotheses[0].fault == "bad_release"


def test_a_release_of_somebody_else_changes_nothing() -> None:
    story = told(from_onset(EXCEPTION, every=2), per_second=2.0)
    found = diagnosed(Telemetry(**story, metrics=everyday(), changes=changes(("deploy", "cart", -20.0))))
    assert root(found) == ("service", "price")


TWO_ROOTS = {
    ("price", "vault"): both(lambda call: call.to("vault", own=150.0), failing("price", "order", "web")),
    ("cart", "price"): both(
        EXCEPTION, failing("cart", "web"), lambda call: call.to("cart", lines=(("ERROR", "IllegalStateException"),))
    ),
    ("cart", "stock"): both(lambda call: call.to("stock", own=150.0), failing("cart", "web")),
}


@pytest.mark.parametrize("names", sorted(TWO_ROOTS))
def test_two_faults_that_do_not_explain_each_other_are_two_roots(names: tuple[str, str]) -> None:
    found = diagnosed(shop(from_onset(TWO_ROOTS[names])))
    assert tuple(sorted(found.hypotheses[r].entity.service or "" for r in found.roots)) == names


@pytest.mark.parametrize("what", ["a quiet time", "three times the load", "a quiet time without metrics"])
def test_where_nothing_is_wrong_there_is_no_answer(what: str) -> None:
    seen = Telemetry(**told()) if "without" in what else shop(None, surge=3.0 if "load" in what else 1.0)
    found = diagnosed(seen)
    assert found.hypotheses == () and found.abstained and found.roots == ()


def test_what_would_help_is_named() -> None:
    found = diagnosed(Telemetry(metrics=everyday()))
    assert (
        found.abstained
        and any("traces" in text for text in found.missing)
        and any("logs" in text for text in found.missing)
    )


# ---- less than three signals --------------------------------------------------------------------------------


def rising(metric: str, level: float, **rise: float) -> pa.Table:
    return gauges(*((metric, {"service": s}, stepped(level, level + rise.get(s, 0.0))) for s in SERVICES))


@pytest.mark.parametrize("culprit", ["stock", "price"])
def test_metrics_and_a_call_graph_blame_the_callee_and_not_its_callers(culprit: str) -> None:
    slow = rising("request_duration_ms", 20.0, **{culprit: 100.0, "order": 100.0, "web": 100.0})
    found = diagnosed(Telemetry(metrics=slow, topology=call_graph()))
    assert root(found) == ("service", culprit)
    assert [h.entity.service for h in found.hypotheses].index(culprit) == 0


def test_metrics_of_links_alone_blame_the_callee() -> None:
    def link(caller: str, callee: str, rise: float):
        attributes = f'{{"source": "{caller}", "destination": "{callee}"}}'
        return "request_duration_ms", {"attributes": attributes, "unit": "ms"}, stepped(20.0, 20.0 + rise)

    slow = gauges(
        link("web", "order", 90.0), link("order", "stock", 90.0), link("order", "price", 0.0), link("web", "cart", 0.0)
    )
    assert root(diagnosed(Telemetry(metrics=slow))) == ("service", "stock")


def test_logs_alone_blame_who_newly_complains() -> None:
    logs = told(
        from_onset(lambda call: call.to("price", lines=(("ERROR", "NullPointerException in Quote"),)), every=2)
    )["logs"]
    assert root(diagnosed(Telemetry(logs=logs))) == ("service", "price")


def test_logs_and_a_call_graph_blame_the_callee_where_caller_and_callee_complain_alike() -> None:
    def change(call: Call) -> Call:
        return call.to("price", lines=(("ERROR", "shelf is locked"),)).to("order", lines=(("ERROR", "cannot finish"),))

    logs = told(from_onset(change, every=2))["logs"]
    found = diagnosed(Telemetry(logs=logs, topology=call_graph()))
    assert root(found) == ("service", "price") and "order" in [h.entity.service for h in found.rejected]


def test_a_caller_that_complains_louder_than_its_callee_is_still_the_victim() -> None:
    def change(call: Call) -> Call:
        return call.to("price", lines=(("WARN", "shelf is locked"),)).to("order", lines=(("ERROR", "cannot finish"),))

    logs = told(from_onset(change, every=2))["logs"]
    assert root(diagnosed(Telemetry(logs=logs, topology=call_graph()))) == ("service", "price")


def test_alerts_alone_blame_the_lowest_service_that_alerts_even_when_it_alerts_last() -> None:
    alerts = changes(("alert", "web", 20.0), ("alert", "order", 30.0), ("alert", "stock", 40.0))
    found = diagnosed(Telemetry(changes=alerts, topology=call_graph(), logs=told()["logs"]))
    assert root(found) == ("service", "stock")


def test_metrics_of_a_node_blame_the_node() -> None:
    hot = gauges(
        *(("node_cpu_usage_percent", {"node": f"host-{n}"}, stepped(15.0, 95.0 if n == 2 else 15.0)) for n in (1, 2, 3))
    )
    found = diagnosed(Telemetry(metrics=hot))
    assert root(found) == ("node", "host-2") and found.hypotheses[0].fault_class == "B"


# ---- simulated systems --------------------------------------------------------------------------------------

ONSET_S = 125.0
SHAPES = {"layered": 4, "deep": 7}
SOME = ("crash", "latency", "network_loss", "dependency_down", "node_pressure", "gc")


@functools.cache
def system(shape: str) -> System:
    return make_system(10, SHAPES[shape], shape)  # type: ignore[arg-type]


def strike(shape: str, fault: str) -> Scenario:
    """One clear fault at the busiest service that can have it, or at its external or node."""
    drawn = system(shape)
    rates = service_rates(drawn, 1.0)
    using = {a for a, _, kind in drawn.edges() if kind == "external"}
    needs_external = fault in ("pool_exhaustion", "bad_config")
    among = [
        i for i, s in enumerate(drawn.services) if s.layer > 0 and not s.queue and (not needs_external or i in using)
    ]
    target = drawn.services[max(among, key=lambda i: rates[i])]
    if fault in ("slow_dependency", "dependency_down"):
        place = {"external": next(drawn.externals[b].name for _, b, kind in drawn.edges()
                                  if kind == "external" and drawn.externals[b].kind == "db")}  # fmt: skip
    elif fault == "node_pressure":
        place = {"node": drawn.nodes[drawn.instance_node[target.first]]}
    else:
        place = {"service": target.name}
    spec = FaultSpec(fault=fault, onset_s=ONSET_S, magnitude=1.0, **place)  # type: ignore[arg-type]
    return Scenario(
        id="case", system=drawn, seed=1, load=Load(rate=10), faults=(spec,), baseline_s=120.0, incident_s=90.0,
        metric_step_s=5.0,
    )  # fmt: skip


@functools.cache
def simulated(shape: str, fault: str) -> tuple[Case, Telemetry, Diagnosis]:
    case, seen = simulate(strike(shape, fault))
    return case, seen, aetia.diagnose(Loaded(case=case, telemetry=seen), policy="none")


def pairs() -> list[object]:
    return [
        pytest.param(shape, fault)
        for shape in SHAPES for fault in (FAULTS if shape == "layered" else SOME)
    ]  # fmt: skip


@pytest.mark.parametrize(("shape", "fault"), pairs())
def test_every_simulated_fault_is_found_where_it_struck_with_its_class(shape: str, fault: str) -> None:
    case, _, found = simulated(shape, fault)
    assert case.truth
    (truth,) = case.truth
    assert root(found)[1] == (truth.service or truth.node)
    assert found.hypotheses[0].fault_class == truth.fault_class
    assert sum(h.probability or 0.0 for h in found.hypotheses) <= 1.0 + 1e-4 * len(found.hypotheses)


def test_a_node_fault_blames_the_node() -> None:
    case, _, found = simulated("deep", "node_pressure")
    assert case.truth and root(found) == ("node", case.truth[0].node)
    assert found.propagation and found.propagation[0].relation == "hosts"


@pytest.mark.parametrize("fault", ["cpu", "exception", "slow_dependency"])
def test_a_late_onset_and_a_contaminated_baseline_give_the_same_root(fault: str) -> None:
    case, seen, found = simulated("layered", fault)
    assert case.incident is not None and case.baseline is not None
    late = Window(case.incident.start_ns + 45 * SECOND, case.incident.end_ns)
    for baseline in (case.baseline, Window(case.baseline.start_ns, late.start_ns)):
        assert root(diagnosed(seen, baseline=baseline, incident=late)) == root(found)


@pytest.mark.parametrize(("fault_class", "level"), [("A", "service"), ("C", "service"), ("D", "edge"), ("E", "edge")])
def test_a_link_delays_and_parts_but_neither_dies_nor_throws(fault_class: FaultClass, level: str) -> None:
    view = look(**told(None))
    claim = Claim(what="unanswered", direction="up", magnitude=0.2, unit="share")
    found = Finding(entity=entity.edge("order", "price"), score=0.9, claim=claim, args={})
    named = finest(view, [(0.9, 0)], [found], view.names.service_code("price"), fault_class)
    assert (named.level, named.service) == (level, "price")


def test_the_seed_of_the_answer_does_not_matter() -> None:
    case, seen, found = simulated("layered", "cpu")
    again = aetia.diagnose(Loaded(case=case, telemetry=seen), policy="none", seed=int(np.iinfo(np.int32).max))
    plain = [msgspec.structs.replace(d, cost=found.cost) for d in (found, again)]
    assert plain[0] == plain[1]


@pytest.mark.parametrize("label", ["none", "load_surge", "deploy"])
def test_a_simulated_time_without_a_fault_has_no_root(label: str) -> None:
    load = Load(rate=10, surge=1.5, surge_at_s=ONSET_S) if label == "load_surge" else Load(rate=10)
    scenario = Scenario(
        id="calm", system=system("deep"), seed=3, load=load, label=label, baseline_s=120.0, incident_s=90.0
    )
    case, seen = simulate(scenario)
    found = aetia.diagnose(Loaded(case=case, telemetry=seen), policy="none")
    assert found.hypotheses == () and found.abstained
