"""Markdown has the same content, and telemetry cannot format it."""

from __future__ import annotations

import re

from aetia.model.diagnosis import Diagnosis
from aetia.report.markdown import to_markdown


def test_the_page_has_its_headings_in_reading_order(make_diagnosis) -> None:
    headings = re.findall(r"^#+ (.*)$", to_markdown(make_diagnosis()), flags=re.M)
    assert headings[0].startswith("Root cause: cart-1")
    assert headings[1:] == [
        "What broke, and for whom", "Ranking", "Evidence", "How it spread", "Ruled out", "Dropped or mended", "Silent",
    ]  # fmt: skip


def test_every_table_row_has_as_many_cells_as_its_header(make_diagnosis) -> None:
    page = to_markdown(make_diagnosis(root="a|b", entry="c|d"))
    width = None
    for line in page.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, cells)
        width = cells


def test_names_can_neither_format_nor_inject_html(make_diagnosis) -> None:
    page = to_markdown(make_diagnosis(root="<script>alert(1)</script>", entry="*x* [a](http://b) `c`"))
    assert "<script" not in page and "&lt;script" in page
    assert "[a](http" not in page and "\\[a\\]" in page


def test_an_abstention_lists_what_is_missing(no_answer: Diagnosis) -> None:
    page = to_markdown(no_answer)
    assert "## What is missing" in page and "- an incident: name it with --incident A..B" in page
