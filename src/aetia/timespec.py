"""Points and windows of time as people type them: ISO 8601, epochs, and offsets from the end of the data."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aetia.model.errors import UsageError
from aetia.model.window import Window

_UNITS_NS = {
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_LENGTH_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|min|s|m|h|d)")
_LENGTH = re.compile(rf"(?:{_LENGTH_PART.pattern})+")
_EPOCH = re.compile(r"\d{9,19}(?:\.\d+)?")
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d+)")
_ANCHORED = re.compile(r"(now|end|start)?\s*([+-])\s*(.+)")
# The largest epoch of each unit lies in the year 5138, the smallest of the next one in 1973: no overlap.
_EPOCH_SCALES = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))

MAX_LENGTH_NS = 100 * 366 * 86400 * 10**9
"""Longer lengths are mistakes, and a window that far away would leave the 64 bits of a time."""
MEND = "write 2023-01-29T10:00:00Z, an epoch in s, ms, µs or ns, -30m, now or start+5m"


def parse_length(text: str) -> int:
    """Nanoseconds of `90s`, `30m`, `1h30m`, `250ms`, `2d`; raises UsageError for anything else, or a century."""
    clean = text.strip().lower().replace(" ", "")
    if not _LENGTH.fullmatch(clean):
        raise UsageError(f"'{text[:40]}' is not a length of time; write for example 90s, 30m or 1h30m.")
    length = sum(float(value) * _UNITS_NS[unit] for value, unit in _LENGTH_PART.findall(clean))
    if length > MAX_LENGTH_NS:
        raise UsageError(f"'{text[:40]}' is longer than a century; give a length such as 30m or 2d.")
    return round(length)


def parse_instant(text: str, extent: Window) -> int:
    """UTC nanoseconds of one point in time.

    `extent` is the time that the data covers: `now` and `end` are its end, `start` its start, and an offset
    without an anchor (`-30m`) counts from the end. ISO 8601 needs a zone, because a time without one is a
    guess. Raises UsageError.
    """
    clean = text.strip()
    lowered = clean.lower()
    if lowered in ("now", "end"):
        return extent.end_ns
    if lowered == "start":
        return extent.start_ns
    if _EPOCH.fullmatch(clean):
        return _epoch(clean)
    anchored = _ANCHORED.fullmatch(lowered)
    if anchored and _LENGTH.fullmatch(anchored[3].replace(" ", "")):
        base = extent.start_ns if anchored[1] == "start" else extent.end_ns
        return base + parse_length(anchored[3]) * (1 if anchored[2] == "+" else -1)
    return _iso(clean)


def _epoch(text: str) -> int:
    whole, _, fraction = text.partition(".")
    value = int(whole)
    scale = next((factor for limit, factor in _EPOCH_SCALES if value < limit), 1)
    return value * scale + (round(float(f"0.{fraction}") * scale) if fraction else 0)


def _iso(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a point in time; {MEND}.") from None
    if at.tzinfo is None:
        raise UsageError(f"'{text}' has no time zone; add Z for UTC or an offset such as +08:00.")
    delta = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    beyond = _BEYOND_MICROSECONDS.search(text)  # which datetime drops
    return (
        (delta.days * 86_400 + delta.seconds) * 10**9
        + delta.microseconds * 1000
        + (int(beyond[1][:3].ljust(3, "0")) if beyond else 0)
    )


def parse_window(text: str, extent: Window) -> Window:
    """The window `A..B`; an empty side is the end of the data on that side, `A..+10m` is a length after A.

    Raises UsageError when a side cannot be read or the window does not end after it starts.
    """
    left, separator, right = text.partition("..")
    if not separator:
        raise UsageError(f"'{text}' is not a window; write A..B, for example -30m..now.")
    start = parse_instant(left, extent) if left.strip() else extent.start_ns
    if right.strip().startswith("+"):
        end = start + parse_length(right.strip()[1:])
    else:
        end = parse_instant(right, extent) if right.strip() else extent.end_ns
    if end <= start:
        raise UsageError(f"the window '{text}' does not end after it starts; swap its sides or widen it.")
    return Window(start, end)


def parse_since(text: str, extent: Window) -> Window:
    """From a length before the end of the data (`30m`) or from a point in time, to the end of the data."""
    clean = text.strip()
    length = _LENGTH.fullmatch(clean.lower().replace(" ", ""))
    start = extent.end_ns - parse_length(clean) if length else parse_instant(clean, extent)
    if start >= extent.end_ns:
        raise UsageError(f"--since {text} begins at or after the end of the data; give an earlier time.")
    return Window(start, extent.end_ns)
