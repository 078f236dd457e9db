"""Half-open windows: a time lies in exactly one of two that meet."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aetia.model.window import NS_PER_SECOND, Window, union_mask

TIMES = st.integers(0, 1000)
WINDOWS = st.tuples(TIMES, TIMES).map(lambda pair: Window(min(pair), max(pair)))


@given(TIMES, TIMES, TIMES)
def test_two_windows_that_meet_share_no_time_and_lose_none(first: int, second: int, third: int) -> None:
    start, middle, end = sorted((first, second, third))
    left, right, whole = Window(start, middle), Window(middle, end), Window(start, end)
    times = np.arange(0, 1001)
    assert not (left.mask(times) & right.mask(times)).any()
    assert np.array_equal(left.mask(times) | right.mask(times), whole.mask(times))


@given(WINDOWS, TIMES)
def test_contains_and_mask_agree(window: Window, time: int) -> None:
    assert window.contains(time) == bool(window.mask(np.array([time]))[0])


@given(WINDOWS, WINDOWS)
def test_windows_overlap_when_they_share_a_time(first: Window, second: Window) -> None:
    times = np.arange(0, 1001)
    share = bool((first.mask(times) & second.mask(times)).any())
    assert first.overlaps(second) == second.overlaps(first)
    assert share == (first.overlaps(second) and first.seconds > 0 and second.seconds > 0)


@given(st.lists(WINDOWS, max_size=4))
def test_the_union_holds_what_any_window_holds(windows: list[Window]) -> None:
    times = np.arange(0, 1001)
    expected = [any(window.contains(int(time)) for window in windows) for time in times]
    assert union_mask(tuple(windows), times).tolist() == expected


@given(WINDOWS, st.integers(-3600, 3600))
def test_shifting_there_and_back_changes_nothing(window: Window, seconds: int) -> None:
    moved = window.shifted(seconds)
    assert moved.start_ns - window.start_ns == seconds * NS_PER_SECOND
    assert moved.shifted(-seconds) == window and moved.seconds == window.seconds


@given(WINDOWS)
def test_a_window_is_a_pair_in_json(window: Window) -> None:
    text = msgspec.json.encode(window)
    assert msgspec.json.decode(text) == [window.start_ns, window.end_ns]
    assert msgspec.json.decode(text, type=Window) == window


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="before it starts"):
        Window(2, 1)
    with pytest.raises(msgspec.ValidationError, match="before it starts"):
        msgspec.json.decode(b"[2, 1]", type=Window)
    assert Window(1, 1).seconds == 0 and not Window(1, 1).contains(1)


def test_windows_sort_by_time() -> None:
    assert sorted([Window(5, 6), Window(1, 9), Window(1, 2)]) == [Window(1, 2), Window(1, 9), Window(5, 6)]
