"""A worker process as its owner sees it: one job at a time, with a time limit, started again when it has died.

A job is one line to the worker's stdin, its answer one or more lines from its stdout. A worker holds nothing that
matters, so it is ended by killing it; it ends by itself when its stdin does, because its owner is gone.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from aetia.model.errors import WorkerLost
from aetia.model.patience import go_on, stopping

T = TypeVar("T")
_TURN_S = 0.1
"""Between two looks whether whoever asked still waits for a turn."""
_CLOSE_S = 5.0
"""How long `close` waits for the job under way to notice that its process is gone."""


class WorkerProcess:
    """Runs jobs in `python -m module`. Thread-safe: jobs wait for one another, lines beside a job do not wait.

    After `most_jobs` the process is replaced, because a long life would keep whatever the libraries leak.
    """

    def __init__(self, module: str, *, most_jobs: int = 0) -> None:
        self._module, self._most_jobs = module, most_jobs
        self._turn = threading.Lock()
        self._pipe = threading.Lock()
        self._life = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._jobs = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, where one runs."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def run(self, job: bytes, read: Callable[[bytes], T | None], *, timeout_s: float) -> T:
        """Do a job: a line without its end. `read` is given every line of the answer and returns the result with the
        last one, before that None; what it raises ends the job.

        Raises WorkerLost when the process died, took longer than `timeout_s` or was closed, GivenUp when nobody waits
        for the answer any more.
        """
        while not self._turn.acquire(timeout=_TURN_S):
            go_on()
        try:
            return self._run(job, read, timeout_s)
        finally:
            self._turn.release()

    def beside(self, line: bytes) -> bool:
        """Pass a line to the job under way, which does not answer it; False where none is."""
        child = self._child
        if child is None or not self._turn.locked():
            return False
        try:
            self._send(child, line)
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """End the process; a job under way, and every later one, raises WorkerLost."""
        with self._life:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        if self._turn.acquire(timeout=_CLOSE_S):  # the job under way still reads from the pipes
            self._end()
            self._turn.release()

    def _run(self, job: bytes, read: Callable[[bytes], T | None], timeout_s: float) -> T:
        child = self._started()
        late = threading.Event()
        watch = threading.Timer(timeout_s, lambda: (late.set(), child.kill()))
        watch.daemon = True
        watch.start()
        try:
            with stopping(child.kill):
                return self._answer(child, job, read)
        except (OSError, EOFError, ValueError) as error:  # ValueError: what came was no answer
            self._end()
            go_on()
            if self._closed:
                raise WorkerLost("is shutting down; ask again when it is back", closed=True) from None
            why = f"took longer than {timeout_s:g} s" if late.is_set() else "ended unexpectedly"
            raise WorkerLost(f"{why}; it is started again for the next job") from error
        finally:
            watch.cancel()
            self._jobs += 1
            if late.is_set() or 0 < self._most_jobs <= self._jobs:
                self._end()

    def _answer(self, child: subprocess.Popen[bytes], job: bytes, read: Callable[[bytes], T | None]) -> T:
        self._send(child, job)
        while True:
            line = child.stdout.readline() if child.stdout is not None else b""
            if not line.endswith(b"\n"):
                raise EOFError
            found = read(line)
            if found is not None:
                return found

    def _started(self) -> subprocess.Popen[bytes]:
        with self._life:
            if self._closed:
                raise WorkerLost("is shutting down; ask again when it is back", closed=True)
            if self._child is not None and self._child.poll() is not None:
                self._end()
            if self._child is None:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", self._module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                self._jobs = 0
            return self._child

    def _send(self, child: subprocess.Popen[bytes], line: bytes) -> None:
        with self._pipe:
            if child.stdin is None:
                raise OSError
            child.stdin.write(line + b"\n")
            child.stdin.flush()

    def _end(self) -> None:
        """Whoever has the turn ends the process and closes the pipes."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue  # what waited in the pipe goes with the process
