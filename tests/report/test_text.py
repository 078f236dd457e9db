"""The text page says all that matters, within the width, without terminal codes."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest

from aetia.model.diagnosis import Diagnosis, SliBreach
from aetia.report.text import to_text

HOSTILE = "\x1b[31mred\x1b[0m [bold]x[/bold] \u202eevil\n\ttab"


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def test_the_answer_comes_first_with_probability_level_class_and_fault(make_diagnosis) -> None:
    page = to_text(make_diagnosis())
    first = page.splitlines()[0]
    assert first.startswith("Root cause: cart-1 (instance)")
    assert "exception" in first
    assert "87 %" in page and "instance of cart, on node-3" in page and "12 s before users were hurt" in page


def test_an_answer_that_is_hardly_likely_is_called_a_suspect(make_diagnosis) -> None:
    made = make_diagnosis()
    first = msgspec.structs.replace(made.hypotheses[0], probability=0.12)
    page = to_text(msgspec.structs.replace(made, hypotheses=(first, *made.hypotheses[1:])))
    assert page.startswith("No cause stands out. First suspect: cart-1 (instance)") and "12 %" in page


def test_failures_and_units_of_metrics_are_called_what_they_are(make_diagnosis) -> None:
    made = make_diagnosis()
    breach = msgspec.structs.replace(
        made.incident.breaches[0], sli="success", statistic="errors_sum", baseline=0.0, incident=140.0, unit=""
    )
    page = " ".join(to_text(with_breach(made, breach), width=120).split())
    assert "failures (errors_sum) rose from 0 to 140" in page


def with_breach(made: Diagnosis, breach: SliBreach) -> Diagnosis:
    assert made.incident is not None
    return msgspec.structs.replace(made, incident=msgspec.structs.replace(made.incident, breaches=(breach,)))


def test_every_part_of_a_diagnosis_is_on_the_page(make_diagnosis) -> None:
    page = " ".join(to_text(make_diagnosis(), width=120).split())
    for part in (
        "700 of 1 800 requests (39 %) at front GET /",
        "success fell from 99.8 % to 61 %",
        "cart takes 80 ms, 10 ms before",
        "10 ms → 80 ms",
        "cart → front",
        "mail (service): it began two minutes later",
        "spans: 12 rows, negative duration (a.parquet)",
        "changes: no change was recorded",
        "1.25 s, 4 800 spans",
    ):
        assert part in page


def test_the_sparkline_marks_where_the_incident_starts(make_diagnosis) -> None:
    line = next(line for line in to_text(make_diagnosis()).splitlines() if "╎" in line)
    before, after = line.split("╎")
    assert set(before.strip()) == {"▁"}
    assert after.startswith("█")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_page(make_diagnosis, no_answer: Diagnosis, width: int) -> None:
    long = make_diagnosis(root="a-service-with-a-name-that-does-not-end-" * 4, entry="購物車服務" * 8)
    for diagnosis in (make_diagnosis(), long, no_answer):
        assert max(columns(line) for line in to_text(diagnosis, width=width).splitlines()) <= width


def test_a_page_of_a_common_diagnosis_fits_on_one_screen_of_sixty_lines(make_diagnosis) -> None:
    assert len(to_text(make_diagnosis(), width=80).splitlines()) <= 60


def test_an_abstention_says_why_and_what_is_missing(no_answer: Diagnosis) -> None:
    page = to_text(no_answer)
    assert page.startswith("No root cause is named: no incident was found in the data.")
    assert "What is missing" in page and "--incident A..B" in page
    assert "Ranking" not in page


def test_an_empty_diagnosis_is_still_a_page() -> None:
    assert "no hypothesis was left" in to_text(Diagnosis(localizer="x", incident=None))


def test_hostile_names_reach_the_terminal_as_plain_text(make_diagnosis) -> None:
    page = to_text(make_diagnosis(root=HOSTILE, entry=HOSTILE, case=HOSTILE))
    assert "\x1b" not in page and "\u202e" not in page and "\t" not in page
    assert "[bold]x[/bold]" in page


def test_a_root_without_evidence_says_so(make_diagnosis) -> None:
    assert "ranks first by its score alone" in " ".join(to_text(make_diagnosis(evidence=())).split())


def test_an_alert_claims_no_test(make_diagnosis) -> None:
    made = make_diagnosis()
    breach = msgspec.structs.replace(
        made.incident.breaches[0], sli="success", statistic="alert", baseline=0.0, incident=1.0, unit="", p_value=0.0
    )
    page = " ".join(to_text(with_breach(made, breach), width=120).split())
    assert "said by an alert" in page and "p < 1e-12" not in page
