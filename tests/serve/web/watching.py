"""A page that is watched, and an incident whose root cause has a hostile name."""

from __future__ import annotations

import dataclasses
import time
from typing import Any
from urllib.parse import urlsplit

from served import Served, until

from aetia.lab.sim import FaultSpec, Load, Scenario, System, make_system, simulate
from aetia.lab.sim.draw import service_rates
from aetia.lab.stream import stream

HOSTILE = "<img src=x onerror=window.hurt=1>\u202eevil"
BASELINE_S, INCIDENT_S = 120.0, 60.0


class Watched:
    """A page of the server that remembers what a browser complains about and whom it asks."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.others: list[str] = []
        self._heard = {"console": self._console, "pageerror": self._failed, "request": self._request}
        for event, hear in self._heard.items():
            page.on(event, hear)

    def leave(self) -> None:
        """Leave the page as a new one: on no address, with nothing kept by the browser, and unwatched."""
        for event, hear in self._heard.items():
            self.page.remove_listener(event, hear)
        if self.page.url.startswith(self.url):
            self.page.evaluate("localStorage.clear(), sessionStorage.clear()")
        self.page.context.clear_cookies()
        self.page.goto("about:blank")

    def _failed(self, error: Any) -> None:
        self.complaints.append(str(error))

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


def incident_of(server: Served) -> str:
    """Id of an incident that is simulated, sent, opened by hand and diagnosed."""
    system = make_system(8, 4, "layered")
    rates = service_rates(system, 1.0)
    inner = [at for at, item in enumerate(system.services) if item.layer > 0 and not item.queue]
    system = _renamed(system, max(inner, key=lambda at: rates[at]))
    fault = FaultSpec(fault="exception", service=HOSTILE, onset_s=BASELINE_S, magnitude=1.0)
    run = Scenario(
        id="case", system=system, seed=1, faults=(fault,), load=Load(rate=4), baseline_s=BASELINE_S,
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
