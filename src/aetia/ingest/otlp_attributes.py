"""Attributes of many OTLP items at once: KeyValue and AnyValue messages as vectors.

Keys are dictionary-encoded; values are decoded only where they are asked for. Values become text as the readers have
it (`semconv.first`), as the stored map has it (`model/stored.py`), or as a log body has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import ArrayValue, KeyValueList

from aetia.ingest.values import pc
from aetia.ingest.wire import (
    FIXED64,
    VARINT,
    Bytes,
    Flags,
    Offsets,
    Pieces,
    Slot,
    fixed64,
    joined,
    numbers,
    scan,
    scan_pairs,
    slices,
    tag,
)

STRING, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES = (
    tag(1), tag(2, VARINT), tag(3, VARINT), tag(4, FIXED64), tag(5), tag(6), tag(7),
)  # fmt: skip
ANY_VALUE = (STRING, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES)
_FIELDS = 16
"""A KeyValue or AnyValue has one or two fields; whatever has more is no attribute."""
Style = Literal["reader", "map", "body"]
_arrow: Any = pa
_encode = msgspec.json.Encoder(order="sorted", enc_hook=str).encode
TOO_DEEP = "nested too deeply"
_CACHED, _LONGEST_CACHED = 4096, 256
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request and one item may hold. What is beyond is cut, or left out and said."""

    items: int = 100_000
    """Spans, log records or metric points of a request."""
    groups: int = 10_000
    """Resources and scopes of a request."""
    attributes: int = 256
    """Of an item, of an event and of a resource."""
    events: int = 128
    """Events of a span; links likewise."""
    key_bytes: int = 1024
    value_bytes: int = 64 * 1024
    """Of a name, of a value, of a log body; cut where a character begins."""
    depth: int = 16
    """Arrays and maps within each other."""
    buckets: int = 2048
    """Of a histogram's point."""

    @property
    def fields(self) -> int:
        """Fields of an item that are looked at without trimming it first."""
        return self.attributes + 2 * self.events + 64


class Known(Generic[_V]):
    """What a function says of byte strings, kept for the short ones that were seen before: keys, names and values of
    telemetry repeat. Safe to share between threads."""

    def __init__(
        self, read: Callable[[list[bytes]], Iterable[_V]], *, most: int = _CACHED, longest: int = _LONGEST_CACHED
    ) -> None:
        self._read, self._most, self._longest = read, most, longest
        self._known: dict[bytes, _V] = {}

    def __call__(self, raw: Sequence[bytes]) -> list[_V]:
        known = self._known
        new = [one for one in raw if one not in known]
        if not new:
            return [known[one] for one in raw]
        fresh = dict(zip(new, self._read(new), strict=True))
        # Another thread may do the same: a dictionary that others read only grows.
        if len(known) + len(fresh) > self._most:
            self._known = {}
        self._known.update((one, value) for one, value in fresh.items() if len(one) <= self._longest)
        return [fresh[one] if one in fresh else known[one] for one in raw]


class Texts(NamedTuple):
    """Values as text for some owners (ascending, each once): `code` indexes `words`, each of which occurs."""

    owner: Offsets
    code: npt.NDArray[np.integer[Any]]
    words: Sequence[str]


def as_text(raw: Any) -> Any:
    """A binary array as strings; what is no UTF-8 is replaced."""
    text = raw.view(pa.string())
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        fixed = [None if item is None else item.decode("utf-8", "replace") for item in raw.to_pylist()]
        return pa.array(fixed, pa.string())
    return text


def cut(buffer: Bytes, start: Offsets, end: Offsets, most: int) -> Offsets:
    """Ends such that no text has more than `most` bytes, none cut within a character."""
    long = np.flatnonzero(end - start > most)
    if not len(long):
        return end
    end = end.copy()
    end[long] = start[long] + most
    for _ in range(3):
        inside = long[(buffer.take(end[long]) & 0xC0) == 0x80]
        end[inside] -= 1
    return end


def raw_strings(buffer: Bytes, slot: Slot, limits: Limits) -> Any:
    """The values of a string field as bytes, empty where absent."""
    return slices(buffer, slot.start, cut(buffer, slot.start, slot.end, limits.value_bytes))


def strings(buffer: Bytes, slot: Slot, limits: Limits) -> Any:
    """The values of a string field as text, empty where absent."""
    return as_text(raw_strings(buffer, slot, limits))


def any_values(buffer: Bytes, start: Offsets, end: Offsets) -> tuple[Slot, Flags]:
    """The values of some AnyValue messages, and which are malformed."""
    found = scan(buffer, start, end, single=(ANY_VALUE,), most=_FIELDS)
    return found.slots[0], found.bad | found.long


def texts(buffer: Bytes, value: Slot, style: Style, limits: Limits) -> Any:
    """AnyValue's as text, null where there is none."""
    is_string = value.tag == STRING
    end = np.where(is_string, value.end, value.start)
    out = as_text(slices(buffer, value.start, cut(buffer, value.start, end, limits.value_bytes)))
    if is_string.all():
        return out
    where: list[Offsets] = []
    parts: list[Any] = []
    for kind in (0, *ANY_VALUE[1:]):
        here = np.flatnonzero(value.tag == kind)
        if len(here):
            where.append(here)
            parts.append(_converted(buffer, value.at(here), kind, style, limits))
    order = np.argsort(np.concatenate(where))
    others = pa.concat_arrays(parts).take(pa.array(order))
    return pc.replace_with_mask(out, pa.array(~is_string), others)


def _converted(buffer: Bytes, value: Slot, kind: int, style: Style, limits: Limits) -> Any:
    if kind == 0:
        return _arrow.nulls(len(value.tag), pa.string())
    if kind == INT:
        return pa.array(numbers(buffer, value.start).view(np.int64)).cast(pa.string())
    if kind == BOOL:
        truth = numbers(buffer, value.start) != 0
        words = ("True", "False") if style == "reader" else ("true", "false")
        return pa.array(np.where(truth, *words).tolist(), pa.string())
    if kind == DOUBLE:
        doubles = fixed64(buffer, value.start).view(np.float64)
        if style == "map":
            return pa.array(doubles).cast(pa.string())
        said = repr if style == "reader" else _json
        return pa.array([said(number) for number in doubles.tolist()], pa.string())
    nested = [
        _nested(buffer[one:two].tobytes(), kind, style, limits)
        for one, two in zip(value.start.tolist(), value.end.tolist(), strict=True)
    ]
    return pa.array(nested, pa.string())


def _json(value: Any) -> str:
    return _encode(value).decode()


def _nested(raw: bytes, kind: int, style: Style, limits: Limits) -> str | None:
    """Bytes, arrays and maps as text."""
    if kind == BYTES:
        return raw[: limits.value_bytes // 2].hex()
    if len(raw) > limits.value_bytes:
        return f"[{len(raw)} bytes left out]"
    try:
        if kind == ARRAY:
            value: Any = [plain(one, limits.depth - 1) for one in ArrayValue.FromString(raw).values]
        else:
            value = {one.key: plain(one.value, limits.depth - 1) for one in KeyValueList.FromString(raw).values}
    except DecodeError:
        return None
    return str(value) if style == "reader" else _json(value)


def plain(value: Any, depth: int) -> Any:
    """The Python value of a protobuf AnyValue; `TOO_DEEP` in place of what is deeper."""
    which = value.WhichOneof("value")
    if which == "array_value":
        return [plain(one, depth - 1) for one in value.array_value.values] if depth > 0 else TOO_DEEP
    if which == "kvlist_value":
        return {one.key: plain(one.value, depth - 1) for one in value.kvlist_value.values} if depth > 0 else TOO_DEEP
    if which is None:
        return None
    item = getattr(value, which)
    return item.hex() if which == "bytes_value" else item


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes of `owners` items, in order; `code` indexes `keys`, `start` and `end` delimit AnyValue messages,
    `pair_start` and `pair_end` the KeyValue messages around them."""

    buffer: Bytes
    owners: int
    owner: Offsets
    code: npt.NDArray[np.int32]
    keys: tuple[str, ...]
    start: Offsets
    end: Offsets
    pair_start: Offsets
    pair_end: Offsets
    limits: Limits

    def firsts(self, keys: Sequence[str], asked: Flags | None = None) -> Texts:
        """What `semconv.first` says of each owner that has one of the keys: the first of them with a value. `asked`
        says of which owners that is of interest."""
        rank_of = {key: rank for rank, key in enumerate(keys)}
        ranks = np.array([rank_of.get(key, len(keys)) for key in self.keys] or [len(keys)], np.int8).take(self.code)
        pick = (ranks < len(keys)).nonzero()[0]
        owner = self.owner[pick]
        if asked is not None:
            kept = asked[owner].nonzero()[0]
            pick, owner = pick[kept], owner[kept]
        coded: Any = slices(self.buffer, self.start[pick], self.end[pick]).dictionary_encode()
        code: npt.NDArray[np.integer[Any]] = np.asarray(coded.indices)
        words = _readers_texts(self.limits)(coded.dictionary.to_pylist())
        once = bool((owner[1:] > owner[:-1]).all())
        if once and all(words):
            return Texts(owner, code, cast(list[str], words))
        usable = np.array([bool(word) for word in words] or [False]).take(code)
        here = np.arange(len(pick)) if once else _last_of_each(owner, ranks[pick])
        here = here[usable[here]]
        if not once:
            whose = owner[here]
            here = here[np.concatenate((whose[:1] == whose[:1], whose[1:] != whose[:-1]))]
        used, code = np.unique(code[here], return_inverse=True)
        return Texts(owner[here], code, [words[one] or "" for one in used.tolist()])

    def chosen(self, owners: Offsets) -> Attributes:
        """The attributes of some owners (ascending), who are numbered anew."""
        if len(owners) == self.owners:
            return self
        row = np.full(self.owners, -1, np.int64)
        row[owners] = np.arange(len(owners))
        at = np.flatnonzero(row[self.owner] >= 0)
        return replace(
            self, owners=len(owners), owner=row[self.owner[at]], code=self.code[at], start=self.start[at],
            end=self.end[at], pair_start=self.pair_start[at], pair_end=self.pair_end[at],
        )  # fmt: skip

    def maps(self, style: Style = "map") -> Any:
        """All attributes of each owner as a map of texts; of a key that occurs twice the last value counts."""
        owner, code, keep = self.owner, self.code, slice(None)
        value, bad = any_values(self.buffer, self.start, self.end)
        identity = owner * max(len(self.keys), 1) + code
        ordered = np.sort(identity)
        if (ordered[1:] == ordered[:-1]).any() or bad.any():
            _, last = np.unique(identity[::-1], return_index=True)
            keep = np.sort(len(identity) - 1 - last)
            keep = keep[~bad[keep]]
            owner, code, value = owner[keep], code[keep], value.at(keep)
        text = texts(self.buffer, value, style, self.limits)
        if text.null_count:
            text = pc.fill_null(text, "")
        offsets = np.searchsorted(owner, np.arange(self.owners + 1)).astype(np.int32)
        names = pa.array(self.keys, pa.string()).take(_arrow.array(code))
        return pa.MapArray.from_arrays(_arrow.array(offsets), names, text)


@lru_cache(16)
def _readers_texts(limits: Limits) -> Known[str | None]:
    """AnyValue messages as text."""

    def read(raw: list[bytes]) -> list[str | None]:
        buffer, start, end = joined(raw)
        value, _ = any_values(buffer, start, end)
        return texts(buffer, value, "reader", limits).to_pylist()

    return Known(read)


def _last_of_each(owner: Offsets, rank: npt.NDArray[np.int8]) -> Offsets:
    """Where the last of each (owner, rank) is, in order of these."""
    order = np.lexsort((rank, owner))
    owner, rank = owner[order], rank[order]
    last = np.concatenate(((owner[1:] != owner[:-1]) | (rank[1:] != rank[:-1]), owner[:1] == owner[:1]))
    return order[last]


class Found(NamedTuple):
    """Attributes, the owners of which some are malformed, and the owners of which some were left out."""

    attributes: Attributes
    bad: Offsets
    trimmed: Offsets


def attributes(buffer: Bytes, owners: int, pieces: Pieces, limits: Limits) -> Found:
    """The attributes in some KeyValue messages."""
    owner, start, end = pieces
    trimmed: list[Offsets] = []
    # Owners ascend, so one with too many has the same owner that many places further.
    most = limits.attributes
    if len(owner) > most and (owner[most:] == owner[:-most]).any():
        counts = np.bincount(owner)
        beyond = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner] >= limits.attributes
        trimmed.append(owner[beyond])
        owner, start, end = owner[~beyond], start[~beyond], end[~beyond]
    found = scan_pairs(buffer, start, end, _FIELDS)
    long = found.first_end - found.first_start > limits.key_bytes
    broken = owner[:0]
    if long.any() or found.bad.any():
        trimmed.append(owner[long])
        kept = np.flatnonzero(~(long | found.bad))
        broken, owner, start, end, found = owner[found.bad], owner[kept], start[kept], end[kept], found.at(kept)
    coded: Any = slices(buffer, found.first_start, found.first_end).dictionary_encode()
    code, keys = _keys(coded)
    made = Attributes(buffer, owners, owner, code, keys, found.second_start, found.second_end, start, end, limits)
    return Found(made, broken, np.concatenate(trimmed) if trimmed else owner[:0])


def _keys(coded: Any) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    code: npt.NDArray[np.int32] = coded.indices.to_numpy(zero_copy_only=False)
    raw: list[bytes] = coded.dictionary.to_pylist()
    keys = tuple(key.decode("utf-8", "replace") for key in raw)
    if len(set(keys)) < len(keys):
        # Two keys that differ in bytes that are no UTF-8 alone.
        place = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        code = np.array([place[key] for key in keys], np.int32).take(code)
        keys = tuple(place)
    return code, keys


def trim(pairs: Any, limits: Limits) -> None:
    """Leave those KeyValue messages that are within the limits."""
    del pairs[limits.attributes :]
    for place in reversed(range(len(pairs))):
        if len(pairs[place].key.encode()) > limits.key_bytes:
            del pairs[place]


def resource_json(values: Mapping[str, Any]) -> str | None:
    """Attributes of a resource as JSON with sorted keys."""
    return _json(values) if values else None
