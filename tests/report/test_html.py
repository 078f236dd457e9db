"""The HTML page is well-formed, self-contained, safe against hostile names and complete."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from aetia.model.diagnosis import Diagnosis
from aetia.report.html import to_html

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "</svg></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """Checks that every tag is closed, and collects ids, links, tags, attributes and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, attribute: str) -> list[str]:
        return [value for name, value in self.attributes if name == attribute]


@pytest.fixture(scope="module")
def page(make_diagnosis, make_view) -> str:
    return to_html(make_diagnosis(), make_view())


def test_the_page_shows_graph_charts_traces_and_log_templates(page: str) -> None:
    parsed = Page(page)
    ids = set(parsed.all("id"))
    assert {"broke", "ranking", "graph", "signals", "evidence", "traces", "logs", "rejected", "limits"} <= ids
    classes = parsed.all("class")
    assert classes.count("waterfall") == 2
    assert "edge hot" in classes and "band" in classes and "waited" in classes
    assert classes.count("chart") == 4
    words = " ".join(parsed.words)
    assert "front GET /: success" in words and "cart: share of calls that fail" in words
    assert "cannot reach table" in words and "appeared" in words and "loaded cart" in words and "vanished" in words
    assert "Bad: 100 ms in the incident" in words and "Good: 30 ms in the baseline" in words


def test_the_page_asks_nothing_of_the_network_and_runs_no_script(page: str) -> None:
    parsed = Page(page)
    assert not {"script", "link", "iframe", "img", "object"} & set(parsed.tags)
    assert all(link.startswith("#") for link in parsed.all("href"))
    assert not re.search(r"url\((?!#)|@import|https?://", page)
    assert not [name for name, _ in parsed.attributes if name.startswith("on") or name == "style"]


def test_the_policy_admits_exactly_the_style_sheet_of_the_page(page: str) -> None:
    style = re.search(r"<style>(.*?)</style>", page, flags=re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page


def test_links_inside_the_page_resolve_and_ids_are_unique(page: str) -> None:
    parsed = Page(page)
    ids = parsed.all("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in parsed.all("href")} <= set(ids)


def test_every_column_of_a_table_has_a_title_of_its_own(page: str) -> None:
    heads = re.findall(r"<thead>(.*?)</thead>", page)
    assert len(heads) >= 3
    for head in heads:
        assert head.count("<th ") == head.count('scope="col"') >= 4 and "></th>" not in head


def test_wide_drawings_can_be_scrolled_by_keyboard_and_are_named(page: str) -> None:
    assert page.count('tabindex="0" role="region" aria-label=') == 3
    assert page.count("<svg") == len(re.findall(r"<svg[^>]*(?:aria-label|aria-hidden)=", page))


def test_hostile_names_stay_text(make_diagnosis, make_view) -> None:
    view = make_view(root=HOSTILE, entry="front" + HOSTILE, extra="mail" + HOSTILE)
    diagnosis = make_diagnosis(root=HOSTILE, entry="front" + HOSTILE, case=HOSTILE, silent={HOSTILE: HOSTILE})
    parsed = Page(to_html(diagnosis, view))
    assert not {"script", "img"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert "alert(1)" in " ".join(parsed.words)


def test_without_a_view_the_page_has_what_the_diagnosis_holds(make_diagnosis) -> None:
    parsed = Page(to_html(make_diagnosis()))
    assert "waterfall" not in parsed.all("class") and "chart" in parsed.all("class")
    assert any("cart → front" in word for word in parsed.words)


def test_an_abstention_says_what_is_missing(no_answer: Diagnosis, make_view) -> None:
    for markup in (to_html(no_answer), to_html(no_answer, make_view())):
        words = " ".join(Page(markup).words)
        assert "No root cause is named" in words and "name it with --incident" in words


def test_light_and_dark_are_both_styled(page: str) -> None:
    assert "color-scheme: light dark" in page and "prefers-color-scheme: dark" in page
