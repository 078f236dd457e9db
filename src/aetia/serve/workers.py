"""The process that diagnoses as the server sees it: jobs as values, their events as they come."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from aetia.model.errors import ServeError, WorkerLost
from aetia.model.journal import Steer
from aetia.serve.worker import Job, Line
from aetia.store.process import WorkerProcess

OnEvent = Callable[[bytes], None]


class DiagnosisProcess:
    """Runs jobs in a child process. Thread-safe: jobs wait for one another, steers do not.

    A job that takes longer than its limit ends with its process; the next one starts a new process.
    """

    def __init__(self) -> None:
        self._process = WorkerProcess("aetia.serve.worker")
        self._numbers = itertools.count(1)

    @property
    def pid(self) -> int | None:
        """Of the child, where one runs."""
        return self._process.pid

    def run(self, job: Job, *, timeout_s: float, on_event: OnEvent = lambda event: None) -> Any:
        """The answer to a job as plain values; `on_event` hears the journal as JSON.

        Raises ServeError when the job failed, took too long or its process died, GivenUp when nobody waits for it.
        """
        number = next(self._numbers)
        decoder = msgspec.json.Decoder(Line)

        def read(raw: bytes) -> tuple[Any] | None:
            line = decoder.decode(raw)
            if line.number != number:
                return None  # of a job whose listener failed before its end
            if bytes(line.event):
                on_event(bytes(line.event))
                return None
            if line.failed:
                raise ServeError(line.failed)
            return (msgspec.json.decode(line.done),)

        asked = msgspec.json.encode(msgspec.structs.replace(job, number=number))
        try:
            (answer,) = self._process.run(asked, read, timeout_s=timeout_s)
        except WorkerLost as error:
            raise ServeError(f"the {'server' if error.closed else f'{job.do} process'} {error}.") from error
        return answer

    def steer(self, wishes: tuple[Steer, ...]) -> bool:
        """Pass a person's wishes to the job under way; False where none is."""
        return self._process.beside(msgspec.json.encode(Job(do="steer", steers=wishes)))

    def close(self) -> None:
        """End the process; a job under way fails."""
        self._process.close()
