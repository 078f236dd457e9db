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
}


def write_atomic(path: str | Path, text: str) -> Path:
    """Write UTF-8 text to a file, or leave what was there as it was.

    Raises ReportError (place and mend) when the folder is missing, may not be written to or is full.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".part", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", errors="replace"))
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        mend = _MENDS.get(error.errno or 0, "choose another place")
        raise ReportError(f"{target} cannot be written: {error.strerror or error}; {mend}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target


def _umask() -> int:
    """The process's file mode mask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
