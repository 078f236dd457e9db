"""The answers of a backend worked out row by row, slowly and plainly, from the tables that it was filled with."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stored_samples import Sample

from aetia.model.errors import UsageError
from aetia.model.stored import PROMOTED, SIGNALS
from aetia.model.window import Window
from aetia.store.backend import Filter, Selection

Row = dict[str, Any]
REACH_NS = 300_000_000_000
"""A parent is looked for among spans that began at most so long before or after their child."""
COHORT_COLUMNS = (
    "service", "instance", "name", "kind", "status", "status_code", "status_message", "peer", "scope", "version", "environment",
)  # fmt: skip
OUR_COLUMNS = {
    "spans": {*PROMOTED["spans"], "events", "links", "duration_ms"} - {"time"},
    "logs": set(PROMOTED["logs"]) - {"time"},
}


def key(*texts: str | None) -> tuple[bytes, ...]:
    """Sorts by code points, missing texts first."""
    return tuple((text or "").encode() for text in texts)


class Oracle:
    """Rows of a sample as dictionaries: times and durations as integers, missing texts as None, attributes as dict."""

    def __init__(self, sample: Sample) -> None:
        self.rows: dict[str, list[Row]] = {}
        self._within: dict[tuple[str, Window], list[Row]] = {}
        for signal in SIGNALS:
            table = sample.tables[signal]
            times = table["time"].cast("int64").to_pylist()
            self.rows[signal] = [
                _plain(row, time) for row, time in zip(table.drop_columns("time").to_pylist(), times, strict=True)
            ]

    def of(self, signal: str, window: Window) -> list[Row]:
        """The rows in the window, as a list of the caller's own; several backends are asked for the same windows."""
        if (signal, window) not in self._within:
            self._within[signal, window] = [row for row in self.rows[signal] if window.contains(row["time"])]
        return self._within[signal, window].copy()

    def requests(self, window: Window, service: str | None = None, name: str | None = None) -> list[Row]:
        """The requests that each service served in the window."""
        by_service: dict[str, list[Row]] = defaultdict(list)
        for row in self.of("spans", window):
            if service is None or row["service"] == service:
                by_service[row["service"]].append(row)
        return [row for rows in by_service.values() for row in served(rows) if name is None or row["name"] == name]

    def calls(self, window: Window) -> list[tuple[str, str, Row, bool]]:
        """(caller, callee, the row that the call is measured by, whether the callee's span is known)."""
        parents: dict[tuple[str, str], list[Row]] = defaultdict(list)
        children: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.rows["spans"]:
            parents[row["trace_id"], row["span_id"]].append(row)
            children[row["trace_id"], row["parent_span_id"]].append(row)
        out: list[tuple[str, str, Row, bool]] = []
        for row in self.of("spans", window):
            above = parents[row["trace_id"], row["parent_span_id"]] if row["trace_id"] and row["parent_span_id"] else []
            callers = {parent["service"] for parent in above if _near(parent, row)}
            if row["service"] not in callers:
                out += [(caller, row["service"], row, True) for caller in callers]
            below = children[row["trace_id"], row["span_id"]] if row["trace_id"] and row["span_id"] else []
            answered = any(child["service"] != row["service"] and _near(child, row) for child in below)
            if row["kind"] in ("client", "producer") and row["peer"] and not answered:
                out.append((row["service"], row["peer"], row, False))
        return [call for call in out if call[0] and call[1] and call[0] != call[1]]

    def traces(self, window: Window) -> dict[str, list[Row]]:
        out: dict[str, list[Row]] = defaultdict(list)
        for row in self.of("spans", window):
            if row["trace_id"]:
                out[row["trace_id"]].append(row)
        return out

    def cohorts(self, chosen: Selection) -> tuple[list[Row], list[Row]]:
        inside: list[Row] = []
        outside: list[Row] = []
        for row in self.requests(chosen.window, chosen.service, chosen.name):
            took = row["duration_ns"] / 1e6
            fits = took >= chosen.low_ms and (chosen.high_ms is None or took < chosen.high_ms)
            fits = fits and (chosen.failed is None or chosen.failed == failed(row))
            (inside if fits else outside).append(row)
        return inside, outside


def _plain(row: Row, time: int) -> Row:
    out = {name: (value or None) if isinstance(value, str) else value for name, value in row.items()}
    out["time"] = time
    if "duration_ns" in out:
        out["duration_ns"] = out["duration_ns"] or 0
        out["service"] = out["service"] or ""
        out["name"] = out["name"] or ""
    if not isinstance(out.get("attributes"), str):
        out["attributes"] = dict(out.get("attributes") or ())
    else:
        out["labels"] = out["attributes"]
    return out


def _near(one: Row, other: Row) -> bool:
    return abs(one["time"] - other["time"]) <= REACH_NS


def failed(row: Row) -> bool:
    return row["status"] == "error"


def served(rows: Sequence[Row]) -> list[Row]:
    tiers: tuple[Callable[[Row], bool], ...] = (
        lambda row: row["kind"] in ("server", "consumer"),
        lambda row: row["parent_span_id"] is None,
        lambda row: row["kind"] not in ("client", "producer"),
    )
    return next((found for tier in tiers if (found := [row for row in rows if tier(row)])), [])


def meets(row: Row, condition: Filter, signal: str) -> bool:
    """One filter on one row."""
    field, op, value = condition.field, condition.op, condition.value
    if field == "duration_ms" and signal == "spans":
        have: Any = row["duration_ns"] / 1e6
    elif field in OUR_COLUMNS[signal]:
        have = row[field]
    else:
        have = row["attributes"].get(field) or None
    numeric = op in (">", "<") or (field in ("duration_ms", "duration_ns") and signal == "spans" and op in ("=", "!="))
    if numeric:
        wanted = number(value)
        if wanted is None:
            raise UsageError(value)
        got = have if isinstance(have, int | float) else number(have)
        if got is None:
            return op == "!="
        return {"=": got == wanted, "!=": got != wanted, ">": got > wanted, "<": got < wanted}[op]
    text = None if have is None else str(have)
    if text is None:
        return op == "!="
    return {"=": text == value, "!=": text != value, "contains": value in text, "exists": True}[op]


def number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return None if math.isnan(value) else value


def nearest_rank(durations_ns: Iterable[int], q: float) -> tuple[float, float] | None:
    """The range of milliseconds that a quantile may lie in: the nearest rank with 3 % and a microsecond about it."""
    ordered = sorted(durations_ns)
    if not ordered:
        return None
    exact = ordered[max(math.ceil(q * len(ordered) - 1e-9), 1) - 1] / 1e6
    return exact * 0.97 - 0.001, exact * 1.03 + 0.001


def bins_of(window: Window, step_ns: int) -> tuple[int, int]:
    """Start of bin 0 and number of bins."""
    if window.start_ns == window.end_ns:
        return window.start_ns // step_ns * step_ns, 0
    first = window.start_ns // step_ns
    return first * step_ns, (window.end_ns - 1) // step_ns - first + 1


def heat_step(duration_ns: int) -> int:
    """k of the heat map's grid of 2^(k/4) ms."""
    return max(-40, math.floor(4 * math.log2(duration_ns / 1e6))) if duration_ns else -40


def rate(points: Sequence[tuple[int, float]], bin_of: Callable[[int], int], bins: int) -> list[float | None]:
    """Increase per second per bin of one series; `points` are (time, value) in order."""
    gain, seconds = [0.0] * bins, [0.0] * bins
    for (before, low), (now, value) in itertools.pairwise(points):
        gain[bin_of(now)] += value - low if value >= low else value
        seconds[bin_of(now)] += (now - before) / 1e9
    return [g / s if s else None for g, s in zip(gain, seconds, strict=True)]


def counts(rows: Iterable[Row], column: str) -> Counter[str | None]:
    """How often each value of a column or attribute occurs."""
    if column in COHORT_COLUMNS:
        return Counter(row[column] or None for row in rows)
    return Counter(row["attributes"].get(column) or None for row in rows)
