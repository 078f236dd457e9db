"""From the first broken user request to an open incident, and from there to a diagnosis: simulated faults streamed in
real time into real servers.

For each fault a server of its own on a temporary folder; the telemetry of the case from 150 s before the onset on is
sent as exporters would send it (batches every 5 s). Prints per fault when the incident opened after the first hurt
request (the case's own count of SLI harm), when the first diagnosis was attached after that, and whether it names the
true root cause. Exits with 1 when one opened later than 30 s or was diagnosed later than 5 s after it opened.

Run: `.venv/bin/python bench/serve_incident.py --faults exception latency cpu crash --at-once 2`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.lab.stream import stream
from aetia.model.case import Case
from aetia.model.tables import Telemetry

BEFORE_S, AFTER_S, PATIENCE_S = 150, 75, 45
OPEN_S, DIAGNOSED_S = 30.0, 5.0
S = 10**9


@dataclass(frozen=True)
class Outcome:
    fault: str
    opened_s: float | None
    diagnosed_s: float | None
    right: bool
    said: str


def drawn(fault: str, seed: int) -> tuple[Case, Telemetry]:
    system = make_system(10, seed)
    return next(generate(1, [system], seed, faults=[fault], windows_given=True, two_roots=0.0))


def cut(telemetry: Telemetry, start: int, end: int) -> Telemetry:
    tables: dict[str, Any] = {}
    for name in ("spans", "logs", "metrics"):
        table = telemetry.table(name)
        times = table["time"].cast("int64")
        tables[name] = table.filter(pc.and_(pc.greater_equal(times, start), pc.less(times, end)))
    return replace(telemetry, **tables)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "aetia.cli.main", "serve", "--data", str(folder), "--port", "0"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        found = re.search(r"http://[\d.]+:\d+", running.stderr.readline())
        assert found is not None
        threading.Thread(target=running.stderr.read, daemon=True).start()
        yield found[0]
    finally:
        running.terminate()
        running.wait(60)


def asked(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/api/v1/{path}", timeout=20) as answer:
        return json.load(answer)


def measured(fault: str, seed: int) -> Outcome:
    case, telemetry = drawn(fault, seed)
    assert case.incident is not None and case.truth
    broke = case.incident.start_ns
    part = cut(telemetry, broke - BEFORE_S * S, broke + AFTER_S * S)
    begin = min(int(pc.min(part.table(name)["time"].cast("int64")).as_py()) for name in ("spans", "logs", "metrics"))
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "data") as url:
        time.sleep(5)  # the server warms its worker
        now = time.time_ns()
        sender = threading.Thread(target=stream, args=(part, url), kwargs={"start_ns": now})
        sender.start()
        hurt = now + (broke - begin)
        opened, summary = _watched(url, hurt)
        sender.join()
    if opened is None:
        return Outcome(fault, None, None, False, "no incident")
    if summary is None:
        return Outcome(fault, (opened - hurt) / S, None, False, "no diagnosis")
    root = ", ".join(summary["roots"]) or summary.get("abstained") or summary.get("failed") or ""
    right = any(truth.service is not None and truth.service in root for truth in case.truth)
    return Outcome(fault, (opened - hurt) / S, (summary["at_ns"] - opened) / S, right, root)


def _watched(url: str, hurt: int) -> tuple[int | None, dict[str, Any] | None]:
    """When the incident opened and its first diagnosis."""
    while time.time_ns() < hurt + (AFTER_S + PATIENCE_S) * S:
        time.sleep(0.5)
        held = asked(url, "incidents")["incidents"]
        if held:
            first = min(held, key=lambda item: item["opened_ns"])
            revisions = asked(url, f"incidents/{first['id']}/revisions")["revisions"]
            if revisions:
                return first["opened_ns"], revisions[0]
    held = asked(url, "incidents")["incidents"]
    return (min(item["opened_ns"] for item in held) if held else None), None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--faults", nargs="+", default=["exception", "latency", "cpu", "crash"])
    parser.add_argument("--seed", type=int, default=4100)
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args()
    with ThreadPoolExecutor(given.at_once) as pool:
        found = list(pool.map(measured, given.faults, range(given.seed, given.seed + len(given.faults))))
    print(f"{'fault':<16} {'opened s':>9} {'diagnosed s':>12}  root cause")
    for one in found:
        opened = f"{one.opened_s:9.1f}" if one.opened_s is not None else f"{'–':>9}"
        told = f"{one.diagnosed_s:12.1f}" if one.diagnosed_s is not None else f"{'–':>12}"
        print(f"{one.fault:<16} {opened} {told}  {one.said} ({'right' if one.right else 'wrong'})")
    late = [
        one for one in found
        if one.opened_s is None or one.opened_s > OPEN_S or one.diagnosed_s is None or one.diagnosed_s > DIAGNOSED_S
    ]  # fmt: skip
    print(f"{len(found) - len(late)} of {len(found)} in time")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
