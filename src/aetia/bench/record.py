"""The run record: one JSON line per finished case and localizer, so that a broken run resumes."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from aetia.bench.result import Row
from aetia.model.case import Case
from aetia.model.errors import BenchError

_ROWS: msgspec.json.Decoder[Row] = msgspec.json.Decoder(Row)


class Record:
    """Rows on disk beside the JSON that is being made; without a path nothing is kept.

    A line that was torn off by a crash is removed on opening. Raises BenchError when any other line is not a
    row.
    """

    def __init__(self, path: Path | None, *, resume: bool = True) -> None:
        self.path = path
        self.rows: dict[tuple[str, ...], Row] = {}
        self._file: BinaryIO | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            good = self._read(path) if resume and path.exists() else 0
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(good)
            self._file.seek(good)
        except OSError as error:
            raise BenchError(
                f"{path}: the run record cannot be written ({error.strerror}); choose another --json path."
            ) from error

    def _read(self, path: Path) -> int:
        """Fill `rows`; the number of bytes up to the end of the last whole line."""
        data = path.read_bytes()
        good = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:good].splitlines(), 1):
            try:
                row = _ROWS.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BenchError(
                    f"{path}, line {number}: is not a bench row ({error}); delete the file to start afresh."
                ) from error
            self.rows[row.key] = row
        return good

    def add(self, row: Row) -> None:
        """Keep a row; it is on disk when this returns."""
        self.rows[row.key] = row
        if self._file is not None:
            self._file.write(msgspec.json.encode(row) + b"\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def record_path(json_path: Path | None) -> Path | None:
    return json_path.with_name(f"{json_path.stem}.rows.jsonl") if json_path is not None else None


def fingerprint(*, code: str, case: Case, settings: tuple[object, ...]) -> str:
    """What a finished row depends on besides its key: the code, the case's own record and the settings."""
    parts = [code, msgspec.json.encode(case).decode(), repr(settings)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@functools.cache
def package_hash() -> str:
    """Hash of the package's source and of the Python and numpy it runs on."""
    import numpy as np

    digest = hashlib.sha256(f"{sys.version_info[:3]} {np.__version__}".encode())
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def code_hash(*modules: str) -> str:
    """Hash of the package and of the modules of the algorithms, which may lie outside of it."""
    digest = hashlib.sha256(package_hash().encode())
    for module in modules:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()[:16]
