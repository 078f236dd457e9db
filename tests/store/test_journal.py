"""The bytes of a segment: what is complete survives whatever happens to the rest, and nothing else appears."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.model.stored import Signal
from aetia.store.journal import HEADER_BYTES, RECORD_BYTES, Kind, digest_of, header, pack, scan
from aetia.store.seen import Seen, entries_of, read_entries, write_entries
from aetia.store.segments import SegmentFile

Item = tuple[Signal, Kind, int, bytes, bytes]
BODIES = st.lists(st.binary(max_size=40) | st.just(b"\xa7rec" * 8), min_size=1, max_size=6)


def items_of(bodies: list[bytes]) -> list[Item]:
    return [("spans", "protobuf", number, digest_of("spans", body), body) for number, body in enumerate(bodies)]


def segment_of(bodies: list[bytes]) -> bytes:
    return header(1) + pack(items_of(bodies))[0]


def bodies_in(raw: bytes) -> list[bytes]:
    return [raw[record.body_offset : record.end] for record in scan(memoryview(raw)).records]


@given(BODIES, st.data())
@settings(max_examples=200, deadline=None)
def test_a_segment_cut_at_any_byte_keeps_its_complete_records_and_nothing_else(
    bodies: list[bytes], data: st.DataObject
) -> None:
    raw = segment_of(bodies)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    ends = [record.end for record in scan(memoryview(raw)).records]
    found = scan(memoryview(cut))
    assert bodies_in(cut) == bodies[: sum(end <= len(cut) for end in ends)]
    assert not found.damaged  # a write that broke off is no damage


@given(BODIES, st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_costs_one_record_at_most(bodies: list[bytes], data: st.DataObject) -> None:
    raw = bytearray(segment_of(bodies))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    records = scan(memoryview(segment_of(bodies))).records
    touched = [number for number, record in enumerate(records) if record.offset <= place < record.end]
    assert bodies_in(bytes(raw)) == [body for number, body in enumerate(bodies) if number not in touched]


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_can_be_scanned(raw: bytes) -> None:
    assert scan(memoryview(raw)).records == ()


def test_damage_in_the_middle_is_named_and_what_follows_is_found() -> None:
    raw = bytearray(segment_of([b"first", b"second", b"third"]))
    second = HEADER_BYTES + RECORD_BYTES + len(b"first")
    raw[second + 2 : second + 10] = bytes(8)
    found = scan(memoryview(bytes(raw)))
    assert bodies_in(bytes(raw)) == [b"first", b"third"]
    assert found.damaged == ((second, second + RECORD_BYTES + len(b"second")),)


def test_records_say_when_they_came_and_what_they_are() -> None:
    raw = header(1) + pack([("changes", "changes", -5, bytes(range(16)), b"[]")])[0]
    (record,) = scan(memoryview(raw)).records
    assert (record.signal, record.kind, record.received_ns) == ("changes", "changes", -5)
    assert record.digest == bytes(range(16))


def test_an_append_says_where_its_records_stand(tmp_path: Path) -> None:
    file = SegmentFile.create(tmp_path, 7)
    first = file.append(items_of([b"a", b"bb"]))
    second = file.append(items_of([b"ccc"]))
    with (tmp_path / "00000007.seg").open("rb") as raw:
        records = scan(memoryview(raw.read())).records
    assert [record.offset for record in records] == [*first, *second]
    assert file.read(records[1].body_offset, 2) == b"bb"
    with pytest.raises(OSError, match="shorter"):
        file.read(records[2].body_offset, 99)


# ---- requests that were seen ----------------------------------------------------------------------------------


def digest(number: int) -> bytes:
    return digest_of("spans", number.to_bytes(4, "big"))


@given(st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=8), st.lists(st.integers(0, 99), max_size=20))
@settings(max_examples=100, deadline=None)
def test_what_was_added_is_known_and_nothing_else(segments: list[list[int]], asked: list[int]) -> None:
    seen = Seen(3600.0, 10_000)
    for segment in segments:
        for number in segment:
            seen.add(digest(number), 10)
        seen.close_segment()
    known = {number for segment in segments for number in segment}
    assert seen.holds([digest(number) for number in asked]) == [number in known for number in asked]


def test_requests_are_forgotten_after_their_time_and_beyond_their_number() -> None:
    seen = Seen(10.0, 3)
    for number in range(5):
        seen.add(digest(number), number * 400 * 10**9)
        seen.close_segment()
    seen.forget(4 * 400 * 10**9)
    assert seen.holds([digest(number) for number in range(5)]) == [False, False, False, False, True]
    for number in range(5, 10):
        seen.load(entries_of([(digest(number), 4 * 400 * 10**9 + number * 301 * 10**9)]))
    seen.forget(0)
    assert len(seen) == 3 and seen.holds([digest(9)]) == [True]


def test_entries_come_back_from_their_file(tmp_path: Path) -> None:
    entries = entries_of((digest(number), number) for number in range(100))
    write_entries(tmp_path / "1.ids", entries)
    seen = Seen(3600.0, 1000)
    seen.load(read_entries(tmp_path / "1.ids"))
    assert all(seen.holds([digest(number) for number in range(100)]))
