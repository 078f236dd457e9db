"""The store's side of the worker process: started when there is something to do, and again when it died."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import msgspec

from aetia.store.jobs import Answer, Failed, Job
from aetia.store.worker import run

_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_encode: Any = msgspec.json.encode
_JOBS_OF_A_PROCESS = 500
"""A long life would keep whatever the libraries leak."""


class InProcess:
    """The same in the thread that asks, where a second process is not wanted; requests then share its processor."""

    pid: int | None = None

    def run(self, job: Job) -> Answer:
        return run(job)

    def stop(self) -> None: ...

    def release(self) -> None: ...


class WorkerProcess:
    """One process, one job at a time. `run` is called by one thread, `stop` by any."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs = 0
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, job: Job) -> Answer:
        """Do a job and wait for it. A process that dies is replaced once; the second death is the answer."""
        return self._try(job) or self._try(job) or Failed(problem="the worker process ended twice")

    def _try(self, job: Job) -> Answer | None:
        """The answer, or None when the process died."""
        process = self._ready()
        if process is None:
            return Failed(problem="the store is closing")
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(_encode(job) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            line = b""
        if not line:
            self._end(process)
            return None
        self._jobs += 1
        if self._jobs >= _JOBS_OF_A_PROCESS:
            self._end(process)
        return _answers.decode(line)

    def _ready(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopped:
                return None
            if self._process is not None and self._process.poll() is not None:
                self._end(self._process)
                self._process = None
            if self._process is None:
                command = [sys.executable, "-m", "aetia.store.worker"]
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self._jobs = 0
            return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the process; it holds nothing that matters."""
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what waited in the pipe goes with the process

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def stop(self) -> None:
        """End the process, also in the middle of a job, whose `run` then answers that it failed."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def release(self) -> None:
        """After `stop`, from the thread that runs jobs: leave no pipe open."""
        if self._process is not None:
            self._end(self._process)
