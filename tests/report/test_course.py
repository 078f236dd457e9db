"""When the fault reached whom: no effect comes before its cause, and the harm is told last."""

from __future__ import annotations

from aetia.model.diagnosis import Claim, Diagnosis, Evidence, Hop, Hypothesis, Incident, Query, SliBreach
from aetia.model.entity import Entity
from aetia.model.window import Window
from aetia.report.course import course

S = 1_000_000_000


def diagnosis(hops: list[Hop], evidence: tuple[Evidence, ...] = (), abstained: str | None = None) -> Diagnosis:
    shop = Entity(level="service", name="shop", service="shop")
    breach = SliBreach(
        entry=shop, sli="success", statistic="share", baseline=1.0, incident=0.5, onset_ns=10 * S, p_value=0.0,
        requests=9, affected=5,
    )  # fmt: skip
    return Diagnosis(
        localizer="test",
        incident=Incident(
            baseline=Window(0, 1 * S), window=Window(2 * S, 60 * S), onset_ns=10 * S, breaches=(breach, breach)
        ),
        hypotheses=(
            Hypothesis(entity=Entity(level="external", name="db", service="db"), score=1.0, onset_ns=3 * S),
        ),
        roots=(0,), propagation=tuple(hops), evidence=evidence, abstained=abstained,
    )  # fmt: skip


def hop(source: str, target: str, at_s: int | None, evidence: str | None = None) -> Hop:
    return Hop(source=source, target=target, relation="called by", onset_ns=None if at_s is None else at_s * S,
               evidence=evidence)  # fmt: skip


def test_a_fault_is_nowhere_later_than_what_follows_from_it() -> None:
    found = course(diagnosis([hop("db", "stock", 9), hop("stock", "cart", 4), hop("cart", "shop", 12)]))
    assert [(step.kind, step.service, step.at_ns // S, step.source) for step in found] == [
        ("root", "db", 3, None), ("hop", "stock", 9, "db"), ("hop", "cart", 9, "stock"), ("hop", "shop", 10, "cart"),
        ("hurt", "shop", 10, None),
    ]  # fmt: skip


def test_hops_are_told_from_the_root_on_whatever_their_order() -> None:
    found = course(diagnosis([hop("cart", "shop", None), hop("stock", "cart", None), hop("db", "stock", 5)]))
    assert [step.service for step in found] == ["db", "stock", "cart", "shop", "shop"]
    assert [step.at_ns // S for step in found] == [3, 5, 5, 5, 10]


def test_a_time_that_only_the_evidence_knows_is_used_with_its_bin() -> None:
    rows = [{"source": "db", "target": "shop", "target_began_s": 4.0, "step_s": 5.0, "accounts": 0.75}]
    proof = Evidence(
        id="E1", about=Entity(level="service", name="shop", service="shop"), query=Query(channel="calls", args={}),
        claim=Claim(what="calls", direction="up", magnitude=1.0, unit=""), polarity="for", strength=0.5,
        result={"rows": rows}, digest="",
    )  # fmt: skip
    (step,) = [step for step in course(diagnosis([hop("db", "shop", None, "E1")], (proof,))) if step.kind == "hop"]
    assert (step.at_ns, step.within_ns, step.evidence) == (6 * S, 5 * S, "E1")
    assert step.text == "75 % of its trouble comes from db"


def test_without_a_named_cause_there_is_no_course() -> None:
    assert course(diagnosis([hop("db", "shop", 5)], abstained="too little data")) == ()
