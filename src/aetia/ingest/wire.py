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
_LAGGING = 8
"""At least one in so many messages takes part in a step, so that no mixture of fields takes many steps."""
_BEYOND = np.int64(1) << 60
_TAG_BYTES, _VARINT_BYTES = 5, 10
_arrow: Any = pa


def tag(field: int, wire: int = LENGTH) -> int:
    """What precedes a field of that number and wire type."""
    return field << 3 | wire


def padded(messages: Sequence[bytes]) -> Bytes:
    """Messages joined, with padding."""
    return np.frombuffer(b"".join((*messages, bytes(PADDING))), np.uint8)


def joined(messages: Sequence[bytes]) -> tuple[Bytes, Offsets, Offsets]:
    """Messages in one padded buffer, where each begins and where it ends."""
    ends = np.zeros(len(messages) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, messages), np.int64, len(messages)), out=ends[1:])
    return padded(messages), ends[:-1], ends[1:]


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
            active = found.without_long(active, steps, most)
        if len(active.who) < max(few * groups, 1):
            found.walk(active, steps, most)
            break
        active, groups = found.step(active)
        steps += 1
    return found.result()


class _Active(NamedTuple):
    """Messages that have not ended: which, where their next fields are, where they end, how many steps they waited."""

    who: Offsets
    pos: Offsets
    stop: Offsets
    waited: Offsets

    def at(self, index: Any) -> _Active:
        return _Active(self.who[index], self.pos[index], self.stop[index], self.waited[index])


class _Found:
    """The arrays that a scan fills."""

    def __init__(
        self, buffer: Bytes, start: Offsets, single: Sequence[tuple[int, ...]], repeated: Sequence[int]
    ) -> None:
        self.buffer, self.after_tag = buffer, buffer[1:]
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

    def without_long(self, active: _Active, steps: int, most: int) -> _Active:
        over = steps - active.waited >= most
        self.long[active.who[over]] = True
        return active.at(~over)

    def step(self, active: _Active) -> tuple[_Active, int]:
        """One field of every message, or of those whose next field comes first: serialisers write fields in order of
        their numbers, so those that lack one wait and the rest catches up. Returns what is still active, and of how
        many groups the step was."""
        tags = self.buffer.take(active.pos)
        count = len(tags)
        lead = int(tags[0])
        same = tags == lead
        agree = int(np.count_nonzero(same))
        if agree == count and 8 <= lead < 0x80:
            if lead & 7 == LENGTH:
                sizes = self.after_tag.take(active.pos)
                if sizes.max() < 0x80:
                    start = active.pos + 2
                    return self._ended(active, lead, start, start + sizes), 1
            start, after = _extent(self.buffer, active.pos + 1, lead & 7)
            return self._ended(active, lead, start, after), 1
        first = int(tags.min())
        if first != lead:
            lead, same = first, tags == first
            agree = int(np.count_nonzero(same))
        if lead >= 0x80 and agree == count:
            return self._wide_step(active, tags)
        if lead < 8 or lead >= 0x80 or _LAGGING * agree < count:
            return self._mixed_step(active, tags)
        return self._some_step(active, lead, same), 1

    def _some_step(self, active: _Active, lead: int, same: Flags) -> _Active:
        """A field of those messages that are at it; the others wait."""
        some = same.nonzero()[0]
        who, stop = active.who[some], active.stop[some]
        start, after = _extent(self.buffer, active.pos[some] + 1, lead & 7)
        furthest = int((after - stop).max())
        # A copy, because what is kept of a repeated field may be the same array.
        pos = active.pos.copy()
        pos[some] = after
        active = _Active(active.who, pos, active.stop, active.waited + ~same)
        if furthest > 0:
            over = after > stop
            self.bad[who[over]] = True
            good = ~over
            self.put(lead, who[good], start[good], after[good])
        else:
            self.put(lead, who, start, after)
        return active if furthest < 0 else active.at(pos < active.stop)

    def _wide_step(self, active: _Active, tags: Bytes) -> tuple[_Active, int]:
        """The same field of all messages, with a tag of several bytes."""
        fields, at = _varints(self.buffer, active.pos, _TAG_BYTES)
        lead = int(fields[0])
        if lead < 8 or lead > 0xFFFF or not (fields == lead).all():
            return self._mixed_step(active, tags)
        start, after = _extent(self.buffer, at, lead & 7)
        return self._ended(active, lead, start, after), 1

    def _mixed_step(self, active: _Active, tags: Bytes) -> tuple[_Active, int]:
        fields, start, after, groups = _mixed(self.buffer, tags, active.pos)
        told = set(np.flatnonzero(np.bincount(np.minimum(fields, 4096))).tolist())
        wanted = self.wanted if 4096 in told else self.wanted & told
        over = after > active.stop
        if over.any():
            self.bad[active.who[over]] = True
            good = ~over
            active, start, after, fields = active.at(good), start[good], after[good], fields[good]
        for field in wanted:
            here = (fields == field).nonzero()[0]
            if len(here):
                self.put(field, active.who[here], start[here], after[here])
        return _moved(active, after), groups + len(wanted)

    def _ended(self, active: _Active, field: int, start: Offsets, after: Offsets) -> _Active:
        """Keep a field that was found in messages that reach that far; the others are malformed."""
        if np.count_nonzero(after < active.stop) == len(after):
            self.put(field, active.who, start, after)
            return _Active(active.who, after, active.stop, active.waited)
        over = after > active.stop
        if over.any():
            self.bad[active.who[over]] = True
            good = ~over
            active, start, after = active.at(good), start[good], after[good]
        self.put(field, active.who, start, after)
        return _moved(active, after)

    def walk(self, active: _Active, steps: int, most: int) -> None:
        """The same as `step`, message by message to their ends."""
        view = memoryview(cast(Any, self.buffer))
        kept: dict[int, list[tuple[int, int, int]]] = {one: [] for one in self.pieces}
        for message, at, end, waited in zip(*(column.tolist() for column in active), strict=True):
            for _ in range(steps - waited, most):
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


def _moved(active: _Active, after: Offsets) -> _Active:
    """Behind a field, without those messages that have ended."""
    on = after < active.stop
    if not on.any():
        nothing = after[:0]
        return _Active(nothing, nothing, nothing, nothing)
    return _Active(active.who[on], after[on], active.stop[on], active.waited[on])


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
        lead = buffer.take(at)
        if int(lead.max()) < 0x80:
            start = at + 1
            return start, start + lead
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


class Pair(NamedTuple):
    """Fields 1 and 2 of some messages, empty where absent."""

    first_start: Offsets
    first_end: Offsets
    second_start: Offsets
    second_end: Offsets
    bad: Flags

    def at(self, index: Any) -> Pair:
        one, two, three, four, bad = self
        return Pair(one[index], two[index], three[index], four[index], bad[index])


def scan_pairs(buffer: Bytes, start: Offsets, end: Offsets, most: int) -> Pair:
    """`scan` for the texts or messages in fields 1 and 2, as a KeyValue has them: nearly all have both in this order,
    shorter than 128 bytes, and nothing else. Messages of more than `most` fields are `bad`."""
    size = buffer.take(start + 1)
    first = start + 2
    middle = first + size
    second_size = buffer.take(middle + 1, mode="clip")
    second = middle + 2
    usual = second + second_size == end
    usual &= (buffer.take(start) == tag(1)) & (buffer.take(middle, mode="clip") == tag(2))
    usual &= (size | second_size) < 0x80
    if usual.all():
        return Pair(first, middle, second, end, ~usual)
    other = (~usual).nonzero()[0]
    found = scan(buffer, start[other], end[other], single=((tag(1),), (tag(2),)), most=most)
    end, bad = end.copy(), np.zeros(len(start), np.bool_)
    one, two = found.slots
    first[other], middle[other], second[other], end[other] = one.start, one.end, two.start, two.end
    bad[other] = found.bad | found.long
    return Pair(first, middle, second, end, bad)


# ---- values -----------------------------------------------------------------------------------------------


def numbers(buffer: Bytes, start: Offsets) -> npt.NDArray[np.uint64]:
    """The varints at some positions of well-formed fields, modulo 2^64."""
    return _varints(buffer, start)[0]


def fixed64(buffer: Bytes, start: Offsets) -> npt.NDArray[np.uint64]:
    """The little-endian 64 bits at some positions."""
    return records(buffer, start, _WORD).astype(np.uint64, copy=False)


_WORD, _SIXTEEN = np.dtype("<u8"), np.dtype("V16")


def records(buffer: Bytes, start: Offsets, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of a type of fixed size at some positions, which need not be aligned."""
    return np.ndarray((len(buffer) + 1 - kind.itemsize,), kind, buffer, 0, (1,))[start]


_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), "<u2")


def hex_ids(buffer: Bytes, start: Offsets, size: int, valid: Flags | None = None) -> pa.Array[Any]:
    """Ids of 8 or 16 bytes as lower-case hex texts, null where not `valid`."""
    raw = records(buffer, start, _WORD if size == 8 else _SIXTEEN).view(np.uint8)
    offsets = np.arange(0, 2 * size * (len(start) + 1), 2 * size, dtype=np.int32)
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


# ---- writing ----------------------------------------------------------------------------------------------


def varint_bytes(value: int) -> bytes:
    """A whole number of up to 64 bits that is not negative."""
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


def field_bytes(field: int, value: bytes) -> bytes:
    """A field whose value has a length; `field` is its tag."""
    return varint_bytes(field) + varint_bytes(len(value)) + value


def field_sizes(sizes: Offsets) -> Offsets:
    """How many bytes fields with tags of one byte take, given the lengths of their values."""
    return sizes + _varint_sizes(sizes) + 1


def _varint_sizes(values: Offsets) -> Offsets:
    return 1 + (values >= 1 << 7) + (values >= 1 << 14) + (values >= 1 << 21) + (values >= 1 << 28)


def headers(buffer: Bytes, start: Offsets, end: Offsets, field: int) -> tuple[Offsets, Flags]:
    """Where the fields begin that hold some messages, and which of them begin as usual: with a tag of one byte and a
    length in as few bytes as it takes."""
    at = np.maximum(start - 1 - _varint_sizes(end - start), 0)
    size, after = _varints(buffer, at + 1, _TAG_BYTES)
    return at, (buffer.take(at) == field) & (after == start) & (size == (end - start).astype(np.uint64))


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
