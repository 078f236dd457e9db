"""Reports reach the disk whole or not at all: a temporary file beside the target, then a rename."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from aetia.model.errors import ReportError

_MENDS = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOENT: "create the folder first",
    errno.EISDIR: "give the name of a file",
    errno.ENOTDIR: "choose a path whose parent is a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link there leads to itself; choose another place",
}


def write_atomic(path: str | Path, text: str) -> Path:
    """Write UTF-8 text to a file, or leave what was there as it was.

    A link stays and what it points to is written; a device or a pipe is written to as it is. Raises
    ReportError (place and mend) when the folder is missing, may not be written to or is full.
    """
    target = Path(path)
    content = text.encode("utf-8", errors="replace")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if target.exists() and not target.is_file():
            target.write_bytes(content)
        else:
            _replace(target.resolve() if target.is_symlink() else target, content)
    except (OSError, RuntimeError) as error:
        # Before Python 3.13 a circle of links is a RuntimeError.
        number = (error.errno or 0) if isinstance(error, OSError) else errno.ELOOP
        why = (error.strerror if isinstance(error, OSError) else None) or os.strerror(number)
        mend = _MENDS.get(number, "choose another place")
        raise ReportError(f"{_short(target)} cannot be written: {why}; {mend}.") from error
    return target


def _replace(target: Path, content: bytes) -> None:
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".part", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _short(path: Path) -> str:
    words = str(path)
    return words if len(words) <= 200 else f"{words[:199]}…"


def _umask() -> int:
    """The process's file mode mask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
