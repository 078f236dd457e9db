"""The suite is the same in every process: workers that run it side by side have to agree on its tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def names_of(running: subprocess.Popen[str]) -> list[str]:
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 0, out[-2000:]
    return [line for line in out.splitlines() if "::" in line]


def is_whole(session: pytest.Session) -> bool:
    """Whether this process, which has another hash seed, collected every test."""
    files, asked = set((ROOT / "tests").rglob("test_*.py")), session.config.option
    chosen = asked.keyword or asked.markexpr or asked.deselect or os.environ.get("PYTHONHASHSEED") == "1"
    return {item.path for item in session.items} == files and not chosen


def test_names_of_tests_depend_neither_on_the_second_nor_on_the_hash_seed(request: pytest.FixtureRequest) -> None:
    first = collect("1")
    if is_whole(request.session):  # collected seconds ago
        other = [item.nodeid for item in request.session.items]
    else:
        time.sleep(1.1)  # a time stamp in a name, such as gzip's in a parameter, has moved on
        other = names_of(collect("2"))
    names = names_of(first)
    assert len(names) > 1000 and [pair for pair in zip(names, other, strict=True) if pair[0] != pair[1]] == []
