"""An incident that ends now, and real servers that hold its metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_servers import traces_of
from real_servers import prometheus, series_of, victoria_metrics

from aetia.ingest.pull import client_for
from aetia.lab.sim import FaultSpec, Load, Scenario, make_system, simulate
from aetia.model.case import Case
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Client

BASELINE_S, INCIDENT_S = 120, 90


@dataclass(frozen=True)
class Live:
    """A simulated incident that still lasts."""

    case: Case
    telemetry: Telemetry
    culprit: str

    @property
    def minute(self) -> Window:
        """Around the onset."""
        assert self.case.incident is not None
        onset = self.case.incident.start_ns
        return Window(onset - 20 * 10**9, onset + 20 * 10**9)

    @property
    def window(self) -> Window:
        assert self.case.baseline is not None and self.case.incident is not None
        return Window(self.case.baseline.start_ns, self.case.incident.end_ns)


@pytest.fixture(scope="session")
def live() -> Live:
    system = make_system(6, 4)
    culprit = system.services[3].name
    start_ns = (time.time_ns() // 10**9 - BASELINE_S - INCIDENT_S) * 10**9
    fault = FaultSpec(fault="cpu", service=culprit, onset_s=BASELINE_S, magnitude=1.0)
    case, telemetry = simulate(
        Scenario(id="live", system=system, seed=3, faults=(fault,), load=Load(rate=4), baseline_s=BASELINE_S,
                 incident_s=INCIDENT_S, metric_step_s=5.0, start_ns=start_ns)
    )  # fmt: skip
    return Live(case, telemetry, culprit)


@pytest.fixture(scope="session", params=["prometheus", "victoria_metrics"])
def metrics_url(request: pytest.FixtureRequest, live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Each of the real servers, with the metrics of the incident and some series of its own."""
    start = {"prometheus": prometheus, "victoria_metrics": victoria_metrics}[request.param]
    folder: Path = tmp_path_factory.mktemp(request.param)
    with start([*series_of(live.telemetry), *extras(live.window)], folder) as url:
        yield url


def extras(window: Window) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    """A histogram, an alert that begins in the window, one that fired before, and a second-by-second gauge."""
    first, last = window.start_ns // 10**6, window.end_ns // 10**6
    times = range(first, last, 5000)
    place = {"service": "extra", "pod": "extra-0"}
    alert = {"__name__": "ALERTS", "alertstate": "firing", "service": "extra", "severity": "page"}
    return [
        *(
            ({"__name__": "rpc_duration_seconds_bucket", "le": le, **place}, [(at, float(n * share)) for n, at in enumerate(times)])
            for le, share in (("0.1", 1), ("1", 2), ("+Inf", 3))
        ),
        ({"__name__": "rpc_duration_seconds_count", **place}, [(at, 3.0 * n) for n, at in enumerate(times)]),
        ({**alert, "alertname": "Late"}, [(at, 1.0) for at in times if at >= first + 60_000]),
        ({**alert, "alertname": "Old"}, [(at, 1.0) for at in times]),
        ({"__name__": "dense:gauge", "namespace": "dense", **place}, [(at, 1.0) for at in range(first - 12_000_000, last, 1000)]),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def traces(live: Live) -> dict[str, list[dict[str, Any]]]:
    """The spans by trace."""
    return traces_of(live.telemetry)


@pytest.fixture(scope="session")
def some(live: Live, traces: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The traces that begin around the onset."""
    return {key: spans for key, spans in traces.items() if live.minute.contains(min(one["start_ns"] for one in spans))}


@pytest.fixture
def client() -> Client:
    return client_for("prometheus", allow_private=True, environment={})
