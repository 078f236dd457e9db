"""An incident that ends now, and real servers that hold its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_servers import traces_of
from live_incident import Live, extras, simulated
from real_servers import prometheus, series_of, victoria_metrics

from aetia.ingest.pull import client_for
from aetia.net import Client

CONFIG = """\
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs: [{job_name: self, static_configs: [{targets: ['%s']}]}]
"""
RULES = """\
groups:
- name: always
  rules:
  - {alert: Always, expr: vector(1), labels: {severity: page, service: shop}, annotations: {summary: it burns}}
"""


@pytest.fixture(scope="session")
def live() -> Live:
    return simulated()


@pytest.fixture(scope="session")
def prometheus_url(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus with the metrics of the incident; it also scrapes itself and has an alert that fires always."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_text(RULES)
    with prometheus([*series_of(live.telemetry), *extras(live.window)], folder, CONFIG) as url:
        yield url


@pytest.fixture(scope="session")
def victoria_url(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """VictoriaMetrics with the metrics of the incident."""
    folder: Path = tmp_path_factory.mktemp("victoria")
    with victoria_metrics([*series_of(live.telemetry), *extras(live.window)], folder) as url:
        yield url


@pytest.fixture(params=["prometheus_url", "victoria_url"])
def metrics_url(request: pytest.FixtureRequest) -> str:
    """Each of the real servers."""
    return request.getfixturevalue(request.param)


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
