"""The suite is the same in every process: workers that run it side by side have to agree on its tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def collect(hash_seed: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "--assert=plain",  # nothing is run, so no assertion has to be rewritten
        "tests",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def test_names_of_tests_depend_neither_on_the_second_nor_on_the_hash_seed() -> None:
    first = collect("1")
    time.sleep(1.1)  # a time stamp in a name, such as gzip's in a parameter, has moved on
    second = collect("2")
    names: list[list[str]] = []
    for running in (first, second):
        out, _ = running.communicate(timeout=120)
        assert running.returncode == 0, out[-2000:]
        names.append([line for line in out.splitlines() if "::" in line])
    assert len(names[0]) > 1000 and [pair for pair in zip(*names, strict=True) if pair[0] != pair[1]] == []
