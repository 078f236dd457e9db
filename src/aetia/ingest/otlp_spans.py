"""Spans of OTLP requests as columns of the stored schema, without a loop over spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from aetia.ingest.otlp import EXCEPTION
from aetia.ingest.otlp_attributes import (
    Attributes,
    Known,
    Limits,
    Texts,
    attributes,
    plain,
    raw_strings,
    strings,
    trim,
)
from aetia.ingest.otlp_items import (
    EARLIEST_NS,
    LATEST_NS,
    NAMES,
    UNKNOWN_SERVICE,
    Items,
    Rejects,
    Vocabulary,
    category,
    coded,
    nothing,
    spread,
    vocabulary,
)
from aetia.ingest.semconv import (
    CODE_KEYS,
    EXCEPTION_MESSAGE_KEYS,
    EXCEPTION_TYPE_KEYS,
    PEER_KEYS,
    exception_line,
)
from aetia.ingest.values import pc, status_code
from aetia.ingest.wire import (
    FIXED64,
    VARINT,
    Bytes,
    Flags,
    Offsets,
    Pieces,
    Scan,
    Slot,
    fixed64,
    hex_ids,
    joined,
    numbers,
    scan,
    slices,
    tag,
)
from aetia.model.tables import SPAN_KINDS, SPAN_STATUSES, TIME

_TRACE, _SPAN, _PARENT, _NAME, _KIND = tag(1), tag(2), tag(4), tag(5), tag(6, VARINT)
_START, _END, SPAN_ATTRIBUTES = tag(7, FIXED64), tag(8, FIXED64), tag(9)
_EVENTS, _LINKS, _STATUS = tag(11), tag(13), tag(15)
_MESSAGE, _CODE = tag(2), tag(3, VARINT)
_EVENT_TIME, _EVENT_NAME, _EVENT_ATTRIBUTES = tag(1, FIXED64), tag(2), tag(3)
_KINDS: tuple[str | None, ...] = (None, *SPAN_KINDS)
_encode = msgspec.json.Encoder(enc_hook=str).encode
_arrow: Any = pa
_CODES = vocabulary(status_code)


class Spans(NamedTuple):
    """What a scan of span messages found."""

    trace: Slot
    span: Slot
    parent: Slot
    name: Slot
    kind: Slot
    start: Slot
    end: Slot
    status: Slot
    attributes: Attributes
    events: Pieces
    links: Pieces
    trimmed: Offsets
    """Spans some attributes of which are beyond the limits."""
    over: Flags
    """Spans with more fields than are looked at."""
    bad: Flags

    @property
    def long(self) -> Offsets:
        return self.over.nonzero()[0]


def scan_spans(items: Items, limits: Limits) -> Spans:
    """Find the fields of all spans."""
    single = tuple((one,) for one in (_TRACE, _SPAN, _PARENT, _NAME, _KIND, _START, _END, _STATUS))
    repeated = (SPAN_ATTRIBUTES, _EVENTS, _LINKS)
    found = scan(items.buffer, items.start, items.end, single=single, repeated=repeated, most=limits.fields)
    given, events, links = found.pieces
    made = attributes(items.buffer, len(items), given, limits)
    bad = found.bad
    bad[made.bad] = True
    trace, span, parent, name, kind, start, end, status = found.slots
    return Spans(
        trace, span, parent, name, kind, start, end, status, made.attributes, events, links, made.trimmed, found.long,
        bad,
    )  # fmt: skip


def trimmed_span(raw: bytes, limits: Limits) -> bytes:
    """A span with at most as many attributes, events and links as are looked at; as it is where it is malformed."""
    try:
        span = Span.FromString(raw)
    except DecodeError:
        return raw
    span.DiscardUnknownFields()
    del span.events[limits.events :], span.links[limits.events :]
    trim(span.attributes, limits)
    return span.SerializeToString()


def check_spans(items: Items, spans: Spans, rejects: Rejects) -> tuple[Offsets, Offsets]:
    """Reject what the specification calls invalid; start and duration in ns of all spans."""
    buffer = items.buffer
    rejects.add(~valid(buffer, spans.trace, 16), "the trace id is not 16 bytes or all zero")
    rejects.add(~valid(buffer, spans.span, 8), "the span id is not 8 bytes or all zero")
    size = spans.parent.end - spans.parent.start
    rejects.add((size != 0) & (size != 8), "the parent span id is not 8 bytes")
    start, started = times(buffer, spans.start)
    end, ended = times(buffer, spans.end)
    rejects.add(~started, "no start time, or one before 2000")
    rejects.add(~ended, "no end time, or one before 2000")
    rejects.add(end < start, "it ends before it starts")
    return start, end - start


def times(buffer: Bytes, slot: Slot) -> tuple[Offsets, Flags]:
    """Times in ns and which are times."""
    raw = fixed64(buffer, slot.start)
    usable = slot.present & (raw >= EARLIEST_NS) & (raw <= LATEST_NS)
    if not usable.all():
        raw = np.where(usable, raw, np.uint64(0))
    return raw.astype(np.int64), usable


def valid(buffer: Bytes, slot: Slot, size: int) -> Flags:
    """Which ids have their size and are not all zero."""
    some = fixed64(buffer, slot.start) != 0
    if size == 16 and not some.all():
        some |= fixed64(buffer, slot.start + 8) != 0
    return (slot.end - slot.start == size) & some


def span_columns(
    items: Items, spans: Spans, times_ns: tuple[Offsets, Offsets], kept: Offsets, limits: Limits
) -> dict[str, Any]:
    """The promoted columns of some spans whose ids are valid."""
    buffer = items.buffer
    kind = spans.kind.at(kept)
    kinds = numbers(buffer, kind.start)
    kinds = np.where(kind.present & (kinds < len(_KINDS)), kinds, np.uint64(0)).astype(np.int64)
    status, message = _status(items, spans.status.at(kept), limits)
    code, peer = _promoted(spans, kinds, kept, len(items))
    parent = spans.parent.at(kept)
    return items.said(kept, UNKNOWN_SERVICE) | {
        "time": pa.array(times_ns[0][kept]).view(TIME),
        "trace_id": hex_ids(buffer, spans.trace.start[kept], 16),
        "span_id": hex_ids(buffer, spans.span.start[kept], 8),
        "parent_span_id": hex_ids(buffer, parent.start, 8, valid(buffer, parent, 8)),
        "name": category(raw_strings(buffer, spans.name.at(kept), limits), NAMES),
        "kind": coded(kinds, _KINDS),
        "duration_ns": pa.array(times_ns[1][kept]),
        "status": status,
        "status_code": code,
        "peer": peer,
        "status_message": message,
    }


def _status(items: Items, status: Slot, limits: Limits) -> tuple[Any, Any]:
    """Columns (status, message); a code that is not known is unset."""
    rows = len(status.tag)
    codes = np.zeros(rows, np.int64)
    here = (status.end > status.start).nonzero()[0]
    if not len(here):
        return coded(codes, SPAN_STATUSES), nothing(rows)
    encoded: Any = slices(items.buffer, status.start[here], status.end[here]).dictionary_encode()
    said = _statuses(limits)(encoded.dictionary.to_pylist())
    which = np.asarray(encoded.indices)
    codes[here] = np.array([code for code, _ in said], np.int64).take(which)
    return coded(codes, SPAN_STATUSES), spread(which, [message for _, message in said], here, rows)


@lru_cache(16)
def _statuses(limits: Limits) -> Known[tuple[int, str | None]]:
    """Code and message of Status messages."""

    def read(raw: list[bytes]) -> Iterable[tuple[int, str | None]]:
        buffer, start, end = joined(raw)
        message, code = scan(buffer, start, end, single=((_MESSAGE,), (_CODE,)), most=16).slots
        said = np.where(code.present, numbers(buffer, code.start), np.uint64(0))
        codes: list[int] = np.where(said < len(SPAN_STATUSES), said, 0).tolist()
        text: list[str] = strings(buffer, message, limits).to_pylist()
        return zip(codes, (one or None for one in text), strict=True)

    return Known(read)


def _promoted(spans: Spans, kinds: npt.NDArray[np.int64], kept: Offsets, count: int) -> tuple[Any, Any]:
    """Columns (status_code, peer): what `code_of` and `peer_of` say."""
    whole = len(kept) == count
    given = spans.attributes if whole else spans.attributes.chosen(kept)
    code, peer = given.firsts(CODE_KEYS), given.firsts(PEER_KEYS, (kinds == 3) | (kinds == 4))
    return _spread(code, _CODES, len(kept)), _spread(peer, NAMES, len(kept))


def _spread(texts: Texts, words: Vocabulary, rows: int) -> Any:
    return spread(texts.code, words([word.encode() for word in texts.words]), texts.owner, rows)


# ---- events -----------------------------------------------------------------------------------------------


def scan_events(buffer: Bytes, events: Pieces, limits: Limits) -> Scan:
    """Time and name (slots) and attributes (pieces) of some events."""
    single = ((_EVENT_TIME,), (_EVENT_NAME,))
    return scan(buffer, events.start, events.end, single=single, repeated=(_EVENT_ATTRIBUTES,), most=limits.fields)


def exception_rows(
    items: Items, spans: Spans, kept: Offsets, limits: Limits
) -> tuple[Offsets, dict[str, Any], Attributes] | None:
    """Of the events of kept spans that record exceptions: the span of each, the columns that are theirs (time, body),
    their attributes. None without any."""
    owner, start, end = spans.events
    of_kept = np.zeros(len(items), np.bool_)
    of_kept[kept] = True
    chosen = np.flatnonzero(of_kept[owner])
    if not len(chosen):
        return None
    found = scan_events(items.buffer, Pieces(owner[chosen], start[chosen], end[chosen]), limits)
    time, name = found.slots
    named = np.flatnonzero((name.end - name.start == len(EXCEPTION)) & ~found.bad)
    if not len(named):
        return None
    is_exception = np.asarray(
        pc.equal(slices(items.buffer, name.start[named], name.end[named]), pa.scalar(EXCEPTION.encode(), pa.binary()))
    )
    events = named[is_exception]
    whose = np.full(len(chosen), -1, np.int64)
    whose[events] = np.arange(len(events))
    of_event, first_byte, last_byte = found.pieces[0]
    mine = np.flatnonzero(whose[of_event] >= 0)
    given = attributes(
        items.buffer, len(events), Pieces(whose[of_event[mine]], first_byte[mine], last_byte[mine]), limits
    ).attributes  # fmt: skip
    lines = _lines(given, len(events))
    said = np.array([line is not None for line in lines], np.bool_)
    if not said.any():
        return None
    at, timed = times(items.buffer, time.at(events))
    span = owner[chosen[events]]
    at = np.where(timed, at, times(items.buffer, spans.start)[0][span])
    rows = np.flatnonzero(said)
    body = pa.array([line for line in lines if line is not None], pa.string())
    return span[rows], {"time": pa.array(at[rows]).cast(TIME), "body": body}, given.chosen(rows)


def _lines(given: Attributes, count: int) -> list[str | None]:
    """What `exception_line` says of each event."""
    kind: list[str | None] = [None] * count
    message: list[str | None] = [None] * count
    for keys, into in ((EXCEPTION_TYPE_KEYS, kind), (EXCEPTION_MESSAGE_KEYS, message)):
        owner, code, words = given.firsts(keys)
        for one, value in zip(owner.tolist(), code.tolist(), strict=True):
            into[one] = words[value]
    return [
        exception_line({EXCEPTION_TYPE_KEYS[0]: one, EXCEPTION_MESSAGE_KEYS[0]: two})
        for one, two in zip(kind, message, strict=True)
    ]


def nested_columns(items: Items, spans: Spans, kept: Offsets, limits: Limits) -> dict[str, Any]:
    """The columns that are made when a segment is compacted."""
    maps = spans.attributes.maps()
    if len(kept) < len(items):
        maps = maps.take(pa.array(kept))
    return {
        "attributes": maps,
        "events": _json_lists(items, spans.events, kept, limits, _event),
        "links": _json_lists(items, spans.links, kept, limits, _link),
    }


def _json_lists(items: Items, pieces: Pieces, kept: Offsets, limits: Limits, read: Any) -> Any:
    """Events or links of each span as a JSON list, null where it has none."""
    if not len(pieces.owner):
        return _arrow.nulls(len(kept), pa.string())
    lists: dict[int, list[Any]] = {}
    raw = memoryview(items.buffer.tobytes())
    for owner, start, end in zip(*(some.tolist() for some in pieces), strict=True):
        mine = lists.setdefault(owner, [])
        if len(mine) < limits.events:
            value = read(raw[start:end], limits)
            if value is not None:
                mine.append(value)
    texts = [_encode(lists[row]).decode() if row in lists else None for row in kept.tolist()]
    return pa.array(texts, pa.string())


def _event(raw: memoryview, limits: Limits) -> dict[str, Any] | None:
    try:
        event = Span.Event.FromString(bytes(raw))
    except DecodeError:
        return None
    return {"time": event.time_unix_nano, "name": event.name, "attributes": _plain_map(event.attributes, limits)}


def _link(raw: memoryview, limits: Limits) -> dict[str, Any] | None:
    try:
        link = Span.Link.FromString(bytes(raw))
    except DecodeError:
        return None
    return {
        "trace_id": link.trace_id.hex() or None, "span_id": link.span_id.hex() or None,
        "attributes": _plain_map(link.attributes, limits),
    }  # fmt: skip


def _plain_map(pairs: Sequence[Any], limits: Limits) -> dict[str, Any]:
    return {pair.key: plain(pair.value, limits.depth) for pair in pairs[: limits.attributes]}
