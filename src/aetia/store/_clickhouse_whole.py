"""Whole windows from ClickHouse: extents, and telemetry in the model's schemas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from aetia.ingest.values import category, pc
from aetia.model.stored import SIGNALS, Signal
from aetia.model.tables import ANALYSIS_COLUMNS, SCHEMAS, TIME, Telemetry
from aetia.model.window import Window
from aetia.store import _clickhouse_schema as ch
from aetia.store._clickhouse_ask import Asker, within
from aetia.store._clickhouse_points import FIELDS, points
from aetia.store._clickhouse_rows import changes, trace_source
from aetia.store.backend import Extent

_EVERYTHING = Window(0, 2**63 - 1)
_SHARES = 1_000_000
_PLAIN = frozenset({"trace_id", "span_id", "parent_span_id", "body", "description"})


def extents(ask: Asker) -> tuple[Extent, ...]:
    return tuple(_extent(ask, signal) for signal in SIGNALS)


def _extent(ask: Asker, signal: Signal) -> Extent:
    schema = ask.schema()
    if signal in ("spans", "changes"):
        table = ch.TRACES if signal == "spans" else ch.CHANGES
        plain = f"(SELECT toUnixTimestamp64Nano(Timestamp) AS time_ns FROM {table})"
        source = plain if schema.has(table) else ""
    else:
        source = ch.logs(schema, ("time_ns",)) if signal == "logs" else points(schema, ("time_ns",))
    if not source:
        return Extent(signal=signal, rows=0, window=None)
    sql = f"SELECT count(), min(time_ns), max(time_ns) FROM {source}"
    ((rows, first, last),) = ask.rows(sql, within(_EVERYTHING))
    return Extent(signal=signal, rows=rows, window=Window(first, last + 1) if rows else None)


def trace_table(ask: Asker, trace_id: str) -> Telemetry:
    params: dict[str, Any] = {}
    fields = [name for name in ANALYSIS_COLUMNS["spans"] if name != "time"]
    source = trace_source(ask, trace_id, fields, params)
    if not source:
        return Telemetry()
    listed = ", ".join(["time_ns", *fields])
    return Telemetry(
        spans=_typed("spans", ask.table(f"SELECT {listed} FROM {source} ORDER BY time_ns, span_id", params))
    )


def telemetry(ask: Asker, window: Window, most_spans: int) -> Telemetry:
    params = within(window)
    schema = ask.schema()
    sampled, spans, lines = _sampling(ask, window, most_spans)
    tables: dict[str, Any] = {}
    if schema.has(ch.TRACES):
        fields = [name for name in ANALYSIS_COLUMNS["spans"] if name != "time"]
        source = ch.spans(schema, {*fields, "time_ns"}, ch.bounds("Timestamp"))
        tables["spans"] = _fetched(ask, "spans", ["time_ns", *fields], source, spans, params)
    fields = [name for name in ANALYSIS_COLUMNS["logs"] if name != "time"]
    if source := ch.logs(schema, {*fields, "time_ns"} - {"service"}):
        tables["logs"] = _fetched(ask, "logs", ["time_ns", *fields], source, lines, params)
    if source := points(schema, FIELDS):
        listed = [name if name != "labels" else "labels AS attributes" for name in FIELDS]
        tables["metrics"] = _fetched(ask, "metrics", listed, source, "1", params)
    return Telemetry(**tables, changes=_changes(ask, window), sampled=sampled)


def _sampling(ask: Asker, window: Window, most_spans: int) -> tuple[float, str, str]:
    """The share of traces to read, and the conditions on spans and log lines that keep just these."""
    if not ask.schema().has(ch.TRACES):
        return 1.0, "1", "1"
    ((total,),) = ask.rows(f"SELECT count() FROM {ch.TRACES} WHERE {ch.bounds('Timestamp')}", within(window))
    if total <= most_spans:
        return 1.0, "1", "1"
    share = max(most_spans * _SHARES // total, 1)
    of_trace = f"cityHash64(trace_id) % {_SHARES} < {share}"
    alone = f"cityHash64(span_id, time_ns) % {_SHARES} < {share}"
    return share / _SHARES, f"if(trace_id != '', {of_trace}, {alone})", f"trace_id = '' OR {of_trace}"


def _fetched(
    ask: Asker, signal: Signal, listed: Iterable[str], source: str, kept: str, params: dict[str, int]
) -> pa.Table:
    return _typed(signal, ask.table(f"SELECT {', '.join(listed)} FROM {source} WHERE {kept} ORDER BY time_ns", params))


def _typed(signal: Signal, answer: pa.Table) -> pa.Table:
    """An answer in the columns and types of the model: missing texts null, texts that repeat as dictionaries."""
    arrays: list[Any] = []
    names: list[str] = []
    for field in SCHEMAS[signal]:
        if field.name == "time":
            column: Any = answer["time_ns"].cast(pa.int64()).cast(TIME)
        elif field.name not in answer.column_names:
            continue
        elif pa.types.is_string(field.type):
            column = answer[field.name].cast(pa.string())
            column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
            column = column if field.name in _PLAIN else category(column)
        else:
            column = answer[field.name].cast(field.type)
        arrays.append(column)
        names.append(field.name)
    return pa.Table.from_arrays(arrays, names=names)


def _changes(ask: Asker, window: Window) -> pa.Table:
    rows = changes(ask, window, 10_000)
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in SCHEMAS["changes"].names[1:]
    }
    times = pa.array([row.time_ns for row in rows], pa.int64()).cast(TIME)
    arrays = [times, *(pa.array(values, pa.string()) for values in columns.values())]
    return pa.Table.from_arrays(arrays, schema=SCHEMAS["changes"])
