"""The folder of a store: what lies where, and its version."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from aetia.model.errors import StoreCorrupt, StoreError
from aetia.model.stored import SCHEMA_VERSION, SIGNALS, Signal
from aetia.store.catalog import PART_SUFFIX, Part, part_of
from aetia.store.rollups import SUFFIX, is_rollup
from aetia.store.segments import write_durably

PARQUET_MAGIC = b"PAR1"
_LEAST_PARQUET_BYTES = 12
SCRATCH = "tmp"
SPILL = f"{SCRATCH}/questions"
"""What questions cannot keep in memory."""


class _Identity(msgspec.Struct, frozen=True):
    """`store.json`."""

    schema: int
    created: float = 0.0


MIGRATIONS: dict[int, Callable[[Path], None]] = {}
"""By version: what makes a folder of that version one of the next. Each must be able to run twice."""


class Layout:
    """Paths within a store's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.commits = folder / "commits"
        self.scratch = folder / SCRATCH
        self.damaged = folder / "damaged"
        self.identity = folder / "store.json"

    def signal(self, signal: Signal) -> Path:
        return self.folder / signal

    def create(self) -> None:
        """Make what is missing and bring an older folder to this version. Raises StoreError."""
        known = self.version()
        for path in (self.journal, self.commits, self.scratch, *(self.signal(name) for name in SIGNALS)):
            path.mkdir(parents=True, exist_ok=True)
        version = SCHEMA_VERSION if known is None else known
        while version < SCHEMA_VERSION:
            step = MIGRATIONS.get(version)
            if step is None:
                raise StoreError(f"{self.folder} was written by a version too old to be read; export it with that one.")
            step(self.folder)
            version += 1
            self._write_version(version)
        if known is None:
            self._write_version(version)

    def version(self) -> int | None:
        """The folder's version, None where there is no store yet. Raises StoreError for a later one."""
        try:
            identity = msgspec.json.decode(self.identity.read_bytes(), type=_Identity)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            mend = f'write {{"schema": {SCHEMA_VERSION}}} into it'
            raise StoreCorrupt(f"{self.identity} cannot be read ({error}); {mend}.") from error
        if identity.schema > SCHEMA_VERSION:
            raise StoreError(
                f"{self.folder} was written by a later version of Aetia (schema {identity.schema}, this one reads "
                f"{SCHEMA_VERSION}); update Aetia or choose another folder."
            )
        return identity.schema

    def _write_version(self, version: int) -> None:
        write_durably(self.identity, msgspec.json.encode(_Identity(version, time.time())))

    def part_files(self) -> Iterator[tuple[Signal, Path, int, Part | None]]:
        """Every file below the folders of the signals but rollups: signal, path, bytes, and the part where the name is
        ours."""
        for signal, path in self._files():
            if not is_rollup(path):
                size = path.stat().st_size
                part = part_of(signal, path, size)
                yield signal, path, size, part.with_rollup() if part is not None and signal == "spans" else part

    def stray_rollups(self) -> Iterator[Path]:
        """Rollups of another version, and of parts that are gone."""
        for _, path in self._files():
            if is_rollup(path) and not (path.suffix == SUFFIX and path.with_suffix(PART_SUFFIX).exists()):
                yield path

    def _files(self) -> Iterator[tuple[Signal, Path]]:
        for signal in SIGNALS:
            for folder, _, names in os.walk(self.signal(signal)):
                for name in sorted(names):
                    yield signal, Path(folder, name)


def has_footer(path: Path) -> bool:
    """Whether a file begins and ends as a Parquet file does: one that broke off does not."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < _LEAST_PARQUET_BYTES or file.read(4) != PARQUET_MAGIC:
            return False
        file.seek(-4, os.SEEK_END)
        return file.read(4) == PARQUET_MAGIC
