"""p50 and p95 of every question to the embedded store, with ten million spans stored and windows of 30 minutes.

Run: `.venv/bin/python bench/perf/store_queries.py [--spans N] [--rounds N] [--folder DIR]`. The parts are made by the
simulator (60 services, an hour, 8 attributes a span of which 3 are unique, a log line to five spans) and rolled up as
the server does it. Before the timing, answers from rollups are compared with answers from rows; a difference ends the
run with 1. Times are printed and judged by nobody here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _measure import conditions
from _shelf import Part, Shelf

from aetia.lab.sim import Load, Scenario, make_system
from aetia.lab.sim.draw import spans_per_request
from aetia.lab.sim.logs import LogWriter
from aetia.lab.sim.metrics import MetricWriter
from aetia.lab.sim.run import chunks, plan
from aetia.lab.sim.spans import hex_ids, text_of
from aetia.model.stored import STORED, Signal
from aetia.model.window import Window
from aetia.store.backend import Filter, Selection
from aetia.store.duck import DuckBackend
from aetia.store.parquet import PartWriter
from aetia.store.settings import Settings

START_NS = 1_760_004_000_000_000_000
SECOND = 1_000_000_000
HOUR_S = 3600.0
WINDOW_S = 1800
KEYS = ("http.route", "user_agent.original", "server.address", "enduser.region", "net.transport", "request.id",
        "session.id", "cart.hash")  # fmt: skip
FEW = (30, 12, 60, 3, 2)
"""Distinct values of the attributes that are not unique."""


# ---- building ---------------------------------------------------------------------------------------------


def build(folder: Path, spans: int, part_rows: int) -> Shelf:
    """Simulate an hour and write it as parts; about 300,000 spans a second."""
    system = make_system(60, 3, "layered")
    rate = spans / HOUR_S / spans_per_request(system)
    servers = float(np.asarray(system.weights) @ system.visits().sum(1)) * rate * HOUR_S
    scenario = Scenario(
        id="stored", system=system, seed=1, start_ns=START_NS, load=Load(rate=rate), baseline_s=HOUR_S / 2,
        incident_s=HOUR_S / 2, log_rate=spans / 5 / servers,
    )  # fmt: skip
    drawn = plan(scenario)
    lines, points = LogWriter(scenario, drawn.state, drawn.labels), MetricWriter(scenario, drawn.state, drawn.power)
    shelf, rng = Shelf(), np.random.default_rng(1)
    for number, chunk in enumerate(chunks(drawn)):
        points.add(chunk)
        shelf.parts["spans"] += write(folder, "spans", number, chunk.table, part_rows, rng)
        shelf.parts["logs"] += write(folder, "logs", number, lines.of_chunk(chunk, number), part_rows, rng)
    shelf.parts["metrics"] += write(folder, "metrics", 0, points.table(), part_rows, rng)
    return shelf


def write(
    folder: Path, signal: Signal, number: int, table: pa.Table, part_rows: int, rng: np.random.Generator
) -> list[Part]:
    """A table in the stored schema as Parquet files of at most `part_rows` rows."""
    arrays: list[Any] = []
    for column in STORED[signal]:
        if pa.types.is_map(column.type):
            arrays.append(attributes(table.num_rows, rng))
        elif column.name in table.column_names:
            arrays.append(table[column.name].cast(column.type))
        else:
            arrays.append(pa.array(["v1"]).take(pa.array([0] * table.num_rows, pa.int32())).cast(column.type))
    stored = pa.table(arrays, schema=STORED[signal]).unify_dictionaries().sort_by("time")
    out: list[Part] = []
    for first in range(0, stored.num_rows, part_rows):
        piece = stored.slice(first, part_rows)
        path = folder / f"{signal}-{number:04d}-{first:08d}.parquet"
        writer = PartWriter(path, signal, Settings().row_group_rows)
        writer.write(piece)
        writer.close()
        out.append(Part(path, writer.rows, writer.start_ns, writer.end_ns))
    return out


def attributes(rows: int, rng: np.random.Generator) -> Any:
    """Eight attributes a row, the last three unique."""
    numbers = np.tile(np.arange(len(KEYS), dtype=np.int32), rows)
    keys: Any = pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(KEYS)).cast(pa.string())
    few = [pa.array([f"{key} {n}" for n in range(many)]) for key, many in zip(KEYS, FEW, strict=False)]
    columns = [words.take(pa.array(rng.integers(0, len(words), rows))) for words in few]
    columns += [text_of(hex_ids(rng, rows, 4)) for _ in range(len(KEYS) - len(FEW))]
    places = (np.arange(len(KEYS))[None, :] * rows + np.arange(rows)[:, None]).ravel()
    values = pa.concat_arrays(columns).take(pa.array(places))
    offsets = np.arange(0, len(KEYS) * rows + 1, len(KEYS), dtype=np.int32)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, values)


# ---- asking -----------------------------------------------------------------------------------------------

Ask = Callable[[DuckBackend, Window], Any]


def questions(service: str, trace_ids: Sequence[str], session: str) -> dict[str, Ask]:
    """`session` is the value of an attribute that one span has."""
    ids = iter(range(10**9))

    def some_trace() -> str:
        return trace_ids[next(ids) % len(trace_ids)]

    of_service = (Filter(field="service", value=service),)
    failed = (*of_service, Filter(field="status", value="error"))
    slow = (*of_service, Filter(field="duration_ms", op=">", value="200"))
    common = (Filter(field="http.route", value="http.route 7"),)
    once = (Filter(field="session.id", value=session),)
    never = (Filter(field="session.id", value="no such session"),)
    return {
        "services": lambda b, w: b.services(w),
        "operations": lambda b, w: b.operations(w),
        "red, all services, 30 s": lambda b, w: b.red(w, 30 * SECOND),
        "red, one service, 10 s": lambda b, w: b.red(w, 10 * SECOND, service),
        "red, one service, 7 s": lambda b, w: b.red(w, 7 * SECOND, service),
        "topology": lambda b, w: b.topology(w),
        "heat_map, all services, 30 s": lambda b, w: b.heat_map(w, 30 * SECOND),
        "heat_map, one service, 10 s": lambda b, w: b.heat_map(w, 10 * SECOND, service=service),
        "traces, newest": lambda b, w: b.traces(w),
        "traces, slowest": lambda b, w: b.traces(w, order="slowest"),
        "traces, errors": lambda b, w: b.traces(w, order="errors"),
        "traces of a service, newest": lambda b, w: b.traces(w, filters=of_service),
        "traces of a service, failed, slowest": lambda b, w: b.traces(w, filters=failed, order="slowest"),
        "traces of a service, slow ones": lambda b, w: b.traces(w, filters=slow),
        "traces by attribute, newest": lambda b, w: b.traces(w, filters=common),
        "traces by attribute, one has it": lambda b, w: b.traces(w, filters=once),
        "traces by attribute, none has it": lambda b, w: b.traces(w, filters=never),
        "trace": lambda b, _: b.trace(some_trace()),
        "trace_table": lambda b, _: b.trace_table(some_trace()),
        "logs": lambda b, w: b.logs(w),
        "logs of a service, errors": lambda b, w: b.logs(
            w, filters=(*of_service, Filter(field="severity", value="error"))
        ),
        "logs, text in the body": lambda b, w: b.logs(w, filters=(Filter(field="body", op="contains", value="reply"),)),
        "shapes of log lines": lambda b, w: b.shapes(w, 60 * SECOND),
        "shapes of log lines of a service": lambda b, w: b.shapes(w, 60 * SECOND, service=service),
        "metric_names": lambda b, w: b.metric_names(w),
        "metric": lambda b, w: b.metric(w, "container.memory.working_set", step_ns=30 * SECOND),
        "attribute_keys": lambda b, w: b.attribute_keys(w),
        "attribute_values": lambda b, w: b.attribute_values(w, "http.route"),
        "cohorts of a service": lambda b, w: b.cohorts(Selection(window=w, service=service, low_ms=50.0)),
        "cohorts of all services": lambda b, w: b.cohorts(Selection(window=w, failed=True)),
        "telemetry, 1 M spans at most": lambda b, w: b.telemetry(w),
    }


def windows(rounds: int) -> list[Window]:
    rng = np.random.default_rng(7)
    starts = START_NS + rng.integers(0, int((HOUR_S - WINDOW_S) * SECOND), rounds)
    return [Window(int(start), int(start) + WINDOW_S * SECOND) for start in starts]


COMPARED = ("services", "operations", "red, all services, 30 s", "red, one service, 10 s", "topology",
            "heat_map, one service, 10 s", "traces, newest", "traces, slowest", "traces, errors",
            "traces of a service, slow ones", "attribute_keys")  # fmt: skip


def differences(asked: dict[str, Ask], counted: DuckBackend, plain: DuckBackend) -> list[str]:
    """Questions that a backend with rollups answers otherwise than one that reads rows."""
    window = windows(1)[0]
    return [name for name in COMPARED if asked[name](counted, window) != asked[name](plain, window)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--part-rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15, help="windows per question")
    parser.add_argument("--folder", type=Path, help="keep the parts here, and use those that are here")
    parser.add_argument("--only", default="", help="questions whose name begins so")
    given = parser.parse_args()
    print(conditions())
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        return measure(given.folder, given)
    with tempfile.TemporaryDirectory(prefix="aetia-store-") as name:
        return measure(Path(name), given)


def found(folder: Path) -> Shelf:
    """Parts that an earlier run has left."""
    shelf = Shelf()
    for path in sorted(folder.glob("*.parquet")):
        times = pq.read_table(path, columns=["time"])["time"].cast(pa.int64())
        part = Part(path, len(times), times[0].as_py(), times[-1].as_py() + 1)
        shelf.parts[cast(Signal, path.name.split("-")[0])].append(part)
    return shelf


def measure(folder: Path, given: argparse.Namespace) -> int:
    began = time.perf_counter()
    shelf = found(folder)
    if not shelf.parts["spans"]:
        shelf = build(folder, given.spans, given.part_rows)
    rows = {signal: sum(part.rows for part in parts) for signal, parts in shelf.parts.items()}
    size = sum(path.stat().st_size for path in folder.glob("*.parquet")) >> 20
    print(f"{rows} in {len(shelf.parts['spans'])} parts of spans, {size} MiB: {time.perf_counter() - began:.1f} s")
    began, cpu = time.perf_counter(), time.process_time()
    rolled = shelf.rolled_up(folder)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    size = sum(part.rollup.stat().st_size for part in rolled.parts["spans"] if part.rollup) >> 20
    print(f"rolled up: {wall:.1f} s, {cpu:.1f} s of CPU time, rollups {size} MiB")
    counted = DuckBackend(rolled, folder, folder / "spill")
    plain = DuckBackend(shelf, folder, folder / "spill")
    service = max(counted.services(windows(1)[0]), key=lambda row: row.requests).service
    traces = [row.trace_id for window in windows(10) for row in counted.traces(window, limit=5).rows]
    session = next(dict(span.attributes)["session.id"] for span in counted.trace(traces[0]).rows)
    asked = questions(service, traces, session)
    wrong = differences(asked, counted, plain)
    print("rollups and rows give " + (f"DIFFERENT answers: {', '.join(wrong)}" if wrong else "the same answers"))
    plain.close()
    for name, ask in asked.items():
        if name.startswith(given.only):
            wall, cpu = zip(*(timed(ask, counted, window) for window in windows(given.rounds)), strict=True)
            print(
                f"{name:38s} p50 {statistics.median(wall):5.0f} ms, p95 {np.quantile(wall, 0.95):5.0f} ms; "
                f"CPU time p50 {statistics.median(cpu):5.0f} ms, p95 {np.quantile(cpu, 0.95):5.0f} ms"
            )
    counted.close()
    return int(bool(wrong))


def timed(ask: Ask, backend: DuckBackend, window: Window) -> tuple[float, float]:
    """Milliseconds that passed, and those of CPU time of all threads."""
    began, cpu = time.perf_counter(), time.process_time()
    ask(backend, window)
    return (time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3


if __name__ == "__main__":
    sys.exit(main())
