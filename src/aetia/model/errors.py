"""Every error that Aetia raises on purpose, and the policy behind them.

* AetiaError
  + UsageError            the caller asked for something that cannot be (exit 2)
    - UnknownPlugin       no algorithm of that name
    - PluginUnavailable   it exists, but cannot be loaded here; says how to mend it
  + IngestError           a source could not be read (exit 2)
    - UnrecognisedSource  nothing in the folder looks like a layout that we read
    - AmbiguousSource     more than one layout fits
    - CorruptSource       truncated, wrong types, not what its name says
  + SignalError           telemetry was read, but a signal cannot be computed from it (exit 2)
    - NoAnswer            a tool of the investigation cannot answer; says why and what to ask (reason/toolbox.py)
  + PolicyError           a learned policy has no scorer, or one that does not fit (exit 2)
  + ReportError           a diagnosis could not be written or read back (exit 2)
  + BenchError            a suite or a run record cannot be used (exit 2)
  + StoreError            the store cannot keep or answer something (exit 2)
    - StoreLocked         another process owns the folder
    - StoreFull           the queue or the disk is full; says which, and when to come back
    - StoreCorrupt        a file of the store is damaged; the rest is served
  + NetError              an exchange with another system did not come about (exit 2; aetia.net)
  + WorkerLost            a worker process died, took too long, or is not wanted any more (exit 2)
  + GivenUp               whoever asked does not wait for the answer any more (exit 2)
  + ServeError            the server cannot start or go on (exit 2)

Policy. An error names the border it crossed, the place (file, table, row) and the mend, in one
sentence. Whatever can still be used is used: what was dropped is a `Dropped` record in the telemetry,
never an exception. An algorithm that raises is recorded by the bench as a failed case, which counts as
a miss; nothing replaces its answer.
"""

from __future__ import annotations

from typing import Literal

Full = Literal["queue", "disk"]


class AetiaError(Exception):
    """Base of all deliberate errors; `exit_code` is what the CLI ends with."""

    exit_code = 2


class UsageError(AetiaError):
    """The request itself is wrong."""


class UnknownPlugin(UsageError):
    """No algorithm of that kind and name is registered."""


class PluginUnavailable(UsageError):
    """The algorithm is registered but cannot be loaded in this installation."""


class IngestError(AetiaError):
    """A source of telemetry could not be read."""


class UnrecognisedSource(IngestError):
    """Nothing in the source looks like a layout that a reader knows."""


class AmbiguousSource(IngestError):
    """Several readers recognise the source equally well."""


class CorruptSource(IngestError):
    """The source is of a known layout, but its content cannot be decoded."""


class SignalError(AetiaError):
    """A signal cannot be computed from the telemetry that was read."""


class PolicyError(AetiaError):
    """What a policy was trained to is missing, damaged, made for other features, or gives no scores."""


class ReportError(AetiaError):
    """A diagnosis could not be written, or a written one could not be read back."""


class BenchError(AetiaError):
    """A suite, a perturbation or a run record cannot be used."""


class StoreError(AetiaError):
    """The store cannot keep or answer something."""


class StoreLocked(StoreError):
    """Another process owns the folder; the message names it."""


class StoreFull(StoreError):
    """The store takes nothing more for now. `full` says what: the queue empties by itself when senders go slower, the
    disk has to be mended by whoever runs the store. `retry_after_s` says when to come back."""

    def __init__(self, message: str, retry_after_s: float = 1.0, *, full: Full = "queue") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.full: Full = full


class StoreCorrupt(StoreError):
    """A file of the store is damaged; what is readable is still served."""


class WorkerLost(AetiaError):
    """A worker process ended before its answer; the next job gets a new one. `closed`: none will be started again."""

    def __init__(self, message: str, *, closed: bool = False) -> None:
        super().__init__(message)
        self.closed = closed


class GivenUp(AetiaError):
    """Work that was stopped because nobody waits for its answer any more."""


class ServeError(AetiaError):
    """The server cannot start or go on: configuration, port, credentials."""
