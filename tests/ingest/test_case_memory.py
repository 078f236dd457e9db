"""Windows larger than memory: whole traces and their log lines are read, metrics in full, and the answer says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aetia.ingest import case as case_module
from aetia.ingest.case import ROW_BYTES, USABLE, CaseReader
from aetia.model.tables import TIME

TRACES = 4000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four spans and two log lines per trace, as many lines of no trace, and some metrics."""
    target = tmp_path_factory.mktemp("memory")
    start = 1_700_000_000_000_000_000

    def times(n: int) -> pa.Array:
        return pa.array(start + np.arange(n) * 1_000_000, pa.int64()).cast(TIME)

    trace = [f"{k:032x}" for k in range(1, TRACES + 1)]
    spans = {"time": times(4 * TRACES), "trace_id": np.repeat(trace, 4), "service": ["a"] * 4 * TRACES}
    spans["span_id"] = [f"{k:016x}" for k in range(4 * TRACES)]
    spans["duration_ns"] = np.full(4 * TRACES, 1_000_000)
    logs = {"time": times(4 * TRACES), "trace_id": [*np.repeat(trace, 2).tolist(), *[None] * 2 * TRACES]}
    logs |= {"service": ["a"] * 4 * TRACES, "body": ["line"] * 4 * TRACES}
    metrics = {"time": times(1000), "name": ["m"] * 1000, "value": np.arange(1000.0), "service": ["a"] * 1000}
    for name, columns in (("spans", spans), ("logs", logs), ("metrics", metrics)):
        pq.write_table(pa.table(columns), target / f"{name}.parquet")
    return target


def with_room_for(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for the metrics and this share of all else, with so little at stake no span has to be read at least."""
    rest = 4 * TRACES * (ROW_BYTES["spans"] + ROW_BYTES["logs"])
    free = int((1000 * ROW_BYTES["metrics"] + share * rest) / USABLE)
    monkeypatch.setattr(case_module, "free_memory_bytes", lambda: free)
    monkeypatch.setattr(case_module, "MIN_SPANS", 1)


def test_spans_and_lines_of_the_same_traces_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_room_for(0.3, monkeypatch)
    read = CaseReader().load(folder).telemetry
    assert read.sampled == pytest.approx(0.3)
    count = {name: read.table(name).num_rows for name in ("spans", "logs", "metrics")}
    assert abs(count["spans"] / (4 * TRACES) - 0.3) < 0.03
    assert abs(count["logs"] / (4 * TRACES) - 0.3) < 0.03
    assert count["metrics"] == 1000
    of_spans, of_lines = (set(read.table(name)["trace_id"].to_pylist()) - {None} for name in ("spans", "logs"))
    assert of_spans == of_lines
    assert count["spans"] == 4 * len(of_spans)


def test_lines_of_no_trace_are_thinned_one_by_one_and_always_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_room_for(0.3, monkeypatch)
    first, again = (CaseReader().load(folder).telemetry.logs for _ in range(2))
    assert abs(first["trace_id"].null_count / (2 * TRACES) - 0.3) < 0.03
    assert first.equals(again)


def test_what_fits_is_read_as_a_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_room_for(1.01, monkeypatch)
    read = CaseReader().load(folder).telemetry
    assert (read.sampled, read.spans.num_rows, read.logs.num_rows) == (1.0, 4 * TRACES, 4 * TRACES)


def test_some_spans_are_read_however_little_memory_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_room_for(0.0, monkeypatch)
    monkeypatch.setattr(case_module, "MIN_SPANS", 2 * TRACES)
    assert CaseReader().load(folder).telemetry.sampled == 0.5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of a process is read from Linux's /proc")
def test_the_limit_of_the_process_counts_as_memory() -> None:
    script = """
import resource
from aetia.ingest.case import free_memory_bytes
before = free_memory_bytes()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), resource.RLIM_INFINITY))
print(before > (64 << 20) >= free_memory_bytes() > (32 << 20))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
