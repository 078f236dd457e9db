"""Detection, triage and localization of the candidates that lead, each by evidence that the diagnosis holds."""

from __future__ import annotations

from typing import Any

import aetia
from aetia import contracts
from aetia.ingest.reader import Loaded
from aetia.localize._assess import LEADING, assess, assessed
from aetia.model import entity
from aetia.model.case import Case
from aetia.model.diagnosis import Assessment, Claim, Evidence, Hypothesis, Query, make_evidence


def fact(name: str, **given: Any) -> Evidence:
    plain: dict[str, Any] = {"polarity": "for", "strength": 0.5, "fault_class": "C", "own": True}
    return make_evidence(
        about=entity.service("cart"), claim=Claim(what=name, direction="up", magnitude=1.0, unit="ratio"),
        query=Query(channel=name, args={}), result={"incident": 1.0}, **(plain | given),
    )  # fmt: skip


def suspect(*items: Evidence, **given: Any) -> tuple[Hypothesis, dict[str, Evidence]]:
    held = {item.id: item for item in items}
    told = Hypothesis(entity=entity.service("cart"), score=1.0, fault_class="C", evidence=tuple(held), **given)
    return told, held


def test_each_question_is_answered_by_the_evidence_that_answers_it() -> None:
    error, slow, symptom = fact("errors"), fact("latency", fault_class="D"), fact("stray", fault_class="D", own=False)
    found = assess(*suspect(error, slow, symptom, verdict="supported"))
    assert (found.abnormal, found.abnormal_by) == (True, (error.id, slow.id, symptom.id))
    assert (found.fault_class, found.triage_by) == ("C", (error.id,))
    assert (found.origin, found.origin_by) == (True, (error.id, slow.id))


def test_what_is_not_decided_stays_open() -> None:
    error = fact("errors")
    assert assess(*suspect(error)).origin is None  # others may show what can only have begun there, too
    assert assess(*suspect(fact("sli", strength=0.0))).abnormal is None
    assert assess(*suspect(fact("errors", polarity="against"))).abnormal is False
    refuted = assess(*suspect(error, verdict="refuted", against=(error.id, "Egone")))
    assert (refuted.origin, refuted.origin_by) == (False, (error.id,))


def test_experts_add_their_evidence_where_they_agree_and_answer_what_is_open() -> None:
    told, held = suspect(fact("errors"))
    hop, logs = fact("hop", own=None), fact("log_templates", own=None)
    held |= {hop.id: hop, logs.id: logs}
    said = Assessment(abnormal=True, abnormal_by=(hop.id, "Eunheard"), fault_class="D", severity=0.8,
                      triage_by=(logs.id,), origin=True, origin_by=(hop.id,), conflicts=("they differ",))  # fmt: skip
    found = assess(told, held, said)
    assert found.abnormal_by == (*told.evidence, hop.id) and found.severity == 0.8
    assert found.fault_class == "C" and logs.id not in found.triage_by  # who sees another class proves not this one
    assert found.origin is None and hop.id in found.origin_by and found.conflicts == ("they differ",)


def test_a_diagnosis_assesses_its_leaders_by_evidence_that_it_holds() -> None:
    situation = contracts.ordinary()
    case = Case(id="ordinary", baseline=situation.incident.baseline, incident=situation.incident.window)
    found = aetia.diagnose(Loaded(case=case, telemetry=situation.telemetry), policy="none")
    held = {item.id for item in found.evidence}
    told = [item.assessment for item in found.hypotheses]
    assert all(told[:LEADING]) and told[-1] is None
    first = told[0]
    assert (
        first is not None and first.abnormal and first.origin and first.fault_class == found.hypotheses[0].fault_class
    )
    assert {*first.abnormal_by, *first.triage_by, *first.origin_by} <= held and first.triage_by and first.origin_by


def test_roots_are_assessed_wherever_they_stand() -> None:
    ranking = [suspect()[0]] * (LEADING + 2)
    found = assessed(ranking, (0, LEADING + 1), {})
    assert [at for at, item in enumerate(found) if item.assessment is None] == [LEADING]
