"""What the performance scripts share: the machine's conditions, fresh processes with their time and memory, verdicts.

A run is judged by its fastest repetition with 10 % allowance: other programs only ever make a repetition slower, and
the distance of the median from the fastest, which is printed, says how much they did.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

ALLOWANCE = 1.10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """One fresh process: wall and CPU seconds, peak resident bytes, exit code and what it printed."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    code: int
    output: str
    complaint: str = ""


def conditions() -> str:
    """Processor, number of them, memory, load by other programs, versions."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next((int(line.split()[1]) >> 10 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "?"
    return (
        f"machine: {os.cpu_count()} processors ({model}), {memory:,} MiB; load before this run {load}; "
        f"Python {platform.python_version()}, numpy {np.__version__}, pyarrow {pa.__version__}"
    )


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


class Fresh:
    """Starts fresh interpreters whose byte code is cached, as it is where the package is installed."""

    def __init__(self) -> None:
        self._cache = tempfile.TemporaryDirectory(prefix="aetia-bytecode-")
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environment["PYTHONPYCACHEPREFIX"] = self._cache.name

    def run(self, arguments: Sequence[str], *, limit_bytes: int = 0, **environment: str) -> Run:
        """Run `python ARGUMENTS`, if wanted with an address space of at most `limit_bytes`."""
        bounded = ["-c", _BOUNDED, str(limit_bytes)] if limit_bytes else []
        began = time.perf_counter()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen(
                [sys.executable, *bounded, *arguments], stdout=out, stderr=err, env=self.environment | environment
            )
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            return Run(
                wall_s=wall,
                cpu_s=usage.ru_utime + usage.ru_stime,
                peak_bytes=usage.ru_maxrss * _MAXRSS_BYTES,
                code=child.returncode,
                output=out.read().decode(),
                complaint=err.read().decode(),
            )


_BOUNDED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


def report(name: str, runs: Sequence[Run]) -> str:
    """p50, p95, fastest, CPU seconds and peak memory of repetitions."""
    wall = sorted(run.wall_s for run in runs)
    return (
        f"{name:34s} p50 {statistics.median(wall):.2f} s, p95 {np.quantile(wall, 0.95):.2f} s, "
        f"fastest {wall[0]:.2f} s, "
        f"CPU {min(run.cpu_s for run in runs):.2f} s, peak {max(run.peak_bytes for run in runs) / MIB:,.0f} MiB"
    )


def fastest(runs: Sequence[Run]) -> float:
    return min(run.wall_s for run in runs)


def verdict(checks: Sequence[tuple[str, float, float]]) -> int:
    """Prints each (what, value, limit) and returns 1 when one is missed by more than the allowance."""
    failed = False
    for what, value, limit in checks:
        missed = value > limit * ALLOWANCE
        failed |= missed
        word = "MISSED" if missed else "met" if value <= limit else "met within the allowance"
        print(f"{what}: {value:.3g}, limit {limit:.3g} (+{ALLOWANCE - 1:.0%}): {word}")
    return int(failed)


def worked(run: Run) -> bool:
    """Whether a diagnosis answered; says why when it did not."""
    if run.code != 0:
        print(f"the diagnosis ended with {run.code}: {run.complaint.strip()[-300:]}")
    return run.code == 0


def answer(output: str) -> dict[str, object]:
    return json.loads(output)
