"""Cold start of `aetia --help`: at most 0.3 s of CPU time, and a small multiple of importing the parser alone.

Run with `python bench/perf/cold_start.py`; exits 1 when the ratio is broken, which holds on slow and busy machines too:
it compares with `import cyclopts, rich.console` in the same interpreter and in the same run.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

RUNS = 9
LIMIT_SECONDS = 0.3
LIMIT_RATIO = 2.0
HELP = "import sys; sys.argv = ['aetia', '--help']; from aetia.cli.main import main; sys.exit(main())"
PEER = "import cyclopts, rich.console"


def seconds(code: str) -> tuple[float, float]:
    """CPU and wall time of one fresh interpreter; CPU time does not count waiting for other programs."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> int:
    """Measure both in turns, print the figures, and say whether the limits hold."""
    seconds(HELP), seconds(PEER)  # file cache and byte code
    pairs = [(seconds(HELP), seconds(PEER)) for _ in range(RUNS)]
    cpu, wall = (min(ours[kind] for ours, _ in pairs) for kind in (0, 1))
    peer = min(theirs[0] for _, theirs in pairs)
    print(f"aetia --help: {cpu:.3f} s of CPU time, {wall:.3f} s of wall time (limit {LIMIT_SECONDS} s of CPU)")
    print(f"parser and console alone: {peer:.3f} s of CPU time; ratio {cpu / peer:.2f} (limit {LIMIT_RATIO})")
    return 0 if cpu <= LIMIT_RATIO * peer else 1


if __name__ == "__main__":
    sys.exit(main())
