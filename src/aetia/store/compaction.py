"""From a segment to Parquet files, one per signal and hour; and from several files of an hour to one. Runs in the
worker process."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aetia.model.stored import SIGNALS, STORED, Signal
from aetia.store.catalog import part_name
from aetia.store.decoding import decode
from aetia.store.jobs import CompactJob, Done, Job, MergeJob, Output, RollUpJob
from aetia.store.journal import Record, grouped, scan
from aetia.store.parquet import PartWriter, merged_tables, sorted_by_time
from aetia.store.rolling import Rollups
from aetia.store.rollups import rollup_of
from aetia.store.segments import mapped, sync_folder

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS
EARLIEST_NS = 946_684_800 * 10**9
"""2000-01-01: what claims to be older has no clock."""


class BadPart(Exception):
    """A part cannot be read."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(problem)
        self.path = path


@dataclass(slots=True)
class _Hours:
    """Tables of one signal by hour (hours since the epoch)."""

    tables: dict[int, list[pa.Table]] = field(default_factory=dict[int, list[pa.Table]])

    def add(self, table: pa.Table, receipt_hour: int) -> None:
        """Rows go to the hour of their time; those whose time cannot be meant, to the hour of their receipt."""
        hours = hours_of(table["time"].cast(pa.int64()).to_numpy(), receipt_hour)
        found = np.unique(hours)
        for hour in found.tolist():
            rows = table if len(found) == 1 else table.filter(pa.array(hours == hour))
            self.tables.setdefault(hour, []).append(rows)

    def bounded(self, most: int, receipt_hour: int) -> dict[int, list[pa.Table]]:
        """At most so many hours: those with the most rows, and the hour of receipt with the rest."""
        if len(self.tables) <= most:
            return self.tables
        sizes = {hour: sum(table.num_rows for table in tables) for hour, tables in self.tables.items()}
        kept = set(sorted(sizes, key=lambda hour: (-sizes[hour], hour))[: max(most - 1, 0)]) | {receipt_hour}
        out: dict[int, list[pa.Table]] = {}
        for hour, tables in self.tables.items():
            out.setdefault(hour if hour in kept else receipt_hour, []).extend(tables)
        return out


def hours_of(times_ns: NDArray[np.int64], receipt_hour: int) -> NDArray[np.int64]:
    """The hour since the epoch that each row belongs to, shape (n,)."""
    meant = (times_ns >= EARLIEST_NS) & (times_ns < (receipt_hour + 1) * HOUR_NS + DAY_NS)
    return np.where(meant, times_ns // HOUR_NS, receipt_hour)


def hour_folder(hour: int) -> str:
    """`YYYY-MM-DD/HH`."""
    return datetime.datetime.fromtimestamp(hour * 3600, datetime.UTC).strftime("%Y-%m-%d/%H")


def compact(job: CompactJob) -> Done:
    """Raises OSError."""
    hours: dict[Signal, _Hours] = {}
    problems: list[str] = []
    received_ns = 0
    with mapped(Path(job.folder, job.segment)) as data:
        records = _stored_once(scan(data[: job.length]).records, frozenset(job.skipped))
        received_ns = max((record.received_ns for record in records), default=0)
        receipt_hour = received_ns // HOUR_NS
        for signal, table, problem in _tables(data, records, job):
            hours.setdefault(signal, _Hours()).add(table, receipt_hour)
            problems += [problem] if problem else []
    outputs: list[Output] = []
    rows: dict[Signal, int] = {}
    with _rollups(job) as rollups:
        for signal, by_hour in hours.items():
            bounded = by_hour.bounded(job.most_hours, receipt_hour)
            by_hour.tables = {}
            for hour in sorted(bounded):
                table = sorted_by_time(pa.concat_tables(bounded.pop(hour)).unify_dictionaries())
                rows[signal] = rows.get(signal, 0) + table.num_rows
                outputs.append(output := _write(job, signal, hour_folder(hour), [table], received_ns // 10**9))
                if signal == "spans" and job.roll_up:
                    rollups.make(Path(job.folder, output.scratch), Path(job.folder, output.final), rows=table)
    sync_folder(Path(job.folder, job.scratch))
    return Done(
        outputs=tuple(outputs), rows=rows, problems=tuple(problems), rollup_cpu_s=rollups.cpu_s,
        unrolled=rollups.problem,
    )  # fmt: skip


def _rollups(job: Job) -> Rollups:
    return Rollups(Path(job.folder), Path(job.folder, job.scratch), job.rolled)


def _stored_once(records: Sequence[Record], skipped: frozenset[int]) -> list[Record]:
    """Without those that are stored elsewhere, and without repetitions."""
    seen: set[bytes] = set()
    out: list[Record] = []
    for record in records:
        if record.offset not in skipped and record.digest not in seen:
            seen.add(record.digest)
            out.append(record)
    return out


def _tables(data: memoryview, records: Sequence[Record], job: CompactJob) -> Iterator[tuple[Signal, pa.Table, str]]:
    """The stored tables of the records, and what could not be decoded."""
    for signal in SIGNALS:
        chosen = [record for record in records if record.signal == signal]
        for group in grouped(chosen):
            bodies = [bytes(data[record.body_offset : record.end]) for record in group]
            batch = decode(signal, bodies, full=job.full, limits=job.limits)
            problem = "; ".join(f"byte {group[number].offset}: {why}" for number, why in batch.failed.items())
            found: tuple[tuple[Signal, pa.Table | None], ...] = ((signal, batch.table), ("logs", batch.exceptions))
            for name, table in found:
                if table is not None and (table.num_rows or problem):
                    yield name, _stored(name, table), problem
                    problem = ""


def _stored(signal: Signal, table: pa.Table) -> pa.Table:
    """The table in the stored schema; columns that were not decoded are null."""
    schema = STORED[signal]
    if table.schema.equals(schema):
        return table
    arrays = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def merge(job: MergeJob) -> Done:
    """Raises BadPart for an input that cannot be read, OSError when the output cannot be written."""
    folder = Path(job.folder)
    tables = _checked(merged_tables([folder / part for part in job.parts], job.starts), job)
    output = _write(job, job.signal, job.hour, tables, job.received_s)
    rows: dict[Signal, int] = {job.signal: int(output.final.split("_")[3])}
    if job.signal != "spans":
        sync_folder(folder / job.scratch)
        return Done(outputs=(output,), rows=rows)
    with _rollups(job) as rollups:
        merged = [Path(part).stem for part in job.parts]
        rollups.make(folder / output.scratch, folder / output.final, merged=merged)
    sync_folder(folder / job.scratch)
    return Done(outputs=(output,), rows=rows, rollup_cpu_s=rollups.cpu_s, unrolled=rollups.problem)


def roll_up(job: RollUpJob) -> Done:
    """The rollup of a part that has none, in the scratch folder; the part stays as it is. Raises OSError."""
    folder = Path(job.folder)
    place = folder / job.part
    output = Output("spans", str(Path(job.scratch, place.name)), job.part)
    with _rollups(job) as rollups:
        rollups.make(place, place, out=rollup_of(folder / output.scratch))
    sync_folder(folder / job.scratch)
    return Done(outputs=(output,), rows={}, rollup_cpu_s=rollups.cpu_s, unrolled=rollups.problem)


def _checked(tables: Iterator[pa.Table], job: MergeJob) -> Iterator[pa.Table]:
    """The same tables; what goes wrong on the way is the fault of a part, and `merge` has to say which."""
    try:
        yield from tables
    except (OSError, pa.ArrowException) as error:
        raise BadPart(_bad_part(job), str(error)) from error


def _bad_part(job: MergeJob) -> str:
    """The first part that cannot be read from end to end."""
    for part in job.parts:
        try:
            for _ in merged_tables([Path(job.folder, part)], (0,)):
                pass
        except (OSError, pa.ArrowException):
            return part
    return ""


def _write(
    job: CompactJob | MergeJob, signal: Signal, hour: str, tables: Sequence[pa.Table] | Iterator[pa.Table],
    received_s: int,
) -> Output:  # fmt: skip
    scratch = Path(job.folder, job.scratch)
    path = scratch / f"{signal}-{hour.replace('/', '-')}.parquet"
    writer = PartWriter(path, signal, job.row_group_rows)
    for table in tables:
        writer.write(table)
    writer.close()
    name = part_name(job.number, writer.start_ns, writer.end_ns, writer.rows, received_s)
    return Output(signal, str(Path(job.scratch, path.name)), f"{signal}/{hour}/{name}")
