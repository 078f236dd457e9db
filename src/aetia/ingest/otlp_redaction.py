"""Where the secrets of OTLP requests are: all items probed at once.

An attribute with a secret is written anew within the bytes of its item; the few items with secrets elsewhere are
cleaned one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from aetia.ingest.otlp_attributes import ARRAY, Attributes, Limits, attributes
from aetia.ingest.otlp_items import Items
from aetia.ingest.otlp_logs import LOG_ATTRIBUTES, Logs
from aetia.ingest.otlp_points import Metrics
from aetia.ingest.otlp_series import label_pairs
from aetia.ingest.otlp_spans import SPAN_ATTRIBUTES, Spans, scan_events
from aetia.ingest.redaction import LOOSE_KEYS, REDACTED, Redactor, lowered
from aetia.ingest.wire import (
    PADDING,
    Bytes,
    Flags,
    Offsets,
    Pieces,
    Slot,
    field_bytes,
    field_sizes,
    headers,
    slices,
    tag,
)

UNREADABLE = "it may hold a secret and cannot be read"
_REPLACED = AnyValue(string_value=REDACTED).SerializeToString()


@dataclass(slots=True)
class Secrets:
    """Where secrets may be: items to be cleaned one by one, and attributes by their place in `attributes`."""

    items: Flags
    attributes: Attributes
    named: Offsets
    """Attributes whose keys name secrets."""
    holding: set[int]
    """Attributes whose values hold secrets."""
    tag: int
    """Of the attributes in an item."""

    def tell(self, owners: Iterable[int]) -> None:
        """Attributes that hold secrets, and items: the inverse of their number."""
        for one in owners:
            if one < 0:
                self.items[~one] = True
            else:
                self.holding.add(one)


def span_secrets(items: Items, spans: Spans, limits: Limits, redactor: Redactor) -> Secrets:
    """Secrets of spans."""
    found = Secrets(spans.over.copy(), spans.attributes, _named(spans.attributes, redactor), set(), SPAN_ATTRIBUTES)
    texts, deep = [_field(items, spans.name), _field(items, spans.status)], [spans.links]
    if len(spans.events.owner):
        inner = _in_events(items.buffer, spans.events, limits, redactor, found.items)
        texts, deep = texts + inner[0], deep + inner[1]
    _probe(items.buffer, texts, deep, redactor, found)
    return found


def log_secrets(items: Items, logs: Logs, limits: Limits, redactor: Redactor) -> Secrets:
    """Secrets of log records."""
    del limits
    found = Secrets(logs.over.copy(), logs.attributes, _named(logs.attributes, redactor), set(), LOG_ATTRIBUTES)
    body = _field(items, logs.body)
    _probe(items.buffer, [_texts(body)], [_nested(items.buffer, body)], redactor, found)
    return found


def _field(items: Items, slot: Slot) -> Pieces:
    return Pieces(np.arange(len(items)), slot.start, slot.end)


def _texts(values: Pieces) -> Pieces:
    """The texts in some AnyValue messages, without their tags and lengths."""
    start = values.start + 2
    start[(values.end - values.start > 129).nonzero()[0]] += 1
    return Pieces(values.owner, start, np.maximum(values.end, start))


def _nested(buffer: Bytes, values: Pieces) -> Pieces:
    """Those of some AnyValue messages that begin as an array or a map does, or otherwise than most do."""
    here = (buffer.take(values.start) >= ARRAY).nonzero()[0]
    here = here[values.end[here] > values.start[here]]
    return Pieces(*(column[here] for column in values))


def _named(given: Attributes, redactor: Redactor) -> Offsets:
    """Attributes whose keys name secrets."""
    secret = [redactor.is_secret(key) for key in given.keys]
    return np.array(secret, np.bool_)[given.code].nonzero()[0] if any(secret) else given.owner[:0]


def _in_events(
    buffer: Bytes, events: Pieces, limits: Limits, redactor: Redactor, flags: Flags
) -> tuple[list[Pieces], list[Pieces]]:
    """(texts, what may have keys within) of the events of spans; spans with secret keys there are flagged."""
    found = scan_events(buffer, events, limits)
    (time, name), (given,) = found.slots, found.pieces
    made, broken, trimmed = attributes(buffer, len(events.owner), given, limits)
    known = np.where(time.present, 9, 0) + np.where(name.present, field_sizes(name.end - name.start), 0)
    np.add.at(known, given.owner, field_sizes(given.end - given.start))
    # Fields that are not known may hold anything.
    odd = (known != events.end - events.start) | found.bad | found.long
    odd[broken], odd[trimmed] = True, True
    flags[events.owner[made.owner[_named(made, redactor)]]] = True
    values = Pieces(events.owner[made.owner], made.start, made.end)
    texts = [Pieces(events.owner, name.start, name.end), _texts(values)]
    return texts, [_nested(buffer, values), Pieces(*(column[odd.nonzero()[0]] for column in events))]


def _probe(buffer: Bytes, texts: Sequence[Pieces], deep: Sequence[Pieces], redactor: Redactor, found: Secrets) -> None:
    """Look for secrets in attributes, in `texts` by what they are, and in `deep` by keys within them too. The owners of
    texts and deep ones are items."""
    given = found.attributes
    values = Pieces(np.arange(len(given.owner)), given.start, given.end)
    # An item is told from an attribute by its sign.
    long = given.end - given.start >= redactor.least_bytes
    # These are replaced whatever they hold.
    long[found.named] = False
    long = long.nonzero()[0]
    some = _texts(Pieces(long, given.start[long], given.end[long]))
    plain = _Joined.of(buffer, [some, *map(_inverted, texts)], redactor.least_bytes)
    if plain is not None:
        for holds, places in redactor.places(plain.lower()):
            found.tell(plain.holding(places, holds))
    inner = _Joined.of(buffer, [_nested(buffer, values), *map(_inverted, deep)], 1)
    if inner is not None:
        lower = inner.lower()
        for _, places in redactor.places(lower):
            found.tell(inner.owners(places))
        if redactor.names_keys:
            found.tell(inner.owners(None if redactor.own_keys else LOOSE_KEYS(lower)))


def _inverted(some: Pieces) -> Pieces:
    return Pieces(~some.owner, some.start, some.end)


class _Joined(NamedTuple):
    """Byte strings, joined."""

    owner: Offsets
    ends: Offsets
    data: Bytes

    @staticmethod
    def of(buffer: Bytes, some: Sequence[Pieces], least: int) -> _Joined | None:
        """Those of at least `least` bytes; None without any."""
        owners: list[Offsets] = []
        parts: list[Any] = []
        for owner, start, end in some:
            here = (end - start >= least).nonzero()[0]
            if len(here):
                owners.append(owner[here])
                parts.append(slices(buffer, start[here], end[here]))
        if not parts:
            return None
        joined: Any = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        offsets, data = joined.buffers()[1:3]
        ends = np.frombuffer(offsets, np.int32, len(joined) + 1)[1:].astype(np.int64)
        return _Joined(np.concatenate(owners), ends, np.frombuffer(data, np.uint8, int(ends[-1])))

    def lower(self) -> Bytes:
        """Lower case, with a tail so that what is looked for may begin anywhere."""
        out = np.zeros(len(self.data) + PADDING, np.uint8)
        out[: len(self.data)] = lowered(self.data)
        return out

    def _around(self, places: Offsets | None) -> Offsets:
        if places is None:
            return np.arange(len(self.ends))
        return np.unique(np.searchsorted(self.ends, places, side="right")) if len(places) else places

    def owners(self, places: Offsets | None) -> list[int]:
        """Of those strings that some places are in; None: of all."""
        return self.owner[self._around(places)].tolist()

    def holding(self, places: Offsets | None, holds: Callable[[str], bool]) -> list[int]:
        """The owners of those of them that, as a text, hold a secret."""
        out: list[int] = []
        for one in self._around(places).tolist():
            start = int(self.ends[one - 1]) if one else 0
            if holds(self.data[start : int(self.ends[one])].tobytes().decode("utf-8", "replace")):
                out.append(int(self.owner[one]))
        return out


# ---- attributes -------------------------------------------------------------------------------------------


def without_secrets(items: Items, found: Secrets, redactor: Redactor) -> dict[int, bytes]:
    """New bytes of the items whose attributes hold secrets; items with unusual ones are flagged in `found`."""
    new = _new_values(items.buffer, found, redactor)
    given = found.attributes
    places = np.array(sorted(new), np.int64)
    start, usual = headers(items.buffer, given.pair_start[places], given.pair_end[places], found.tag)
    usual &= np.array(["\ufffd" not in key for key in given.keys], np.bool_)[given.code[places]]
    found.items[given.owner[places[~usual]]] = True
    kept = (~found.items[given.owner[places]]).nonzero()[0]
    if not len(kept):
        return {}
    start, places = start[kept], places[kept]
    end, owner = given.pair_end[places], given.owner[places]
    fields = _fields(found, places, new)
    raw, parts, before = items.buffer.tobytes(), list[bytes](), 0
    for at, after, made in zip(start.tolist(), end.tolist(), fields, strict=True):
        parts += (raw[before:at], made)
        before = after
    parts.append(raw[before:])
    whole = b"".join(parts)
    grown = np.zeros(len(items) + 1, np.int64)
    np.add.at(grown, owner + 1, np.fromiter(map(len, fields), np.int64, len(fields)) - (end - start))
    shift, owners = np.cumsum(grown), np.unique(owner)
    starts, ends = items.start[owners] + shift[owners], items.end[owners] + shift[owners + 1]
    return {
        item: whole[one:two] for item, one, two in zip(owners.tolist(), starts.tolist(), ends.tolist(), strict=True)
    }


def _fields(found: Secrets, places: Offsets, new: Mapping[int, bytes]) -> list[bytes]:
    """The fields of some attributes with their new values; most are of the same few keys, and replaced as a whole."""
    made: dict[tuple[int, bytes], bytes] = {}
    out: list[bytes] = []
    for one, code in zip(places.tolist(), found.attributes.code[places].tolist(), strict=True):
        value = new[one]
        field = made.get((code, value))
        if field is None:
            key = found.attributes.keys[code].encode()
            field = field_bytes(found.tag, field_bytes(tag(1), key) + field_bytes(tag(2), value))
            made[code, value] = field
        out.append(field)
    return out


def _new_values(buffer: Bytes, found: Secrets, redactor: Redactor) -> dict[int, bytes]:
    """Serialised AnyValue messages in place of those that are or hold secrets."""
    given, named = found.attributes, found.named
    size = given.end[named] - given.start[named]
    named = named[size > 0]
    done = (given.end[named] - given.start[named] == len(_REPLACED)).nonzero()[0].tolist()
    new = dict.fromkeys(named.tolist(), _REPLACED)
    for one in named[done].tolist():
        if buffer[int(given.start[one]) : int(given.end[one])].tobytes() == _REPLACED:
            del new[one]
    for one in found.holding - new.keys():
        try:
            value = AnyValue.FromString(buffer[int(given.start[one]) : int(given.end[one])].tobytes())
        except DecodeError:
            found.items[given.owner[one]] = True
            continue
        value.DiscardUnknownFields()
        if redactor.value(value):
            new[one] = value.SerializeToString()
    return new


# ---- metrics ----------------------------------------------------------------------------------------------


def metric_suspects(items: Items, found: Metrics, redactor: Redactor) -> Flags:
    """Metrics that may hold a secret. Labels repeat, so those that were clean before are not looked at again."""
    flags = np.zeros(len(items), np.bool_)
    slow = found.slow.nonzero()[0]
    parts = [Pieces(slow, items.start[slow], items.end[slow]), found.numbers.exemplars, found.histograms.exemplars]
    whole = _Joined.of(items.buffer, parts, 1)
    if whole is not None:
        lower = whole.lower()
        for _, places in redactor.places(lower):
            flags[whole.owners(places)] = True
        if redactor.names_keys:
            flags[whole.owners(None if redactor.own_keys else LOOSE_KEYS(lower))] = True
    for points in (found.numbers, found.histograms):
        secret = np.array([_has_secret(raw, redactor) for raw in points.said] or [False], np.bool_)
        if secret.any():
            flags[points.item[secret[points.labels]]] = True
    return flags


def _has_secret(labels: bytes, redactor: Redactor) -> bool:
    if labels in redactor.clean:
        return False
    try:
        secret = redactor.pairs(label_pairs(labels))
    except DecodeError:
        return True
    if not secret:
        redactor.remember_clean(labels)
    return secret


# ---- cleaning ---------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[Any, Callable[[Redactor, Any], bool]]] = {
    "spans": (Span, Redactor.span), "logs": (LogRecord, Redactor.log), "metrics": (Metric, Redactor.metric),
}  # fmt: skip


def cleaned(signal: str, raw: Mapping[int, bytes], redactor: Redactor) -> tuple[dict[int, bytes], list[int]]:
    """Of some serialised items those that held secrets, without them, and which cannot be read."""
    kind, clean = _KINDS[signal]
    out: dict[int, bytes] = {}
    unreadable: list[int] = []
    for index, item in raw.items():
        try:
            message = kind.FromString(item)
        except DecodeError:
            unreadable.append(index)
            continue
        size = message.ByteSize()
        # Nobody can look into these.
        message.DiscardUnknownFields()
        if clean(redactor, message) or message.ByteSize() != size:
            out[index] = message.SerializeToString()
    return out, unreadable


def clean_heads(items: Items, redactor: Redactor) -> dict[bytes, bytes]:
    """New resources and scopes for those that held secrets."""
    return _clean_heads(items.heads, Resource, redactor) | _clean_heads(
        items.scope_heads, InstrumentationScope, redactor
    )


def _clean_heads(heads: Iterable[bytes], kind: Any, redactor: Redactor) -> dict[bytes, bytes]:
    out: dict[bytes, bytes] = {}
    for head in heads:
        if head in redactor.clean:
            continue
        try:
            message = kind.FromString(head)
        except DecodeError:
            out[head] = b""
            continue
        if redactor.pairs(message.attributes):
            out[head] = message.SerializeToString()
        else:
            redactor.remember_clean(head)
    return out
