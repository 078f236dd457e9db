"""A worker process as the server sees it: one job at a time, with a time limit, started again when it dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from aetia.model.errors import ServeError
from aetia.model.journal import Steer
from aetia.serve.worker import Job, Line

OnEvent = Callable[[bytes], None]
STOP_S = 5.0
"""How long a worker may take to end by itself before it is killed."""


class WorkerProcess:
    """Runs jobs in a child process. Thread-safe: jobs wait for one another, steers do not.

    A job that takes longer than its limit ends with its process; the next one starts a new process.
    """

    def __init__(self, module: str = "aetia.serve.worker") -> None:
        self._module = module
        self._turn = threading.Lock()
        self._pipe = threading.Lock()
        self._life = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the child, where one runs."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def run(self, job: Job, *, timeout_s: float, on_event: OnEvent = lambda event: None) -> Any:
        """The answer to a job as plain values; `on_event` hears the journal as JSON.

        Raises ServeError when the job failed, took too long or its process died.
        """
        with self._turn:
            self._number += 1
            job = msgspec.structs.replace(job, number=self._number)
            child = self._started()
            late = threading.Event()
            watch = threading.Timer(timeout_s, lambda: (late.set(), child.kill()))
            watch.start()
            try:
                return self._answer(child, job, on_event)
            except (OSError, EOFError, ValueError) as error:  # ValueError: its pipes were closed meanwhile
                self._end(child)
                why = f"took longer than {timeout_s:g} s" if late.is_set() else "ended unexpectedly"
                raise ServeError(f"the {job.do} process {why}; it is started again for the next job.") from error
            finally:
                watch.cancel()

    def steer(self, wishes: tuple[Steer, ...]) -> bool:
        """Pass a person's wishes to the job under way; False where none is."""
        child = self._child
        if child is None or not self._turn.locked():
            return False
        try:
            self._send(child, Job(do="steer", steers=wishes))
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """End the process; a job under way fails."""
        with self._life:
            self._closed = True
            child = self._child
        if child is None:
            return
        if self._turn.locked():
            child.kill()
        if self._turn.acquire(timeout=STOP_S):  # the job under way closes the pipes that it reads
            self._turn.release()
        self._end(child)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._life:
            if self._closed:
                raise ServeError("the server is shutting down; ask again when it is back.")
            if self._child is None or self._child.poll() is not None:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", self._module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            return self._child

    def _answer(self, child: subprocess.Popen[bytes], job: Job, on_event: OnEvent) -> Any:
        self._send(child, job)
        decoder = msgspec.json.Decoder(Line)
        while True:
            raw = child.stdout.readline() if child.stdout is not None else b""
            if not raw.endswith(b"\n"):
                raise EOFError("the worker's answers ended")
            line = decoder.decode(raw)
            if bytes(line.event):
                on_event(bytes(line.event))
            elif line.failed:
                raise ServeError(line.failed)
            else:
                return msgspec.json.decode(line.done)

    def _send(self, child: subprocess.Popen[bytes], job: Job) -> None:
        with self._pipe:
            if child.stdin is None:
                raise OSError("the worker has no stdin")
            child.stdin.write(msgspec.json.encode(job) + b"\n")
            child.stdin.flush()

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue  # a pipe to a dead process
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if self._child is child:
            self._child = None
