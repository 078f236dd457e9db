"""Spans per second of CPU time that the embedded store takes, from the arrival of a request to durable and queryable,
and that it compacts, every attribute decoded.

Requests hold 500 spans with 8 attributes, 3 of them unique. Ingest counts the processor time of the whole process that
owns the store (all threads); compaction and merging count the worker process. Exits with 1 when ingest is below
150,000 or compaction below 60,000 spans per second.

Run: `.venv/bin/python bench/perf/ingest_store.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

import pyarrow.parquet as pq
from _measure import MIB, conditions, verdict
from _otlp_bodies import ITEMS as SPANS
from _otlp_bodies import spans_body as body

from aetia.store.store import Receipt, Settings, Store

INGEST_GOAL, COMPACT_GOAL = 150_000, 60_000


def ingest(store: Store, bodies: list[bytes]) -> tuple[float, float]:
    """CPU and wall seconds until every request is durable and can be queried."""
    cpu, wall = time.process_time(), time.perf_counter()
    futures: list[Future[Receipt]] = [store.append("spans", one) for one in bodies]
    stored = sum(future.result().rows for future in futures)
    spent = time.process_time() - cpu, time.perf_counter() - wall
    if stored != len(bodies) * SPANS:
        raise SystemExit(f"{stored} of {len(bodies) * SPANS} spans were stored")
    return spent


def check(store: Store, spans: int) -> None:
    """Nothing is lost, nothing twice, and attributes are there."""
    with store.reading() as snapshot:
        parts = snapshot.parts["spans"]
        tables = [pq.read_table(part.path, columns=["span_id", "attributes"]) for part in parts]
    ids = {one for table in tables for one in table["span_id"].to_pylist()}
    rows = sum(table.num_rows for table in tables)
    if rows != spans or len(ids) != spans or any(len(one) != 8 for one in tables[0]["attributes"][:100].to_pylist()):
        raise SystemExit(f"{rows} rows and {len(ids)} distinct spans of {spans} came out")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", default=None, help="where the stores are made; default: a temporary folder")
    options = parser.parse_args()
    print(conditions())
    best_ingest = best_compact = 0.0
    for repeat in range(options.repeats):
        bodies = [body(repeat * options.bodies + seed) for seed in range(options.bodies)]
        spans = len(bodies) * SPANS
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            settings = Settings(compact=False, segment_seconds=3600.0, queue_bytes=512 * MIB)
            with Store.open(Path(folder), settings=settings) as store:
                cpu, wall = ingest(store, bodies)
                store.compact()
                work = store.stats().background
                compaction = work["compact"].cpu_s
                best_ingest = max(best_ingest, spans / cpu)
                best_compact = max(best_compact, spans / compaction)
                size = store.stats().signals["spans"].bytes
                print(
                    f"{spans:,} spans, {sum(map(len, bodies)) / spans:.0f} bytes each: ingest {spans / cpu:,.0f} per "
                    f"CPU second ({spans / wall:,.0f} a second), compaction {spans / compaction:,.0f} per CPU second, "
                    f"merging {work['merge'].rows / max(work['merge'].cpu_s, 1e-9):,.0f}, "
                    f"rollups {work['roll_up'].rows / max(work['roll_up'].cpu_s, 1e-9):,.0f}; "
                    f"{size / spans:.0f} bytes a span in Parquet"
                )
                check(store, spans)
    return verdict(
        [
            ("CPU microseconds a span, ingest", 1e6 / best_ingest, 1e6 / INGEST_GOAL),
            ("CPU microseconds a span, compaction", 1e6 / best_compact, 1e6 / COMPACT_GOAL),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
