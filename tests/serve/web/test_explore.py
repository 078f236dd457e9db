"""Explore in a real Chromium: services, traces, logs and metrics of telemetry that was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from planting import Planted, holds, planted
from served import Served, served
from test_pages import CONTRAST, NAMELESS
from watching import Watched

Look = Callable[..., Watched]
PAGES = {
    "/explore/services": "table.grid tbody tr",
    "/explore/services?view=map": ".map canvas",
    "/explore/services/checkout": ".charts .uplot canvas",
    "/explore/traces": "table.grid tbody tr",
    "/explore/logs": "table.grid tbody tr",
    "/explore/logs?view=lines": ".loglines li",
    "/explore/metrics?name=queue.length": ".multiples .uplot canvas",
}


@pytest.fixture(scope="session")
def sown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    with served(tmp_path_factory.mktemp("sown") / "data") as one:
        yield planted(one)


@pytest.fixture(scope="module")
def desk(open_page: Look, sown: Planted) -> Watched:
    return open_page(sown.server)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_clean_and_fits_desk_and_phone(desk: Watched, path: str) -> None:
    desk.page.set_viewport_size({"width": 1280, "height": 800})
    page = desk.open(path, PAGES[path])
    page.wait_for_timeout(300)
    assert page.evaluate(CONTRAST) == [] and page.evaluate(NAMELESS) == []
    page.keyboard.press("t")
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("t")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(150)
    assert desk.overflow() <= 0
    assert desk.complaints == [] and desk.others == []
    assert (
        page.evaluate("window.hurt") is None
        and page.locator("main b[onclick], main i:has-text('refused')").count() == 0
    )


def test_services_are_sorted_searched_and_opened(look: Look, sown: Planted) -> None:
    watched = look(sown.server)
    page = watched.open("/explore/services", "table.grid tbody tr")
    names = page.locator("tbody td:first-child a.strong")
    assert names.first.inner_text() == "checkout"
    page.click("th button:has-text('Service')")
    assert names.all_inner_texts() == sorted(names.all_inner_texts())
    assert any(text.startswith("<b onclick") for text in names.all_inner_texts())
    page.keyboard.press("/")
    page.keyboard.type("check")
    holds(page, "document.querySelectorAll('tbody tr').length === 1")
    page.reload()
    page.wait_for_selector("table.grid tbody tr")
    assert page.input_value("[data-search]") == "check" and page.locator("tbody tr").count() == 1
    page.click("tbody tr td:nth-child(2)")
    page.wait_for_selector("h1:has-text('checkout')")
    page.wait_for_selector(".chart .mark")  # the deploy
    page.wait_for_selector("[aria-label=Operations] button:has-text('POST /pay')")
    assert watched.complaints == []


def test_an_operation_narrows_the_charts_and_stays_in_the_address(look: Look, sown: Planted) -> None:
    page = look(sown.server).open("/explore/services/checkout", "[aria-label=Operations] tbody tr")
    page.click("[aria-label=Operations] .aslink")
    page.wait_for_selector("h2:has-text('POST /pay')")
    assert "operation=POST" in page.url
    page.reload()
    page.wait_for_selector("h2:has-text('POST /pay')")


def test_a_hostile_service_has_a_page(look: Look, sown: Planted) -> None:
    watched = look(sown.server, width=390)
    page = watched.open("/explore/services", "table.grid tbody tr")
    page.click("a.strong:has-text('<b onclick')")
    page.wait_for_selector("h1:has-text('<b onclick')")
    page.wait_for_selector("[aria-label=Callees] a:has-text('stock')")
    assert "\u202e" not in page.inner_text("main") and page.evaluate("window.hurt") is None
    assert watched.overflow() <= 0 and watched.complaints == []


def test_traces_are_found_by_conditions(look: Look, sown: Planted) -> None:
    watched = look(sown.server)
    page = watched.open("/explore/traces", "table.grid tbody tr")
    page.fill("[aria-label=Field]", "build")
    page.fill("[aria-label=Value]", "canary")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chip:has-text('canary')")
    holds(page, "document.querySelector('.more').innerText.startsWith('60 traces')")
    assert "build" in page.locator("#of-spans-keys option").evaluate_all("all => all.map((one) => one.value)")
    page.click("button:has-text('Slowest')")
    page.reload()
    page.wait_for_selector("tbody tr")
    assert page.locator(".chip").count() == 1 and "order=slowest" in page.url
    page.click("[aria-label^='Take out']")
    page.wait_for_selector(".chip", state="detached")
    page.click("[aria-label=Field]")
    page.fill("[aria-label=Field]", "service:=:nobody")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=No trace fits")
    assert watched.complaints == []


def test_a_trace_opens_by_keys_from_the_list(look: Look, sown: Planted) -> None:
    page = look(sown.server).open("/explore/traces?order=slowest", "table.grid tbody tr")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".waterfall canvas.rows")


def test_templates_lead_to_their_lines_and_these_to_traces(look: Look, sown: Planted) -> None:
    watched = look(sown.server)
    page = watched.open("/explore/logs?service=checkout", "table.grid tbody tr")
    assert "was charged" in page.inner_text("tbody")
    counted = page.get_attribute("tbody tr:has-text('was charged') svg.strip", "aria-label")
    assert counted.startswith("20 lines; the first ")
    page.click(".template:has-text('was charged')")
    page.wait_for_selector(".loglines li")
    lines = page.locator(".loglines li")
    assert lines.count() == 20 and all("was charged" in text for text in lines.all_inner_texts())
    lines.first.locator("summary").click()
    assert page.locator(".loglines .details").first.is_visible()
    page.keyboard.press("Escape")
    assert watched.complaints == []


def test_a_metric_is_chosen_and_its_choices_stay(look: Look, sown: Planted) -> None:
    page = look(sown.server).open("/explore/metrics", ".metriclist li")
    page.keyboard.press("/")
    page.keyboard.type("queue")
    page.click(".metriclist a")
    page.wait_for_selector(".multiples .uplot canvas")
    page.select_option("[aria-label=Aggregate]", "max")
    holds(page, "location.search.includes('aggregate=max')")
    page.reload()
    page.wait_for_selector(".multiples .uplot canvas")
    assert page.input_value("[aria-label=Aggregate]") == "max"


@pytest.mark.parametrize(
    "path", ["/explore/services", "/explore/traces", "/explore/logs", "/explore/metrics", "/compare"]
)
def test_an_empty_store_is_said_kindly(look: Look, quiet: Served, path: str) -> None:
    watched = look(quiet, width=390)
    page = watched.open(path, "main .state")
    assert page.inner_text("main .state h2")
    assert watched.overflow() <= 0 and watched.complaints == []


def test_what_cannot_be_asked_is_explained(look: Look, sown: Planted) -> None:
    page: Any = look(sown.server).open("/explore/traces?filter=duration_ms:%3E:many", "[role=alert]")
    assert "duration_ms" in page.inner_text("[role=alert]")
