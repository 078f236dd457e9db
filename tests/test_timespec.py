"""Times as people type them."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.timespec import parse_instant, parse_length, parse_since, parse_window

S = 10**9
DATA = Window(1_674_986_400 * S, 1_674_990_000 * S)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-01-29T10:00:00Z", 1_674_986_400 * S), ("2023-01-29T18:00:00+08:00", 1_674_986_400 * S),
        ("2023-01-29 10:00:00.5Z", 1_674_986_400 * S + S // 2), ("1674986400", 1_674_986_400 * S),
        ("1674986400.25", 1_674_986_400 * S + S // 4), ("1674986400000", 1_674_986_400 * S),
        ("1674986400000000", 1_674_986_400 * S), ("1674986400000000001", 1_674_986_400 * S + 1),
        ("now", DATA.end_ns), ("end", DATA.end_ns), ("start", DATA.start_ns), ("-30m", DATA.end_ns - 1800 * S),
        ("now-1h30m", DATA.end_ns - 5400 * S), ("start+5m", DATA.start_ns + 300 * S), (" NOW - 90s ", DATA.end_ns - 90 * S),
    ],
)  # fmt: skip
def test_every_way_to_write_a_time_is_understood(text: str, ns: int) -> None:
    assert parse_instant(text, DATA) == ns


@pytest.mark.parametrize("text", ["", "soon", "2023-13-01T00:00:00Z", "12", "-", "-5 parsecs", "1e9", "--3m", "\x00"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="write 2023-01-29T10:00:00Z"):
        parse_instant(text, DATA)


def test_times_in_iso_8601_keep_their_nanoseconds() -> None:
    whole = parse_instant("2023-01-29T10:00:05Z", Window(0, 1))
    for fraction, ns in ((".123456789", 123_456_789), (".1234567", 123_456_700), (".5", 500_000_000)):
        assert parse_instant(f"2023-01-29T10:00:05{fraction}Z", Window(0, 1)) == whole + ns
        assert parse_instant(f"2023-01-29T18:00:05{fraction}+08:00", Window(0, 1)) == whole + ns


def test_a_time_without_a_zone_is_refused_rather_than_guessed() -> None:
    with pytest.raises(UsageError, match="add Z for UTC"):
        parse_instant("2023-01-29T10:00:00", DATA)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("-30m..now", Window(DATA.end_ns - 1800 * S, DATA.end_ns)), ("..-30m", Window(DATA.start_ns, DATA.end_ns - 1800 * S)),
        ("-10m..", Window(DATA.end_ns - 600 * S, DATA.end_ns)), ("start..+10m", Window(DATA.start_ns, DATA.start_ns + 600 * S)),
        ("..", DATA), ("1674986400..1674986460000", Window(1_674_986_400 * S, 1_674_986_460 * S)),
    ],
)  # fmt: skip
def test_windows_have_open_sides_and_lengths(text: str, window: Window) -> None:
    assert parse_window(text, DATA) == window


@pytest.mark.parametrize("text", ["now..start", "now..now", "-5m", "a..b", "start..+x", ""])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_window(text, DATA)


def test_since_takes_a_length_or_a_time() -> None:
    assert parse_since("30m", DATA) == Window(DATA.end_ns - 1800 * S, DATA.end_ns)
    assert parse_since("2023-01-29T10:30:00Z", DATA) == Window(1_674_988_200 * S, DATA.end_ns)
    with pytest.raises(UsageError, match="at or after the end"):
        parse_since("2024-01-29T10:30:00Z", DATA)


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_lengths_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    assert (
        parse_length(f"{days}d{hours}h{minutes}m{seconds}s")
        == (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * S
    )


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    for parse in (parse_instant, parse_window, parse_since):
        try:
            parse(text, DATA)
        except UsageError as error:
            assert str(error).endswith(".")
