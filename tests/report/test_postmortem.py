"""Postmortems from real journals: every sentence leads to evidence, to a line of the journal, or is marked."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import msgspec
import pytest

from aetia.model.journal import Answered, Closed, Event, Opened, Steer, ToolAnswer, Warned
from aetia.reason.policy import Limits, Policy
from aetia.report.postmortem import UNPROVEN, Postmortem, Sentence, postmortem
from aetia.report.postmortems import to_html, to_markdown, to_text

Journals = Callable[..., list[Event]]
ABOUT_THE_SYSTEM = {"timeline", "impact", "cause", "path", "ruled-out"}


def changed(events: list[Event], **changes: object) -> list[Event]:
    """The journal with another diagnosis at its end."""
    end = events[-1]
    assert isinstance(end, Closed)
    return [*events[:-1], msgspec.structs.replace(end, diagnosis=msgspec.structs.replace(end.diagnosis, **changes))]


@pytest.fixture(scope="module")
def journals(make_journal: Journals, engineer: Callable[..., Policy]) -> dict[str, list[Event]]:
    """Journals of every kind of ending."""
    events = make_journal(11)
    end = events[-1]
    assert isinstance(end, Closed)
    root = end.diagnosis.hypotheses[0]
    invented = msgspec.structs.replace(root, evidence=("Einvented",))
    evil = msgspec.structs.replace(
        root, entity=msgspec.structs.replace(root.entity, name="<script>alert(1)</script>[x](http://evil)\x1b[31m")
    )
    persons = (Steer(wish="exclude", entity=end.diagnosis.hypotheses[1].entity.name), Steer(wish="look_at", entity="x"))
    return {
        "verified": events,
        "another incident": make_journal(12),
        "supported only": make_journal(11, engineer(verify=False)),
        "with a person": make_journal(11, engineer(second_look=True), wishes=persons),
        "stopped": make_journal(11, engineer(second_look=True), wishes=(Steer(wish="stop"),)),
        "out of budget": make_journal(11, engineer(second_look=True), limits=Limits(max_calls=2)),
        "cut off": events[:-4],
        "only opened": events[:1],
        "abstained": changed(events, abstained="too little data", hypotheses=(), roots=()),
        "invented evidence": changed(events, hypotheses=(invented, *end.diagnosis.hypotheses[1:])),
        "hostile names": changed(events, hypotheses=(evil, *end.diagnosis.hypotheses[1:])),
        "warned": [*events[:-1], Warned(check="RF-04", text="the same again"), end],
    }  # fmt: skip


KINDS = (
    "verified", "another incident", "supported only", "with a person", "stopped", "out of budget", "cut off",
    "only opened", "abstained", "invented evidence", "hostile names", "warned",
)  # fmt: skip


def held_by(events: list[Event]) -> set[str]:
    """Evidence ids that the prior and the tools gave."""
    first = events[0]
    assert isinstance(first, Opened)
    answers = [event.answer for event in events if isinstance(event, Answered)]
    made = [answer.evidence for answer in answers if isinstance(answer, ToolAnswer) and answer.evidence is not None]
    return {item.id for item in (*first.prior.evidence, *made)}


def sentences(found: Postmortem) -> list[tuple[str, Sentence]]:
    return [(section.key, sentence) for section in found.sections for sentence in section.sentences]


@pytest.mark.parametrize("kind", KINDS)
def test_every_sentence_carries_an_id_that_exists_or_the_mark(kind: str, journals: dict[str, list[Event]]) -> None:
    events = journals[kind]
    known, found = held_by(events), postmortem(events)
    walked = sentences(found)
    assert len(walked) >= (3 if kind == "only opened" else 8)
    for section, sentence in walked:
        assert set(sentence.evidence) <= known
        assert all(1 <= line <= len(events) for line in sentence.lines)
        assert sentence.evidence or sentence.unproven or sentence.lines, sentence
        assert UNPROVEN in sentence.links or sentence.evidence or section not in ABOUT_THE_SYSTEM, sentence
    assert set(found.evidence) <= known


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("render", [to_text, to_markdown, to_html])
def test_every_format_says_every_sentence_with_its_links(
    kind: str, render: Callable[[Postmortem], str], journals: dict[str, list[Event]]
) -> None:
    found = postmortem(journals[kind])
    said = render(found)
    assert said.count(UNPROVEN) == sum(sentence.unproven for _, sentence in sentences(found)) + 1  # and the legend
    for key, sentence in sentences(found):
        assert all(item in said for item in sentence.evidence), key
    assert (
        "\x1b" not in said
        and (render is to_text or "<script" not in said)
        and said == render(postmortem(journals[kind]))
    )


def test_a_lines_number_leads_to_the_event_that_says_so(journals: dict[str, list[Event]]) -> None:
    events = journals["with a person"]
    done = [sentence for key, sentence in sentences(postmortem(events)) if key == "done"]
    (leave,) = [sentence for sentence in done if "leave" in sentence.text]
    asked, answered = (msgspec.to_builtins(events[line - 1]) for line in leave.lines)
    assert asked["request"]["question"] == "may I look at the deploys?" and answered["answer"]["granted"]
    assert "granted by “Anna”" in leave.text
    failed = [sentence for sentence in done if "crystal_ball" in sentence.text]
    assert "It failed" in failed[0].text and "dreamer" in failed[0].text


def test_what_was_ruled_out_has_the_evidence_that_did_it(journals: dict[str, list[Event]]) -> None:
    events = journals["verified"]
    out = [sentence for key, sentence in sentences(postmortem(events)) if key == "ruled-out"]
    (engineers,) = [sentence for sentence in out if "nobody who depends on it suffers" in sentence.text]
    assert engineers.evidence and not engineers.unproven
    excluded = [
        s for k, s in sentences(postmortem(journals["with a person"])) if k == "ruled-out" and "took it out" in s.text
    ]
    assert len(excluded) == 1 and excluded[0].unproven


def test_a_cause_that_is_only_said_is_marked(journals: dict[str, list[Event]]) -> None:
    for kind, marked in (("verified", False), ("invented evidence", True), ("abstained", True)):
        (first, *_) = postmortem(journals[kind]).sections[0].sentences
        assert first.unproven is marked, kind
    lacks = [s.text for _, s in sentences(postmortem(journals["invented evidence"])) if "Einvented" in s.text]
    assert len(lacks) == 1 and "which the journal lacks" in lacks[0]


def test_an_investigation_that_did_not_end_says_so(journals: dict[str, list[Event]]) -> None:
    said = to_text(postmortem(journals["cut off"]))
    assert "The journal ends before the investigation does" in said
    stopped = to_text(postmortem(journals["stopped"]), width=200)
    assert "stopped (“a person ended it”)" in stopped and "it ended early" in stopped


def test_the_timeline_is_in_order(journals: dict[str, list[Event]]) -> None:
    for events in journals.values():
        times = [s.text.split(" UTC")[0] for k, s in sentences(postmortem(events)) if k == "timeline"]
        assert times == sorted(times)
    assert len([s for k, s in sentences(postmortem(journals["verified"])) if k == "timeline"]) >= 4


def test_a_cause_whose_first_sign_comes_after_the_harm_is_not_said_to_begin_then(
    journals: dict[str, list[Event]],
) -> None:
    events = journals["verified"]
    end = events[-1]
    assert isinstance(end, Closed) and end.diagnosis.incident is not None
    first, *others = end.diagnosis.hypotheses
    hurt = end.diagnosis.incident.onset_ns
    for onset_ns, words in ((hurt - 1, "begins to fail."), (hurt + 5 * 10**9, "at the latest: users were hurt before")):
        root = msgspec.structs.replace(first, onset_ns=onset_ns)
        said = [s.text for key, s in sentences(postmortem(changed(events, hypotheses=(root, *others))))
                if key == "timeline" and first.entity.name in s.text and "fail" in s.text]  # fmt: skip
        assert any(words in text for text in said), said


class Anchors(HTMLParser):
    """Ids and targets of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids, self.targets, self.tags = set[str](), set[str](), set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.add(tag)
        self.ids.add(held.get("id") or "")
        self.targets.add((held.get("href") or "#")[1:])


def test_links_of_the_page_and_of_the_markdown_resolve(journals: dict[str, list[Event]]) -> None:
    for events in journals.values():
        page = Anchors()
        page.feed(to_html(postmortem(events)))
        assert page.targets - {""} <= page.ids and "script" not in page.tags
        text = to_markdown(postmortem(events))
        headings = {line[4:].lower() for line in text.splitlines() if line.startswith("### ")}
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) == headings
        assert re.search(r"(?<!\\)\]\(http", text) is None


def test_no_line_of_the_text_is_wider_than_the_page(journals: dict[str, list[Event]]) -> None:
    for width in (60, 80, 120):
        lines = to_text(postmortem(journals["verified"]), width=width).splitlines()
        assert max(len(line) for line in lines if " " in line.strip("• ")) <= width + 20
