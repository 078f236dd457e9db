"""A browser, a server with one simulated incident whose root cause has a hostile name, and pages that are watched."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from served import Served, served, until

from aetia.lab.sim import FaultSpec, Load, Scenario, System, make_system, simulate
from aetia.lab.sim.draw import service_rates
from aetia.lab.stream import stream

CHROMIUM = Path("/usr/bin/chromium")
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "<img src=x onerror=window.hurt=1>\u202eevil"
BASELINE_S, INCIDENT_S = 120.0, 60.0
BY_HAND = {"detection": {"enabled": True, "warmup_s": 86_400}, "diagnosis": {"enabled": True}}
"""Incidents are kept and diagnosed, and open by hand alone."""


class Watched:
    """A page of the server that remembers what a browser complains about and whom it asks."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.others: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Any) -> None:
        asked, mine = urlsplit(request.url), urlsplit(self.url)
        if asked.scheme not in ("data", "blob") and (asked.scheme, asked.netloc) != (mine.scheme, mine.netloc):
            self.others.append(request.url)

    def open(self, path: str, wait: str = "main *") -> Any:
        """Go to a page and wait until something is there."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector(wait)
        return self.page

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; install the package chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield found
        found.close()


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Watched]]:
    """`look(server, width=1280, dark=False)`: a page of its own."""
    with contextlib.ExitStack() as stack:
        yield functools.partial(_look, browser, stack)


@pytest.fixture(scope="module")
def open_page(browser: Any) -> Iterator[Callable[..., Watched]]:
    """The same for pages that several tests share."""
    with contextlib.ExitStack() as stack:
        yield functools.partial(_look, browser, stack)


def _look(
    browser: Any, stack: contextlib.ExitStack, server: Served, *, width: int = 1280, dark: bool = False
) -> Watched:
    scheme = "dark" if dark else "light"
    size = {"width": width, "height": 844 if width < 600 else 800}
    context = browser.new_context(viewport=size, color_scheme=scheme, locale="en-GB")
    stack.callback(context.close)
    context.set_default_timeout(15_000)
    return Watched(context.new_page(), server.url)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that has seen nothing."""
    with served(tmp_path_factory.mktemp("quiet") / "data", {"detection": {"enabled": True}}) as one:
        yield one


@pytest.fixture(scope="session")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """(server, id of an incident that was diagnosed)."""
    with served(tmp_path_factory.mktemp("struck") / "data", BY_HAND) as one:
        yield one, _incident(one)


def _incident(server: Served) -> str:
    system = make_system(8, 4, "layered")
    rates = service_rates(system, 1.0)
    inner = [at for at, item in enumerate(system.services) if item.layer > 0 and not item.queue]
    system = _renamed(system, max(inner, key=lambda at: rates[at]))
    fault = FaultSpec(fault="exception", service=HOSTILE, onset_s=BASELINE_S, magnitude=1.0)
    run = Scenario(
        id="case", system=system, seed=1, faults=(fault,), load=Load(rate=10), baseline_s=BASELINE_S,
        incident_s=INCIDENT_S, metric_step_s=5.0, everyday=0.0,
    )  # fmt: skip
    _, telemetry = simulate(run)
    begin = time.time_ns() - round((BASELINE_S + INCIDENT_S + 5) * 1e9)
    stream(telemetry, server.url, speed=1e6, export_s=600.0, start_ns=begin)
    change = {"kind": "deploy", "service": HOSTILE, "description": "<b>2.0</b>", "time": str(begin / 1e9 + BASELINE_S)}
    assert server.post("/api/v1/changes", change).status == 200
    onset = begin + round(BASELINE_S * 1e9)
    asked = {"title": f"{HOSTILE} is failing", "start": str(onset / 1e9), "severity": "critical"}
    made = server.post("/api/v1/incidents", asked)
    assert made.status == 200, made.body
    incident = str(made.json["id"])
    until(lambda: server.get(f"/api/v1/incidents/{incident}").json["diagnosis"], 60.0)
    return incident


def _renamed(system: System, target: int) -> System:
    services = list(system.services)
    services[target] = dataclasses.replace(services[target], name=HOSTILE)
    return dataclasses.replace(system, services=tuple(services))
