"""A worker process: one job at a time, with a limit, replaced when it dies, gone when it is closed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aetia.model.errors import GivenUp, WorkerLost
from aetia.model.patience import PATIENCE, Patience
from aetia.store.process import WorkerProcess

ECHO = """
import sys, time
held = []
for line in sys.stdin:
    word = line.strip()
    if word == "sleep": time.sleep(30)
    if word == "die": sys.exit(3)
    if word == "wait":
        print("waiting", flush=True)
        word = next(sys.stdin).strip()
    print("event", flush=True)
    print("done " + word, flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    (tmp_path / "echoing.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    made = WorkerProcess("echoing", most_jobs=3)
    yield made
    made.close()
    assert made.pid is None


def last(line: bytes) -> str | None:
    word, _, rest = line.decode().strip().partition(" ")
    return rest if word == "done" else None


def run(worker: WorkerProcess, job: str, seconds: float = 20.0) -> str:
    return worker.run(job.encode(), last, timeout_s=seconds)


def raised(kind: type[Exception], work: Callable[[], object]) -> tuple[threading.Thread, list[Exception]]:
    found: list[Exception] = []

    def target() -> None:
        try:
            work()
        except kind as error:
            found.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    return thread, found


def test_jobs_share_a_process_until_it_has_done_its_share(worker: WorkerProcess) -> None:
    pids = []
    for number in range(4):
        assert run(worker, f"job{number}") == f"job{number}"
        pids.append(worker.pid)
    assert pids[0] == pids[1] and pids[2] is None and pids[3] not in (None, pids[0])


def test_a_process_that_dies_or_takes_too_long_fails_its_job_and_the_next_one_works(worker: WorkerProcess) -> None:
    with pytest.raises(WorkerLost, match="ended unexpectedly"):
        run(worker, "die")
    with pytest.raises(WorkerLost, match=r"took longer than 0\.5 s"):
        run(worker, "sleep", 0.5)
    assert run(worker, "a") == "a"
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert run(worker, "b") == "b"  # it died between two jobs: nobody's answer is lost


def test_a_line_beside_a_job_reaches_it(worker: WorkerProcess) -> None:
    assert not worker.beside(b"nobody")
    heard = threading.Event()

    def read(line: bytes) -> str | None:
        heard.set()
        return last(line)

    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(worker.run(b"wait", read, timeout_s=20)))
    thread.start()
    assert heard.wait(10) and worker.beside(b"wish")
    thread.join(10)
    assert answers == ["wish"]


def test_closing_ends_the_job_under_way_and_refuses_later_ones(worker: WorkerProcess) -> None:
    run(worker, "a")
    thread, found = raised(WorkerLost, lambda: run(worker, "sleep"))
    time.sleep(0.1)
    began = time.monotonic()
    worker.close()
    thread.join(10)
    assert time.monotonic() - began < 5 and isinstance(found[0], WorkerLost) and found[0].closed
    with pytest.raises(WorkerLost, match="shutting down"):
        run(worker, "b")


def test_a_job_that_nobody_waits_for_ends_and_one_that_waits_for_its_turn_never_begins(worker: WorkerProcess) -> None:
    patience = Patience(60)

    def ask() -> None:
        PATIENCE.set(patience)
        run(worker, "sleep")

    jobs = [raised(GivenUp, ask) for _ in range(2)]
    time.sleep(0.3)
    patience.end()
    for thread, found in jobs:
        thread.join(10)
        assert len(found) == 1
    assert run(worker, "a") == "a"
