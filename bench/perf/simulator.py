"""Spans per second of the simulator, Arrow table included, and the ratio to a naive loop over spans.

Run: `.venv/bin/python bench/perf/simulator.py`. Exits with 1 when the rate is below 300,000 spans/s.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import uuid

import pyarrow as pa

from aetia.lab.sim import Load, Scenario, make_system
from aetia.lab.sim.run import Plan, chunks, plan
from aetia.lab.sim.system import System
from aetia.model.tables import SPANS, TIME

FLOOR = 300_000


def naive(system: System, requests: int) -> pa.Table:
    """The same call trees, one Python dictionary per span: no queues, no faults, no retries."""
    rng = random.Random(1)
    rows: list[dict[str, object]] = []

    def span(parent: dict[str, object] | None, service: int, name: str, kind: str, start: float) -> dict[str, object]:
        instances = system.services[service].instances
        row: dict[str, object] = dict.fromkeys(SPANS.names)
        row |= {
            "trace_id": parent["trace_id"] if parent else uuid.UUID(int=rng.getrandbits(128)).hex,
            "span_id": f"{rng.getrandbits(64):016x}", "parent_span_id": parent["span_id"] if parent else None,
            "service": system.services[service].name, "instance": rng.choice(instances), "name": name, "kind": kind,
            "time": int(start * 1e9), "status": "unset", "status_code": "200",
        }  # fmt: skip
        rows.append(row)
        return row

    def serve(index: int, parent: dict[str, object] | None, start: float) -> float:
        op = system.operations[index]
        me = span(parent, op.service, op.name, "server", start)
        now = start + op.work_s * rng.lognormvariate(0, op.sigma)
        for call in op.calls:
            if rng.random() >= call.probability:
                continue
            client = span(me, op.service, op.name, "client", now)
            if call.kind == "external":
                end = now + system.externals[call.callee].latency_s * rng.lognormvariate(0, 0.4)
            else:
                end = serve(call.callee, client, now + 0.0004) + 0.0004
            client["duration_ns"] = int((end - now) * 1e9)
            now = end
        me["duration_ns"] = int((now - start) * 1e9)
        return now

    for entry in rng.choices(system.entries, weights=system.weights, k=requests):
        serve(entry, None, rng.random() * 60)
    columns = {name: pa.array([row[name] for row in rows], field.type) for name, field in _fields()}
    columns["time"] = pa.array([row["time"] for row in rows], pa.int64()).cast(TIME)
    return pa.table(columns)


def _fields() -> list[tuple[str, pa.Field]]:
    return [(name, SPANS.field(name)) for name in SPANS.names if name != "time"]


def vectorised(drawn: Plan) -> int:
    """Simulate all spans and build their tables; returns how many."""
    return sum(chunk.table.num_rows for chunk in chunks(drawn))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=600.0, help="simulated time")
    parser.add_argument("--rate", type=float, default=80.0, help="requests per second")
    given = parser.parse_args()
    system = make_system(given.services, 3, "layered")
    scenario = Scenario(
        id="rate",
        system=system,
        seed=1,
        load=Load(rate=given.rate),
        baseline_s=given.seconds / 2,
        incident_s=given.seconds / 2,
    )
    best, count = 0.0, 0
    for _ in range(3):
        start = time.perf_counter()
        count = vectorised(plan(scenario))
        best = max(best, count / (time.perf_counter() - start))
    start = time.perf_counter()
    small = naive(system, 1000).num_rows
    slow = small / (time.perf_counter() - start)
    print(
        f"simulator: {best:,.0f} spans/s ({count:,} spans, {given.services} services, best of 3, Arrow tables included)"
    )
    print(f"naive loop: {slow:,.0f} spans/s ({small:,} spans); ratio {best / slow:.1f}")
    if best < FLOOR:
        print(f"too slow: {best:,.0f} < {FLOOR:,} spans/s")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
