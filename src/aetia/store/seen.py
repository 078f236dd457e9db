"""Requests of the last hour by their digests, so that a client which sends one again stores nothing twice.

Digests of the open segment are in a set. Those of closed segments are sorted arrays, merged into ever fewer, 24 bytes
an entry, and lie in a small file each (`journal/NNNNNNNN.ids`) that outlives the segment.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aetia.model.errors import StoreCorrupt
from aetia.store.segments import write_durably

SUFFIX = ".ids"
_MAGIC = b"AETIAIDS\x01\0\0\0"
_ENTRY = np.dtype([("received_ns", "<i8"), ("high", ">u8"), ("low", ">u8")])
_MERGED_ENTRIES = 65_536
_MERGED_NS = 300 * 10**9
Entries = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class _Bucket:
    newest_ns: int
    oldest_ns: int
    high: NDArray[np.uint64]
    """Sorted."""
    low: NDArray[np.uint64]

    def holds(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.bool_]:
        place = np.searchsorted(self.high, high)
        place[place == len(self.high)] = 0
        return (self.high[place] == high) & (self.low[place] == low)


class Seen:
    """Which digests were stored lately. One thread at a time."""

    def __init__(self, keep_seconds: float, most: int) -> None:
        self._keep_ns = int(keep_seconds * 1e9)
        self._most = most
        self._open: dict[bytes, int] = {}
        self._buckets: list[_Bucket] = []

    def __len__(self) -> int:
        return len(self._open) + sum(len(bucket.high) for bucket in self._buckets)

    def add(self, digest: bytes, received_ns: int) -> None:
        self._open[digest] = received_ns

    def holds(self, digests: Sequence[bytes]) -> list[bool]:
        """Whether each digest (16 bytes) was seen."""
        known = [digest in self._open for digest in digests]
        if not self._buckets or all(known):
            return known
        pairs = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)
        high, low = pairs[:, 0], pairs[:, 1]
        old = np.zeros(len(digests), np.bool_)
        for bucket in self._buckets:
            old |= bucket.holds(high, low)
        return [before or bool(found) for before, found in zip(known, old, strict=True)]

    def close_segment(self) -> Entries:
        """The digests added since the last call, as entries for a file; they are remembered in their compact form."""
        entries = entries_of(self._open.items())
        self._open.clear()
        self.load(entries)
        return entries

    def load(self, entries: Entries) -> None:
        """Remember the entries of a closed segment."""
        if not len(entries):
            return
        times = entries["received_ns"]
        high = entries["high"].astype(np.uint64)
        order = np.argsort(high, kind="stable")
        bucket = _Bucket(int(times.max()), int(times.min()), high[order], entries["low"].astype(np.uint64)[order])
        while self._buckets and _small(self._buckets[-1], bucket):
            bucket = _merged(self._buckets.pop(), bucket)
        self._buckets.append(bucket)

    def forget(self, now_ns: int) -> None:
        """Drop what is older than the time of keeping, and the oldest beyond the number of entries."""
        self._buckets = [bucket for bucket in self._buckets if bucket.newest_ns >= now_ns - self._keep_ns]
        while self._buckets and len(self) > self._most:
            self._buckets.pop(0)


def _small(left: _Bucket, right: _Bucket) -> bool:
    span = max(left.newest_ns, right.newest_ns) - min(left.oldest_ns, right.oldest_ns)
    return len(left.high) + len(right.high) <= _MERGED_ENTRIES and span <= _MERGED_NS


def _merged(left: _Bucket, right: _Bucket) -> _Bucket:
    high = np.concatenate((left.high, right.high))
    order = np.argsort(high, kind="stable")
    low = np.concatenate((left.low, right.low))
    newest, oldest = max(left.newest_ns, right.newest_ns), min(left.oldest_ns, right.oldest_ns)
    return _Bucket(newest, oldest, high[order], low[order])


def entries_of(items: Iterable[tuple[bytes, int]]) -> Entries:
    """(digest, received_ns) pairs as entries."""
    listed = list(items)
    out = np.zeros(len(listed), _ENTRY)
    if listed:
        out["received_ns"] = [received for _, received in listed]
        pairs = np.frombuffer(b"".join(digest for digest, _ in listed), ">u8").reshape(-1, 2)
        out["high"], out["low"] = pairs[:, 0], pairs[:, 1]
    return out


def write_entries(path: Path, entries: Entries) -> None:
    """Raises OSError."""
    content = entries.tobytes()
    write_durably(path, _MAGIC + zlib.crc32(content).to_bytes(4, "little") + content)


def read_entries(path: Path) -> Entries:
    """Raises StoreCorrupt for a file that is not what its name says, OSError when it cannot be read."""
    raw = path.read_bytes()
    start = len(_MAGIC) + 4
    content = raw[start:]
    crc = int.from_bytes(raw[len(_MAGIC) : start], "little")
    if not raw.startswith(_MAGIC) or zlib.crc32(content) != crc or len(content) % _ENTRY.itemsize:
        raise StoreCorrupt(f"{path} is damaged; delete it, retries of its time may then be stored twice.")
    return np.frombuffer(content, _ENTRY)
