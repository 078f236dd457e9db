"""The pages in a real Chromium: they load clean, stay on their own origin, obey keys, fit a phone, distrust telemetry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from served import Served, served, until
from watching import Watched

from aetia.serve.security.tokens import Tokens

Look = Callable[..., Watched]
Struck = tuple[Served, str]
READY = "performance.getEntriesByName('aetia-incident-ready').at(-1)?.startTime ?? 0"


@pytest.fixture(scope="module")
def shown(open_page: Look, struck: Struck) -> Watched:
    """The incident's page, for tests that change nothing on the server."""
    server, incident = struck
    watched = open_page(server)
    watched.open(f"/incidents/{incident}", "#history")
    until(lambda: watched.page.evaluate("performance.getEntriesByName('aetia-map-ready').length"))
    return watched


def test_the_incident_page_says_why_and_is_ready_within_a_second(shown: Watched) -> None:
    times: list[float] = []
    for _ in range(5):  # the machine may be busy with other things for a moment
        times.append(until(lambda: shown.page.evaluate(READY)))
        if times[-1] <= 1000:
            break
        shown.page.reload()
    told = shown.page.inner_text(".three").lower()
    assert all(word in told for word in ("root cause", "critical failure", "impact", "logical error"))
    assert shown.page.locator("#signals .uplot canvas").count() >= 2
    assert shown.page.locator("#investigation .log li").count() >= 3
    assert shown.page.locator("#traces .trace").count() == 2
    assert min(times) <= 1000, times


def test_it_fits_a_phone_and_can_be_read_in_both_themes(shown: Watched) -> None:
    for width in (390, 1280):
        shown.page.set_viewport_size({"width": width, "height": 844})
        shown.page.wait_for_timeout(100)
        assert shown.overflow() <= 0
        for _ in range(2):
            shown.page.keyboard.press("t")
            assert shown.page.evaluate(CONTRAST) == []


def test_controls_and_pictures_have_names(shown: Watched) -> None:
    assert shown.page.evaluate(NAMELESS) == []


def test_hostile_names_are_shown_as_text(shown: Watched) -> None:
    assert "<img src=x onerror=window.hurt=1>" in shown.page.inner_text(".bucket.hot .answer")
    assert "\u202e" not in shown.page.inner_text("main")
    assert shown.page.locator("main img, main b:has-text('2.0')").count() == 0
    assert shown.page.evaluate("window.hurt") is None


def test_evidence_is_run_again_from_the_page(shown: Watched) -> None:
    shown.page.click(".evidencelist .again button")
    shown.page.wait_for_selector(".evidencelist .again .badge.good")
    shown.page.click(".evidencelist .claim")
    assert shown.page.locator(".evidencelist .details .query").count() == 1


def test_the_course_of_the_fault_can_be_scrubbed(shown: Watched) -> None:
    steps = shown.page.locator("#spread .steps li").count()
    assert steps >= 2 and shown.page.locator("#spread .steps li.reached").count() == steps
    shown.page.locator("#spread .slider").focus()
    shown.page.keyboard.press("Home")
    assert shown.page.locator("#spread .steps li.reached").count() == 0


def test_it_loads_clean_and_asks_nobody_else(shown: Watched) -> None:
    assert shown.complaints == []
    assert shown.others == []


def test_a_note_is_kept_and_a_steered_investigation_is_followed(look: Look, struck: Struck) -> None:
    server, incident = struck
    page = look(server).open(f"/incidents/{incident}", "#history textarea")
    page.fill("#history textarea", "called <b>the provider</b>")
    page.click("#history .noteform button")
    page.wait_for_selector("#history .timeline .pre:has-text('called <b>the provider</b>')")
    before = len(server.get(f"/api/v1/incidents/{incident}/revisions").json["revisions"])
    second = page.locator(".standings li").nth(1)
    second.hover()
    second.locator("button[aria-label^='Leave out']").click()
    page.wait_for_selector(f"#history .timeline >> text=answer {before + 1}", timeout=30_000)
    page.wait_for_selector("#investigation .log li.steered")
    page.reload()
    page.wait_for_selector("#investigation .wishes .chip:has-text('is left out')")
    page.click("#investigation .wishes button[aria-label^='Take back']")
    page.wait_for_selector(f"#history .timeline >> text=answer {before + 2}", timeout=30_000)
    assert page.locator("#investigation .wishes, #investigation .log li.steered").count() == 0
    page.fill("#investigation .steer input", "nobody at all")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast.bad:has-text('no component of this incident')")


def test_marks_of_changes_stand_at_their_time(shown: Watched, struck: Struck) -> None:
    server, incident = struck
    (change,) = server.get("/api/v1/changes").json["changes"]
    mark = shown.page.locator("#signals .chart .mark").first
    record = server.get(f"/api/v1/incidents/{incident}/diagnosis").json["incident"]
    start, end = record["baseline"][0], record["window"][1]
    wanted = (change["time_ns"] - start) / (end - start)
    share = mark.evaluate("node => parseFloat(node.style.left) / node.parentElement.clientWidth")
    assert abs(share - wanted) < 0.01


def test_links_hold_times_to_the_nanosecond(shown: Watched, struck: Struck) -> None:
    server, incident = struck
    seen = server.get(f"/api/v1/incidents/{incident}/diagnosis").json["incident"]
    shown.page.click("[aria-label=More]")
    asked = shown.page.get_attribute("a:has-text('Explore this time')", "href").partition("?")[2]
    window = server.get(f"/api/v1/services?{asked}").json["window"]
    record = server.get(f"/api/v1/incidents/{incident}").json
    assert window[0] == min(seen["baseline"][0], record["baseline"][0], record["onset_ns"])
    assert window[1] == max(seen["window"][1], record["window"][1], record["ended_ns"] or 0)
    shown.page.keyboard.press("Escape")


def test_two_traces_lead_to_all_of_their_spans(shown: Watched) -> None:
    href = shown.page.get_attribute("#traces a:has-text('compare span by span')", "href")
    assert "/explore/traces/" in href and "vs=" in href


def test_keys_move_open_search_and_help(look: Look, struck: Struck) -> None:
    server, incident = struck
    watched = look(server, width=390)
    page = watched.open("/incidents", "ol.incidents li")
    assert watched.overflow() <= 0
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] .keys")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("/")
    page.keyboard.type("no such words")
    page.wait_for_selector("text=No incident fits these filters")
    page.keyboard.press("Escape")
    page.click("text=Show all of them")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".incidenthead")
    assert page.url.endswith(f"/incidents/{incident}")
    page.keyboard.press("g")
    page.keyboard.press("i")
    page.wait_for_selector("ol.incidents li")
    assert watched.complaints == [] and watched.others == []


def test_a_deep_link_survives_a_reload(look: Look, struck: Struck) -> None:
    server, incident = struck
    watched = look(server)
    page = watched.open("/incidents?state=open&severity=critical&q=fail&start=-1h", "ol.incidents li")
    page.reload()
    page.wait_for_selector("ol.incidents li")
    assert page.locator(".switch button[aria-pressed=true]").all_inner_texts()[-1] == "critical"
    assert page.input_value("[data-search]") == "fail"
    page.keyboard.press("Escape")
    assert "start=-1h" in str(page.get_attribute(".brand", "href"))
    evidence = server.get(f"/api/v1/incidents/{incident}/diagnosis").json["evidence"][0]["id"]
    page = watched.open(f"/incidents/{incident}#{evidence}", f"#{evidence}.opened")
    page.reload()
    page.wait_for_selector(f"#{evidence}.opened")


def test_an_empty_server_says_how_to_send_telemetry(look: Look, quiet: Served) -> None:
    watched = look(quiet, width=390)
    page = watched.open("/", ".sending")
    assert page.url == f"{quiet.url}/incidents"
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={quiet.url}" in page.inner_text(".sending")
    assert watched.overflow() <= 0 and watched.complaints == []


def test_what_is_not_there_is_said(look: Look, quiet: Served) -> None:
    watched = look(quiet)
    page = watched.open("/incidents/i-20260101-000000-ffff", "[role=alert]")
    assert "no such thing" in page.inner_text("[role=alert]")
    page.click("text=Go to the incidents")
    page.wait_for_selector(".sending")


def test_a_server_with_tokens_asks_for_one(look: Look, tmp_path: Any) -> None:
    token, _ = Tokens(tmp_path).create(["read"])
    with served(tmp_path, {"server": {"auth": "tokens"}, "detection": {"enabled": True}}) as server:
        page = look(server).open("/incidents", ".login input")
        page.fill(".login input", "aetia_wrong_token")
        page.keyboard.press("Enter")
        page.wait_for_selector(".login .note.bad")
        page.fill(".login input", token)
        page.keyboard.press("Enter")
        page.wait_for_selector(".sending")
        assert page.context.cookies()[0]["httpOnly"]
        assert json.loads(page.evaluate("JSON.stringify({...localStorage})")) == {}


def test_light_and_dark_can_be_chosen_and_stay(look: Look, quiet: Served) -> None:
    watched = look(quiet)
    page = watched.open("/incidents", ".sending")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.keyboard.press("t")
    dark = page.evaluate(paper)
    assert light != dark
    page.reload()
    page.wait_for_selector(".sending")
    assert page.evaluate(paper) == dark


NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, textarea, select, [role=img]')]
  .filter((e) => e.checkVisibility() && !(e.innerText || '').trim() && !e.getAttribute('aria-label') && !e.title
    && !e.closest('label') && !e.getAttribute('placeholder'))
  .map((e) => e.outerHTML.slice(0, 120))"""
CONTRAST = """() => {
  const numbers = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const rgb = (text) => {
    const [a, b, c, d] = numbers(text);
    return text.startsWith('color(') ? [a * 255, b * 255, c * 255, d ?? 1] : [a, b, c, d ?? 1];
  };
  const behind = (element) => {
    let layers = [];
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) layers.unshift(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduce((under, over) => under.map((v, i) => v + (over[i] - v) * over[3]), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility({ opacityProperty: true }) || e.closest('[disabled], .unseen, .u-wrap, noscript')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return bad.slice(0, 12);
}"""
