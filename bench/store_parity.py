"""Whether DuckDB and ClickHouse answer every question of `store.backend` alike on the same window, and how fast.

A simulated incident (and the rows that break naive queries) is written as Parquet parts for the embedded store and
inserted into the tables of the OpenTelemetry exporter in chDB, ClickHouse in process. Both are asked the same. Numbers
must agree exactly, quantiles within the 3 % that each may be off, sums of floats to nine digits. Prints one line per
question and exits with 1 when an answer differs.

Run: `.venv/bin/python bench/store_parity.py --rate 40`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.extend([str(Path(__file__).parent.parent / "tests" / "store"), str(Path(__file__).parent / "perf")])

from _measure import conditions
from _shelf import Part, Shelf
from clickhouse_tables import Chdb, carried
from stored_samples import NASTY, WINDOW, Sample, Tables, edge_tables, simulated_tables

from aetia.model.stored import SIGNALS, Signal
from aetia.model.tables import ANALYSIS_COLUMNS, Telemetry
from aetia.model.window import Window
from aetia.store.backend import Backend, Filter, Selection
from aetia.store.duck import DuckBackend

STEP_NS = 10_000_000_000
_QUANTILES = ("p50_ms", "p95_ms", "p99_ms")
_LOOSE = {"events", "links"}  # JSON texts, compared as what they say
Ask = Callable[[Backend], Any]


def shelf(folder: Path, tables: Tables, parts: int) -> Shelf:
    """The tables as that many part files per signal."""
    return Shelf({signal: list(_written(folder, signal, tables[signal], parts)) for signal in SIGNALS})


def _written(folder: Path, signal: Signal, table: pa.Table, parts: int) -> Generator[Part]:
    size = max(-(-table.num_rows // parts), 1)
    for at in range(0, table.num_rows, size):
        piece = table.slice(at, size).sort_by("time")
        times = piece["time"].cast(pa.int64())
        path = folder / f"{signal}-{at}.parquet"
        pq.write_table(piece, path, compression="zstd")
        yield Part(path, piece.num_rows, times[0].as_py(), times[-1].as_py() + 1)


def data(options: argparse.Namespace) -> Sample:
    simulated = simulated_tables(services=options.services, seconds=options.seconds, rate=options.rate)
    edges = edge_tables()
    tables: Tables = {
        signal: pa.concat_tables([simulated[signal], edges[signal]]).unify_dictionaries() for signal in SIGNALS
    }
    return carried(Sample(tables, WINDOW))


def questions(window: Window, busy: str, trace_id: str) -> dict[str, Ask]:
    """Every question, as it is asked most often."""
    before = Window(window.start_ns - 60_000_000_000, window.start_ns)
    failing = (Filter(field="status", value="error"),)
    nasty = (Filter(field=NASTY, value=NASTY),)
    return {
        "extents": lambda b: b.extents(),
        "services": lambda b: b.services(window),
        "operations": lambda b: b.operations(window),
        "operations of a service": lambda b: b.operations(window, busy),
        "red": lambda b: b.red(window, STEP_NS),
        "red of a service": lambda b: b.red(window, STEP_NS, busy),
        "topology": lambda b: b.topology(window),
        "traces, newest": lambda b: b.traces(window, limit=200),
        "traces, slowest": lambda b: b.traces(window, order="slowest", limit=200),
        "traces with an error": lambda b: b.traces(window, filters=failing, order="errors", limit=200),
        "traces by attribute": lambda b: b.traces(window, filters=nasty),
        "trace": lambda b: b.trace(trace_id),
        "trace_table": lambda b: b.trace_table(trace_id),
        "logs": lambda b: b.logs(window, limit=500),
        "logs by text": lambda b: b.logs(window, filters=(Filter(field="body", op="contains", value="o"),), limit=500),
        "shapes": lambda b: (b.shapes(window, 10**9), b.shapes(before, 10**10, most_lines=100)),
        "metric_names": lambda b: b.metric_names(window),
        "metric": lambda b: b.metric(window, "container.cpu.usage", step_ns=STEP_NS),
        "metric, rate": lambda b: b.metric(window, "requests_total", step_ns=STEP_NS, aggregate="rate"),
        "heat_map": lambda b: b.heat_map(window, STEP_NS),
        "cohorts": lambda b: b.cohorts(Selection(window=window, service=busy, low_ms=3.0)),
        "changes": lambda b: b.changes(window),
        "attribute_keys": lambda b: b.attribute_keys(window),
        "telemetry": lambda b: b.telemetry(window),
    }


# ---- comparison -------------------------------------------------------------------------------------------


def difference(one: Any, other: Any, path: str = "") -> str:
    """Where two answers differ first, '' where they agree."""
    if isinstance(one, Telemetry):
        tables = ((name, _rows(one.table(name), name), _rows(other.table(name), name)) for name in SIGNALS)
        return next((found for name, a, b in tables if (found := difference(a, b, name))), "")
    one, other = (msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value for value in (one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = ((str(key), one.get(key), other.get(key)) for key in {**one, **other} if key != "cursor")
        return next((found for key, a, b in pairs if (found := difference(a, b, f"{path}.{key}"))), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{path}: {len(one)} against {len(other)}"
        pairs = ((str(at), a, b) for at, (a, b) in enumerate(zip(one, other, strict=True)))
        return next((found for key, a, b in pairs if (found := difference(a, b, f"{path}[{key}]"))), "")
    return "" if _same(one, other, path) else f"{path}: {one!r} against {other!r}"


def _same(one: Any, other: Any, path: str) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        quantile = any(name in path for name in _QUANTILES)
        if math.isnan(one) and math.isnan(other):
            return True
        return math.isclose(one, other, rel_tol=0.06 if quantile else 1e-9, abs_tol=0.002 if quantile else 0.0)
    if path.rpartition(".")[2] in _LOOSE and one and other:
        return json.loads(one) == json.loads(other)
    return one == other


def _rows(table: pa.Table, name: str) -> list[str]:
    """The analysis columns row by row, in an order of their own."""
    columns = [
        table[column].cast(pa.int64()) if column == "time" else table[column] for column in ANALYSIS_COLUMNS[name]
    ]
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return sorted(str(tuple(value or None for value in row)) for row in rows)


def timed(ask: Ask, backend: Backend, repeats: int) -> tuple[Any, float]:
    """The answer and the fastest time in ms."""
    best, answer = math.inf, None
    for _ in range(repeats):
        begin = time.perf_counter()
        answer = ask(backend)
        best = min(best, (time.perf_counter() - begin) * 1e3)
    return answer, best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--services", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(conditions())
    sample = data(options)
    print(", ".join(f"{table.num_rows:,} {signal}" for signal, table in sample.tables.items()))
    engine = Chdb()
    clickhouse = engine.backend("parity", sample.tables)
    worse = 0
    with tempfile.TemporaryDirectory() as folder:
        held = shelf(Path(folder), sample.tables, 4).rolled_up(Path(folder))
        duck = DuckBackend(held, Path(folder), Path(folder) / "spill")
        window = sample.window
        busy = max(clickhouse.services(window), key=lambda row: row.requests).service
        trace_id = clickhouse.traces(window, order="slowest", limit=1).rows[0].trace_id
        print(f"{'question':26s}{'DuckDB':>12s}{'ClickHouse':>12s}")
        for name, ask in questions(window, busy, trace_id).items():
            left, duck_ms = timed(ask, duck, options.repeats)
            right, house_ms = timed(ask, clickhouse, options.repeats)
            found = difference(left, right)
            worse += bool(found)
            print(
                f"{name:26s}{duck_ms:9.0f} ms{house_ms:9.0f} ms  {f'DIFFERS {found[:160]}' if found else 'same'}",
                flush=True,
            )
        duck.close()
    engine.close()
    print(
        f"{worse} of {len(questions(window, busy, trace_id))} answers differ" if worse else "all answers are the same"
    )
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
