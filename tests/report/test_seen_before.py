"""Earlier incidents in every report: what it was, when, how alike, what was done, and where to read more."""

from __future__ import annotations

import io
from collections.abc import Callable

import msgspec
import pytest
from rich.console import Console

from aetia.model.diagnosis import Diagnosis, Precedent, Remedy
from aetia.model.journal import Closed, Event, Opened
from aetia.report import wording
from aetia.report.html import to_html
from aetia.report.interchange import from_json, to_json
from aetia.report.live import picture
from aetia.report.markdown import to_markdown
from aetia.report.postmortem import postmortem
from aetia.report.scene import Scene
from aetia.report.text import to_text

ID = "M84ef9cf4a623"


def reminded(found: Diagnosis) -> Diagnosis:
    def of(at: int, id: str, *remedies: Remedy) -> Precedent:
        return Precedent(
            id=id, candidate=found.hypotheses[at].entity.name, component="till", fault_class="B", fault="memory_leak",
            happened_ns=1_690_000_000 * 10**9, likeness=0.72, weight=0.4, source="person Anna", vouched="person",
            remedies=remedies,
        )  # fmt: skip

    done = (Remedy(action="rolled back to 1.4.2", worked=True), Remedy(action="restart", worked=False))
    return msgspec.structs.replace(found, precedents=(of(1, "M000000000002"), of(0, ID, *done)))


LINE = (
    "till: memory leak (class B), 2023-07-22, 72 % alike (aetia memory show M84ef9cf4a623): “rolled back to 1.4.2”"
    " helped, “restart” did not help"
)


def test_a_line_says_what_it_was_and_what_was_done_those_of_the_answer_first(
    make_diagnosis: Callable[..., Diagnosis],
) -> None:
    first, other = wording.seen_before(reminded(make_diagnosis()))
    assert first == LINE
    assert "if the cause is front" in other and "nobody wrote down what was done" in other


def test_every_report_has_it_and_none_without_a_memory(make_diagnosis: Callable[..., Diagnosis]) -> None:
    plain, told = make_diagnosis(), reminded(make_diagnosis())
    for render in (to_text, to_markdown, to_html):
        assert "Seen before" not in render(plain)
        assert "Seen before" in render(told) and ID in render(told)
    assert from_json(to_json(told)) == told
    assert from_json(to_json(plain).replace('"precedents"', '"unheard_of"')) == plain  # written before there were any


@pytest.fixture
def events(make_journal: Callable[..., list[Event]]) -> list[Event]:
    """A journal whose investigation was told of earlier incidents."""
    first, *between, last = make_journal(11)
    assert isinstance(first, Opened) and isinstance(last, Closed)
    prior = reminded(first.prior)
    end = msgspec.structs.replace(last.diagnosis, precedents=prior.precedents)
    return [msgspec.structs.replace(first, prior=prior), *between, msgspec.structs.replace(last, diagnosis=end)]


def test_a_postmortem_says_that_the_journal_says_so(events: list[Event]) -> None:
    (section,) = [item for item in postmortem(events).sections if item.key == "seen-before"]
    assert [sentence.links for sentence in section.sentences] == [("line 1",), ("line 1",)]
    assert any(ID in sentence.text for sentence in section.sentences)


def test_the_live_tree_shows_it_from_the_first_event_on(events: list[Event]) -> None:
    scene, sink = Scene(), io.StringIO()
    scene.take(events[0])
    Console(file=sink, width=160, color_system=None).print(picture(scene))
    assert "seen before" in sink.getvalue() and ID in sink.getvalue()
