"""Diagnosis of a large incident in fresh processes: p50 at most 1.5 s and 1.5 GiB at a million rows of each kind.

The simulator makes ten minutes of incident after ten of baseline with SPANS spans, as many log lines and as many
metric points, all in the case's Parquet files. Measured are `aetia diagnose CASE --format json` and
`aetia.diagnose(CASE)` from start to end of a fresh interpreter, then the stages of one process. The peer is reading
the same columns with pyarrow alone in a fresh process. Seconds depend on the machine and on what else it does: they
are printed against the goal. Exits with 1 when the ratio to the peer or the memory misses its limit by more than
10 %, when the repetitions differ, or when the answer is not the injected cause.

    python bench/perf/diagnose_large.py [--spans 1000000] [--runs 5] [--case FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import _measure as m

from aetia.ingest.case import read_case_file
from aetia.lab.sim import large_incident

LIMIT_S, LIMIT_BYTES, NOMINAL_ROWS = 1.5, 1.5 * (1 << 30), 1_000_000
LIMIT_RATIO = 8.0
API = "import sys, aetia; sys.exit(aetia.diagnose(sys.argv[1]).abstained is not None)"
PEER = """
import sys, pyarrow.parquet as pq
from aetia.model.tables import ANALYSIS_COLUMNS
for name in ("spans", "logs", "metrics"):
    file = pq.ParquetFile(f"{sys.argv[1]}/{name}.parquet")
    file.read([c for c in file.schema_arrow.names if c in ANALYSIS_COLUMNS[name]])
"""
STAGES = str(Path(__file__).with_name("_stages.py"))


def command(case: Path) -> list[str]:
    return ["-m", "aetia.cli.main", "diagnose", str(case), "--format", "json", "--quiet"]


def measure(case: Path, repetitions: int) -> int:
    """Measure one case, print the figures, and return the exit code."""
    print(m.conditions())
    fresh = m.Fresh()
    fresh.run(command(case))  # byte code and file cache
    runs: list[m.Run] = []
    library: list[m.Run] = []
    peer: list[m.Run] = []
    for _ in range(repetitions):
        runs.append(fresh.run(command(case)))
        library.append(fresh.run(["-c", API, str(case)]))
        peer.append(fresh.run(["-c", PEER, str(case)]))
    if not all(m.worked(run) for run in (*runs, *library, *peer)):
        return 1
    print(m.report("aetia diagnose CASE --format json", runs))
    print(m.report("aetia.diagnose(CASE)", library))
    print(m.report("pyarrow alone, reading the columns", peer))
    ratio = m.fastest(runs) / m.fastest(peer)
    print(fresh.run([STAGES, str(case)], AETIA_THREADS="1").output, end="")
    return _judge(case, runs, library, ratio)


def _judge(case: Path, runs: list[m.Run], library: list[m.Run], ratio: float) -> int:
    found = m.answer(runs[0].output)
    rows = found["cost"]["rows"]["spans"]
    truth = read_case_file(case).truth or ()
    first = found["hypotheses"][0]["entity"]
    right = first.get("service") in {root.service for root in truth}
    print(f"{rows:,} spans; first cause {first['name']}, injected {', '.join(str(root.service) for root in truth)}")
    if len({_without_cost(run.output) for run in runs}) != 1:
        print("the repetitions differ in their answers")
        return 1
    scale = max(rows / NOMINAL_ROWS, 0.1)
    # Seconds depend on the machine and its neighbours: they are printed against the goal, the ratio decides.
    m.verdict(
        [
            ("seconds, command", m.fastest(runs), LIMIT_S * scale),
            ("seconds, library", m.fastest(library), LIMIT_S * scale),
        ]
    )
    checks = [
        ("time of the diagnosis over that of reading the columns alone", ratio, LIMIT_RATIO),
        ("GiB, command", max(run.peak_bytes for run in runs) / (1 << 30), LIMIT_BYTES * scale / (1 << 30)),
        ("GiB, library", max(run.peak_bytes for run in library) / (1 << 30), LIMIT_BYTES * scale / (1 << 30)),
    ]
    return max(m.verdict(checks), int(not right))


def _without_cost(output: str) -> str:
    return str({key: value for key, value in m.answer(output).items() if key != "cost"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=NOMINAL_ROWS, help="spans, log lines and metric points, each")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--case", type=Path, help="an existing case folder, or where to keep the one that is made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aetia-perf-") as scratch:
        case = given.case or Path(scratch) / "case"
        if not (case / "case.json").is_file():
            large_incident(case, given.spans, given.spans, given.spans)
        return measure(case, given.runs)


if __name__ == "__main__":
    sys.exit(main())
