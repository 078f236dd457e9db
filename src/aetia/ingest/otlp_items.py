"""The outer levels of OTLP export requests: bodies in, one buffer of items with their places out.

Only what surrounds the items is parsed (`wire.lazy_messages`); resources repeat, so what they say is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from aetia.ingest.otlp_attributes import Known, Limits, as_text, plain, resource_json
from aetia.ingest.semconv import ENVIRONMENT_KEYS, VERSION_KEYS, first, place_of
from aetia.ingest.values import names, service_of_pod
from aetia.ingest.wire import Bytes, Offsets, joined, lazy_messages
from aetia.model.stored import PROMOTED, STORED, Signal

UNKNOWN_SERVICE = "unknown_service"
"""What the resource conventions call a service that has no name."""
EARLIEST_NS, LATEST_NS = 946_684_800 * 10**9, 2**63 - 1
"""Times from the year 2000 to the end of 64 bits (2262); others are none."""
_CACHED = 4096
_LONGEST_CACHED = 64 * 1024
_FEW_WORDS, _LONGEST_WORD = 32, 1024
_TOLD = ("service", "instance", "version", "environment", "resource")
_arrow: Any = pa


class Place(NamedTuple):
    """What a resource says, in the model's words."""

    service: str | None
    instance: str | None
    node: str | None
    version: str | None
    environment: str | None
    resource: str | None


NOWHERE = Place(None, None, None, None, None, None)


class Refused(Exception):
    """A body that cannot be used at all; the text says why."""


@dataclass(slots=True)
class Items:
    """The items of some bodies, in order."""

    raw: list[bytes]
    buffer: Bytes
    start: Offsets
    end: Offsets
    body: Offsets
    """Index of the body of each item."""
    place: Offsets
    scope: Offsets
    places: list[Place]
    scopes: list[str | None]
    heads: list[bytes]
    """The serialised resource of each place."""
    scope_heads: list[bytes]
    refused: dict[int, Counter[str]]
    """Items per body that are left out already, by reason."""
    failed: dict[int, str]

    def __len__(self) -> int:
        return len(self.raw)

    def replaced(self, new: Mapping[int, bytes]) -> Items:
        """The same with other bytes for some items."""
        if not new:
            return self
        raw = list(self.raw)
        for index, item in new.items():
            raw[index] = item
        buffer, start, end = joined(raw)
        return replace(self, raw=raw, buffer=buffer, start=start, end=end)

    def said(self, kept: Offsets, unnamed: str | None = None) -> dict[str, pa.Array[Any]]:
        """Columns of what places and scopes of some items say; `unnamed` is the service of those without one."""
        place = self.place[kept]
        told = {name: [getattr(one, name) for one in self.places] for name in _TOLD}
        told["service"] = [name or unnamed for name in told["service"]]
        made = {name: coded(place, words) for name, words in told.items()}
        return made | {"scope": coded(self.scope[kept], self.scopes)}


@dataclass(slots=True)
class _Opening:
    """Items of the bodies opened so far."""

    limits: Limits
    raw: list[bytes] = field(default_factory=list[bytes])
    sizes: list[int] = field(default_factory=list[int])
    bodies: list[int] = field(default_factory=list[int])
    place_of: list[int] = field(default_factory=list[int])
    scope_of: list[int] = field(default_factory=list[int])
    places: dict[bytes, int] = field(default_factory=dict[bytes, int])
    scopes: dict[bytes, int] = field(default_factory=dict[bytes, int])
    refused: dict[int, Counter[str]] = field(default_factory=dict[int, Counter[str]])


def open_bodies(bodies: Sequence[bytes], limits: Limits) -> Items:
    """The items of export requests. A body that cannot be parsed is `failed` and contributes none."""
    opening, failed = _Opening(limits), dict[int, str]()
    for index, body in enumerate(bodies):
        before = (len(opening.raw), len(opening.sizes))
        try:
            _open(opening, index, body)
        except (DecodeError, Refused) as error:
            failed[index] = str(error) if isinstance(error, Refused) else "not an OTLP protobuf message"
            opening.refused.pop(index, None)
            del opening.raw[before[0] :]
            for some in (opening.sizes, opening.bodies, opening.place_of, opening.scope_of):
                del some[before[1] :]
    return _items(opening, failed)


def _items(opening: _Opening, failed: dict[int, str]) -> Items:
    raw, sizes = opening.raw, np.array(opening.sizes, np.int64)
    buffer, start, end = joined(raw)
    body, where, scope = (
        np.repeat(np.array(some, np.int64), sizes) for some in (opening.bodies, opening.place_of, opening.scope_of)
    )
    places = [place(one) or NOWHERE for one in opening.places]
    scopes = [scope_name(one) for one in opening.scopes]
    return Items(
        raw, buffer, start, end, body, where, scope, places, scopes, list(opening.places), list(opening.scopes),
        opening.refused, failed,
    )  # fmt: skip


def _open(opening: _Opening, index: int, body: bytes) -> None:
    request, level = lazy_messages()
    limits, groups, items = opening.limits, 0, 0
    outer = request.FromString(body).groups
    for raw_group in _counted(outer, limits):
        group = level.FromString(raw_group)
        groups += 1 + len(group.items)
        if groups > limits.groups:
            raise Refused(f"more than {limits.groups} resources and scopes; send them in several requests")
        head = b"".join(group.head)
        readable = place(head) is not None
        where = opening.places.setdefault(head, len(opening.places)) if readable else -1
        for raw_scope in group.items:
            scope = level.FromString(raw_scope)
            some = scope.items
            count = len(some)
            if not count:
                continue
            fits = max(min(count, limits.items - items), 0) if readable else 0
            if fits < count:
                reason = f"more than {limits.items} in one request" if readable else "its resource is malformed"
                opening.refused.setdefault(index, Counter())[reason] += count - fits
            items += fits
            if not fits:
                continue
            scope_head = b"".join(scope.head)
            opening.raw.extend(some if fits == count else some[:fits])
            opening.sizes.append(fits)
            opening.bodies.append(index)
            opening.place_of.append(where)
            opening.scope_of.append(opening.scopes.setdefault(scope_head, len(opening.scopes)))


def rewritten(body: bytes, limits: Limits, items: Iterator[bytes | None], heads: Mapping[bytes, bytes]) -> bytes:
    """A body that could be opened, with other items (None: left out) and other resources and scopes. What was not
    opened, being malformed or beyond the limits, is left out."""
    request, level = lazy_messages()
    outer = request.FromString(body)
    groups: list[bytes] = []
    room = limits.items
    for raw_group in outer.groups:
        group = level.FromString(raw_group)
        if place(_renewed(group, heads)) is None:
            continue
        scopes: list[bytes] = []
        for raw_scope in group.items:
            scope = level.FromString(raw_scope)
            fits = min(len(scope.items), room)
            room -= fits
            kept = [item for item in islice(items, fits) if item is not None]
            if kept:
                _renewed(scope, heads)
                scope.items[:] = kept
                scopes.append(scope.SerializeToString())
        group.items[:] = scopes
        groups.append(group.SerializeToString())
    outer.groups[:] = groups
    return outer.SerializeToString()


def _renewed(level: Any, heads: Mapping[bytes, bytes]) -> bytes:
    """The head of a level, after it was replaced."""
    head = b"".join(level.head)
    if head in heads:
        head = heads[head]
        level.head[:] = [head]
    return head


def _counted(groups: Sequence[bytes], limits: Limits) -> Iterable[bytes]:
    if len(groups) > limits.groups:
        raise Refused(f"more than {limits.groups} resources; send them in several requests")
    return groups


# ---- resources and scopes ---------------------------------------------------------------------------------


def place(head: bytes) -> Place | None:
    """What a serialised Resource says, None where it is malformed."""
    return _cached_place(head) if len(head) <= _LONGEST_CACHED else _read_place(head)


def _read_place(head: bytes) -> Place | None:
    try:
        resource = Resource.FromString(head)
    except DecodeError:
        return None
    limits = Limits()
    values = {
        pair.key[: limits.key_bytes]: _bounded(plain(pair.value, limits.depth), limits)
        for pair in resource.attributes[: limits.attributes]
    }
    service, instance, node = place_of(values)
    version, environment = first(values, VERSION_KEYS), first(values, ENVIRONMENT_KEYS)
    clean = names(pa.chunked_array([pa.array([service, instance, node, version, environment], pa.string())]))
    texts: list[str | None] = clean.cast(pa.string()).to_pylist()
    if texts[0] is None and texts[1] is not None:
        # As the readers have it: the name of a pod says which workload it belongs to.
        texts[0] = service_of_pod(pa.chunked_array([pa.array([texts[1]], pa.string())])).cast(pa.string())[0].as_py()
    return Place(texts[0], texts[1], texts[2], texts[3], texts[4], resource_json(values))


_cached_place = lru_cache(_CACHED)(_read_place)


def _bounded(value: Any, limits: Limits) -> Any:
    return value[: limits.value_bytes] if isinstance(value, str) else value


def scope_name(head: bytes) -> str | None:
    """The name of a serialised InstrumentationScope."""
    return _cached_scope(head) if len(head) <= _LONGEST_CACHED else _read_scope(head)


def _read_scope(head: bytes) -> str | None:
    try:
        return InstrumentationScope.FromString(head).name.strip()[:1024] or None
    except DecodeError:
        return None


_cached_scope = lru_cache(_CACHED)(_read_scope)


# ---- columns ----------------------------------------------------------------------------------------------


Vocabulary: TypeAlias = Known[str | None]


def vocabulary(transform: Callable[[Any], Any]) -> Vocabulary:
    """Normalised forms of texts: what a function of `ingest/values.py` says of each."""

    def read(raw: list[bytes]) -> list[str | None]:
        return transform(pa.chunked_array([as_text(pa.array(raw, pa.binary()))])).to_pylist()

    return Known(read)


NAMES = vocabulary(names)
"""Names of services, operations, metrics: trimmed, NFC, null where nothing is left."""


def coded(codes: npt.NDArray[np.integer[Any]], words: Sequence[str | None]) -> pa.Array[Any]:
    """A dictionary-encoded column from codes into words, of which some may be null or alike."""
    short = len(words) <= _FEW_WORDS and all(word is None or len(word) <= _LONGEST_WORD for word in words)
    places, dictionary, some_null = (_kept_dictionary if short else _dictionary)(tuple(words))
    if not len(dictionary):
        return nothing(len(codes))
    found = places.take(codes)
    valid = None
    if some_null:
        nowhere = found < 0
        if nowhere.any():
            valid = _arrow.py_buffer(np.packbits(~nowhere, bitorder="little"))
            found[nowhere] = 0
    indices = _arrow.Array.from_buffers(pa.int32(), len(found), [valid, _arrow.py_buffer(found)])
    return pa.DictionaryArray.from_arrays(indices, dictionary)


def _dictionary(words: tuple[str | None, ...]) -> tuple[npt.NDArray[np.int32], pa.Array[Any], bool]:
    """Where each word is among the distinct ones (null: -1), these, and whether some are null."""
    order: dict[str, int] = {}
    places = [-1 if word is None else order.setdefault(word, len(order)) for word in words]
    return np.array(places or [-1], np.int32), pa.array(list(order), pa.string()), -1 in places


_kept_dictionary = lru_cache(256)(_dictionary)


def category(texts: pa.Array[Any], vocabulary: Vocabulary) -> pa.Array[Any]:
    """Byte strings as a dictionary-encoded column, each in its normal form."""
    encoded: Any = texts.dictionary_encode()
    return coded(np.asarray(encoded.indices), vocabulary(encoded.dictionary.to_pylist()))


def spread(codes: npt.NDArray[np.integer[Any]], words: Sequence[str | None], at: Offsets, rows: int) -> pa.Array[Any]:
    """`coded` of some of `rows` rows, with null in the others."""
    if len(at) == rows:
        return coded(codes, words)
    all_rows = np.full(rows, len(words), np.int32)
    all_rows[at] = codes
    return coded(all_rows, [*words, None])


def nothing(rows: int) -> pa.Array[Any]:
    """A dictionary-encoded column of nulls."""
    return pa.DictionaryArray.from_arrays(_arrow.nulls(rows, pa.int32()), pa.array([], pa.string()))


def table(columns: Mapping[str, Any], signal: Signal, full: bool) -> pa.Table:
    """The stored columns of a signal, the promoted ones or all, in the schema's types."""
    schema, names, types = _shape(signal, full)
    some = (columns[name] for name in names)
    arrays = [one if one.type == kind else one.cast(kind) for one, kind in zip(some, types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


@cache
def _shape(signal: Signal, full: bool) -> tuple[pa.Schema, list[str], list[pa.DataType]]:
    names = STORED[signal].names if full else list(PROMOTED[signal])
    schema = pa.schema([STORED[signal].field(name) for name in names])
    return schema, names, schema.types


class Rejects:
    """Which items are left out and why: the first reason of each counts."""

    def __init__(self, count: int) -> None:
        self.code = np.zeros(count, np.int16)
        self.reasons: list[str] = []

    def add(self, bad: npt.NDArray[np.bool_], reason: str) -> None:
        if bad.any():
            self.reasons.append(reason)
            self.code[bad & (self.code == 0)] = len(self.reasons)

    def mark(self, items: Sequence[int], reason: str) -> None:
        if items:
            bad = np.zeros(len(self.code), np.bool_)
            bad[list(items)] = True
            self.add(bad, reason)

    def kept(self) -> Offsets:
        return np.flatnonzero(self.code == 0)

    def count(self, body: Offsets, refused: dict[int, Counter[str]]) -> None:
        """Add them to the reasons per body."""
        for number, reason in enumerate(self.reasons, start=1):
            where, times = np.unique(body[self.code == number], return_counts=True)
            for one, many in zip(where.tolist(), times.tolist(), strict=True):
                refused.setdefault(one, Counter())[reason] += many
