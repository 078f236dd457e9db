"""What the worker process is asked to do and what it answers: one JSON line each."""

from __future__ import annotations

import msgspec

from aetia.ingest.otlp_columns import Limits
from aetia.model.stored import Signal


class CompactJob(msgspec.Struct, frozen=True, kw_only=True, tag="compact"):
    """Write a closed segment as Parquet files into `folder/scratch`. `skipped` are offsets of records that are stored
    elsewhere already. Without `full`, only the promoted columns are filled."""

    number: int
    folder: str
    scratch: str
    segment: str
    length: int
    skipped: tuple[int, ...] = ()
    full: bool = True
    row_group_rows: int = 32_768
    most_hours: int = 48
    limits: Limits = Limits()
    rolled: tuple[str, ...] = ()
    """Parts of spans that have a rollup and may share traces with the segment."""
    roll_up: bool = True
    """Whether to make rollups; if not, they are made later."""


class MergeJob(msgspec.Struct, frozen=True, kw_only=True, tag="merge"):
    """Write some parts of one hour as one. Paths are relative to `folder`."""

    number: int
    folder: str
    scratch: str
    signal: Signal
    hour: str
    parts: tuple[str, ...]
    starts: tuple[int, ...]
    received_s: int
    row_group_rows: int = 32_768
    rolled: tuple[str, ...] = ()
    """Parts of spans that have a rollup, the merged ones among them, and others that may share traces with these."""


class RollUpJob(msgspec.Struct, frozen=True, kw_only=True, tag="roll-up"):
    """Make the rollup of a part that has none. Paths are relative to `folder`; `rolled` as of `MergeJob`."""

    folder: str
    scratch: str
    part: str
    rolled: tuple[str, ...] = ()


class Output(msgspec.Struct, frozen=True):
    """A new file: where it was written and where it belongs, both relative to the store's folder; its rollup lies
    beside it, or is missing."""

    signal: Signal
    scratch: str
    final: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """`rows` that were written, by signal; `problems` in words; processor time of the job, and of its rollups out of
    that; `unrolled`: why a part has no rollup."""

    outputs: tuple[Output, ...]
    rows: dict[Signal, int]
    problems: tuple[str, ...] = ()
    cpu_s: float = 0.0
    rollup_cpu_s: float = 0.0
    unrolled: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """`bad_part`: the part that could not be read, where it was one. `errno` of the system's error, or 0."""

    problem: str
    bad_part: str = ""
    errno: int = 0


Job = CompactJob | MergeJob | RollUpJob
Answer = Done | Failed
