"""Shapes of log bodies: what is left of a line when digits and ids are blanked, found by byte arithmetic.

A regular expression over a million lines costs seconds. Here the bytes of the whole column are blanked in place,
128 KiB at a time (about 2 ns per byte), so that hashing finds the few distinct shapes; text processing then runs
on those alone. The shape of a line is a function of that line only, so row order never matters.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aetia.signals.frames import I32, I64

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

MAX_KEY_BYTES = 512
"""Longer bodies are told apart by their first 512 bytes only."""
MAX_SHAPES = 20_000
"""Above this many shapes, words that hold digits are blanked whole, then the tails of rare shapes are cut."""
SITE_DIGIT = 14
"""Digits of a printed call site are kept, moved to the control characters 14..23 that text does not use."""
_MIN_RUN = 8
_MAX_LINES_PER_NAME = 256
_MAX_SITE_DIGITS = 6
_SLICE_BYTES = 1 << 17
_ZERO = 48

_FLATTEN = bytes.maketrans(b"123456789", b"000000000")
_IS_HEX = bytes(int(chr(b) in "0123456789abcdefABCDEF-") for b in range(256))
_IS_WORD = np.array([chr(b).isalnum() or b == 95 for b in range(128)] + [False] * 128)
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


def shapes(bodies: pa.ChunkedArray | pa.Array) -> tuple[I32, list[str]]:
    """Shape code per body, shape (n,), and the distinct shapes, in no particular order; null is the empty shape.

    In a shape every digit and every run of eight or more hex digits or dashes is `0`, but the digits of a call
    site (`Name#12`, `file.py:12`) are characters 14..23. A name followed by more than 256 different numbers is
    no call site but an id.
    """
    chunks = bodies.chunks if isinstance(bodies, pa.ChunkedArray) else [bodies]
    if not chunks:
        return np.zeros(0, np.int32), []
    encoded = [_encode(chunk) for chunk in chunks]
    code_of: dict[bytes, int] = {}
    codes: list[I32] = []
    for local, texts in encoded:
        remap = np.array([code_of.setdefault(text, len(code_of)) for text in texts], np.int32)
        codes.append(remap[local] if len(local) else local)
    joined = np.concatenate(codes)
    merge, texts = _reduce(list(code_of), joined)
    return merge[joined] if len(joined) else joined, texts


def _encode(chunk: pa.Array) -> tuple[I32, list[bytes]]:
    """Codes and distinct byte shapes of one chunk of the column."""
    if pa.types.is_dictionary(chunk.type):
        inner, texts = _encode(chunk.dictionary)
        index = pc.fill_null(chunk.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        lookup = np.append(inner, np.int32(len(texts)))
        return lookup[index], [*texts, b""]
    column = _bounded(chunk)
    offsets = np.frombuffer(column.buffers()[1], np.int32)[
        column.offset : column.offset + len(column) + 1
    ].astype(np.int64)
    data = column.buffers()[2]
    if len(column) == 0 or data is None or offsets[0] == offsets[-1]:
        return np.zeros(len(chunk), np.int32), [b""]
    raw = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    offsets -= offsets[0]
    blanked = blank(raw, offsets)
    keys = pa.Array.from_buffers(
        pa.binary(), len(column), [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(blanked)]
    )  # fmt: skip
    encoded = pc.dictionary_encode(keys)
    return encoded.indices.to_numpy().astype(np.int32), encoded.dictionary.to_pylist()


def _bounded(chunk: pa.Array) -> pa.Array:
    """The chunk as binary, without nulls, cut where bodies are longer than the key may be."""
    if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
        chunk = chunk.cast(pa.string())
    if chunk.null_count:
        chunk = pc.fill_null(chunk, "")
    binary = chunk.cast(pa.large_binary() if pa.types.is_large_string(chunk.type) else pa.binary())
    longest = pc.max(pc.binary_length(binary)).as_py()
    if longest is not None and longest > MAX_KEY_BYTES:
        binary = pc.binary_slice(binary, 0, MAX_KEY_BYTES)
    return binary.cast(pa.binary())


def blank(raw: U8, offsets: I64) -> U8:
    """Copy of `raw` (row r is bytes offsets[r]:offsets[r + 1]) with digits and id-like runs blanked."""
    out = np.empty_like(raw)
    ids: set[int] = set()
    for first, last in _slices(offsets):
        begin, end = offsets[first], offsets[last]
        part = raw[begin:end]
        flat = np.frombuffer(part.tobytes().translate(_FLATTEN), np.uint8)
        run = _long_runs(part, offsets[first:last] - begin)
        out[begin:end] = flat if run is None else np.where(run, np.uint8(_ZERO), flat)
    sites, names = _call_sites(raw, offsets)
    if len(sites):
        ids = _names_with_many_numbers(raw, sites, names)
        if ids:
            sites = sites[~np.isin(names, np.fromiter(ids, np.uint64))]
        _keep_site_digits(raw, out, sites, offsets)
    return out


def _slices(offsets: I64) -> list[tuple[int, int]]:
    """Row ranges of about _SLICE_BYTES each; small enough to stay in the processor's cache."""
    marks = np.arange(offsets[0], offsets[-1], _SLICE_BYTES)
    rows = np.unique(np.searchsorted(offsets, marks, side="right") - 1)
    edges = [*rows.tolist(), len(offsets) - 1]
    return [(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]


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


def _names_with_many_numbers(raw: U8, sites: I64, names: U64) -> set[int]:
    """Names before more than _MAX_LINES_PER_NAME different numbers, as keys."""
    number = np.zeros(len(sites), np.uint64)
    open_ = np.ones(len(sites), np.bool_)
    for ahead in range(1, _MAX_SITE_DIGITS + 1):
        byte = raw[np.minimum(sites + ahead, len(raw) - 1)]
        open_ &= _is_digit(byte) & (sites + ahead < len(raw))
        number = np.where(open_, number * np.uint64(10) + byte - np.uint64(_ZERO), number)
    mixed = names * np.uint64(0x9E3779B97F4A7C15) + number
    _, first = np.unique(mixed, return_index=True)
    name, count = np.unique(names[first], return_counts=True)
    return {int(key) for key in name[count > _MAX_LINES_PER_NAME]}


def _keep_site_digits(raw: U8, out: U8, sites: I64, offsets: I64) -> None:
    end = offsets[np.searchsorted(offsets, sites, side="right")]
    for ahead in range(1, _MAX_SITE_DIGITS + 1):
        at = sites + ahead
        inside = at < end
        sites, end, at = sites[inside], end[inside], at[inside]
        digit = _is_digit(raw[at])
        sites, end, at = sites[digit], end[digit], at[digit]
        out[at] = raw[at] - np.uint8(_ZERO - SITE_DIGIT)


def _reduce(texts: list[bytes], codes: I32) -> tuple[I32, list[str]]:
    """Merges shapes that differ only in the lengths of numbers; bounds their number. (map (m,), shapes)."""
    plain = [text.decode("utf-8", "replace") for text in texts]
    if len(plain) < 256:
        return _unify(plain)
    merge, plain = _unify(pc.replace_substring_regex(pa.array(plain, pa.string()), "0+", "0").to_pylist())
    if len(plain) <= MAX_SHAPES:
        return merge, plain
    words = pc.replace_substring_regex(
        pa.array(plain, pa.string()), "[A-Za-z_]*0[A-Za-z0_]*", "0"
    ).to_pylist()
    step, plain = _unify(words)
    merge = step[merge]
    for width in (128, 64, 32, 16):
        if len(plain) <= MAX_SHAPES:
            break
        count = np.bincount(merge[codes], minlength=len(plain))
        often = sorted(range(len(plain)), key=lambda k: (-count[k], plain[k]))[: MAX_SHAPES // 2]
        kept = set(often)
        step, plain = _unify([text if k in kept else text[:width] for k, text in enumerate(plain)])
        merge = step[merge]
    return merge, plain


def _unify(texts: list[str]) -> tuple[I32, list[str]]:
    code_of: dict[str, int] = {}
    return np.array([code_of.setdefault(text, len(code_of)) for text in texts], np.int32), list(code_of)
