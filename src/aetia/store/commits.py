"""How files replace files exactly once, whenever the process dies.

1. New files are written completely into `tmp/` and synced.
2. A marker `commits/NNNNNNNN.json` that names them, and what they replace, is written durably. From here on the
   replacement has happened, however long the rest takes.
3. The files are renamed into place, the catalog is switched in one step, what was replaced is deleted, the marker too.

A start that finds a marker does step 3 (each part of it may be done already); what lies in `tmp/` without a marker is
deleted. While a marker is there its outputs are neither merged nor dropped, so that a start can tell.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from aetia.model.errors import StoreCorrupt
from aetia.store.catalog import PART_SUFFIX, Part, part_of
from aetia.store.jobs import Output
from aetia.store.journal import scan
from aetia.store.layout import Layout
from aetia.store.rollups import rollup_of
from aetia.store.seen import SUFFIX as IDS_SUFFIX
from aetia.store.seen import entries_of, write_entries
from aetia.store.segments import SUFFIX, mapped, sync_folder, write_durably


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One replacement. `removed` are paths of parts or of one segment, relative to the store's folder."""

    number: int
    outputs: tuple[Output, ...]
    removed: tuple[str, ...]


def marker(layout: Layout, commit: Commit) -> Path:
    return layout.commits / f"{commit.number:08d}.json"


def pending(layout: Layout) -> list[Commit]:
    """Commits whose marker is there, oldest first. Raises StoreCorrupt for a marker that cannot be read."""
    out: list[Commit] = []
    for path in sorted(layout.commits.glob("*.json")):
        try:
            out.append(msgspec.json.decode(path.read_bytes(), type=Commit))
        except msgspec.MsgspecError as error:
            raise StoreCorrupt(f"{path} cannot be read ({error}); restore it, or delete it and run check.") from error
    return sorted(out, key=lambda commit: commit.number)


def begin(layout: Layout, commit: Commit) -> None:
    """Step 2; the outputs must be synced. Raises OSError, and then nothing has happened."""
    try:
        write_durably(marker(layout, commit), msgspec.json.encode(commit))
    except OSError:
        marker(layout, commit).unlink(missing_ok=True)
        raise


def place(layout: Layout, commit: Commit) -> None:
    """Rename the outputs that are not in place yet."""
    folders: set[Path] = set()
    for output in commit.outputs:
        scratch, final = layout.folder / output.scratch, layout.folder / output.final
        if scratch.exists():
            if not final.parent.exists():
                final.parent.mkdir(parents=True, exist_ok=True)
                folders |= {final.parent.parent, final.parent.parent.parent}
            if rollup_of(scratch).exists():
                rollup_of(scratch).rename(rollup_of(final))
            scratch.rename(final)
            folders.add(final.parent)
    for folder in folders:
        sync_folder(folder)


def parts(layout: Layout, commit: Commit) -> list[tuple[Output, Part]]:
    """The outputs that exist, where they lie now."""
    out: list[tuple[Output, Part]] = []
    for output in commit.outputs:
        scratch, final = layout.folder / output.scratch, layout.folder / output.final
        lies = scratch if scratch.exists() else final
        if lies.exists() and (part := part_of(output.signal, final, lies.stat().st_size, at=lies)) is not None:
            # A rollup knows its part by the name that it has in its place.
            out.append((output, part.with_rollup() if lies is final else part))
    return out


def finish(layout: Layout, commit: Commit) -> None:
    """Step 3 on the disk, as far as it is not done. A marker whose outputs are gone was withdrawn (the disk failed
    while it was written): what it would have replaced stays."""
    if len(parts(layout, commit)) < len(commit.outputs):
        for output in commit.outputs:
            (layout.folder / output.final).unlink(missing_ok=True)
            rollup_of(layout.folder / output.final).unlink(missing_ok=True)
        marker(layout, commit).unlink(missing_ok=True)
        return
    place(layout, commit)
    for name in commit.removed:
        path = layout.folder / name
        if path.suffix == SUFFIX and path.exists():
            keep_digests(path)
        path.unlink(missing_ok=True)
        if path.suffix == PART_SUFFIX:
            rollup_of(path).unlink(missing_ok=True)
    end(layout, commit)


def keep_digests(segment: Path) -> None:
    """Remember the requests of a segment that is about to go."""
    ids = segment.with_suffix(IDS_SUFFIX)
    with mapped(segment) as data:
        write_entries(ids, entries_of((record.digest, record.received_ns) for record in scan(data).records))


def end(layout: Layout, commit: Commit) -> None:
    """The marker goes last: what it names is in place, and what was replaced is gone for good."""
    for folder in {(layout.folder / name).parent for name in commit.removed}:
        if folder.exists():
            sync_folder(folder)
    marker(layout, commit).unlink(missing_ok=True)
