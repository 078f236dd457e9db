"""One process owns a store's folder. The lock is the kernel's, so a dead owner never blocks the next one."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import msgspec

from aetia.model.errors import StoreError, StoreLocked


class Owner(msgspec.Struct, frozen=True):
    """Who holds the folder: process, start (seconds since the epoch) and the address it answers at, if any."""

    pid: int
    started: float
    url: str = ""


class FolderLock:
    """An exclusive `flock` on `DIR/lock`, whose content names the owner."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @classmethod
    def acquire(cls, folder: Path, url: str = "") -> FolderLock:
        """Raises StoreLocked, naming the owner, when another process holds the folder."""
        path = folder / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _flock(descriptor, exclusive=True):
            owner = owner_of(folder)
            os.close(descriptor)
            raise StoreLocked(locked_message(folder, owner))
        lock = cls(descriptor, path)
        lock.announce(url)
        return lock

    def announce(self, url: str) -> None:
        """Tell others the address at which this process answers."""
        content = msgspec.json.encode(Owner(pid=os.getpid(), started=time.time(), url=url))
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)
        except OSError as error:  # the lock itself holds; a full disk only keeps others from reading our name
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def owner_of(folder: Path) -> Owner | None:
    """What the lock file says, or None when it says nothing readable."""
    try:
        return msgspec.json.decode((folder / "lock").read_bytes(), type=Owner)
    except (OSError, msgspec.MsgspecError):
        return None


def living_owner(folder: Path) -> Owner | None:
    """The owner when a process holds the folder now; takes nothing itself."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        if _flock(descriptor, exclusive=False):
            return None
        return owner_of(folder) or Owner(pid=0, started=0.0)
    finally:
        os.close(descriptor)


def locked_message(folder: Path, owner: Owner | None) -> str:
    who = f"process {owner.pid}" if owner is not None and owner.pid else "another process"
    where = f" at {owner.url}" if owner is not None and owner.url else ""
    mend = "ask it there" if where else "ask that process"
    return f"{folder} belongs to {who}{where}, which is running; {mend}, stop it, or choose another folder."


def _flock(descriptor: int, *, exclusive: bool) -> bool:
    """Whether the lock was free; it lasts until the descriptor is closed."""
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise StoreError("The embedded store needs a POSIX system; use --store clickhouse://… here.") from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
