"""Protobuf's wire format for many messages at once: numpy walks all messages of a buffer, one field per step.

Positions are byte offsets into one padded buffer (`padded`). A malformed message is flagged, never raised; wire types
3 and 4 (groups) count as malformed. The few messages that are left when most have ended are walked one by one, so that
no input costs more than about a microsecond a field. Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
PADDING = 16
"""Zero bytes after the last message, so that a varint that begins inside a message can be read without a check."""
_FEW = 24
"""Messages per group of a step below which Python's loop is faster than numpy's calls (measured: 20 µs a group)."""
_BEYOND = np.int64(1) << 60
_TAG_BYTES, _VARINT_BYTES = 5, 10
_arrow: Any = pa


def tag(field: int, wire: int = LENGTH) -> int:
    """What precedes a field of that number and wire type."""
    return field << 3 | wire


def padded(messages: Sequence[bytes]) -> Bytes:
    """Messages joined, with padding."""
    return np.frombuffer(b"".join((*messages, bytes(PADDING))), np.uint8)


class Pieces(NamedTuple):
    """The occurrences of a repeated field in order of message and place: whose they are and where their values are."""

    owner: Offsets
    start: Offsets
    end: Offsets


class Slot(NamedTuple):
    """The last occurrence of a field in each message. `tag` is 0 and `start == end` where it has none."""

    tag: npt.NDArray[np.int64]
    start: Offsets
    end: Offsets

    def at(self, index: Any) -> Slot:
        """The slot of some messages."""
        return Slot(self.tag[index], self.start[index], self.end[index])

    @property
    def present(self) -> Flags:
        return self.tag != 0


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found, for n messages. `bad` are malformed, `long` have more fields than were asked for."""

    slots: tuple[Slot, ...]
    pieces: tuple[Pieces, ...]
    bad: Flags
    long: Flags


def scan(
    buffer: Bytes, start: Offsets, end: Offsets, *, single: Sequence[tuple[int, ...]] = (),
    repeated: Sequence[int] = (), most: int = 64, few: int = _FEW,
) -> Scan:  # fmt: skip
    """Find fields in the messages `buffer[start[i]:end[i]]`.

    `single` lists the slots: tags of which the last occurrence counts (a oneof is a slot of several tags). `repeated`
    are tags of which all count. A field whose wire type differs is an unknown field, as protobuf has it. At most `most`
    fields of a message are looked at.
    """
    found = _Found(buffer, start, single, repeated)
    who = (start < end).nonzero()[0]
    active = _Active(who, start[who], end[who], np.zeros(len(who), np.int64))
    groups, steps = 1, 0
    while len(active.who):
        if steps >= most:
            active = found.without_long(active, most)
        if len(active.who) < max(few * groups, 1):
            found.walk(active, most)
            break
        active, groups = found.step(active)
        steps += 1
    return found.result()


class _Active(NamedTuple):
    """Messages that have not ended: which, where their next fields are, where they end, how many fields they had."""

    who: Offsets
    pos: Offsets
    stop: Offsets
    fields: Offsets

    def at(self, index: Any) -> _Active:
        return _Active(self.who[index], self.pos[index], self.stop[index], self.fields[index])


class _Found:
    """The arrays that a scan fills."""

    def __init__(
        self, buffer: Bytes, start: Offsets, single: Sequence[tuple[int, ...]], repeated: Sequence[int]
    ) -> None:
        self.buffer = buffer
        self.count = len(start)
        self.slots = [Slot(np.zeros(self.count, np.int64), start.copy(), start.copy()) for _ in single]
        self.slot_of = {one: slot for slot, tags in zip(self.slots, single, strict=True) for one in tags}
        self.pieces: dict[int, list[Pieces]] = {one: [] for one in repeated}
        self.wanted = frozenset((*self.slot_of, *self.pieces))
        self.bad = np.zeros(self.count, np.bool_)
        self.long = np.zeros(self.count, np.bool_)

    def result(self) -> Scan:
        return Scan(tuple(self.slots), tuple(_in_order(some) for some in self.pieces.values()), self.bad, self.long)

    def put(self, field: int, who: Offsets, start: Offsets, end: Offsets) -> None:
        slot = self.slot_of.get(field)
        if slot is not None:
            # All of them in their order, which a slice copies faster.
            where: Any = slice(None) if len(who) == self.count else who
            slot.tag[where], slot.start[where], slot.end[where] = field, start, end
        elif field in self.pieces:
            self.pieces[field].append(Pieces(who, start, end))

    def without_long(self, active: _Active, most: int) -> _Active:
        over = active.fields >= most
        self.long[active.who[over]] = True
        return active.at(~over)

    def step(self, active: _Active) -> tuple[_Active, int]:
        """One field of every message, or of those whose next field comes first where most agree on it: serialisers
        write fields in order of their numbers, so those that lack one wait and the rest catches up. Returns what is
        still active, and of how many groups the step was."""
        tags = self.buffer.take(active.pos)
        lead = int(tags.min())
        same = tags == lead
        agree = int(np.count_nonzero(same))
        if lead < 8 or lead >= 0x80 or 2 * agree < len(tags):
            return self._mixed_step(active, tags)
        if agree == len(tags):
            start, after = _extent(self.buffer, active.pos + 1, lead & 7)
            furthest = int((after - active.stop).max())
            if furthest > 0:
                return self._ended(active, start, after, np.full(agree, lead)), 1
            self.put(lead, active.who, start, after)
            moved = _Active(active.who, after, active.stop, active.fields + 1)
            return (moved if furthest < 0 else moved.at(after < active.stop)), 1
        some = same.nonzero()[0]
        here = active.at(some)
        start, after = _extent(self.buffer, here.pos + 1, lead & 7)
        furthest = int((after - here.stop).max())
        # A copy, because what is kept of a repeated field may be the same array.
        active = active._replace(pos=active.pos.copy())
        active.pos[some] = after
        active.fields[some] += 1
        if furthest > 0:
            over = after > here.stop
            self.bad[here.who[over]] = True
            good = ~over
            self.put(lead, here.who[good], start[good], after[good])
        else:
            self.put(lead, here.who, start, after)
        return (active if furthest < 0 else active.at(active.pos < active.stop)), 1

    def _mixed_step(self, active: _Active, tags: Bytes) -> tuple[_Active, int]:
        fields, start, after, groups = _mixed(self.buffer, tags, active.pos)
        told = set(np.flatnonzero(np.bincount(np.minimum(fields, 4096))).tolist())
        wanted = self.wanted if 4096 in told else self.wanted & told
        return self._ended(active, start, after, fields, wanted), groups + len(wanted)

    def _ended(
        self, active: _Active, start: Offsets, after: Offsets, fields: Offsets, wanted: frozenset[int] | None = None
    ) -> _Active:
        """Keep what was found in messages that reach that far; the others are malformed."""
        over = after > active.stop
        if over.any():
            self.bad[active.who[over]] = True
            good = ~over
            active, start, after, fields = active.at(good), start[good], after[good], fields[good]
        for field in self.wanted if wanted is None else wanted:
            here = (fields == field).nonzero()[0]
            if len(here):
                self.put(field, active.who[here], start[here], after[here])
        on = after < active.stop
        return _Active(active.who[on], after[on], active.stop[on], active.fields[on] + 1)

    def walk(self, active: _Active, most: int) -> None:
        """The same as `step`, message by message to their ends."""
        view = memoryview(cast(Any, self.buffer))
        kept: dict[int, list[tuple[int, int, int]]] = {one: [] for one in self.pieces}
        for message, at, end, had in zip(*(column.tolist() for column in active), strict=True):
            for _ in range(had, most):
                field, start, after = _one(view, at)
                if after > end:
                    self.bad[message] = True
                    break
                slot = self.slot_of.get(field)
                if slot is not None:
                    slot.tag[message], slot.start[message], slot.end[message] = field, start, after
                elif field in kept:
                    kept[field].append((message, start, after))
                at = after
                if at == end:
                    break
            else:
                self.long[message] = True
        for field, rows in kept.items():
            if rows:
                self.pieces[field].append(Pieces(*np.array(rows, np.int64).T))


def _in_order(some: Sequence[Pieces]) -> Pieces:
    if not some:
        nothing = np.empty(0, np.int64)
        return Pieces(nothing, nothing, nothing)
    if len(some) == 1:
        return some[0]
    owner, start, end = (np.concatenate(columns) for columns in zip(*some, strict=True))
    order = np.argsort(owner, kind="stable")
    return Pieces(owner[order], start[order], end[order])


def _extent(buffer: Bytes, at: Offsets, wire: int) -> tuple[Offsets, Offsets]:
    """Where the values of fields of one wire type begin and end, given where their tags end; beyond everything where
    that cannot be told."""
    if wire == LENGTH:
        size, start = _varints(buffer, at, _TAG_BYTES)
        return start, start + size.astype(np.int64)
    if wire == VARINT:
        return at, _after_varints(buffer, at)
    return at, at + {FIXED64: 8, FIXED32: 4}.get(wire, int(_BEYOND))


def _mixed(buffer: Bytes, tags: Bytes, pos: Offsets) -> tuple[npt.NDArray[np.int64], Offsets, Offsets, int]:
    """(field tags, value starts, value ends, groups) of messages whose next fields differ."""
    fields, at = tags.astype(np.int64), pos + 1
    wide = (tags >= 0x80).nonzero()[0]
    if len(wide):
        fields[wide], at[wide] = _varints(buffer, pos[wide], _TAG_BYTES)
    start, after = at.copy(), np.full(len(pos), _BEYOND)
    wires, groups = np.where(fields > 7, fields & 7, 7), 0
    for wire in (VARINT, FIXED64, LENGTH, FIXED32):
        here = (wires == wire).nonzero()[0]
        if len(here):
            groups += 1
            start[here], after[here] = _extent(buffer, at[here], wire)
    return fields, start, after, groups


def _varints(buffer: Bytes, at: Offsets, most_bytes: int = _VARINT_BYTES) -> tuple[npt.NDArray[np.uint64], Offsets]:
    """Values of the varints that begin at `at` and where they end (beyond everything after `most_bytes`)."""
    lead = buffer.take(at)
    value, after = lead.astype(np.uint64), at + 1
    left = (lead >= 0x80).nonzero()[0]
    if not len(left):
        return value, after
    value[left] &= np.uint64(0x7F)
    for position in range(1, most_bytes):
        byte = buffer.take(after[left])
        value[left] |= (byte & 0x7F).astype(np.uint64) << np.uint64(7 * position)
        after[left] += 1
        left = left[byte >= 0x80]
        if not len(left):
            return value, after
    value[left], after[left] = 0, _BEYOND
    return value, after


def _after_varints(buffer: Bytes, at: Offsets) -> Offsets:
    after = at + 1
    left = (buffer.take(at) >= 0x80).nonzero()[0]
    for _ in range(1, _VARINT_BYTES):
        if not len(left):
            return after
        byte = buffer.take(after[left])
        after[left] += 1
        left = left[byte >= 0x80]
    after[left] = _BEYOND
    return after


def _one(view: memoryview, at: int) -> tuple[int, int, int]:
    """(tag, value start, value end) of the field at a position; the end is beyond everything where it is malformed."""
    beyond = int(_BEYOND)
    field, at = _scalar(view, at, _TAG_BYTES)
    wire = field & 7
    if field < 8:
        return 0, at, beyond
    if wire == LENGTH:
        size, at = _scalar(view, at, _TAG_BYTES)
        return field, at, at + size
    if wire == VARINT:
        return field, at, _scalar(view, at, _VARINT_BYTES)[1]
    return field, at, at + {FIXED64: 8, FIXED32: 4}.get(wire, beyond)


def _scalar(view: memoryview, at: int, most_bytes: int) -> tuple[int, int]:
    value = 0
    if at >= len(view) - PADDING:
        return 0, int(_BEYOND)
    for position in range(most_bytes):
        byte = view[at + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return value, at + position + 1
    return 0, int(_BEYOND)


# ---- values -----------------------------------------------------------------------------------------------


def numbers(buffer: Bytes, start: Offsets) -> npt.NDArray[np.uint64]:
    """The varints at some positions of well-formed fields, modulo 2^64."""
    return _varints(buffer, start)[0]


def fixed64(buffer: Bytes, start: Offsets) -> npt.NDArray[np.uint64]:
    """The little-endian 64 bits at some positions."""
    words: npt.NDArray[np.uint64] = np.ndarray((len(buffer) - 7,), np.dtype("<u8"), buffer, 0, (1,))
    return words[start].astype(np.uint64, copy=False)


_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), "<u2")


def hex_ids(buffer: Bytes, start: Offsets, size: int, valid: Flags | None = None) -> pa.Array[Any]:
    """Ids of `size` bytes as lower-case hex texts, null where not `valid`."""
    raw = buffer.take(start[:, None] + np.arange(size)).reshape(-1)
    offsets = np.arange(len(start) + 1, dtype=np.int32) * (2 * size)
    mask = None if valid is None or valid.all() else _arrow.py_buffer(np.packbits(valid, bitorder="little"))
    return _arrow.Array.from_buffers(
        pa.string(), len(start), [mask, _arrow.py_buffer(offsets), _arrow.py_buffer(_HEX.take(raw))]
    )


def slices(buffer: Bytes, start: Offsets, end: Offsets) -> pa.Array[Any]:
    """The byte strings `buffer[start[i]:end[i]]`; starts and ends must ascend and not overlap, as those of one field
    do in messages that follow each other."""
    count = len(start)
    if not count:
        return pa.array([], pa.binary())
    offsets = np.empty(2 * count, np.int32)
    offsets[0::2], offsets[1::2] = start, end
    # A binary array whose every other value is what lies between; Arrow then copies the wanted ones.
    both = _arrow.Array.from_buffers(
        pa.binary(), 2 * count - 1, [None, _arrow.py_buffer(offsets), _arrow.py_buffer(buffer)]
    )
    return both.take(_even_numbers(1 << max(count - 1, 0).bit_length())[:count])


@lru_cache(32)
def _even_numbers(count: int) -> Any:
    return pa.array(np.arange(0, 2 * count, 2, dtype=np.int32))


# ---- outer levels -----------------------------------------------------------------------------------------


@cache
def lazy_messages() -> tuple[Any, Any]:
    """(Request, Level): the outer levels of every OTLP export request with what they hold left as bytes.

    Request is `repeated bytes groups = 1`. Level stands for ResourceSpans and ScopeSpans and their likes: a head
    (resource or scope; repeated, as parts of one message that occur apart are merged) and items (scopes or spans).
    """
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name="aetia/lazy.proto", package="aetia.lazy", syntax="proto3")
    for name, fields in (("Request", {"groups": 1}), ("Level", {"head": 1, "items": 2})):
        message = file.message_type.add(name=name)
        for field, number in fields.items():
            label, kind = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.TYPE_BYTES
            message.field.add(name=field, number=number, type=kind, label=label)
    pool = DescriptorPool()
    pool.Add(file)
    request, level = (GetMessageClass(pool.FindMessageTypeByName(f"aetia.lazy.{one}")) for one in ("Request", "Level"))
    return request, level
