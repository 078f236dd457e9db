"""The process ends at once, after everything that was said or registered has happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, sys
import aetia.cli.main as cli
def run(tokens):
    atexit.register(print, "tidied up")
    print("said", end=" ")
    return int(tokens[0])
cli._run = run
sys.exit(cli.main())
"""


@pytest.mark.parametrize("code", [0, 1, 2])
def test_output_exit_code_and_tidying_up_survive_the_quick_end(code: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(code)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "said tidied up\n", "")


def test_a_full_device_at_the_end_is_still_complained_about() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "0"], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode != 0
    assert "No space left" in done.stderr
