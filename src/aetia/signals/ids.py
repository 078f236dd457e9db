"""Trace and span ids as 64-bit hashes, straight from Arrow's buffers.

Two different ids share a hash with probability 2^-64; a join on (trace, span) pairs over a million spans
meets one with probability 3e-8, and a parent found in another trace is never taken.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aetia.signals.frames import I64, Bool

U64 = NDArray[np.uint64]

_MULTIPLY_1, _MULTIPLY_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SEED = np.uint64(0x9E3779B97F4A7C15)
_LONGEST = 128
_BLOCK = 1 << 16
_CACHED = 1 << 14
"""Rows that are hashed at a time, so that what lies between the steps stays in the processor's cache."""


def mix(value: U64) -> U64:
    """A bijective 64-bit mixer (the finaliser of SplitMix64, Steele et al., OOPSLA 2014); shape is kept."""
    value = value + _SEED
    value ^= value >> np.uint64(30)
    value *= _MULTIPLY_1
    value ^= value >> np.uint64(27)
    value *= _MULTIPLY_2
    value ^= value >> np.uint64(31)
    return value


def hash_ids(column: pa.ChunkedArray[Any]) -> tuple[U64, Bool]:
    """Hashes (n,) of a text column and which rows hold a non-empty text; 0 where there is none."""
    hashes = np.zeros(len(column), np.uint64)
    valid = np.zeros(len(column), np.bool_)
    at = 0
    for chunk in column.chunks:
        end = at + len(chunk)
        if len(chunk):
            hashes[at:end], valid[at:end] = _hash_chunk(chunk)
        at = end
    return hashes, valid


def no_parent(hashes: U64) -> Bool:
    """Which hashes are those of ids that mean "no parent": zeros, `root`, `null`, `none`."""
    absent = pa.array(["0", "0" * 16, "0" * 32, "root", "null", "None", "none", "nan", "NaN"])
    known, _ = _hash_chunk(absent)
    found = hashes == known[0]
    for value in known[1:]:
        found |= hashes == value
    return found


def _hash_chunk(chunk: Any) -> tuple[U64, Bool]:
    if pa.types.is_null(chunk.type):
        return np.zeros(len(chunk), np.uint64), np.zeros(len(chunk), np.bool_)
    if pa.types.is_dictionary(chunk.type):
        return _hash_dictionary(chunk)
    if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
        chunk = chunk.cast(pa.large_string())
    width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    buffers = chunk.buffers()
    offsets = np.frombuffer(buffers[1], width)[chunk.offset : chunk.offset + len(chunk) + 1].astype(np.int64)
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.zeros(0, np.uint8)
    lengths = np.diff(offsets)
    if chunk.null_count:
        lengths[chunk.is_null().to_numpy(zero_copy_only=False)] = 0
    valid = lengths > 0
    longest = int(lengths.max())
    if longest == 0:
        return np.zeros(len(chunk), np.uint64), valid
    dense = longest % 8 == 0 and longest <= _LONGEST and int(offsets[-1] - offsets[0]) == longest * int(valid.sum())
    if dense and bool(np.all(lengths[valid] == longest)):
        words = data[offsets[0] : offsets[-1]].view(np.uint64).reshape(-1, longest // 8)
        hashes = _fold(words)
        if len(hashes) < len(chunk):
            spread = np.zeros(len(chunk), np.uint64)
            spread[valid] = hashes
            hashes = spread
        return hashes, valid
    return _hash_uneven(data, offsets[:-1], lengths), valid


def _fold(words: U64) -> U64:
    """Hash of rows of words, shape (n, w); words of zero (padding) are left out."""
    state = np.zeros(len(words), np.uint64)
    for low in range(0, len(words), _CACHED):
        part = state[low : low + _CACHED]
        for column in range(words.shape[1]):
            part[:] = mix(part ^ words[low : low + _CACHED, column])
    return state


def _hash_dictionary(chunk: Any) -> tuple[U64, Bool]:
    if len(chunk.dictionary) == 0:
        return np.zeros(len(chunk), np.uint64), np.zeros(len(chunk), np.bool_)
    hashes, valid = _hash_chunk(chunk.dictionary)
    missing = chunk.indices.is_null().to_numpy(zero_copy_only=False)
    indices = np.where(missing, 0, chunk.indices.fill_null(0).to_numpy(zero_copy_only=False))
    present = valid[indices] & ~missing
    return np.where(present, hashes[indices], np.uint64(0)), present


def _hash_uneven(data: NDArray[np.uint8], starts: I64, lengths: I64) -> U64:
    """Hashes of texts of different lengths, the same as those of the even form; blocks bound the memory."""
    hashes = np.zeros(len(starts), np.uint64)
    for low in range(0, len(starts), _BLOCK):
        block = slice(low, low + _BLOCK)
        length = np.minimum(lengths[block], _LONGEST)
        width = max(-(-int(length.max()) // 8) * 8, 8)
        place = np.arange(width)
        inside = place < length[:, None]
        padded = np.zeros((len(length), width), np.uint8)
        padded[inside] = data[(starts[block, None] + place)[inside]]
        words = padded.view(np.uint64)
        state = np.zeros(len(length), np.uint64)
        for column in range(words.shape[1]):
            state = np.where(length > 8 * column, mix(state ^ words[:, column]), state)
        hashes[block] = state
    for row in np.flatnonzero(lengths > _LONGEST):
        text = data[starts[row] : starts[row] + lengths[row]].tobytes()
        hashes[row] = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return hashes
