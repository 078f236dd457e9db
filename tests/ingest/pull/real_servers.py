"""Prometheus and VictoriaMetrics as real servers on loopback, filled with given series; each is stopped by its id."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aetia.model.tables import Telemetry
from plainly import rows

Series = tuple[Mapping[str, str], Sequence[tuple[int, float]]]
"""Labels (with `__name__`) and points as (time in ms, value)."""
LABEL_OF = {"service": "service", "instance": "pod", "node": "node"}


def series_of(telemetry: Telemetry) -> list[Series]:
    """The metrics as a scrape would have recorded them."""
    points: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
    for row in rows(telemetry.metrics):
        labels = {"__name__": row["name"], "job": "kubernetes"}
        labels |= {label: row[column] for column, label in LABEL_OF.items() if row[column]}
        labels |= json.loads(row["attributes"] or "{}")
        key = tuple(sorted((name, str(value)) for name, value in labels.items()))
        points.setdefault(key, []).append((row["time"] // 10**6, row["value"]))
    return [(dict(key), sorted(found)) for key, found in points.items()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def running(command: Sequence[str], ready: str, folder: Path) -> Iterator[None]:
    """A server while it runs; it is ready when the address answers 200."""
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 30.0
            while not _answers(ready):
                if server.poll() is not None or time.monotonic() > until:
                    pytest.fail(f"{command[0]} did not start: {(folder / 'server.log').read_text()[-800:]}")
                time.sleep(0.05)
            yield
        finally:
            server.terminate()
            server.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return answer.status == 200
    except OSError:
        return False


def binary(*names: str) -> str:
    """The first of some programs that is installed; the test is skipped where none is."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or pytest.skip(f"{names[0]} is not installed (Debian: apt install {names[0]})")


@contextmanager
def prometheus(series: Sequence[Series], folder: Path, config: str) -> Iterator[str]:
    """Prometheus with back-dated blocks; yields its URL. The configuration has a `%s` for the server's own address."""
    server, tool = binary("prometheus"), binary("promtool", "prometheus")
    text = folder / "metrics.txt"
    text.write_text(open_metrics(series), "utf-8")
    data = folder / "data"
    command = [tool, "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    port = free_port()
    (folder / "prometheus.yml").write_text(config % f"127.0.0.1:{port}")
    command = [server, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
               "--storage.tsdb.retention.time=3650d"]  # fmt: skip
    with running(command, f"http://127.0.0.1:{port}/-/ready", folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def victoria_metrics(series: Sequence[Series], folder: Path) -> Iterator[str]:
    """VictoriaMetrics with imported series; yields its URL."""
    server = binary("victoria-metrics", "victoria-metrics-prod")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [server, f"-storageDataPath={folder / 'vm'}", f"-httpListenAddr=127.0.0.1:{port}",
               "-retentionPeriod=10y", "-loggerLevel=WARN", "-memory.allowedBytes=256MB"]  # fmt: skip
    with running(command, f"{url}/health", folder):
        lines = [
            json.dumps({"metric": dict(labels), "timestamps": [at for at, _ in points],
                        "values": [value for _, value in points]})
            for labels, points in series
        ]  # fmt: skip
        _post(f"{url}/api/v1/import", "\n".join(lines).encode())
        _answers(f"{url}/internal/force_flush")
        yield url


def _post(url: str, body: bytes) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=60.0) as answer:
        assert answer.status in (200, 204)


def open_metrics(series: Sequence[Series]) -> str:
    """Series in OpenMetrics' text, without types."""
    lines: list[str] = []
    by_name: dict[str, list[Series]] = {}
    for labels, points in series:
        by_name.setdefault(labels["__name__"], []).append((labels, points))
    for name, some in sorted(by_name.items()):
        for labels, points in some:
            inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items() if key != "__name__")
            lines += [f"{name}{{{inside}}} {value!r} {at / 1000:.3f}" for at, value in points]
    return "\n".join([*lines, "# EOF\n"])


def _escaped(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
