"""One trace in a real Chromium: drawn, searched, walked through by keys, compared with another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from planting import Planted, holds, planted
from served import served
from test_pages import CONTRAST, NAMELESS
from watching import Watched

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))
from waterfall_ui import TRACE_ID, bodies  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

Look = Callable[..., Watched]
LARGE = 4_000
PAINTED = """() => {
  const canvas = document.querySelector('.waterfall canvas.rows');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let at = 0; at < pixels.length; at += 4 * 97) seen.add(`${pixels[at]} ${pixels[at + 1]} ${pixels[at + 2]}`);
  return seen.size;
}"""
TOLD = "document.querySelector('.waterfallbox [aria-live]').textContent"


@pytest.fixture(scope="module")
def sown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    with served(tmp_path_factory.mktemp("sown") / "data") as one:
        for body in bodies(LARGE):
            assert one.send("/v1/traces", body).status == 200
        yield planted(one)


def opened(look: Look, sown: Planted, trace: str, query: str = "", **how: Any) -> Watched:
    watched = look(sown.server, **how)
    watched.open(f"/explore/traces/{trace}{query}", ".waterfall canvas.rows")
    holds(watched.page, "performance.getEntriesByName('aetia-waterfall-whole').length > 0")
    return watched


def test_a_trace_is_drawn_and_its_spans_are_told(look: Look, sown: Planted) -> None:
    watched = opened(look, sown, sown.first)
    page = watched.page
    assert page.evaluate(PAINTED) > 5
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(TOLD).startswith("2 of 4: stock reserve, 60 ms")
    page.keyboard.press("Enter")
    page.wait_for_selector(".drawer h2:has-text('reserve')")
    holds(page, "location.search.includes('span=')")
    page.wait_for_selector(".drawer >> text=It has no attributes")
    assert page.evaluate(CONTRAST) == [] and page.evaluate(NAMELESS) == []
    page.reload()
    page.wait_for_selector(".drawer h2:has-text('reserve')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".drawer", state="detached")
    assert "\u202e" not in page.inner_text("main") and page.evaluate("window.hurt") is None
    assert watched.complaints == [] and watched.others == []


def test_spans_fold_and_unfold_by_keys(look: Look, sown: Planted) -> None:
    page = opened(look, sown, sown.first).page
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(TOLD).startswith("3 of 3: cart load")
    page.keyboard.press("ArrowLeft")
    assert "GET /cart" in page.evaluate(TOLD)
    page.keyboard.press("x")
    page.keyboard.press("x")
    page.keyboard.press("End")
    assert page.evaluate(TOLD).startswith("4 of 4")


def test_a_large_trace_is_searched_walked_and_zoomed(look: Look, sown: Planted) -> None:
    watched = opened(look, sown, TRACE_ID.hex())
    page = watched.page
    page.keyboard.press("/")
    page.keyboard.type("operation-07 service-11")
    page.wait_for_selector(".wfbar [role=status]")
    held = page.inner_text(".wfbar [role=status]")
    page.keyboard.press("Enter")
    holds(page, "document.querySelector('.wfbar [role=status]').innerText.includes('1 of')")
    assert int(held.strip()) > 2
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    assert page.evaluate(TOLD).endswith("failed") or ", failed" in page.evaluate(TOLD)
    page.keyboard.press("c")
    assert page.get_attribute("button:has-text('Critical path')", "aria-pressed") == "true"
    for _ in range(3):
        page.keyboard.press("+")
    holds(page, "/from=|to=/.test(location.search) && location.search.includes('path=1')")
    page.reload()
    page.wait_for_selector(".waterfall canvas.rows")
    assert page.input_value(".wfbar [data-search]") == "operation-07 service-11"
    page.keyboard.press("0")
    holds(page, "!location.search.includes('from=')")
    assert watched.complaints == []


def test_the_map_zooms_by_dragging(look: Look, sown: Planted) -> None:
    page = opened(look, sown, TRACE_ID.hex()).page
    box = page.locator("canvas.map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20, steps=4)
    page.mouse.up()
    holds(page, "Number(new URLSearchParams(location.search).get('from')) > 14e9")
    assert 29e9 < float(page.evaluate("new URLSearchParams(location.search).get('to')")) < 31e9


def test_a_link_to_a_span_and_a_time_shows_both(look: Look, sown: Planted) -> None:
    page = opened(look, sown, TRACE_ID.hex(), "?from=26000000000&to=27000000000&span=0000000000000f00").page
    page.wait_for_selector(".drawer .mono:has-text('0000000000000f00')")
    page.wait_for_timeout(400)
    assert "from=26000000000&to=27000000000" in page.url
    row = "document.querySelector('.scroller').scrollTop + document.querySelector('.scroller').clientHeight / 2"
    assert page.evaluate(row) > 1000


def test_two_traces_are_compared_path_by_path(look: Look, sown: Planted) -> None:
    watched = opened(look, sown, sown.second)
    page = watched.page
    page.click("button:has-text('Compare')")
    page.click("[aria-label='Compare with'] .lines .aslink")
    page.wait_for_selector("[aria-label='Paths that differ'] tbody tr")
    assert "80 ms longer" in page.inner_text("[aria-label='Comparison with another trace'] .lead")
    assert "SELECT stock" in page.locator("[aria-label='Paths that differ'] tbody tr").first.inner_text()
    page.reload()
    page.wait_for_selector("[aria-label='Paths that differ'] tbody tr")
    assert watched.complaints == []


def test_it_fits_a_phone(look: Look, sown: Planted) -> None:
    watched = opened(look, sown, sown.first, width=390, dark=True)
    watched.page.click("canvas.rows", position={"x": 90, "y": 60})
    watched.page.wait_for_selector(".drawer h2")
    assert watched.overflow() <= 0 and watched.page.evaluate(CONTRAST) == []
    assert watched.complaints == []


def test_a_trace_that_is_not_there_is_said(look: Look, sown: Planted) -> None:
    page = look(sown.server).open(f"/explore/traces/{'ab' * 16}", "[role=alert]")
    assert "no trace" in page.inner_text("[role=alert]").lower()
