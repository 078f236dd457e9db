"""The bytes of a journal segment: a header, then records that each prove themselves.

    header   8 bytes `AETIASEG`, version u32, created u64 (ns), crc32 u32 of what stands before it
    record   4 bytes magic, length u32 of the body, crc32 u32 of all that follows, signal u8, kind u8, two zero bytes,
             received i64 (ns), 16 bytes digest of the request as it came, body

Everything is little-endian. A record that breaks off at the end of a file was never acknowledged. Damage in the middle
costs the records that it touches: `scan` finds the next one by its magic and checksum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from aetia.model.stored import SIGNALS, Signal

VERSION = 1
HEADER = struct.Struct("<8sIQ")
HEADER_BYTES = HEADER.size + 4
RECORD_MAGIC = b"\xa7rec"
_PREFIX = struct.Struct("<4sII")
_FIELDS = struct.Struct("<BBHq16s")
RECORD_BYTES = _PREFIX.size + _FIELDS.size
DIGEST_BYTES = 16
Kind = Literal["protobuf", "changes"]
_SEGMENT_MAGIC = b"AETIASEG"
_GROUP_BYTES = 4 << 20
_KINDS: tuple[Kind, ...] = ("protobuf", "changes")
_SIGNAL_CODES = {signal: code for code, signal in enumerate(SIGNALS)}
_KIND_CODES = {kind: code for code, kind in enumerate(_KINDS)}
Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record stands in its segment, and what its header says."""

    offset: int
    length: int
    signal: Signal
    kind: Kind
    received_ns: int
    digest: bytes

    @property
    def body_offset(self) -> int:
        return self.offset + RECORD_BYTES

    @property
    def end(self) -> int:
        return self.body_offset + self.length


@dataclass(frozen=True, slots=True)
class Scan:
    """What a segment holds. `damaged` are byte ranges that hold no valid record although valid ones follow, or that a
    broken-off write cannot explain; `end` is where the last valid record ends."""

    records: tuple[Record, ...]
    damaged: tuple[tuple[int, int], ...]
    end: int
    version: int


def digest_of(signal: Signal, body: Buffer) -> bytes:
    """128 bits that stand for a request. SHA-256 is the fastest digest on processors that have its instructions."""
    state = sha256(signal.encode())
    state.update(body)
    return state.digest()[:DIGEST_BYTES]


def header(created_ns: int) -> bytes:
    plain = HEADER.pack(_SEGMENT_MAGIC, VERSION, created_ns)
    return plain + struct.pack("<I", zlib.crc32(plain))


def record_header(signal: Signal, kind: Kind, received_ns: int, digest: bytes, body: Buffer) -> bytes:
    fields = _FIELDS.pack(_SIGNAL_CODES[signal], _KIND_CODES[kind], 0, received_ns, digest)
    crc = zlib.crc32(body, zlib.crc32(fields, len(body)))
    return _PREFIX.pack(RECORD_MAGIC, len(body), crc) + fields


def scan(data: memoryview) -> Scan:
    """All valid records of a segment's bytes, in order. Never raises, whatever the bytes are."""
    if len(data) < HEADER_BYTES:  # created, and the process died before anything could be acknowledged
        return Scan((), (), len(data), VERSION)
    version = _version(data)
    position = HEADER_BYTES
    records: list[Record] = []
    damaged: list[tuple[int, int]] = []
    if version == 0:
        # The header is damaged, or breaks off; records carry their own proof.
        position = 0
    end = position
    while position < len(data):
        record = _record_at(data, position)
        if record is not None:
            records.append(record)
            position = end = record.end
            continue
        found = _next_record(data, position + 1)
        if found is None:
            if not _broken_off(data, position):
                damaged.append((position, len(data)))
            break
        damaged.append((position, found))
        position = found
    return Scan(tuple(records), tuple(damaged), end, version)


def _version(data: memoryview) -> int:
    """The version in the header; 0 when there is none to be read."""
    magic, version, _ = HEADER.unpack_from(data, 0)
    (crc,) = struct.unpack_from("<I", data, HEADER.size)
    return version if magic == _SEGMENT_MAGIC and crc == zlib.crc32(data[: HEADER.size]) else 0


def _record_at(data: memoryview, position: int) -> Record | None:
    if position + RECORD_BYTES > len(data):
        return None
    magic, length, crc = _PREFIX.unpack_from(data, position)
    body = position + RECORD_BYTES
    if magic != RECORD_MAGIC or body + length > len(data):
        return None
    fields = data[position + _PREFIX.size : body]
    if zlib.crc32(data[body : body + length], zlib.crc32(fields, length)) != crc:
        return None
    signal, kind, _, received_ns, digest = _FIELDS.unpack(fields)
    if signal >= len(SIGNALS) or kind >= len(_KINDS):
        return None
    return Record(position, length, SIGNALS[signal], _KINDS[kind], received_ns, digest)


def _next_record(data: memoryview, position: int) -> int | None:
    """Where the next valid record begins. Works in steps so that no copy of the whole file is made."""
    step = 1 << 20
    while position < len(data):
        block = bytes(data[position : position + step + len(RECORD_MAGIC) - 1])
        at = block.find(RECORD_MAGIC)
        while at >= 0:
            if _record_at(data, position + at) is not None:
                return position + at
            at = block.find(RECORD_MAGIC, at + 1)
        position += step
    return None


def _broken_off(data: memoryview, position: int) -> bool:
    """Whether what stands at the end is the beginning of a record (or zeros that a power failure left)."""
    rest = len(data) - position
    if rest < _PREFIX.size:
        return True
    magic, length, _ = _PREFIX.unpack_from(data, position)
    if magic == RECORD_MAGIC:
        return rest < RECORD_BYTES + length
    return not any(bytes(data[position:]).strip(b"\0"))


def pack(items: Sequence[tuple[Signal, Kind, int, bytes, Buffer]]) -> tuple[bytes, list[int]]:
    """Records of (signal, kind, received_ns, digest, body) as one block, and where in it each record begins."""
    pieces: list[Buffer] = []
    starts: list[int] = []
    position = 0
    for signal, kind, received_ns, digest, body in items:
        starts.append(position)
        pieces += (record_header(signal, kind, received_ns, digest, body), body)
        position += RECORD_BYTES + len(body)
    return b"".join(pieces), starts


def grouped(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in groups of about 4 MiB of bodies, which are decoded together."""
    group: list[Record] = []
    size = 0
    for record in records:
        group.append(record)
        size += record.length
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
