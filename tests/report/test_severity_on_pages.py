"""Severity, triage and the evidence that users are hurt, on every page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from aetia import api
from aetia.model.diagnosis import Diagnosis, Fact, Severity
from aetia.model.journal import Closed, Event, Opened
from aetia.report import wording
from aetia.report.html import to_html
from aetia.report.markdown import to_markdown
from aetia.report.postmortem import Postmortem, Sentence, postmortem
from aetia.report.text import to_text

END = 1_700_000_480 * 10**9


@pytest.fixture(scope="module")
def found(investigated: Callable[[int], api.Investigation]) -> Diagnosis:
    return investigated(11).diagnosis


def of(**given: Any) -> str:
    return wording.severity(Severity(**({"level": "major", "lasts": True, "until_ns": END} | given)))


def test_the_phrase_says_how_bad_it_is_and_whether_it_goes_on() -> None:
    assert of() == "major, still going on at the end of the data (22:21:20 UTC)"
    assert of(trend="growing").endswith("and growing") and of(trend="steady") == of()
    assert of(lasts=False, trend="growing") == "major, over since 2023-11-14 22:21:20 UTC"
    assert of(lasts=None, until_ns=None) == "major"
    assert of(level="unknown", lasts=None, until_ns=None, facts=(Fact(text="no SLI broke"),)) == "unknown: no SLI broke"


def test_severity_stands_on_the_first_screen(found: Diagnosis) -> None:
    assert found.severity is not None
    head = to_text(found).split("What broke")[0]
    assert re.search(rf"^severity +{found.severity.level}", head, re.M) and len(head.splitlines()) < 15


@pytest.mark.parametrize("render", [lambda d: to_text(d, width=400), to_markdown, to_html])
def test_every_page_has_the_facts_behind_it_and_the_three_questions(
    render: Callable[[Diagnosis], str], found: Diagnosis
) -> None:
    said = render(found)
    assert found.severity is not None and len(found.severity.facts) >= 3
    assert all(fact.text in said for fact in found.severity.facts)
    assert "Triage" in said and "began there" in said and "abnormal" in said


def test_links_to_evidence_lead_somewhere_and_evidence_that_is_gone_has_none(found: Diagnosis) -> None:
    assert found.incident is not None and found.impact.evidence is not None
    page = to_html(found)
    targets = set(re.findall(r'href="#(E\w+)"', page))
    assert found.impact.evidence in targets and {b.evidence for b in found.incident.breaches} <= targets
    assert targets <= set(re.findall(r'id="(E\w+)"', page))
    assert 'href="#E' not in to_html(msgspec.structs.replace(found, evidence=()))


def sentences(told: Postmortem, key: str) -> list[Sentence]:
    return [sentence for section in told.sections if section.key == key for sentence in section.sentences]


def test_the_postmortem_proves_impact_and_when_users_were_hurt(make_journal: Callable[..., list[Event]]) -> None:
    told = postmortem(make_journal(11))
    impact = sentences(told, "impact")
    assert len(impact) >= 5 and all(sentence.evidence and not sentence.unproven for sentence in impact)
    hurt = [s for s in sentences(told, "timeline") if "users are hurt" in s.text or "window" in s.text]
    assert len(hurt) >= 2 and all(sentence.evidence and not sentence.unproven for sentence in hurt)
    assert any(sentence.text.startswith("Severity: ") for sentence in sentences(told, "summary"))
    assert any("began there" in sentence.text for sentence in sentences(told, "cause"))


def test_a_journal_without_that_evidence_is_marked_as_before(make_journal: Callable[..., list[Event]]) -> None:
    def stripped(diagnosis: Diagnosis) -> Diagnosis:
        kept = tuple(item for item in diagnosis.evidence if item.query.kind != "detector")
        return msgspec.structs.replace(diagnosis, evidence=kept)

    first, *rest, end = make_journal(11)
    assert isinstance(first, Opened) and isinstance(end, Closed)
    old = [msgspec.structs.replace(first, prior=stripped(first.prior)), *rest,
           msgspec.structs.replace(end, diagnosis=stripped(end.diagnosis))]  # fmt: skip
    impact = sentences(postmortem(old), "impact")
    assert impact and all(sentence.unproven and not sentence.evidence for sentence in impact)


def test_an_investigation_keeps_the_proof_of_harm_and_assesses_its_leaders(
    make_journal: Callable[..., list[Event]],
) -> None:
    first, *_, end = make_journal(11)
    assert isinstance(first, Opened) and isinstance(end, Closed)
    before, after = first.prior, end.diagnosis
    held = {item.id for item in after.evidence}
    assert {item.id for item in before.evidence if item.query.kind == "detector"} <= held
    told = [item.assessment for item in after.hypotheses if item.assessment is not None]
    assert told and all({*a.abnormal_by, *a.triage_by, *a.origin_by} <= held for a in told)
    assert after.severity == before.severity and after.severity is not None
