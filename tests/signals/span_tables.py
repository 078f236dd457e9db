"""Small span tables for the tests of signals, and the plain forms that the fast ones are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from aetia.model.tables import SPANS, Telemetry
from aetia.signals.view import Facts

T0 = 1_700_000_000_000_000_000


def span(
    span_id: str | None, parent: str | None = None, start: int | None = 0, duration: int | None = 10, **more: Any
) -> dict[str, Any]:
    """One row; `start` counts from T0, in ns."""
    row: dict[str, Any] = {
        "trace_id": "t", "span_id": span_id, "parent_span_id": parent, "service": "a", "name": "op",
        "time": None if start is None else T0 + start, "duration_ns": duration,
    }  # fmt: skip
    return row | more


def table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    rows = list(rows)
    columns = []
    for field in SPANS:
        values = [row.get(field.name) for row in rows]
        kind = pa.int64() if field.name == "time" else field.type
        columns.append(pa.array(values, kind).cast(field.type))
    return pa.table(columns, schema=SPANS)


def facts(*rows: dict[str, Any], **tables: pa.Table) -> Facts:
    return Facts(Telemetry(spans=table(rows), **tables))


def ids(frame_facts: Facts) -> list[str]:
    """Span id per row of the frame."""
    column = frame_facts.telemetry.spans["span_id"].to_pylist()
    return [column[row] for row in frame_facts.spans.source_row.tolist()]


def parents(frame_facts: Facts) -> dict[str, str | None]:
    """{span id: span id of the parent}."""
    names = ids(frame_facts)
    return {names[row]: names[p] if p >= 0 else None for row, p in enumerate(frame_facts.spans.parent.tolist())}


@st.composite
def forests(draw: st.DrawFn, most: int = 25) -> list[dict[str, Any]]:
    """Rows of one to three traces whose parents may be missing, later, cyclic or the span itself, whose children may
    overlap, outlive or precede their parent, and whose ids repeat across traces."""
    n = draw(st.integers(1, most))
    rows = []
    for number in range(n):
        rows.append(
            span(
                f"{draw(st.integers(0, n)) if draw(st.integers(0, 9)) == 0 else number:016x}",
                draw(st.one_of(st.none(), st.integers(0, n).map(lambda i: f"{i:016x}"))),
                draw(st.integers(-5, 40)),
                draw(st.integers(-2, 40)),
                trace_id=f"{draw(st.integers(1, 3)):032x}",
                service=draw(st.sampled_from("abc")),
                name=draw(st.sampled_from(["get", "put"])),
                kind=draw(st.sampled_from(["server", "client", "internal", None])),
                status=draw(st.sampled_from(["ok", "error", "unset"])),
            )
        )
    return rows


def union_length(intervals: Iterable[tuple[int, int]]) -> int:
    """Length of the union of small integer intervals, point by point."""
    return len({point for low, high in intervals for point in range(low, high)})


def naive_exclusive(start: np.ndarray, duration: np.ndarray, parent: np.ndarray) -> list[int]:
    result = []
    for row in range(len(start)):
        low, high = int(start[row]), int(start[row] + duration[row])
        clipped = [
            (max(low, int(start[c])), min(high, int(start[c] + duration[c]))) for c in np.flatnonzero(parent == row)
        ]
        result.append(high - low - union_length(clipped))
    return result


def naive_critical_path(start: np.ndarray, duration: np.ndarray, parent: np.ndarray, root: int) -> dict[int, int]:
    """{row: time on the critical path}, by the last-finishing-child rule with an explicit stack."""
    time: dict[int, int] = {}
    stack = [(root, int(start[root]), int(start[root] + duration[root]))]
    while stack:
        row, low, high = stack.pop()
        clipped = [
            (min(max(int(start[c] + duration[c]), low), high), -min(max(int(start[c]), low), high), -int(c))
            for c in np.flatnonzero(parent == row)
        ]
        cursor = high
        for end, minus_begin, minus_child in sorted(clipped, reverse=True):
            if end <= cursor:
                time[row] = time.get(row, 0) + cursor - end
                cursor = -minus_begin
                stack.append((-minus_child, cursor, end))
        time[row] = time.get(row, 0) + cursor - low
    return {row: ns for row, ns in time.items() if ns}
