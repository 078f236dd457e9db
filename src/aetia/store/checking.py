"""Whether a store's files are what they should be, and what to do where they are not. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from aetia.model.errors import StoreError
from aetia.model.stored import STORED
from aetia.store import commits
from aetia.store.catalog import Note, Part
from aetia.store.journal import VERSION, scan
from aetia.store.layout import Layout
from aetia.store.rollups import rollup_problem
from aetia.store.seen import SUFFIX as IDS_SUFFIX
from aetia.store.seen import read_entries
from aetia.store.segments import mapped, segment_paths

pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet
_RESTORE = "restore the file from a backup, or delete it to be without its rows"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: an error has cost rows, or will; a warning has not."""

    level: Literal["error", "warning"]
    path: str
    problem: str
    mend: str


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at and what was found."""

    parts: int
    rows: int
    segments: int
    requests: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return all(finding.level != "error" for finding in self.findings)


class Checker:
    """Collects findings; one use."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._findings: list[Finding] = []
        self._rows = self._requests = self._segments = 0
        self.bad_parts: list[tuple[Path, str]] = []

    def report(
        self, parts: Iterable[Part], notes: Iterable[Note], lengths: Mapping[Path, int], *, deep: bool
    ) -> CheckReport:
        """`lengths` says how much of the segments in use is good; `deep` reads every row of every part."""
        listed = list(parts)
        for note in notes:
            self._find("error", Path(note.path), note.problem, note.mend)
        self._identity()
        for part in listed:
            self._part(part, deep=deep)
        for path in segment_paths(self._layout.journal):
            self._segment(path, lengths.get(path))
        self._small_files()
        return CheckReport(
            parts=len(listed), rows=self._rows, segments=self._segments, requests=self._requests,
            findings=tuple(self._findings),
        )  # fmt: skip

    def _find(self, level: Literal["error", "warning"], path: Path, problem: str, mend: str) -> None:
        self._findings.append(Finding(level=level, path=str(path), problem=problem, mend=mend))

    def _identity(self) -> None:
        try:
            self._layout.version()
        except StoreError as error:
            self._find("error", self._layout.identity, str(error), "see there")

    # ---- parts ----------------------------------------------------------------------------------------------

    def _part(self, part: Part, *, deep: bool) -> None:
        try:
            problem = part_problem(part, deep=deep)
        except (OSError, pa.ArrowException) as error:
            problem = f"cannot be read: {' '.join(str(error).split())}"
        if problem:
            self._find("error", part.path, problem, _RESTORE)
            self.bad_parts.append((part.path, problem))
        else:
            self._rows += part.rows
            self._rollup(part, deep=deep)

    def _rollup(self, part: Part, *, deep: bool) -> None:
        if part.rollup is None:
            return
        try:
            problem = rollup_problem(part.rollup, part.rows, deep=deep)
        except (OSError, pa.ArrowException) as error:
            problem = f"cannot be read: {' '.join(str(error).split())}"
        if problem:
            self._find("warning", part.rollup, problem, "delete it; the server makes it again")
            self.bad_parts.append((part.rollup, problem))

    # ---- the journal ----------------------------------------------------------------------------------------

    def _segment(self, path: Path, length: int | None) -> None:
        try:
            with mapped(path) as data:
                found = scan(data[:length])
                torn = len(data[:length]) - found.end
        except FileNotFoundError:
            return  # compacted in the meantime
        except OSError as error:
            self._find("error", path, f"cannot be read: {error}", "check the disk and the rights")
            return
        self._segments += 1
        self._requests += len(found.records)
        if found.version > VERSION:
            self._find("error", path, f"has the later version {found.version}", "update Aetia")
        for start, end in found.damaged:
            self._find(
                "error",
                path,
                f"bytes {start:,} to {end:,} hold no readable record",
                "the others are used; check the disk",
            )
        if torn and not found.damaged:
            self._find("warning", path, f"ends with {torn:,} bytes of a broken-off record", "the next start cuts them")

    # ---- the rest -------------------------------------------------------------------------------------------

    def _small_files(self) -> None:
        layout = self._layout
        for path in sorted(layout.journal.glob(f"*{IDS_SUFFIX}")):
            try:
                read_entries(path)
            except FileNotFoundError:
                continue
            except StoreError as error:
                self._find("warning", path, str(error), "delete it")
        try:
            commits.pending(layout)
        except StoreError as error:
            self._find("error", layout.commits, str(error), "see there")
        for _, path, _, part in layout.part_files():
            if part is None:
                self._find("warning", path, "is no file of the store", "move it out of the folder")
        for path in layout.stray_rollups():
            self._find("warning", path, "counts a part that is not there", "delete it; the next start does")
        kept = sorted(layout.damaged.glob("*")) if layout.damaged.exists() else []
        if kept:
            problem = f"holds {len(kept)} copies of what could not be read"
            self._find("warning", layout.damaged, problem, "delete it when nobody needs it")


def part_problem(part: Part, *, deep: bool) -> str:
    """What is wrong with a Parquet file, or nothing. Raises what the reader raises."""
    with pq.ParquetFile(part.path, page_checksum_verification=True) as file:
        missing = [name for name in STORED[part.signal].names if name not in file.schema_arrow.names]
        if missing:
            return f"lacks the columns {', '.join(missing)}"
        if file.metadata.num_rows != part.rows:
            return f"has {file.metadata.num_rows:,} rows, its name says {part.rows:,}"
        if not deep:
            return ""
        last: int | None = None
        for batch in file.iter_batches():
            times = batch.column("time").cast(pa.int64())
            ends = pc.min_max(times)
            low, high = ends["min"].as_py(), ends["max"].as_py()
            if low is None:
                continue
            if low < part.start_ns or high >= part.end_ns or (last is not None and low < last):
                return "holds times that its name does not promise"
            last = high
    return ""
