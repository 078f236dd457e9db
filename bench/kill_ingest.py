"""Kills a store's process at random moments under load (SIGKILL), and proves that nothing acknowledged is lost and
nothing is stored twice.

A child process owns the store: several clients in it send requests of spans, each with a window of requests in flight,
and note every acknowledgement in a file; segments are small, so that compaction and merging run all the time. After
each kill the next child opens the same folder and its clients go on where their acknowledgements end: what was in
flight is sent again. Between the rounds the parent opens the store and compares it with the notes: each acknowledged
request is there exactly once and whole, each other one as a whole or not at all.

A start (replaying the journal, until a query could be answered) may take 5 s of wall time on an idle machine; other
programs only make it slower, so its CPU time is printed too.

With `--http` the whole `aetia serve` is killed, under telemetry that comes over HTTP: its worker processes have to end
by themselves, the next server has to be ready in time and to have each acknowledged request once, by its own export.

Run: `.venv/bin/python bench/kill_ingest.py --rounds 50`, and `… --http --rounds 10`.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from aetia.model.errors import StoreFull
from aetia.store.store import Receipt, Settings, Store

SPANS = 20
CLIENTS, IN_FLIGHT = 4, 16
SETTINGS = Settings(segment_bytes=1 << 19, segment_seconds=0.5, group_bytes=1 << 16, part_rows=60_000, min_free_bytes=0)
START_LIMIT_S = 5.0
T0 = 1_770_000_000 * 10**9


def body(client: int, number: int) -> bytes:
    """A request of spans whose ids say whose they are: client (1 byte), number (5), place (2)."""
    data = TracesData()
    group = data.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = f"svc-{client}"
    scope = group.scope_spans.add()
    start = T0 + (number * SPANS * 50_000) % (2 * 3600 * 10**9)
    for place in range(SPANS):
        span = scope.spans.add(name=f"GET /{place % 4}", kind=2)
        span.trace_id = (client + 1).to_bytes(1, "big") + number.to_bytes(15, "big")
        span.span_id = (client + 1).to_bytes(1, "big") + number.to_bytes(5, "big") + place.to_bytes(2, "big")
        span.start_time_unix_nano = start + place * 50_000
        span.end_time_unix_nano = span.start_time_unix_nano + 10**6
        for key in ("http.route", "url.path", "user.id"):
            span.attributes.add(key=key).value.string_value = f"{key}/{number}/{place}"
    return data.SerializeToString()


# ---- the child ------------------------------------------------------------------------------------------------


def acknowledged(folder: Path, client: int) -> list[int]:
    """The requests of a client whose acknowledgement was noted; a note that broke off is none."""
    path = folder / f"acks-{client}"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [int(line) for line in lines if line]


def first_open(numbers: list[int]) -> int:
    """The first number that was not acknowledged."""
    known = set(numbers)
    return next(number for number in range(len(known) + 1) if number not in known)


def send(store: Store, folder: Path, client: int) -> None:
    """Send requests for ever, noting acknowledgements in their order."""
    number = first_open(acknowledged(folder, client))
    notes = os.open(folder / f"acks-{client}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    flying: deque[tuple[int, Future[Receipt]]] = deque()
    while True:
        while len(flying) < IN_FLIGHT:
            try:
                flying.append((number, store.append("spans", body(client, number))))
            except StoreFull as full:
                time.sleep(min(full.retry_after_s, 0.05))
                break
            number += 1
        if flying:
            done, future = flying.popleft()
            future.result()
            os.write(notes, b"%d\n" % done)


def serve(folder: Path) -> None:
    """What the child does until it is killed."""
    began, cpu = time.perf_counter(), time.process_time()
    store = Store.open(folder / "data", settings=SETTINGS)
    with store.reading() as snapshot:
        _ = snapshot.hot["spans"].num_rows
    print(f"{time.perf_counter() - began:.3f} {time.process_time() - cpu:.3f}", flush=True)
    for client in range(CLIENTS):
        threading.Thread(target=send, args=(store, folder, client), daemon=True).start()
    time.sleep(3600)


# ---- the parent -----------------------------------------------------------------------------------------------


def round_of(folder: Path, seconds: float) -> tuple[float, float]:
    """Run a child for some seconds of load and kill it; returns the wall and CPU seconds of its start."""
    child = subprocess.Popen([sys.executable, __file__, "--child", str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        line = child.stdout.readline()
        time.sleep(seconds)
        child.kill()
    child.wait()
    wall, cpu = line.split()
    return float(wall), float(cpu)


def requests_of(store: Store) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The requests in the store and how many spans of each; fails when a span is there twice."""
    with store.reading(signals=("spans",)) as snapshot:
        columns = [pq.read_table(part.path, columns=["span_id"])["span_id"] for part in snapshot.parts["spans"]]
        columns.append(snapshot.hot["spans"]["span_id"])
        texts: Any = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    places = np.frombuffer(pa.concat_arrays(texts.chunks or [pa.array([], pa.string())]).buffers()[2] or b"", np.uint8)
    nibbles = np.where(places >= 97, places - 87, places - 48).reshape(-1, 2)
    ids = (nibbles[:, 0] << 4 | nibbles[:, 1]).astype(np.uint8).tobytes()
    unique, times = np.unique(np.frombuffer(ids, ">u8").astype(np.uint64), return_counts=True)
    if len(unique) != len(texts) or (times != 1).any():
        raise SystemExit(f"{len(texts) - len(unique)} spans are stored twice")
    return np.unique(unique >> np.uint64(16), return_counts=True)


def verify(folder: Path) -> tuple[int, int, int]:
    """Acknowledged, stored and compacted requests; exits when they do not fit together."""
    with Store.open(folder / "data", read_only=True) as store:
        found, counts = requests_of(store)
        stats = store.stats()
        report = store.check()
    if stats.problems or not report.sound:
        raise SystemExit(f"the folder is damaged: {stats.problems} {report.findings}")
    if (counts != SPANS).any():
        raise SystemExit(f"{int((counts != SPANS).sum())} requests are stored in part")
    noted = {(client + 1 << 40) | number for client in range(CLIENTS) for number in acknowledged(folder, client)}
    lost = noted - set(found.tolist())
    if lost:
        raise SystemExit(f"{len(lost)} acknowledged requests are lost, such as {min(lost):x}")
    hot = stats.signals["spans"].hot_rows // SPANS
    return len(noted), len(found), len(found) - hot


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0, help="the longest load before a kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--http", action="store_true", help="kill the whole server, under HTTP load")
    parser.add_argument("--child", type=Path, default=None)
    options = parser.parse_args()
    if options.http:
        from _kill_serve import rounds

        return rounds(options.rounds, options.seconds, options.seed, body)
    if options.child is not None:
        serve(options.child)
    draw = random.Random(options.seed)
    slowest = slowest_cpu = 0.0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for number in range(1, options.rounds + 1):
            wall, cpu = round_of(folder, draw.uniform(0.0, options.seconds))
            slowest, slowest_cpu = max(slowest, wall), max(slowest_cpu, cpu)
            noted, found, compacted = verify(folder)
            if number % 10 == 0 or number == options.rounds:
                parts = len(list(folder.glob("data/spans/*/*/*.parquet")))
                print(
                    f"{number} kills: {noted:,} requests acknowledged, {found:,} stored (each once, {SPANS} spans), "
                    f"{compacted:,} of them in {parts} Parquet files; slowest start {slowest:.2f} s, "
                    f"{slowest_cpu:.2f} s of CPU",
                    flush=True,
                )
    if slowest > START_LIMIT_S:
        print(f"a start took {slowest:.2f} s, limit {START_LIMIT_S:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
