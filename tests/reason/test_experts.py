"""Experts per modality, and how their verdicts are reconciled."""

from __future__ import annotations

from typing import Any

from aetia.model import entity
from aetia.model.diagnosis import Claim, Query, make_evidence
from aetia.model.journal import ToolAnswer
from aetia.reason.experts import logs, metrics
from aetia.reason.experts.collaborate import MOST, collaborate
from aetia.reason.experts.heard import assessment, heard
from aetia.reason.experts.verdict import Modality, Verdict


def says(modality: Modality, abnormal: bool | None, *, own: bool = False, strength: float = 1.0) -> Verdict:
    return Verdict(candidate="shop", modality=modality, abnormal=abnormal, strength=strength, severity=strength, own=own,
                   evidence=(f"E-{modality}",) if abnormal is not None else ())  # fmt: skip


def answer(*rows: dict[str, Any]) -> ToolAnswer:
    proof = make_evidence(
        about=entity.service("shop"), polarity="for", strength=0.5, result={"rows": len(rows)},
        claim=Claim(what="x", direction="up", magnitude=1.0, unit="", text="something moved"),
        query=Query(channel="metric_anomalies", args={}),
    )  # fmt: skip
    return ToolAnswer(rows=rows, evidence=proof)


def series(**given: Any) -> dict[str, Any]:
    plain = {"meaning": "cpu", "of": "shop-1", "stopped": False, "harmful": True, "belief": 0.9, "since_s": 4.0,
             "baseline": 1.0, "incident": 3.0}  # fmt: skip
    return plain | given


def test_trouble_that_began_in_it_speaks_for_a_candidate_and_health_against_it() -> None:
    assert collaborate("shop", [says("traces", True, own=True)]).log_odds > 0
    assert collaborate("shop", [says("traces", False)]).log_odds < 0
    assert collaborate("shop", [says("traces", None)]).log_odds == 0


def test_the_order_of_the_experts_does_not_matter_and_their_word_is_bounded() -> None:
    said = [says("traces", True, own=True), says("metrics", True, own=True), says("logs", True, own=True)]
    assert collaborate("shop", said) == collaborate("shop", said[::-1])
    assert collaborate("shop", said).log_odds <= MOST


def test_a_contradiction_is_named_and_halves_what_is_believed() -> None:
    joint = collaborate("shop", [says("metrics", True, own=True), says("traces", False, strength=0.1)])
    assert joint.conflicts == ("metrics say that it is ill, traces that it is well",)
    assert joint.log_odds < collaborate("shop", [says("metrics", True, own=True)]).log_odds


def test_a_faint_sign_of_trouble_is_no_sign_of_health() -> None:
    line = {"change": "new", "telling": 0.2, "severity": "error", "exception": False, "first_s": 1.0}
    assert metrics.verdict("shop", answer(series(belief=0.4))).abnormal is None
    assert logs.verdict("shop", answer(line)).abnormal is None
    assert logs.verdict("shop", answer(line | {"telling": 0.4})).abnormal is True
    joint = collaborate("shop", [says("traces", True, own=True), metrics.verdict("shop", answer(series(belief=0.4)))])
    assert joint.conflicts == () and joint.log_odds == collaborate("shop", [says("traces", True, own=True)]).log_odds


def test_series_that_stop_together_are_a_death_and_requests_that_end_a_silence() -> None:
    dead = metrics.verdict("shop", answer(*(series(stopped=True) for _ in range(3))))
    assert (dead.fault_class, dead.own) == ("A", True)
    silent = metrics.verdict("shop", answer(series(meaning="traffic", baseline=20.0, incident=0.0)))
    assert silent.fault_class == "E"
    assert metrics.verdict("shop", answer(series())).fault_class == "B"


def test_what_no_tool_saw_is_no_verdict() -> None:
    assert metrics.verdict("shop", ToolAnswer()).abnormal is None
    assert logs.verdict("shop", ToolAnswer()).abnormal is None


def test_an_exception_that_is_new_is_a_logical_error() -> None:
    line = {"change": "new", "telling": 0.8, "severity": "error", "exception": "KeyError", "first_s": 3.0}
    found = logs.verdict("shop", answer(line))
    assert (found.abnormal, found.fault_class, found.onset_s) == (True, "C", 3.0)


def test_the_three_questions_are_answered_together_each_with_its_evidence() -> None:
    joint = collaborate("shop", [says("traces", True, own=True), says("metrics", True), says("logs", False)])
    found = assessment(joint)
    assert (found.abnormal, found.abnormal_by) == (True, ("E-metrics", "E-traces"))
    assert (found.origin, found.origin_by) == (True, ("E-traces",))
    assert found.severity == 1.0 and set(found.triage_by) <= {"E-traces", "E-metrics"} and found.conflicts
    well = assessment(collaborate("shop", [says("traces", False), says("metrics", None)]))
    assert (well.abnormal, well.abnormal_by, well.severity, well.origin) == (False, ("E-traces",), None, None)


def test_experts_are_heard_through_the_answers_that_are_there() -> None:
    (question,) = metrics.questions("shop")
    told = heard(["shop", "cart"], [(question, answer(series()))])
    assert list(told) == ["shop"] and told["shop"].fault_class == "B" and told["shop"].severity == 0.9
    assert heard(["shop"], [(question, ToolAnswer())]) == {}
