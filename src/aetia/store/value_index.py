"""Which row groups of a part file may hold an attribute with a value: a Bloom filter per row group, in the file itself.

The filters lie between the last row group and the footer, where Parquet leaves room for what a reader does not know,
and the footer names the place (`KEY`). So they come and go with their part, and a file without them is read as it is.
They never say no of what is there; of what is not there they say yes in 2 % of the cases.

Each row group puts in a hash of every attribute's key with its value, and of every key alone. A filter takes 8 bits for
each, and never more than a twentieth of its row group: where values are so many and so short that this is not enough,
it says yes more often. Source: Bloom 1970, Kirsch and Mitzenmacher 2006 (two hashes for all bits).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

pq: Any = pyarrow.parquet
Hashes = NDArray[np.uint64]

KEY = b"aetia.values"
"""Of the footer's metadata: version, offset, length and CRC-32 of the filters, as decimal numbers with spaces."""
VERSION = 1
_BITS = 8
_PROBES = 5
_LARGEST_SHARE = 20
_DIRECTORY = np.dtype([("first", "<i8"), ("last", "<i8"), ("offset", "<u8"), ("bits", "<u8")])
"""Of a row group: its times (both included), and where its filter begins in the block."""
_REMEMBERED = 4096

# ---- hashing ------------------------------------------------------------------------------------------------

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_OTHER = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_EDGE = 32
"""Of a long text so many bytes count at the beginning and at the end, and its length."""


def text_hashes(texts: Any) -> Hashes:
    """64-bit hashes of a string array, shape (n,); a null counts as the empty text."""
    _, places, content = texts.buffers()
    offsets = np.frombuffer(places, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.zeros(last - first + 8, np.uint8)
    if last > first:
        data[:-8] = np.frombuffer(content, np.uint8)[first:last]
    words: Any = np.ndarray((last - first + 1,), "<u8", buffer=data, strides=(1,))
    starts, lengths = offsets[:-1] - first, np.diff(offsets)
    out = lengths.astype(np.uint64) * _PRIME
    mask = _MASKS[np.minimum(lengths, 8)]
    _mix(out, words[starts] & mask)
    _mix(out, words[starts + np.maximum(lengths - 8, 0)] & mask)
    for near in range(8, _EDGE, 8):
        long = np.flatnonzero(lengths > 2 * near)
        if not len(long):
            break
        begins, mixed = starts[long] + near, out[long]
        _mix(mixed, words[begins])
        _mix(mixed, words[begins + lengths[long] - 2 * near - 8])
        out[long] = mixed
    return out


def _mix(state: Hashes, word: Hashes) -> None:
    state ^= word
    state *= _PRIME
    state ^= state >> _HALF


def pair_hashes(keys: Hashes, values: Hashes) -> Hashes:
    """Of keys with their values, from the hashes of both, shape (n,)."""
    mixed = keys * _OTHER
    _mix(mixed, values)
    mixed *= _OTHER
    mixed ^= mixed >> _HALF
    return mixed


def sought(pairs: Sequence[tuple[str, str | None]]) -> Hashes:
    """What a row group must hold for rows that have these keys with these values (None: with any), shape (n,)."""
    if not pairs:
        return np.zeros(0, np.uint64)
    keys = text_hashes(pa.array([key for key, _ in pairs], pa.string()))
    values = text_hashes(pa.array([value or "" for _, value in pairs], pa.string()))
    alone = np.array([value is None for _, value in pairs], np.bool_)
    return np.where(alone, keys, pair_hashes(keys, values))


def held(attributes: Any) -> Hashes:
    """What a map array holds: hashes of its keys, and of its keys with their values; repeated ones mostly once."""
    offsets = attributes.offsets
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    if last == first:
        return np.zeros(0, np.uint64)
    coded = attributes.keys.slice(first, last - first).dictionary_encode()
    keys = text_hashes(coded.dictionary)
    values = text_hashes(attributes.items.slice(first, last - first))
    return np.concatenate((keys, _once(pair_hashes(keys[coded.indices.to_numpy()], values))))


def _once(hashes: Hashes) -> Hashes:
    """Without repetitions, but for those that meet another hash on the way; a tenth of what sorting costs."""
    size = 1 << max(len(hashes) * 2 - 1, 1).bit_length()
    slot = (hashes >> np.uint64(20)).astype(np.int64) & (size - 1)
    numbers = np.arange(len(hashes))
    owner = np.empty(size, np.int32)
    owner[slot] = numbers
    owners = owner[slot]
    return hashes[(owners == numbers) | (hashes[owners] != hashes)]


# ---- filters ------------------------------------------------------------------------------------------------

_LOW = np.uint64(0xFFFFFFFF)


def _places(hashes: Hashes, bits: Any) -> Iterator[Hashes]:
    """The bits of each hash, one probe after the other; `bits` is the size of the filter, or of that of each."""
    place, step = hashes & _LOW, (hashes >> _HALF) | np.uint64(1)
    size = np.asarray(bits, np.uint64)
    for _ in range(_PROBES):
        yield ((place & _LOW) * size) >> _HALF
        place = place + step


def bloom(hashes: Hashes, most_bytes: int) -> NDArray[np.uint8]:
    """A filter that holds these hashes, shape (bytes,)."""
    size = max(min(len(hashes) * _BITS // 8, most_bytes), 8)
    bits = np.zeros(size * 8, np.bool_)
    for places in _places(hashes, size * 8):
        bits[places] = True
    return np.packbits(bits, bitorder="little")


class Builder:
    """Collects the filters of a file while it is written."""

    def __init__(self) -> None:
        self._directory: list[tuple[int, int, int, int]] = []
        self._filters: list[NDArray[np.uint8]] = []
        self._bytes = 0

    def add(self, rows: pa.Table, group_bytes: int) -> None:
        """The next row group: its rows, in the order of their times, and what it takes in the file."""
        times = rows["time"].cast(pa.int64())
        found = [held(chunk) for chunk in rows["attributes"].chunks]
        made = bloom(np.concatenate(found), group_bytes // _LARGEST_SHARE)
        self._directory.append((times[0].as_py(), times[-1].as_py(), self._bytes, len(made) * 8))
        self._filters.append(made)
        self._bytes += len(made)

    def block(self, offset: int) -> tuple[bytes, dict[bytes, bytes]]:
        """What to write at that place of the file, and the metadata that says so."""
        directory = np.array(self._directory, _DIRECTORY)
        filters = [one.tobytes() for one in self._filters]
        block = b"".join((len(directory).to_bytes(8, "little"), directory.tobytes(), *filters))
        return block, {KEY: b"%d %d %d %d" % (VERSION, offset, len(block), zlib.crc32(block))}


# ---- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Index:
    """The filters of a part, and the times of its row groups, shape (groups,), both included."""

    path: str
    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    offset: NDArray[np.uint64]
    bits: NDArray[np.uint64]

    def may_hold(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which row groups may hold all of these, shape (groups,). Raises OSError."""
        out = np.ones(len(self.bits), np.bool_)
        if not len(hashes):
            return out
        filters = np.memmap(self.path, np.uint8, "r")
        for one in hashes:
            for places in _places(np.repeat(one, len(self.bits)), self.bits):
                byte = filters[self.offset + (places >> np.uint64(3))]
                out &= (byte >> (places & np.uint64(7)).astype(np.uint8)) & 1 == 1
        return out


def index_of(path: Path) -> Index | None:
    """The index of a part file, None where it has none that can be used."""
    try:
        return _index(str(path))
    except (OSError, ValueError, pa.ArrowException):
        return None


@lru_cache(_REMEMBERED)
def _index(path: str) -> Index | None:
    """Part files never change, so what was found once stays right. Raises what reading raises."""
    stated = (pq.read_metadata(path).metadata or {}).get(KEY)
    if stated is None:
        return None
    version, offset, length, checksum = map(int, stated.split())
    with Path(path).open("rb") as file:
        file.seek(offset)
        block = file.read(length)
    if version != VERSION or len(block) != length or zlib.crc32(block) != checksum:
        return None
    groups = int.from_bytes(block[:8], "little")
    directory = np.frombuffer(block, _DIRECTORY, groups, 8)
    return Index(
        path, directory["first"].copy(), directory["last"].copy(),
        directory["offset"] + np.uint64(offset + 8 + directory.nbytes), directory["bits"].copy(),
    )  # fmt: skip
