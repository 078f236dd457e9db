"""Tables of telemetry as OTLP requests: what a recording, a simulation or another system holds, for a receiver.

Rows repeat most of what they say, so its bytes are made once: of places, names, attributes. The rest is put in between;
field numbers are those of opentelemetry-proto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa

from aetia.ingest.values import decoded
from aetia.ingest.wire import VARINT, field_bytes, tag

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUS = {"ok": 1, "error": 2}
_LEVELS = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
_CUMULATIVE = b"\x10\x02"
_MONOTONIC = b"\x18\x01"
_KEPT = 65_536
_LONGEST_KEPT = 1024


def to_request(signal: str, table: pa.Table, shift_ns: int = 0) -> bytes:
    """Rows of `spans`, `logs` or `metrics` (model schema) as one OTLP protobuf export request, `shift_ns` later.

    Attributes become texts. Counters and the buckets of histograms become cumulative sums, all else gauges.
    """
    return next(to_requests(signal, table, (table.num_rows,), shift_ns))


def to_requests(signal: str, table: pa.Table, sizes: Iterable[int], shift_ns: int = 0) -> Iterator[bytes]:
    """The same as several requests, of as many rows each as `sizes` says."""
    made = {"spans": _spans, "logs": _logs, "metrics": _metrics}[signal](table, shift_ns)
    rows = zip(*(_texts(table, name) for name in ("service", "instance", "node")), made, strict=True)
    return (_request(islice(rows, size)) for size in sizes)


def _request(rows: Iterable[tuple[str | None, str | None, str | None, bytes]]) -> bytes:
    places: dict[tuple[str | None, ...], list[bytes]] = {}
    for service, instance, node, item in rows:
        places.setdefault((service, instance, node), []).append(field_bytes(tag(2), item))
    groups: list[bytes] = []
    for place, items in places.items():
        scope = field_bytes(tag(2), b"".join(items))
        groups.append(field_bytes(tag(1), field_bytes(tag(1), _resource(place)) + scope))
    return b"".join(groups)


@lru_cache(_KEPT)
def _resource(place: tuple[str | None, ...]) -> bytes:
    named = zip(("service.name", "service.instance.id", "host.name"), place, strict=True)
    return b"".join(_pair(tag(1), key, value) for key, value in named if value)


def _pair(field: int, key: str, value: Any) -> bytes:
    """A field that holds a KeyValue."""
    said = field_bytes(tag(1), str(value).encode())
    return field_bytes(field, _text(tag(1), key) + field_bytes(tag(2), said))


def _text(field: int, value: str | None) -> bytes:
    """A field of text, absent where empty."""
    return field_bytes(field, value.encode()) if value else b""


# ---- columns ----------------------------------------------------------------------------------------------


def _texts(table: pa.Table, name: str) -> list[Any]:
    if name not in table.column_names:
        return [None] * table.num_rows
    # One value of a dictionary-encoded column costs ten times as much as one of a plain column.
    return decoded(table[name]).to_pylist()


def _fixed(values: Any) -> Iterator[bytes]:
    """Numbers of 64 bits, little-endian, one after the other."""
    raw = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return (raw[at : at + 8] for at in range(0, len(raw), 8))


def _times(table: pa.Table, shift_ns: int) -> Any:
    return table["time"].cast(pa.int64()).to_numpy() + shift_ns


def _kept(make: Callable[..., bytes]) -> Callable[..., bytes]:
    """A function whose answers are kept where what they are made of is short."""
    cached = lru_cache(_KEPT)(make)

    def made(*arguments: Hashable) -> bytes:
        short = all(not isinstance(one, str) or len(one) <= _LONGEST_KEPT for one in arguments)
        return (cached if short else make)(*arguments)

    return made


@_kept
def _attributes(field: int, held: str | tuple[tuple[str, str], ...] | None, *known: tuple[str, str | None]) -> bytes:
    """Fields of attributes: what columns say, then what the row holds (JSON text or pairs)."""
    given: dict[str, Any] = {key: value for key, value in known if value}
    given |= msgspec.json.decode(held) if isinstance(held, str) else dict(held or ())
    return b"".join(_pair(field, key, value) for key, value in given.items())


def _held(table: pa.Table) -> Iterable[Any]:
    return (tuple(one) if isinstance(one, list) else one for one in _texts(table, "attributes"))


def _id(text: str | None, size: int) -> bytes:
    """An id as OTLP wants it; recordings may hold ids of other lengths."""
    raw = text or ""
    try:
        found = bytes.fromhex(raw)
    except ValueError:
        found = raw.encode()
    if len(found) == size:
        return found
    return hashlib.blake2b(raw.encode(), digest_size=size).digest()


# ---- signals ----------------------------------------------------------------------------------------------


@_kept
def _named(name: str | None, kind: str | None) -> bytes:
    number = _KINDS.get(kind or "", 0)
    return _text(tag(5), name) + (bytes((tag(6, VARINT), number)) if number else b"")


def _spans(table: pa.Table, shift_ns: int) -> Iterator[bytes]:
    start = _times(table, shift_ns)
    end = start + table["duration_ns"].to_numpy()
    statuses = {
        word: field_bytes(tag(15), bytes((tag(3, VARINT), code)) if code else b"")
        for word, code in ((word, _STATUS.get(word or "", 0)) for word in set(_texts(table, "status")))
    }
    columns = (_texts(table, one) for one in ("trace_id", "span_id", "parent_span_id", "name", "kind", "status"))
    more = (_texts(table, one) for one in ("status_code", "peer"))
    for trace, span, parent, name, kind, status, code, peer, held, began, ended in zip(
        *columns, *more, _held(table), _fixed(start), _fixed(end), strict=True
    ):
        known = ("http.response.status_code", code), ("server.address", peer)
        yield b"".join(
            (
                b"\x0a\x10", _id(trace, 16), b"\x12\x08", _id(span, 8), b"\x22\x08" + _id(parent, 8) if parent else b"",
                _named(name, kind), b"\x39", began, b"\x41", ended, _attributes(tag(9), held, *known), statuses[status],
            )
        )  # fmt: skip


def _logs(table: pa.Table, shift_ns: int) -> Iterator[bytes]:
    columns = (_texts(table, one) for one in ("severity", "body", "trace_id", "span_id"))
    for severity, body, trace, span, held, at in zip(
        *columns, _held(table), _fixed(_times(table, shift_ns)), strict=True
    ):
        level = _LEVELS.get(severity or "", 0)
        said = field_bytes(tag(1), (body or "").encode())
        yield b"".join(
            (
                b"\x09", at, bytes((tag(2, VARINT), level)) if level else b"", field_bytes(tag(5), said),
                _attributes(tag(6), held), b"\x4a\x10" + _id(trace, 16) if trace else b"",
                b"\x52\x08" + _id(span, 8) if span else b"",
            )
        )  # fmt: skip


@_kept
def _titled(name: str | None, unit: str | None) -> bytes:
    return _text(tag(1), name) + _text(tag(3), unit)


def _metrics(table: pa.Table, shift_ns: int) -> Iterator[bytes]:
    columns = (_texts(table, one) for one in ("name", "unit", "type"))
    values = table["value"].to_numpy()
    for name, unit, kind, held, at, value in zip(
        *columns, _held(table), _fixed(_times(table, shift_ns)), _fixed(values), strict=True
    ):
        point = b"".join((b"\x19", at, b"\x21", value, _attributes(tag(7), held)))
        points = field_bytes(tag(1), point)
        if kind in ("counter", "histogram"):
            yield _titled(name, unit) + field_bytes(tag(7), points + _CUMULATIVE + _MONOTONIC)
        else:
            yield _titled(name, unit) + field_bytes(tag(5), points)
