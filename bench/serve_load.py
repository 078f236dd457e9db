"""Offer a server more or less than it can take for some minutes: memory, acknowledgement times, what is refused, and
whether all that was acknowledged is there in the end.

A server process of its own on a temporary folder; clients in this process send requests of 500 spans with 8 attributes
(3 of them unique) on keep-alive connections at a fixed rate, and send again, after Retry-After, what was refused.
Every ten seconds one line: spans taken, refused requests, resident memory of the server and its workers, time to the
acknowledgement. Exits with 1 when a row that was acknowledged is missing or stored twice, or when memory is above
1 GiB or still grows.

Run: `.venv/bin/python bench/serve_load.py --seconds 600 --rate 30000`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "perf"))
from _otlp_bodies import ITEMS as SPANS
from _otlp_bodies import T0
from _otlp_bodies import spans_body as body

TEMPLATES, TRACE = 8, 10
GIB = 1 << 30
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Template:
    """A request of traces of ten spans; ids and times are replaced for every sending, so that no two are equal."""

    def __init__(self, seed: int) -> None:
        from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

        data = TracesData.FromString(body(seed))
        spans = [span for group in data.resource_spans for scope in group.scope_spans for span in scope.spans]
        for number, span in enumerate(spans):
            span.kind = 2 if number % TRACE == 0 else span.kind
            span.parent_span_id = b"" if number % TRACE == 0 else number.to_bytes(8, "big")
        raw = data.SerializeToString()
        self._bytes = np.frombuffer(raw, np.uint8)
        below = np.arange(len(spans)) % TRACE > 0
        self._traces = self._places(raw, [span.trace_id for span in spans])
        self._spans = self._places(raw, [span.span_id for span in spans])
        self._parents = self._places(raw, [span.parent_span_id for span in spans if span.parent_span_id])
        self._top = (np.arange(len(spans)) // TRACE * TRACE)[below]
        times = [span.start_time_unix_nano.to_bytes(8, "little") for span in spans]
        ends = [span.end_time_unix_nano.to_bytes(8, "little") for span in spans]
        self._starts, self._ends = self._places(raw, times, b"\x39"), self._places(raw, ends, b"\x41")
        self._start_ns = np.array([span.start_time_unix_nano - T0 for span in spans], np.int64)
        self._took_ns = np.array([span.end_time_unix_nano - span.start_time_unix_nano for span in spans], np.int64)

    @staticmethod
    def _places(raw: bytes, values: list[bytes], tag: bytes = b"") -> np.ndarray[Any, np.dtype[np.int64]]:
        """Offsets of each value's bytes, shape (values, length)."""
        found: list[int] = []
        at = 0
        for value in values:
            at = raw.index(tag + value, at) + len(tag)
            found.append(at)
        return np.array(found)[:, None] + np.arange(len(values[0]))

    def request(self, rng: np.random.Generator, now_ns: int) -> bytes:
        out = self._bytes.copy()
        traces = rng.integers(1, 256, (len(self._traces) // TRACE, 16), np.uint8)
        spans = rng.integers(1, 256, self._spans.shape, np.uint8)
        out[self._traces] = np.repeat(traces, TRACE, axis=0)
        out[self._spans] = spans
        out[self._parents] = spans[self._top]
        start = now_ns - 10**10 + self._start_ns % 10**10
        out[self._starts] = start.astype("<i8").view(np.uint8).reshape(-1, 8)
        out[self._ends] = (start + self._took_ns).astype("<i8").view(np.uint8).reshape(-1, 8)
        return out.tobytes()


@dataclass
class Counts:
    taken: int = 0
    refused: int = 0
    failed: int = 0
    waits_ms: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def client(
    host: str, port: int, seed: int, rate: float, until: float, counts: Counts, templates: list[Template]
) -> None:
    """One connection that offers `rate` requests a second, open loop as far as one connection can."""
    rng = np.random.default_rng(seed)
    line = http.client.HTTPConnection(host, port, timeout=60)
    due = time.monotonic() + rng.random() / rate
    while due < until:
        time.sleep(max(due - time.monotonic(), 0))
        due = max(due + 1 / rate, time.monotonic() - 1.0)  # what cannot be offered in time is not offered later
        content = templates[int(rng.integers(len(templates)))].request(rng, time.time_ns())
        while True:
            began = time.monotonic()
            try:
                line.request("POST", "/v1/traces", content, {"Content-Type": "application/x-protobuf"})
                answer = line.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                with counts.lock:
                    counts.failed += 1
                line.close()
                time.sleep(0.1)
                continue
            if answer.status == http.client.OK:
                with counts.lock:
                    counts.taken += SPANS
                    counts.waits_ms.append((time.monotonic() - began) * 1e3)
                break
            with counts.lock:
                counts.refused += 1
            time.sleep(float(answer.headers.get("Retry-After") or 1))
            if time.monotonic() > until:
                break


def resident(pid: int) -> int:
    """Bytes of memory of a process and its children, pages that several share counted once (PSS)."""
    total = 0
    try:
        held = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+)", held, re.M)[1]) * 1024  # type: ignore[index]
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += resident(int(child))
    except (OSError, TypeError):
        pass
    return total


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def worker_seconds(pid: int) -> float:
    """CPU time of the process that compacts for a server, in seconds."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"aetia.store.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                total += cpu_seconds(int(child))
    return total


def stored(host: str, port: int) -> dict[str, Any]:
    line = http.client.HTTPConnection(host, port, timeout=60)
    line.request("GET", "/api/v1/store")
    return json.loads(line.getresponse().read())


def run(seconds: float, rate: float, connections: int, folder: Path, off: list[str], extra: list[str]) -> int:
    command = [sys.executable, "-m", "aetia.cli.main", "serve", "--data", str(folder), "--port", "0", *extra]
    config = folder.parent / "aetia.toml"
    config.write_text("[server]\nwatch_itself = false\n" + "".join(f"[{name}]\nenabled = false\n" for name in off))
    server = subprocess.Popen(
        [*command, "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", first)
        if found is None:
            print(first, server.stdout.read())
            return 2
        host, port = found[1], int(found[2])
        threading.Thread(target=server.stdout.read, daemon=True).start()
        return _offer(server.pid, host, port, seconds, rate, connections)
    finally:
        server.terminate()
        server.wait(60)


def _offer(pid: int, host: str, port: int, seconds: float, rate: float, connections: int) -> int:
    templates = [Template(seed) for seed in range(TEMPLATES)]
    counts, until = Counts(), time.monotonic() + seconds
    each = rate / SPANS / connections
    threads = [
        threading.Thread(target=client, args=(host, port, n, each, until, counts, templates))
        for n in range(connections)
    ]
    began, cpu = time.monotonic(), cpu_seconds(pid)
    for thread in threads:
        thread.start()
    memory: list[int] = []
    print(
        f"{'s':>5} {'spans/s':>9} {'refused':>8} {'server MiB':>11} {'with workers':>13} {'ack p50 ms':>11} {'p99':>7}"
    )
    before = 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(10)
        with counts.lock:
            taken, refused, waits = counts.taken, counts.refused, counts.waits_ms
            counts.waits_ms = []
        memory.append(resident(pid))
        own = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) // 1024  # type: ignore[index]
        p50, p99 = np.percentile(waits, [50, 99]) if waits else (float("nan"), float("nan"))
        print(f"{time.monotonic() - began:5.0f} {(taken - before) / 10:9,.0f} {refused:8,} {own:11,}"
              f" {memory[-1] >> 20:13,} {p50:11.1f} {p99:7.1f}", flush=True)  # fmt: skip
        before = taken
    used, worker = cpu_seconds(pid) - cpu, worker_seconds(pid)
    for thread in threads:
        thread.join()
    return _judge(counts, memory, stored(host, port)["spans"], used, worker)


def _judge(counts: Counts, memory: list[int], held: int, used: float, worker: float) -> int:
    half = len(memory) // 2
    early, late = np.median(memory[half // 2 : half] or memory), np.median(memory[half + half // 2 :] or memory)
    print(f"acknowledged {counts.taken:,} spans, stored {held:,}; {counts.refused:,} requests refused for a while,"
          f" {counts.failed:,} connections broke")  # fmt: skip
    print(f"server CPU {used:.1f} s: {counts.taken / max(used, 1e-9):,.0f} spans per second of it, detection included;"
          f" {1e6 * used / max(counts.taken, 1):.2f} s a million spans, the store's worker"
          f" {1e6 * worker / max(counts.taken, 1):.2f} s")  # fmt: skip
    print(f"memory with workers: {early / GIB:.2f} GiB in the second quarter, {late / GIB:.2f} in the last,"
          f" most {max(memory) / GIB:.2f}")  # fmt: skip
    wrong = []
    if held != counts.taken:
        wrong.append("what was acknowledged is not what is stored")
    if max(memory) > GIB:
        wrong.append("memory above 1 GiB")
    if late > 1.1 * early:
        wrong.append("memory still grows")
    print("; ".join(wrong) or "ok")
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=30_000, help="spans a second that are offered")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--off", action="append", default=[], choices=("detection", "diagnosis"))
    parser.add_argument("serve", nargs="*", help="more arguments of aetia serve")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return run(given.seconds, given.rate, given.connections, Path(scratch) / "data", given.off, given.serve)


if __name__ == "__main__":
    sys.exit(main())
