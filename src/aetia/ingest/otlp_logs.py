"""Log records of OTLP requests as columns of the stored schema, without a loop over records."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from aetia.ingest.otlp_attributes import Attributes, Limits, any_values, attributes, strings, texts, trim
from aetia.ingest.otlp_items import Items, Rejects, coded, nothing
from aetia.ingest.otlp_spans import times, valid
from aetia.ingest.values import category, pc, severity, severity_of
from aetia.ingest.wire import FIXED64, VARINT, Bytes, Flags, Offsets, Slot, hex_ids, numbers, scan, tag
from aetia.model.tables import TIME

_TIME, _OBSERVED, _NUMBER, _TEXT = tag(1, FIXED64), tag(11, FIXED64), tag(2, VARINT), tag(3)
_BODY, LOG_ATTRIBUTES, _TRACE, _SPAN = tag(5), tag(6), tag(9), tag(10)
_LEVELS: tuple[str | None, ...] = tuple(severity_of(str(number)) for number in range(25))


class Logs(NamedTuple):
    """What a scan of log records found."""

    time: Slot
    observed: Slot
    number: Slot
    text: Slot
    body: Slot
    trace: Slot
    span: Slot
    attributes: Attributes
    trimmed: Offsets
    over: Flags
    bad: Flags

    @property
    def long(self) -> Offsets:
        return self.over.nonzero()[0]


def scan_logs(items: Items, limits: Limits) -> Logs:
    """Find the fields of all records."""
    single = tuple((one,) for one in (_TIME, _OBSERVED, _NUMBER, _TEXT, _BODY, _TRACE, _SPAN))
    found = scan(items.buffer, items.start, items.end, single=single, repeated=(LOG_ATTRIBUTES,), most=limits.fields)
    made = attributes(items.buffer, len(items), found.pieces[0], limits)
    bad = found.bad
    bad[made.bad] = True
    time, observed, number, text, body, trace, span = found.slots
    return Logs(time, observed, number, text, body, trace, span, made.attributes, made.trimmed, found.long, bad)


def trimmed_log(raw: bytes, limits: Limits) -> bytes:
    """A record with at most as many attributes as are looked at; as it is where it is malformed."""
    try:
        record = LogRecord.FromString(raw)
    except DecodeError:
        return raw
    record.DiscardUnknownFields()
    trim(record.attributes, limits)
    return record.SerializeToString()


def check_logs(items: Items, logs: Logs, rejects: Rejects) -> Offsets:
    """The time of each record; those without any are rejected."""
    time, known = times(items.buffer, logs.time)
    observed, seen = times(items.buffer, logs.observed)
    rejects.add(~(known | seen), "no time, or one before 2000")
    return np.where(known, time, observed)


def log_columns(items: Items, logs: Logs, times_ns: Offsets, kept: Offsets, limits: Limits) -> dict[str, Any]:
    """The promoted columns of the kept records."""
    said = logs.body.at(kept)
    value, _ = any_values(items.buffer, said.start, said.end)
    body = texts(items.buffer, value, "body", limits)
    return items.said(kept) | {
        "time": pa.array(times_ns[kept]).view(TIME),
        "trace_id": ids(items.buffer, logs.trace.at(kept), 16),
        "span_id": ids(items.buffer, logs.span.at(kept), 8),
        "severity": _severity(items, logs, kept, body, limits),
        "body": body,
        "template": nothing(len(kept)),
    }


def ids(buffer: Bytes, slot: Slot, size: int) -> Any:
    """Ids as hex, null where they are invalid or absent."""
    return hex_ids(buffer, slot.start, size, valid(buffer, slot, size))


def _severity(items: Items, logs: Logs, kept: Offsets, body: Any, limits: Limits) -> Any:
    """Levels by text, else by number, else as the body plainly begins."""
    number, text = logs.number.at(kept), logs.text.at(kept)
    told = np.zeros(len(kept), np.int64)
    here = np.flatnonzero(number.present & (text.end == text.start))
    found = numbers(items.buffer, number.start[here])
    told[here] = np.where(found < len(_LEVELS), found, 0)
    given = coded(told, _LEVELS)
    worded = np.flatnonzero(text.end > text.start)
    if len(worded):
        column = strings(items.buffer, text.at(worded), limits).dictionary_encode()
        words = [severity_of(word) for word in column.dictionary.to_pylist()]
        codes = np.asarray(column.indices) + len(_LEVELS)
        told[worded] = codes
        given = coded(told, (*_LEVELS, *words))
    if not given.null_count:
        return given
    missing = pc.is_null(given)
    opening = severity(None, pa.chunked_array([body.filter(missing)])).combine_chunks()
    if opening.null_count == len(opening):
        return given
    filled = pc.replace_with_mask(given.cast(pa.string()), missing, opening.cast(pa.string()))
    return category(pa.chunked_array([filled])).combine_chunks()
