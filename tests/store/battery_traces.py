"""Checks of traces, filters and pages."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from checking import on_sample, oracle, windows
from oracle import Row, failed, key, meets
from stored_samples import NASTY, Sample

from aetia.model.errors import UsageError
from aetia.model.tables import ANALYSIS_COLUMNS
from aetia.model.window import Window
from aetia.store.backend import Backend, Filter, TraceOrder


def _trace_row(trace_id: str, rows: list[Row]) -> dict[str, Any]:
    start = min(row["time"] for row in rows)
    took = max(row["time"] + row["duration_ns"] for row in rows) - start
    roots = [row for row in rows if row["parent_span_id"] is None] or rows
    root = min(roots, key=lambda row: (row["time"], -row["duration_ns"], key(row["span_id"])))
    return {
        "trace_id": trace_id, "start_ns": start, "duration_ms": pytest.approx(took / 1e6), "service": root["service"],
        "name": root["name"], "spans": len(rows), "errors": sum(map(failed, rows)), "services": len({row["service"] for row in rows}),
    }  # fmt: skip


def _expected_traces(
    sample: Sample, window: Window, filters: tuple[Filter, ...], order: TraceOrder
) -> list[dict[str, Any]]:
    out: list[tuple[Any, dict[str, Any]]] = []
    for trace_id, rows in oracle(sample).traces(window).items():
        if not any(all(meets(row, condition, "spans") for condition in filters) for row in rows):
            continue
        if order == "errors" and not any(map(failed, rows)):
            continue
        start = min(row["time"] for row in rows)
        took = max(row["time"] + row["duration_ns"] for row in rows) - start
        out.append(((-took if order == "slowest" else -start, key(trace_id)), _trace_row(trace_id, rows)))
    return [row for _, row in sorted(out, key=lambda item: item[0])]


FILTERS: tuple[tuple[Filter, ...], ...] = (
    (),
    (Filter(field="service", value="shop"),),
    (Filter(field="service", value=NASTY), Filter(field="name", value=NASTY)),
    (Filter(field="service", op="!=", value="shop"), Filter(field="kind", op="exists")),
    (Filter(field="status", value="error"), Filter(field="duration_ms", op=">", value="2")),
    (Filter(field="duration_ms", op="<", value="0.5"),),
    (Filter(field="duration_ms", value="4"),),
    (Filter(field="duration_ns", op="!=", value="5000000"), Filter(field="service", value="lengths")),
    (Filter(field="http.route", value=NASTY),),
    (Filter(field="http.route", op="contains", value="/x"),),
    (Filter(field="http.route", op="!=", value="/x/1"), Filter(field="service", value="edge")),
    (Filter(field=NASTY, op="exists"),),
    (Filter(field="k-ü", op="contains", value="сервис"),),
    (Filter(field="n", op=">", value="-10"),),
    (Filter(field="n", op="<", value="1e2"),),
    (Filter(field="empty", op="exists"),),
    (Filter(field="empty", op="!=", value=""), Filter(field="service", value="Zebra")),
    (Filter(field="events", op="contains", value="exception"), Filter(field="service", value="edge")),
    (Filter(field="status_code", op=">", value="399"),),
    (Filter(field="parent_span_id", op="exists"), Filter(field="peer", op="contains", value=":")),
    (Filter(field="service", value="nobody"),),
    (Filter(field="name", op="contains", value="%"),),
    (Filter(field="name", value="shadowed"),),
)


@on_sample
def traces_are_found_and_ordered(backend: Backend, sample: Sample) -> None:
    orders: tuple[TraceOrder, ...] = ("newest", "slowest", "errors")
    for number, filters in enumerate(FILTERS):
        for window in windows(sample)[: 6 if number < 1 else 1]:
            for order in orders if number < 3 else orders[number % 3 :][:1]:
                expected = _expected_traces(sample, window, filters, order)
                got = backend.traces(window, filters=filters, order=order, limit=10_000)
                assert [{name: getattr(row, name) for name in row.__struct_fields__} for row in got.rows] == expected, (
                    filters
                )
                assert got.cursor == ""


@on_sample
def pages_of_traces_follow_one_another(backend: Backend, sample: Sample) -> None:
    for order in ("newest", "slowest", "errors"):
        for filters in (FILTERS[0], FILTERS[9]):
            whole = backend.traces(sample.window, filters=filters, order=order, limit=10_000).rows
            size = max(-(-len(whole) // 7), 1)
            pages, cursor = list[Any](), ""
            for _ in range(10):
                page = backend.traces(sample.window, filters=filters, order=order, limit=size, cursor=cursor)
                assert len(page.rows) <= size
                pages += page.rows
                cursor = page.cursor
                if not cursor:
                    break
            assert tuple(pages) == whole


@on_sample
def what_cannot_be_asked_is_refused(backend: Backend, sample: Sample) -> None:
    for cursor in ("nonsense", "x:y", "x" * 5000, "\x00", "ünïcode"):
        with pytest.raises(UsageError):
            backend.traces(sample.window, cursor=cursor)
        with pytest.raises(UsageError):
            backend.logs(sample.window, cursor=cursor)
    for condition in (
        Filter(field="duration_ms", op=">", value="slow"), Filter(field="time", value="1"), Filter(field="", value="1"),
        Filter(field="n", op="<", value=""), Filter(field="n", op="like", value="1"),  # type: ignore[arg-type]
    ):  # fmt: skip
        with pytest.raises(UsageError):
            backend.traces(sample.window, filters=(condition,))
    for limit in (0, -1, 10_001):
        with pytest.raises(UsageError):
            backend.traces(sample.window, limit=limit)
        with pytest.raises(UsageError):
            backend.logs(sample.window, limit=limit)


@on_sample
def a_trace_is_whole_and_without_duplicates(backend: Backend, sample: Sample) -> None:
    whole: dict[str, list[Row]] = defaultdict(list)
    for row in oracle(sample).rows["spans"]:
        whole[row["trace_id"]].append(row)
    ids = [name.rjust(32, "0") for name in ("b1", "c1", "d1", "e1", "late1")] + [
        next(iter(whole)),
        "unknown",
        "",
        NASTY,
    ]
    for trace_id in ids:
        expected = _without_duplicates(whole.get(trace_id, []))
        got = backend.trace(trace_id)
        assert (got.total, got.truncated) == (len(expected), False)
        for span, row in zip(got.rows, expected, strict=True):
            _span_is(span, row, trace_id)
        few = backend.trace(trace_id, limit=2)
        assert (few.rows, few.total, few.truncated) == (got.rows[:2], got.total, got.total > 2)
        if got.rows:
            chosen = got.rows[-1].span_id
            same = tuple(row for row in got.rows if row.span_id == chosen)
            one = backend.trace(trace_id, span_id=chosen)
            assert (one.rows, one.total, one.truncated) == (same, len(same), False)
        table = backend.trace_table(trace_id).spans
        assert set(ANALYSIS_COLUMNS["spans"]) <= set(table.column_names)
        times = table["time"].cast("int64").to_pylist()
        assert sorted(zip(times, table["span_id"].to_pylist(), strict=True)) == sorted(
            (row["time"], row["span_id"]) for row in expected
        )


def _without_duplicates(rows: list[Row]) -> list[Row]:
    ordered = sorted(rows, key=lambda row: (row["time"], -row["duration_ns"]))
    seen: set[tuple[Any, Any]] = set()
    kept: list[Row] = []
    for row in ordered:
        known = (row["span_id"], row["kind"])
        if row["span_id"] is None or known not in seen:
            kept.append(row)
        seen.add(known)
    return sorted(kept, key=lambda row: (row["time"], key(row["span_id"], row["kind"])))


def _span_is(span: Any, row: Row, trace_id: str) -> None:
    assert (span.trace_id, span.time_ns) == (trace_id, row["time"])
    same = (
        "span_id", "parent_span_id", "duration_ns", "service", "name", "kind", "instance", "status", "status_code",
        "status_message", "peer", "version", "events", "links",
    )  # fmt: skip
    assert {name: getattr(span, name) for name in same} == {name: row[name] for name in same}
    assert {name: text for name, text in span.attributes.items() if text} == {
        name: text for name, text in row["attributes"].items() if text
    }
    if row["resource"]:
        assert span.resource == json.loads(row["resource"])
