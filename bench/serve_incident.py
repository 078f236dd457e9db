"""From the first broken user request to an open incident, and from there to a diagnosis: simulated faults streamed in
real time into real servers.

For each fault a server of its own on a temporary folder; the telemetry of the case from 150 s before the fault on is
sent as exporters would send it (batches every 5 s), until 120 s after it. Prints per fault

* when the incident opened, after the fault struck and after the first hurt request had ended: a leak, a full pool or a
  timeout hurts nobody for a while, and a request that hangs is seen when it ends. The first hurt request is the change
  point of failed or slow requests of the entry points that broke by the case's own account;
* when the first diagnosis was attached after that, and whether it and the last one, 60 s later, name the true service.

Faults that are not found in the whole recording either break no SLI by what detection calls broken (docs/detection.md);
they are listed as slight. An incident that opens after the sending ended is none. Exits with 1 when another fault was
missed, or opened later than 30 s after the first hurt request, or was diagnosed later than 5 s after it opened.

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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.detect._scan import sharpened
from aetia.detect.sli import SliDetector
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.lab.stream import Batch, Sent, stream
from aetia.model.case import Case
from aetia.model.tables import Telemetry
from aetia.signals.view import Facts

BEFORE_S, AFTER_S, PATIENCE_S = 150, 120, 40
OPEN_S, DIAGNOSED_S = 30.0, 5.0
S = 10**9


@dataclass(frozen=True)
class Outcome:
    fault: str
    slight: bool
    hurt_s: float
    """From the fault to the first hurt request's end."""
    opened_s: float | None = None
    """From the fault to the incident."""
    behind_s: float = 0.0
    """By how much the machine was late to send what it should have."""
    diagnosed_s: float | None = None
    first: str = ""
    last: str = ""

    @property
    def late(self) -> bool:
        opened, told = self.opened_s, self.diagnosed_s
        missed = opened is None and not self.slight
        return missed or (opened is not None and (opened - self.hurt_s > OPEN_S or told is None or told > DIAGNOSED_S))


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


def first_hurt_ns(case: Case, telemetry: Telemetry, struck: int) -> int:
    """When the first hurt request ended."""
    spans = telemetry.spans
    tops = spans.filter(pc.equal(pc.fill_null(spans["parent_span_id"].cast(pa.string()), ""), ""))
    names = np.array(tops["name"].cast(pa.string()).to_pylist())
    start, took = tops["time"].cast(pa.int64()).to_numpy(), tops["duration_ns"].to_numpy()
    status = np.array(tops["status"].cast(pa.string()).to_pylist())
    code = np.array([int(text) if text else 0 for text in tops["status_code"].cast(pa.string()).to_pylist()])
    failed = (status == "error") | (code >= 400)
    found: list[int] = []
    entries: Any = case.sli["entries"]
    for name in case.sli["affected"]:  # type: ignore[union-attr]
        mine = np.flatnonzero(names == name)
        mine = mine[np.argsort((start + took)[mine])]
        before, end = start[mine] + took[mine] < struck, (start + took)[mine]
        for sli in entries[name]["broke"]:
            if sli == "throughput":
                found.append(struck)
                continue
            slow = (took[mine] > np.quantile(took[mine][before], 0.95) * 1.2) & ~failed[mine]
            bad = (failed[mine] if sli == "success" else slow).astype(np.float64)
            if bad[~before].any():
                first, _ = sharpened(bad[~before], float(bad[before].mean()))
                found.append(int(end[~before][first]))
    return min(found, default=struck)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "aetia.cli.main", "serve", "--data", str(folder), "--port", "0"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        line = running.stderr.readline()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found is not None, line
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
    struck = min(truth.onset_ns for truth in case.truth if truth.onset_ns is not None)
    felt = SliDetector().detect(Facts(telemetry), baseline=case.baseline)
    slight = not any(item.window.end_ns > struck for item in felt)
    outcome = Outcome(fault, slight, (first_hurt_ns(case, telemetry, struck) - struck) / S)
    part = cut(telemetry, struck - BEFORE_S * S, struck + AFTER_S * S)
    begin = min(int(pc.min(part.table(name)["time"].cast("int64")).as_py()) for name in ("spans", "logs", "metrics"))
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "data") as url:
        time.sleep(5)  # the server warms its worker
        now = time.time_ns()
        behind = [0.0]

        def tell(batch: Batch, sent: Sent) -> None:
            if batch.at_ns > struck - begin:
                behind[0] = max(behind[0], sent.late_s)

        sender = threading.Thread(target=stream, args=(part, url), kwargs={"start_ns": now, "tell": tell})
        sender.start()
        strike = now + (struck - begin)
        opened, revisions = _watched(url, strike)
        sender.join()
    if opened is None:
        return outcome
    outcome = replace(outcome, opened_s=(opened - strike) / S, behind_s=behind[0])
    if not revisions:
        return outcome
    first, last = (_told(case, item) for item in (revisions[0], revisions[-1]))
    return replace(outcome, diagnosed_s=(revisions[0]["at_ns"] - opened) / S, first=first, last=last)


def _told(case: Case, summary: dict[str, Any]) -> str:
    root = ", ".join(summary["roots"]) or summary.get("abstained") or summary.get("failed") or ""
    right = any(truth.service is not None and truth.service in root for truth in case.truth)
    return f"{root} ({'right' if right else 'wrong'})"


def _watched(url: str, strike: int) -> tuple[int | None, list[dict[str, Any]]]:
    """When the incident opened, and its diagnoses; what opens once nothing is sent any more is left out."""
    stop = strike + AFTER_S * S
    while (now := time.time_ns()) < stop + PATIENCE_S * S:
        time.sleep(1.0)
        held = asked(url, "incidents")["incidents"] if now < stop else []
        if held:
            first = min(held, key=lambda item: item["opened_ns"])
            time.sleep(max(min(70.0, (stop - time.time_ns()) / S), DIAGNOSED_S * 2))
            revisions = asked(url, f"incidents/{first['id']}/revisions")["revisions"]
            return first["opened_ns"], revisions
    late = asked(url, "incidents")["incidents"]
    if late:
        print(f"an incident opened after the sending ended: {[item['title'] for item in late]}")
    return None, []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--faults", nargs="+", default=["exception", "latency", "cpu", "crash"])
    parser.add_argument("--seed", type=int, default=4100)
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args()
    with ProcessPoolExecutor(given.at_once) as pool:
        found = list(pool.map(measured, given.faults, range(given.seed, given.seed + len(given.faults))))
    heads = [f"{name:>10}" for name in ("first hurt", "opened", "after hurt", "diagnosed", "sent late")]
    print(f"{'fault':<16} {' '.join(heads)}  root cause: first, last")
    for one in found:
        after = None if one.opened_s is None else one.opened_s - one.hurt_s
        numbers = [f"{_shown(s):>10}" for s in (one.hurt_s, one.opened_s, after, one.diagnosed_s, one.behind_s)]
        print(f"{one.fault:<16} {' '.join(numbers)}  {one.first}, {one.last}{' (slight)' if one.slight else ''}")
    late = [one for one in found if one.late]
    missed = sum(one.opened_s is None and one.slight for one in found)
    print(f"{len(found) - len(late) - missed} of {len(found)} in time, {len(late)} not, {missed} slight and not opened")
    return 1 if late else 0


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
