"""Values as a model reads them: short texts, times in ISO 8601, few digits, and never more bytes than were promised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from aetia.model.window import Window
from aetia.serve.answers import encoded

MOST_BYTES = 24_000
"""Bytes of one answer as JSON, whatever is asked."""
MOST_TEXT, MOST_ITEMS = 400, 400
"""Characters of one text in a row, and items of one list or mapping in it."""
MOST_FACTS = 6_000
"""Bytes of what is said beside the rows."""
DIGITS = 5
LENGTHS = frozenset({"duration_ns", "step_ns"})
"""Names in nanoseconds that are no points in time."""
WINDOWS = frozenset({"window", "baseline", "before"})
"""Names of windows, which are pairs of times."""
Json = dict[str, Any]


def plain(value: Any) -> Any:
    """A struct as mappings, lists and scalars; numbers that are none become None."""
    return msgspec.json.decode(encoded(value))


def tidy(value: Any, most_text: int = MOST_TEXT, most_items: int = MOST_ITEMS) -> Any:
    """Plain values within bounds: nothing that is missing, texts cut, lists cut (`… and 12 more`), times (`*_ns`) in
    ISO 8601 under a name without the unit, lengths of time in ms, numbers of few digits."""
    if isinstance(value, str):
        return value if len(value) <= most_text else value[: most_text - 1] + "…"
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _tidy_mapping(value, most_text, most_items)  # pyright: ignore[reportUnknownArgumentType]
    items: Sequence[Any] = list(value)
    out = [tidy(item, most_text, most_items) for item in items[:most_items]]
    return out if len(items) <= most_items else [*out, f"… and {len(items) - most_items} more"]


def _tidy_mapping(value: Mapping[Any, Any], most_text: int, most_items: int) -> Json:
    out: Json = {}
    for key, item in value.items():
        name = tidy(str(key), 120)
        if item is None or item in ("", [], {}):
            continue
        if len(out) >= most_items:
            out["…"] = f"{len(value) - most_items} more"
            break
        if name in WINDOWS and isinstance(item, list):
            start, end = item
            out[name] = {"start": instant(start), "end": instant(end)}
        elif name in LENGTHS:
            out[f"{name[:-3]}_ms"] = tidy(item / 1e6)
        elif name.endswith("_ns") and isinstance(item, int) and not isinstance(item, bool):
            out[name[:-3]] = instant(item)
        else:
            out[name] = tidy(item, most_text, most_items)
    return out


def instant(ns: int) -> str:
    """`2026-11-21T19:03:52.125Z`, with as many digits as the time has."""
    whole, rest = divmod(ns, 10**9)
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"


def window_said(window: Window) -> Json:
    """A window as an answer names it."""
    return {"start": instant(window.start_ns), "end": instant(window.end_ns)}


def size(value: Any) -> int:
    """Bytes as compact JSON."""
    return len(encoded(value))


def within(rows: Sequence[Json], room: int) -> list[Json]:
    """As many of the first rows as fit into so many bytes, at least one: a row that does not fit by itself is cut down,
    so that whoever follows the cursors gets to the end."""
    out: list[Json] = []
    left = room
    for row in rows:
        left -= size(row) + 1
        if left < 0:
            break
        out.append(row)
    return out or [shrunk(row, room) for row in rows[:1]]


def shrunk(row: Json, room: int) -> Json:
    """A row in at most so many bytes: shorter texts and lists, then fewer fields; `left_out` names those that went."""
    for most in (200, 80, 40, 16, 8):
        smaller = tidy(row, most_text=most, most_items=most)
        if size(smaller) <= room:
            return smaller
    out: Json = {}
    gone: list[str] = []
    for key, item in tidy(row, most_text=40, most_items=8).items():
        if size({**out, key: item}) <= room - 600:
            out[key] = item
        else:
            gone.append(key)
    return {**out, "left_out": tidy(gone, 40, 8)}
