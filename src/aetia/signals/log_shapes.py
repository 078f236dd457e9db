"""Shapes of log bodies: what is left of a line when digits and ids are blanked, found by byte arithmetic.

A regular expression over a million lines costs seconds. Here the bytes of the whole column are blanked in place,
128 KiB at a time (about 2 ns per byte), so that hashing finds the few distinct shapes; text processing then runs
on those alone. The shape of a line is a function of that line only, so row order never matters.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
from numpy.typing import NDArray

from aetia.signals.frames import I32, I64, Bool
from aetia.signals.ids import U64, mix

U8 = NDArray[np.uint8]
Column: TypeAlias = "pa.ChunkedArray[Any] | pa.Array[Any]"
BinaryColumn: TypeAlias = "pa.Array[Any]"
pc: Any = _compute  # the stubs know kernels only in part

MESSAGE = r'"(?:msg|message|log|event|body|text|short_message)"\s*:\s*"(?P<message>(?:[^"\\]|\\.)*)'
"""The message in a JSON object, for RE2 and `re` alike."""
MAX_KEY_BYTES = 512
"""Longer bodies are told apart by their first 512 bytes only."""
SITE_DIGIT = 14
"""Digits of a printed call site are kept, moved to the control characters 14..23 that text does not use."""
_MIN_RUN = 8
_MAX_LINES_PER_NAME = 256
_MAX_SITE_DIGITS = 6
_MAX_NAMES = 4096
_MAX_NAME_BYTES = 48
_FEW, _MANY = 256, 200_000
_SLICE_BYTES = 1 << 17
_ZERO = 48

_FLATTEN = bytes.maketrans(b"123456789", b"000000000")
_IS_HEX = bytes(int(chr(b) in "0123456789abcdefABCDEF-") for b in range(256))
_IS_WORD = np.array([chr(b).isalnum() or b == 95 for b in range(128)] + [False] * 128)
_IS_NAME = _IS_WORD | np.array([chr(b) in ".$" for b in range(256)])
_SOURCE_SUFFIXES = (
    ".py",
    ".java",
    ".go",
    ".js",
    ".ts",
    ".cs",
    ".rb",
    ".rs",
    ".cc",
    ".cpp",
    ".kt",
    ".php",
    ".scala",
    ".swift",
    ".ex",
)


def shapes(bodies: Column) -> tuple[I32, BinaryColumn]:
    """Shape code per body, shape (n,), and the distinct shapes (UTF-8), in no particular order; null is empty.

    In a shape every digit and every run of eight or more hex digits or dashes is `0`, but the digits of a call
    site (`Name#12`, `file.py:12`) are characters 14..23. A name that comes with more than 256 different numbers
    is no call site but an id. Numbers of different lengths have one shape unless there are very many shapes.
    """
    chunks: list[Any] = bodies.chunks if isinstance(bodies, pa.ChunkedArray) else [bodies]
    encoded = [_encode(chunk) for chunk in chunks if len(chunk)]
    if not encoded:
        return np.zeros(0, np.int32), pa.array([], pa.binary())
    if len(encoded) == 1:
        codes, distinct = encoded[0]
    else:
        codes, distinct = _unite(encoded)
    if _FEW < len(distinct) <= _MANY:
        return _merged(codes, pc.replace_substring_regex(distinct, "0+", "0"))
    return codes, distinct


def messages(codes: I32, distinct: BinaryColumn) -> tuple[I32, BinaryColumn]:
    """Shapes with JSON objects reduced to their message, where they have one."""
    objects = pc.starts_with(distinct, "{")
    if not pc.any(objects).as_py():
        return codes, distinct
    found = pc.extract_regex(distinct, MESSAGE).field("message")
    return _merged(
        codes,
        pc.if_else(pc.and_(objects, pc.fill_null(pc.greater(pc.binary_length(found), 0), False)), found, distinct),
    )


def _unite(encoded: list[tuple[I32, BinaryColumn]]) -> tuple[I32, BinaryColumn]:
    """One vocabulary for the chunks of a column."""
    every = pa.concat_arrays([distinct for _, distinct in encoded])
    start = np.cumsum([0, *(len(distinct) for _, distinct in encoded)])
    return _merged(
        np.concatenate([codes + np.int32(first) for (codes, _), first in zip(encoded, start, strict=False)]), every
    )


def _merged(codes: I32, texts: BinaryColumn) -> tuple[I32, BinaryColumn]:
    """Codes and texts with equal texts made one."""
    again = pc.dictionary_encode(texts)
    return again.indices.to_numpy(zero_copy_only=False).astype(np.int32)[codes], again.dictionary


def _encode(chunk: Any) -> tuple[I32, BinaryColumn]:
    """Codes and distinct shapes of one chunk of the column."""
    if pa.types.is_dictionary(chunk.type):
        inner, texts = _encode(pa.concat_arrays([chunk.dictionary.cast(pa.string()), pa.array([""])]))
        index = pc.fill_null(chunk.indices.cast(pa.int64()), len(chunk.dictionary))
        return inner[index.to_numpy(zero_copy_only=False)], texts
    column = _bounded(chunk)
    buffers: list[Any] = column.buffers()
    offsets = np.frombuffer(buffers[1], np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    if buffers[2] is None or offsets[0] == offsets[-1]:
        return np.zeros(len(column), np.int32), pa.array([b""], pa.binary())
    raw = np.frombuffer(buffers[2], np.uint8)[offsets[0] : offsets[-1]]
    offsets -= offsets[0]
    blanked = blank(raw, offsets)
    starts = pa.py_buffer(offsets.astype(np.int32).tobytes())
    keys = pa.Array.from_buffers(pa.binary(), len(column), [None, starts, pa.py_buffer(blanked.tobytes())])
    encoded: Any = keys.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32), encoded.dictionary


def _bounded(chunk: Any) -> BinaryColumn:
    """The chunk as binary, without nulls, cut where bodies are longer than the key may be."""
    if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
        chunk = chunk.cast(pa.string())
    if chunk.null_count:
        chunk = pc.fill_null(chunk, "")
    binary: Any = chunk.cast(pa.large_binary() if pa.types.is_large_string(chunk.type) else pa.binary())
    if (pc.max(pc.binary_length(binary)).as_py() or 0) > MAX_KEY_BYTES:
        binary = pc.binary_slice(binary, 0, MAX_KEY_BYTES)
    return binary.cast(pa.binary())


def blank(raw: U8, offsets: I64) -> U8:
    """Copy of `raw` (row r is bytes offsets[r]:offsets[r + 1]) with digits and id-like runs blanked."""
    out = np.empty_like(raw)
    for first, last in _slices(offsets):
        begin, end = offsets[first], offsets[last]
        part = raw[begin:end]
        flat = np.frombuffer(part.tobytes().translate(_FLATTEN), np.uint8)
        run = _long_runs(part, offsets[first:last] - begin)
        out[begin:end] = flat if run is None else np.where(run, np.uint8(_ZERO), flat)
    sites, names = _call_sites(raw, offsets)
    if len(sites):
        _keep_site_digits(raw, out, sites[~_ids_among(raw, sites, names)], offsets)
    return out


def _slices(offsets: I64) -> list[tuple[int, int]]:
    """Row ranges of about _SLICE_BYTES each; small enough to stay in the processor's cache."""
    marks = np.arange(offsets[0], offsets[-1], _SLICE_BYTES)
    rows = np.unique(np.searchsorted(offsets, marks, side="right") - 1)
    edges = [*rows.tolist(), len(offsets) - 1]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a]


def _long_runs(part: U8, starts: I64) -> NDArray[np.bool_] | None:
    """Mask of the bytes in runs of at least eight hex digits or dashes; None when there are none.

    One bit per byte, 64 at a time: `link` is set where a byte and its predecessor in the same row are both hex;
    shifting and anding finds seven links in a row, shifting and oring spreads them over the whole run.
    """
    size = len(part)
    hexes = np.frombuffer(part.tobytes().translate(_IS_HEX), np.uint8)
    bits = np.zeros((size + 127) // 64 * 8, np.uint8)
    packed = np.packbits(hexes, bitorder="little")
    bits[: len(packed)] = packed
    word = bits.view(np.uint64)
    link = word & _later(word, 1)
    inside = starts[starts < size]
    np.bitwise_and.at(link, inside >> 6, ~(np.uint64(1) << (inside & 63).astype(np.uint64)))
    link &= _later(link, 1)
    link &= _later(link, 2)
    link &= _later(link, 3)
    if not link.any():
        return None
    link |= _earlier(link, 1)
    link |= _earlier(link, 2)
    link |= _earlier(link, 4)
    return np.unpackbits(link.view(np.uint8), bitorder="little", count=size).view(np.bool_)


def _later(word: U64, by: int) -> U64:
    """All bits moved `by` positions up the stream."""
    moved = word << np.uint64(by)
    moved[1:] |= word[:-1] >> np.uint64(64 - by)
    return moved


def _earlier(word: U64, by: int) -> U64:
    moved = word >> np.uint64(by)
    moved[:-1] |= word[1:] << np.uint64(64 - by)
    return moved


def _call_sites(raw: U8, offsets: I64) -> tuple[I64, U64]:
    """Positions of `#` or `:` between a source name and a line number, and a key of the name before each."""
    found = [_hash_sites(raw), _file_sites(raw)]
    sites = np.sort(np.concatenate(found))
    if len(sites) == 0:
        return sites, np.zeros(0, np.uint64)
    # The name, the mark and the first digit have to lie in one row.
    row = np.searchsorted(offsets, sites, side="right")
    sites = sites[(sites - 2 >= offsets[row - 1]) & (sites + 1 < offsets[row])]
    row = np.searchsorted(offsets, sites, side="right")
    return sites, _before(raw, sites, 8, offsets[row - 1])


def _marks(raw: U8, mark: int) -> I64:
    """Positions of one byte that have a digit behind and a word character before them."""
    step = _SLICE_BYTES
    found = [np.flatnonzero(raw[i : i + step] == mark) + i for i in range(0, len(raw), step)]
    at = np.concatenate(found)
    at = at[(at >= 2) & (at + 1 < len(raw))]
    at = at[_is_digit(raw[at + 1])]
    return at[_IS_WORD[raw[at - 1]]]


def _hash_sites(raw: U8) -> I64:
    return _marks(raw, ord("#"))


def _file_sites(raw: U8) -> I64:
    at = _marks(raw, ord(":"))
    at = at[~_is_digit(raw[at - 1])]
    keep = np.zeros(len(at), np.bool_)
    for length in sorted({len(suffix) for suffix in _SOURCE_SUFFIXES}):
        known = [int.from_bytes(s.encode()[::-1], "little") for s in _SOURCE_SUFFIXES if len(s) == length]
        keep |= np.isin(_before(raw, at, length), np.array(known, np.uint64))
    return at[keep]


def _before(raw: U8, at: I64, length: int, start: I64 | None = None) -> U64:
    """The `length` bytes before each position as one number, nearest byte lowest; with the `start` of each
    row, only the word that ends there (0 beyond it)."""
    key = np.zeros(len(at), np.uint64)
    inside = np.ones(len(at), np.bool_)
    for back in range(1, length + 1):
        byte = raw[np.maximum(at - back, 0)]
        inside &= at >= back
        if start is not None:
            inside &= (at - back >= start) & _IS_WORD[byte]
        key |= np.where(inside, byte, np.uint8(0)).astype(np.uint64) << np.uint64(8 * (back - 1))
    return key


def _is_digit(values: U8) -> NDArray[np.bool_]:
    return (values >= _ZERO) & (values < _ZERO + 10)


def _ids_among(raw: U8, sites: I64, names: U64) -> Bool:
    """Mask of marks that are part of ids: too many numbers for one name, or far too many names."""
    number = np.zeros(len(sites), np.uint64)
    going = np.ones(len(sites), np.bool_)
    for ahead in range(1, _MAX_SITE_DIGITS + 1):
        byte = raw[np.minimum(sites + ahead, len(raw) - 1)]
        going &= _is_digit(byte) & (sites + ahead < len(raw))
        number = np.where(going, number * np.uint64(10) + byte - np.uint64(_ZERO), number)
    pairs = pa.array(mix(names) ^ mix(number)).dictionary_encode()
    first = np.zeros(len(pairs.dictionary), np.int64)
    first[pairs.indices.to_numpy()] = np.arange(len(sites))
    name, count = np.unique(names[first], return_counts=True)
    if len(name) > _MAX_NAMES:
        return np.ones(len(sites), np.bool_)
    return np.isin(names, name[count > _MAX_LINES_PER_NAME])


def _keep_site_digits(raw: U8, out: U8, sites: I64, offsets: I64) -> None:
    """Moves the digits of each site, in the line number and in the name before it, to SITE_DIGIT..SITE_DIGIT + 9."""
    row = np.searchsorted(offsets, sites, side="right")
    end, start = offsets[row], offsets[row - 1]
    at = sites + 1
    for _ in range(_MAX_SITE_DIGITS):
        inside = at < end
        at, end = at[inside], end[inside]
        digit = _is_digit(raw[at])
        at, end = at[digit], end[digit]
        out[at] = raw[at] - np.uint8(_ZERO - SITE_DIGIT)
        at = at + 1
    at = sites - 1
    for _ in range(_MAX_NAME_BYTES):
        inside = at >= start
        at, start = at[inside], start[inside]
        named = _IS_NAME[raw[at]]
        at, start = at[named], start[named]
        digit = at[_is_digit(raw[at])]
        out[digit] = raw[digit] - np.uint8(_ZERO - SITE_DIGIT)
        at = at - 1
