"""Segment files of the journal: appended to by one thread, read by many, gone when nobody needs them."""

from __future__ import annotations

import mmap
import os
import time
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aetia.model.stored import Signal
from aetia.store.journal import HEADER_BYTES, Buffer, Kind, header, pack

SUFFIX = ".seg"
_sync = getattr(os, "fdatasync", os.fsync)


class SegmentFile:
    """One open segment. `length` is how much of the file is good: what lies beyond was never acknowledged.

    The file may be unlinked while readers still hold this object; the kernel keeps its content until then.
    """

    def __init__(self, path: Path, number: int, descriptor: int, length: int) -> None:
        self.path = path
        self.number = number
        self.length = length
        self.opened = time.monotonic()
        self._descriptor = descriptor
        self.close = weakref.finalize(self, os.close, descriptor)

    @classmethod
    def create(cls, folder: Path, number: int) -> SegmentFile:
        """A new segment with its header durable. Raises OSError and leaves nothing behind."""
        path = path_of(folder, number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        file = cls(path, number, descriptor, 0)
        try:
            _write_all(descriptor, header(time.time_ns()), 0)
            os.fsync(descriptor)
            sync_folder(folder)
        except OSError:
            file.close()
            path.unlink(missing_ok=True)
            raise
        file.length = HEADER_BYTES
        return file

    @classmethod
    def existing(cls, path: Path) -> SegmentFile:
        """A closed segment, for reading."""
        descriptor = os.open(path, os.O_RDONLY)
        return cls(path, number_of(path), descriptor, os.fstat(descriptor).st_size)

    def append(self, items: Sequence[tuple[Signal, Kind, int, bytes, Buffer]]) -> list[int]:
        """Write records (signal, kind, received_ns, digest, body) and make them durable; returns their offsets.

        Raises OSError when the disk refuses; then the file ends where it ended before, as far as the disk allows.
        """
        block, starts = pack(items)
        start = self.length
        try:
            _write_all(self._descriptor, block, start)
            _sync(self._descriptor)
        except OSError:
            self._cut()
            raise
        self.length = start + len(block)
        return [start + position for position in starts]

    def _cut(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.length)
        except OSError:
            return  # `length` stays the truth for this process, and digests for the next one

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file. Raises OSError when it has fewer."""
        pieces: list[bytes] = []
        while length > 0:
            piece = os.pread(self._descriptor, length, offset)
            if not piece:
                raise OSError(f"{self.path} is shorter than it was")
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.opened


def path_of(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}{SUFFIX}"


def number_of(path: Path) -> int:
    """The number in a segment's name. Raises ValueError for other names."""
    return int(path.stem)


def segment_paths(folder: Path) -> list[Path]:
    """Segments in the order of their numbers; other files are not ours."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


@contextmanager
def mapped(path: Path) -> Generator[memoryview]:
    """The bytes of a file without reading them into memory at once."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as area, memoryview(area) as view:
            yield view


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """A small file that is either complete or absent, also after a power failure."""
    scratch = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _write_all(descriptor, content, 0)
        os.fsync(descriptor)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    scratch.replace(path)
    sync_folder(path.parent)


def _write_all(descriptor: int, block: bytes, offset: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset += written
        view = view[written:]
