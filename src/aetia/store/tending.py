"""Who does the jobs of the store: a worker process, or the thread that asks."""

from __future__ import annotations

from typing import Any

import msgspec

from aetia.model.errors import WorkerLost
from aetia.store.jobs import Answer, Failed, Job
from aetia.store.process import WorkerProcess
from aetia.store.worker import run

_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_encode: Any = msgspec.json.encode
_JOBS_OF_A_PROCESS = 500
_JOB_S = 600.0
"""A full segment takes seconds; what takes minutes hangs in a library or on a disk."""


class InThread:
    """Does jobs in the thread that asks, where a second process is not wanted; requests then share its processor."""

    pid: int | None = None

    def run(self, job: Job) -> Answer:
        return run(job)

    def close(self) -> None: ...


class InProcess:
    """Does jobs in a process of its own. `run` is called by one thread, `close` by any."""

    def __init__(self) -> None:
        self._process = WorkerProcess("aetia.store.worker", most_jobs=_JOBS_OF_A_PROCESS)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def run(self, job: Job) -> Answer:
        """Do a job and wait for it. A process that dies is replaced once; the second death is the answer."""
        problem = ""
        for _ in range(2):
            try:
                return self._process.run(_encode(job), _answers.decode, timeout_s=_JOB_S)
            except WorkerLost as error:
                problem = f"the worker process {error}"
                if error.closed:
                    break
        return Failed(problem=problem)

    def close(self) -> None:
        """End the process, also in the middle of a job, whose `run` then answers that it failed."""
        self._process.close()
