"""A pool of killable worker processes: one thread per worker hands it tasks and watches its clock.

Not multiprocessing, because a localizer that hangs in compiled code has to be killed without losing the
others, and because `aetia.bench.run` has to work from a notebook or an unguarded script.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import Generic, Literal, TypeVar

import msgspec

from aetia.bench.messages import Answered, Begin, Finished, Inbox, Message, Task, Unable, frame
from aetia.bench.scoring import Answer, Failure
from aetia.parallel import VARIABLE

GRACE_SECONDS = 2.0
LOAD_LIMIT_SECONDS = 600.0
START_LIMIT_SECONDS = 120.0
_POLL_SECONDS = 0.25

K = TypeVar("K")


class Pool(Generic[K]):
    """Runs tasks on `jobs` workers; `results` yields (key, message) as they come, then (key, None) per task.

    After a kill the remaining localizers of the task go to a fresh worker.
    """

    def __init__(self, tasks: list[tuple[K, Task]], jobs: int) -> None:
        self._waiting: Queue[tuple[K, Task]] = Queue()
        for item in tasks:
            self._waiting.put(item)
        self.results: Queue[tuple[K, Message | None] | BaseException] = Queue()
        self._stop = threading.Event()
        self._workers = min(max(1, jobs), len(tasks))
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._workers)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Kill the workers and wait for the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        worker: Worker | None = None
        try:
            while not self._stop.is_set():
                try:
                    key, task = self._waiting.get_nowait()
                except Empty:
                    return
                worker = self._run(key, task, worker)
                self.results.put((key, None))
        except OSError as error:  # no process could be started: the run as a whole cannot go on
            self.results.put(error)
        finally:
            if worker is not None:
                worker.close()

    def _run(self, key: K, task: Task, worker: Worker | None) -> Worker | None:
        """One task to its end, over as many workers as it kills; the worker that is left."""
        while task.localizers and not self._stop.is_set():
            worker = worker or Worker(self._workers)
            done = worker.run(task, lambda message: self.results.put((key, message)), self._stop)
            if not worker.alive:
                worker.close()
                worker = None
            task = msgspec.structs.replace(task, localizers=tuple(n for n in task.localizers if n not in done))
        return worker


class Worker:
    """One process and the pipes to it."""

    def __init__(self, workers: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aetia.bench.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, env=_environment(workers), bufsize=0,
        )  # fmt: skip
        self.alive = True
        self._inbox = Inbox()

    def run(self, task: Task, emit: Callable[[Message], None], stop: threading.Event) -> set[str]:
        """Send a task and pass on what comes back; the localizers that are dealt with afterwards. A worker
        that overran its time or died is marked as not alive, and the localizer it was on has failed."""
        done: set[str] = set()
        stage, limit = Begin("start"), START_LIMIT_SECONDS
        deadline = time.monotonic() + limit
        if not self._send(task):
            return self._lost(task, stage, "died", emit)
        while True:
            messages = self._receive()
            if messages is None:
                return done | self._lost(task, stage, "died", emit)
            for message in messages:
                if isinstance(message, Finished):
                    return set(task.localizers)
                if isinstance(message, Begin):
                    stage = message
                    limit = task.timeout_s + GRACE_SECONDS if stage.stage == "localize" else LOAD_LIMIT_SECONDS
                    deadline = time.monotonic() + limit
                    continue
                emit(message)
                if isinstance(message, Answered):
                    done.add(message.localizer)
            if stop.is_set():
                self.close()
                return set(task.localizers)
            if not messages and time.monotonic() > deadline:
                return done | self._lost(task, stage, "timeout", emit)

    def _send(self, task: Task) -> bool:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(frame(task))
        except BrokenPipeError:
            return False
        return True

    def _receive(self) -> list[Message] | None:
        """Messages that arrived within the polling time; None when the worker is gone."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        ready, _, _ = select.select([pipe], [], [], _POLL_SECONDS)
        if not ready:
            return []
        data = os.read(pipe, 1 << 20)
        return self._inbox.feed(data) if data else None

    def _lost(
        self, task: Task, stage: Begin, kind: Literal["died", "timeout"], emit: Callable[[Message], None]
    ) -> set[str]:
        """Kill what is left of the worker and say what it was doing: a localizer fails alone, a case that
        cannot even be loaded fails for all."""
        if kind == "died":
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # its own exit code says more than that of our kill
        self._kill()
        limit = task.timeout_s if stage.stage == "localize" else LOAD_LIMIT_SECONDS
        message = f"killed after {limit:g} s" if kind == "timeout" else self._epitaph()
        failure = Failure(kind=kind, type="TimeLimit" if kind == "timeout" else "WorkerDied", message=message)
        if stage.stage == "localize":
            emit(Answered(localizer=stage.name, answer=Answer(failure=failure), seconds=limit, peak_rss_mb=None))
            return {stage.name}
        emit(Unable(failure=failure))
        return set(task.localizers)

    def _epitaph(self) -> str:
        """How the process ended, with the last line it wrote to stderr."""
        code = self._process.returncode
        ended = f"ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{ended}: {said[:300]}" if said else ended

    def _kill(self) -> None:
        self.alive = False
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and close everything; harmless when repeated."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


def _environment(workers: int) -> dict[str, str]:
    """What one of some workers gets: the parent's environment with its import path, and threads by its share of the
    cores. Several workers have one thread of Aetia's own each, because threads that wait for one another's cores would
    be counted as a localizer's time; a number that the caller set stays."""
    share = str(max(1, (os.cpu_count() or 1) // workers))
    threads: dict[str, str] = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), share)
    if workers > 1:
        threads[VARIABLE] = os.environ.get(VARIABLE) or "1"
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, **threads, "PYTHONPATH": path}
