"""Growth: ten times the data takes at most eleven times as long, and a window larger than memory still answers.

Incidents with 1, 3 and 10 times BASE spans, log lines and metric points are diagnosed in fresh processes, each as the
fastest of a few. The growth is printed in seconds, and in CPU seconds without those of starting up (the imports of a
diagnosis), which would flatter it; the limit is on the seconds. Then the largest one is diagnosed twice more:
with an address space that it does not fit into, and with a span budget (AETIA_SPAN_BUDGET) of a tenth; both
read whole traces only, say so, and have to name the injected cause.

    python bench/perf/growth.py [--base 200000] [--runs 3] [--full]

`--full` is the nominal size, a base of a million: about 10 GiB of memory and three minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import _measure as m

from aetia.ingest.case import read_case_file
from aetia.lab.sim import large_incident

SCALES = (1, 3, 10)
LIMIT = 11.0
BROKEN = 20.0
IMPORTS = "import aetia.api, aetia.ingest.source, aetia.localize.explain, scipy.special, pyarrow.parquet"


def command(case: Path) -> list[str]:
    return ["-m", "aetia.cli.main", "diagnose", str(case), "--format", "json", "--quiet"]


def repeated(fresh: m.Fresh, cases: dict[int, Path], runs: int) -> dict[int, list[m.Run]]:
    """Some runs per scale, after one that fills the caches."""
    found: dict[int, list[m.Run]] = {}
    for scale, case in cases.items():
        fresh.run(command(case))
        found[scale] = [fresh.run(command(case)) for _ in range(runs)]
        print(m.report(f"{scale:2d} times", found[scale]))
    return found


def within(fresh: m.Fresh, case: Path, name: str, *, limit_bytes: int = 0, **environment: str) -> bool:
    """Whether a diagnosis under a limit answers rightly from a sample of whole traces."""
    run = fresh.run(command(case), limit_bytes=limit_bytes, **environment)
    print(m.report(name, [run]))
    if not m.worked(run):
        return False
    found = m.answer(run.output)
    sampled = [item["reason"] for item in found["dropped"] if "of the traces were read" in item["reason"]]
    truth = {root.service for root in read_case_file(case).truth or ()}
    first = found["hypotheses"][0]["entity"]
    print(f"  {sampled[0] if sampled else 'everything was read'}; first cause {first['name']}")
    return bool(sampled) and first.get("service") in truth


def measure(folder: Path, base: int, runs: int) -> int:
    """Make the incidents, measure them, and return the exit code."""
    print(m.conditions())
    cases = {scale: folder / f"case-{scale}" for scale in SCALES}
    for scale, case in cases.items():
        large_incident(case, scale * base, scale * base, scale * base)
    fresh = m.Fresh()
    found = repeated(fresh, cases, runs)
    right = all(m.worked(run) for runs_ in found.values() for run in runs_)
    start = [fresh.run(["-c", IMPORTS]) for _ in range(3)]
    print(m.report("start-up and imports alone", start))
    wall = {scale: m.fastest(runs_) for scale, runs_ in found.items()}
    cpu = {scale: min(run.cpu_s for run in runs_) - min(run.cpu_s for run in start) for scale, runs_ in found.items()}
    for scale in SCALES[1:]:
        print(
            f"{scale:2d} times the data: {wall[scale] / wall[1]:.1f} times the seconds, "
            f"{cpu[scale] / cpu[1]:.1f} times the CPU seconds without start-up"
        )
    # Half of what it takes as a whole; addresses that nothing lies at (stacks, allocators) are about 2 GiB more.
    largest = cases[SCALES[-1]]
    room = max(run.peak_bytes for run in found[SCALES[-1]]) // 2 + (2 << 30)
    right &= within(fresh, largest, "address space limited", limit_bytes=room)
    right &= within(fresh, largest, "a tenth of the spans", AETIA_SPAN_BUDGET=str(base))
    # Neighbours that come and go move either clock by half: the calmer one is judged, and only a broken shape fails.
    growth = min(wall[SCALES[-1]] / wall[1], cpu[SCALES[-1]] / cpu[1])
    m.verdict([("growth of ten times the data", growth, LIMIT)])
    return int(growth > BROKEN or not right)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=int, default=200_000, help="rows of each kind in the smallest incident")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="base 1,000,000")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aetia-perf-") as scratch:
        return measure(Path(scratch), 1_000_000 if given.full else given.base, given.runs)


if __name__ == "__main__":
    sys.exit(main())
