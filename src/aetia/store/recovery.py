"""What a folder holds when it is opened: commits are finished or discarded, segments replayed into hot tables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aetia.ingest.otlp_columns import Limits
from aetia.model.errors import StoreError
from aetia.model.stored import Signal
from aetia.store import commits
from aetia.store.catalog import Catalog, Part
from aetia.store.decoding import Decoder
from aetia.store.hot import HotSegment, chunks_of
from aetia.store.journal import VERSION, Record, grouped, scan
from aetia.store.layout import Layout, has_footer
from aetia.store.seen import SUFFIX as IDS_SUFFIX
from aetia.store.seen import Seen, read_entries
from aetia.store.segments import SegmentFile, mapped, number_of, segment_paths
from aetia.store.settings import Settings


@dataclass(slots=True)
class Recovered:
    """The state to go on from."""

    catalog: Catalog
    seen: Seen
    next_segment: int = 1
    next_job: int = 1
    requests: int = 0
    """Replayed from the journal."""
    cut_bytes: int = 0
    """Of records that broke off."""
    segments: list[HotSegment] = field(default_factory=list[HotSegment])


def recover(layout: Layout, settings: Settings, *, writable: bool) -> Recovered:
    """Raises StoreError when the folder cannot be listed or read at all."""
    catalog = Catalog(settings.limits)
    out = Recovered(catalog, Seen(settings.dedupe_seconds, settings.dedupe_entries))
    try:
        pending = commits.pending(layout)
        if writable:
            for commit in pending:
                commits.finish(layout, commit)
            _empty(layout.scratch)
            _remove_leftovers(layout)
        hidden = frozenset[Path]() if writable else _view(layout, catalog, pending)
        _list_parts(layout, out, hidden)
        out.next_job = max([out.next_job, *(commit.number + 1 for commit in pending)])
        _replay_all(layout, settings, out, hidden, writable=writable)
    except OSError as error:
        raise StoreError(f"{layout.folder} cannot be read: {error}; check the disk and the rights.") from error
    return out


def _remove_leftovers(layout: Layout) -> None:
    """Rollups that belong to nothing, and the database in which earlier versions kept them."""
    for path in [*layout.stray_rollups(), *layout.folder.glob("cache.duckdb*")]:
        path.unlink(missing_ok=True)
    shutil.rmtree(layout.folder / "cache.tmp", ignore_errors=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _view(layout: Layout, catalog: Catalog, pending: Sequence[commits.Commit]) -> frozenset[Path]:
    """What pending commits will have done, without doing it: their outputs are parts wherever they lie now. Returns
    the paths that are accounted for."""
    removed = {layout.folder / name for commit in pending for name in commit.removed}
    finals: set[Path] = set()
    for commit in pending:
        for output, part in commits.parts(layout, commit):
            finals.add(layout.folder / output.final)
            if layout.folder / output.final not in removed:
                catalog.swap(added=[part])
    return frozenset(removed | finals)


def _list_parts(layout: Layout, out: Recovered, hidden: frozenset[Path]) -> None:
    found: list[Part] = []
    for _, path, _, part in layout.part_files():
        if part is None:
            out.catalog.note(path, "no file of the store", "move it out of the folder")
            continue
        out.next_job = max(out.next_job, part.number + 1)
        if path in hidden:
            continue
        found.append(part)
    out.catalog.swap(added=found)
    for part in found:
        if not has_footer(part.path):
            out.catalog.exclude(part.path, "no complete Parquet file")
        elif part.rollup is not None and not has_footer(part.rollup):
            out.catalog.set_rollup(part.path, usable=False)


# ---- the journal --------------------------------------------------------------------------------------------


def _replay_all(
    layout: Layout, settings: Settings, out: Recovered, hidden: frozenset[Path], *, writable: bool
) -> None:  # fmt: skip
    paths = [path for path in segment_paths(layout.journal) if path not in hidden]
    numbers = {number_of(path) for path in paths}
    kept = [(number_of(path), path) for path in layout.journal.glob(f"*{IDS_SUFFIX}") if path.stem.isdigit()]
    out.next_segment = max([0, *numbers, *(number for number, _ in kept)]) + 1
    # The digests of a segment that is still there are its own: with them, it would take itself for a repetition.
    waiting = sorted((number, path) for number, path in kept if number not in numbers)
    for path in paths:
        while waiting and waiting[0][0] < number_of(path):
            _load(waiting.pop(0)[1], out)
        _replay(layout, settings, out, path, writable=writable)
    for _, path in waiting:
        _load(path, out)


def _load(path: Path, out: Recovered) -> None:
    try:
        out.seen.load(read_entries(path))
    except StoreError as error:
        out.catalog.note(path, str(error), "delete it")


def _replay(layout: Layout, settings: Settings, out: Recovered, path: Path, *, writable: bool) -> None:
    with mapped(path) as data:
        found = scan(data)
        if found.version > VERSION:
            raise StoreError(f"{path} was written by a later version of Aetia; update Aetia.")
        for start, end in found.damaged:
            _set_aside(layout, out.catalog, path, data, start, end, writable=writable)
        torn = len(data) - found.end
    if torn and writable:
        os.truncate(path, found.end)
    if not any(start >= found.end for start, _ in found.damaged):
        out.cut_bytes += torn
    if not found.records:
        if writable:
            path.unlink()
        return
    file = SegmentFile.existing(path)
    file.length = found.end
    segment = HotSegment(file, closed=True)
    fresh = _not_seen(out.seen, found.records, segment)
    out.requests += len(fresh)
    segment.requests = len(fresh)
    out.catalog.add_segment(segment)
    for group in grouped(fresh):
        _publish(layout, settings.limits, out.catalog, segment, group, writable=writable)
    segment.digests = out.seen.close_segment()
    out.segments.append(segment)


def _not_seen(seen: Seen, records: Sequence[Record], segment: HotSegment) -> list[Record]:
    """Records that no earlier record repeats: a client sends again what was written but never answered."""
    seen.forget(records[0].received_ns)
    fresh: list[Record] = []
    known = seen.holds([record.digest for record in records])
    here: set[bytes] = set()
    for record, before in zip(records, known, strict=True):
        if before or record.digest in here:
            segment.skipped.append(record.offset)
            continue
        here.add(record.digest)
        seen.add(record.digest, record.received_ns)
        fresh.append(record)
    return fresh


def _publish(
    layout: Layout, limits: Limits, catalog: Catalog, segment: HotSegment, records: Sequence[Record], *,
    writable: bool,
) -> None:  # fmt: skip
    by_signal: dict[Signal, list[Record]] = {}
    for record in records:
        by_signal.setdefault(record.signal, []).append(record)
    file = segment.file
    for signal, listed in by_signal.items():
        bodies = [file.read(record.body_offset, record.length) for record in listed]
        batch = Decoder(limits).decode(signal, bodies)
        for number, why in batch.failed.items():
            record = listed[number]
            catalog.note(file.path, f"a request at byte {record.offset} cannot be decoded: {why}", "its copy is kept")
            if writable:
                _keep(layout, f"{file.path.stem}-{record.offset}.bin", bodies[number])
        offsets = [record.offset for number, record in enumerate(listed) if number not in batch.failed]
        catalog.publish(segment, chunks_of(signal, batch, file, offsets))


def _set_aside(
    layout: Layout, catalog: Catalog, path: Path, data: memoryview, start: int, end: int, *, writable: bool
) -> None:  # fmt: skip
    name = f"{path.stem}-{start}-{end}.bin"
    copy = f", a copy is {layout.damaged.name}/{name}" if writable else ""
    catalog.note(
        path,
        f"bytes {start:,} to {end:,} hold no readable record{copy}",
        "what was sent around the time of the file is incomplete; check the disk",
    )
    if writable:
        _keep(layout, name, bytes(data[start:end]))


def _keep(layout: Layout, name: str, content: bytes) -> None:
    layout.damaged.mkdir(exist_ok=True)
    (layout.damaged / name).write_bytes(content)
