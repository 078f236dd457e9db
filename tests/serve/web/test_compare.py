"""Compare in a real Chromium: a box in the map of latency finds the attribute that was planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from planting import Planted, holds, planted
from served import served
from test_pages import CONTRAST, NAMELESS
from watching import Watched

Look = Callable[..., Watched]


@pytest.fixture(scope="module")
def sown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    with served(tmp_path_factory.mktemp("sown") / "data") as one:
        yield planted(one)


def test_a_box_around_the_slow_finds_what_they_have_in_common(look: Look, sown: Planted) -> None:
    watched = look(sown.server)
    page = watched.open("/compare?service=checkout&start=-10m", ".heat canvas")
    page.wait_for_selector("text=Which requests are of interest?")
    page.wait_for_timeout(300)
    box = page.locator(".heat").bounding_box()
    assert box is not None
    left, right = box["x"] + 62, box["x"] + box["width"] - 2
    page.mouse.move(left, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(right, box["y"] + box["height"] * 0.25, steps=4)
    page.mouse.up()
    page.wait_for_selector(".differences h3")
    assert page.locator(".differences h3").first.inner_text() == "build"
    first = page.locator(".differences > li").first
    assert "canary" in first.inner_text() and "100 %" in first.inner_text()
    assert "region" not in page.locator("section[aria-label=Differences] > .differences").inner_text()
    words = page.inner_text("[aria-label='What is compared']")
    assert "60 requests" in words and "420 requests" in words and "Fisher" in words
    assert page.evaluate(CONTRAST) == [] and page.evaluate(NAMELESS) == []
    page.reload()
    page.wait_for_selector(".differences h3")
    page.click(".differences a:has-text('canary')")
    page.wait_for_selector("table.grid tbody tr")
    filters = parse_qs(urlsplit(page.url).query)["filter"]
    assert {"build:=:canary", "service:=:checkout"} <= set(filters)
    holds(page, "document.querySelector('.more').innerText.startsWith('60 traces')")
    assert watched.complaints == [] and watched.others == []


def test_a_box_can_be_drawn_by_keys_and_on_a_phone(look: Look, sown: Planted) -> None:
    watched = look(sown.server, width=390)
    page = watched.open("/compare?service=checkout&start=-10m", ".heat canvas")
    page.locator(".heat").focus()
    for key in ("ArrowUp", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_selector("[aria-label='What is compared']")
    assert "box=" in page.url and watched.overflow() <= 0
    page.locator(".heat").focus()
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Which requests are of interest?")
    page.fill("[aria-label='At least, ms']", "200")
    page.keyboard.press("Enter")
    page.wait_for_selector(".differences h3:has-text('build')")
    assert watched.overflow() <= 0 and watched.complaints == []


def test_the_time_before_can_be_the_baseline(look: Look, sown: Planted) -> None:
    watched = look(sown.server)
    page = watched.open("/compare?service=checkout&start=-10m", ".heat canvas")
    page.locator(".heat").focus()
    for key in ("ArrowUp", "Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_selector("[aria-label='What is compared']")
    words = "document.querySelector('.cohorts')?.innerText"
    holds(page, f"{words}?.includes('in the same time')")
    page.click("button:has-text('The time before')")
    holds(page, f"{words}?.includes('What changed for all of them since then')")
    assert "baseline=before" in page.url
    page.click("button:has-text('The whole range')")
    holds(page, f"{words}?.includes('all other requests of checkout begun between')")
    inside, outside = (
        int(text.split(": ")[1].split()[0].replace("\u202f", ""))
        for text in page.locator(".cohorts p").all_inner_texts()[:2]
    )
    assert inside + outside == 480
    page.reload()
    holds(page, f"{words}?.includes('all other requests of checkout begun between')")
    assert watched.complaints == []


def test_failed_requests_are_compared_with_the_others(look: Look, sown: Planted) -> None:
    page = look(sown.server).open("/compare?service=checkout&start=-10m", ".heat canvas")
    page.click("button:has-text('Failed')")
    page.wait_for_selector("[aria-label='What is compared']")
    assert "12 requests" in page.inner_text("[aria-label='What is compared']")
    assert "failed=true" in page.url
