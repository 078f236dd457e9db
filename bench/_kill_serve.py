"""The whole server killed at random moments while it is sent telemetry over HTTP; see `kill_ingest.py --http`."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.compute
import pyarrow.parquet as pq

from aetia.model.window import Window
from aetia.serve.client import Remote
from aetia.store.lock import living_owner

pc: Any = pyarrow.compute
CLIENTS, SPANS = 24, 20
START_LIMIT_S, GONE_LIMIT_S = 5.0, 10.0
MARK = "AETIA_KILLED_HERE"
CONFIG = """
[server]
watch_itself = false
[store]
segment_bytes = 524288
segment_seconds = 0.5
group_bytes = 65536
part_rows = 60000
min_free_bytes = 0
"""
Body = Callable[[int, int], bytes]
EVERYTHING = Window(1_760_000_000 * 10**9, 1_780_000_000 * 10**9)


@dataclass
class Run:
    """A folder, what was acknowledged in it, and what the worst was."""

    folder: Path
    body: Body
    acknowledged: dict[int, set[int]] = field(default_factory=lambda: {one: set() for one in range(CLIENTS)})
    start_s: float = 0.0
    start_cpu_s: float = 0.0
    gone_s: float = 0.0
    workers: int = 0
    again: int = 0
    refused: int = 0


class Server:
    """`aetia serve` as a process of its own."""

    def __init__(self, run: Run) -> None:
        self.run, self.folder = run, run.folder / "data"
        config = run.folder / "aetia.toml"
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "aetia.cli.main", "serve", "--data", str(self.folder), "--port", "0",
                   "--config", str(config)]  # fmt: skip
        began = time.perf_counter()
        self.child = subprocess.Popen(
            command, env={**os.environ, MARK: str(run.folder)}, stderr=(run.folder / "log").open("ab")
        )
        self.url = self._address()
        self.host, self.port = str(urlsplit(self.url).hostname), int(urlsplit(self.url).port or 0)
        while not self._ready():
            time.sleep(0.005)
        run.start_s = max(run.start_s, time.perf_counter() - began)
        run.start_cpu_s = max(run.start_cpu_s, cpu_seconds(self.child.pid))

    def _address(self) -> str:
        """As the folder's lock says it."""
        while True:
            owner = living_owner(self.folder) if self.folder.exists() else None
            if owner is not None and owner.pid == self.child.pid and owner.url:
                return owner.url
            if self.child.poll() is not None:
                raise SystemExit("the server did not start:\n" + (self.run.folder / "log").read_text()[-2000:])
            time.sleep(0.005)

    def _ready(self) -> bool:
        line = http.client.HTTPConnection(self.host, self.port, timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(line):
            line.request("GET", "/readyz")
            return line.getresponse().status == 200
        return False

    def kill(self) -> None:
        """SIGKILL to the server alone; its workers have to end by themselves."""
        workers = [pid for pid in marked(self.run.folder) if pid != self.child.pid]
        self.run.workers = max(self.run.workers, len(workers))
        self.child.kill()
        self.child.wait()
        self._gone()

    def end(self) -> None:
        """SIGTERM, and nothing may be left."""
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait(60):
            raise SystemExit(f"the server ended with {self.child.returncode}")
        self._gone()

    def _gone(self) -> None:
        began = time.perf_counter()
        while left := list(marked(self.run.folder)):
            if time.perf_counter() - began > GONE_LIMIT_S:
                raise SystemExit(f"{len(left)} processes outlive the server: {left}")
            time.sleep(0.005)
        self.run.gone_s = max(self.run.gone_s, time.perf_counter() - began)


def marked(folder: Path) -> Iterator[int]:
    """The processes that the server of a folder and its children are."""
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and f"{MARK}={folder}\0".encode() in (place / "environ").read_bytes() + b"\0":
                yield int(place.name)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(server: Server, client: int) -> None:
    """Send one request after the other until the server is gone; what has no answer is sent again by the next."""
    known = server.run.acknowledged[client]
    number = len(known)  # one at a time, so these are 0 … n-1, and the next one may be stored already
    line = http.client.HTTPConnection(server.host, server.port, timeout=30)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(line):
        while True:
            line.request(
                "POST", "/v1/traces", server.run.body(client, number), {"content-type": "application/x-protobuf"}
            )
            answer = line.getresponse()
            answer.read()
            if answer.status == 200:
                known.add(number)
                number += 1
            elif answer.status in (429, 503):
                server.run.refused += 1
                time.sleep(0.05)
            else:
                raise SystemExit(f"a request was answered with {answer.status}")


def verify(server: Server) -> tuple[int, int]:
    """Requests acknowledged and stored, as the server's own export tells; exits when they do not fit together."""
    run = server.run
    noted = {(client + 1 << 40) | number for client, numbers in run.acknowledged.items() for number in numbers}
    if not noted:
        return 0, 0
    with tempfile.TemporaryDirectory(dir=run.folder) as scratch:
        case = Path(scratch) / "case"
        Remote(server.url, ours=True).export(EVERYTHING, case)
        ids = pq.read_table(case / "spans.parquet", columns=["span_id"])["span_id"].to_pylist()
    if len(set(ids)) != len(ids):
        raise SystemExit(f"{len(ids) - len(set(ids))} spans are stored twice")
    spans: dict[int, int] = {}
    for one in ids:
        key = int(one, 16) >> 16
        spans[key] = spans.get(key, 0) + 1
    lost = noted - spans.keys()
    if lost:
        raise SystemExit(f"{len(lost)} acknowledged requests are lost, such as {min(lost):x}")
    if partial := [key for key, count in spans.items() if count != SPANS]:
        raise SystemExit(f"{len(partial)} requests are stored in part")
    run.again += len(spans) - len(noted)
    return len(noted), len(spans)


def rounds(count: int, longest_s: float, seed: int, body: Body) -> int:
    """Kill and verify so many times; the exit code."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as made:
        run = Run(Path(made), body)
        for number in range(1, count + 1):
            server = Server(run)
            noted, found = verify(server)
            senders = [threading.Thread(target=send, args=(server, one), daemon=True) for one in range(CLIENTS)]
            for one in senders:
                one.start()
            time.sleep(draw.uniform(0.0, longest_s))
            server.kill()
            for one in senders:
                one.join()
            print(f"kill {number}: before it {noted:,} requests acknowledged and {found:,} stored", flush=True)
        server = Server(run)
        noted, found = verify(server)
        report = Remote(server.url, ours=True).work("/api/v1/store/check", {"deep": True})
        server.end()
        if not report["sound"]:
            raise SystemExit(f"the folder is damaged: {report['report']['findings']}")
        print(
            f"{count} kills of the server under HTTP load: {noted:,} requests acknowledged, {found:,} stored, each "
            f"once and whole ({SPANS} spans); {run.again} were stored and their answer lost; {run.refused} refusals. "
            f"Slowest start until /readyz says 200: {run.start_s:.2f} s, {run.start_cpu_s:.2f} s of CPU; its workers "
            f"(up to {run.workers}) were gone after {run.gone_s * 1e3:.0f} ms"
        )
        if run.start_s > START_LIMIT_S:
            print(f"a start took {run.start_s:.2f} s, limit {START_LIMIT_S:g}")
            return 1
    return 0
