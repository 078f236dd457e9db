"""Rows from ClickHouse: traces, one trace, log lines, their shapes, changes, attribute keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.store import _clickhouse_schema as ch
from aetia.store._clickhouse_ask import Asker, Conditions, checked_limit, cursor_of, grid, missing, read_cursor, within
from aetia.store._clickhouse_red import chosen
from aetia.store.backend import (
    SAMPLED,
    SEVERE,
    VALUES,
    ChangeRow,
    Filter,
    LogRow,
    Logs,
    ShapeRow,
    Shapes,
    SpanRow,
    Spans,
    TraceOrder,
    TraceRow,
    Traces,
)

_SPAN_COLUMNS = (
    "service", "instance", "name", "kind", "status", "status_code", "peer", "status_message", "scope", "version",
    "environment", "resource", "trace_id", "span_id", "parent_span_id", "events", "links", "duration_ns",
)  # fmt: skip
_LOG_COLUMNS = (
    "service", "instance", "severity", "body", "template", "scope", "version", "environment", "resource", "trace_id",
    "span_id",
)  # fmt: skip
_ROOT = "argMin((service, name), (parent_span_id != '', time_ns, -duration_ns, span_id))"
_SPAN_ROW = (
    "trace_id", "span_id", "parent_span_id", "time_ns", "duration_ns", "service", "name", "kind", "instance", "status",
    "status_code", "status_message", "peer", "version", "attributes", "resource_map", "events", "links",
)  # fmt: skip
_OPTIONAL = (
    "parent_span_id", "kind", "instance", "status", "status_code", "status_message", "peer", "version", "events",
    "links",
)  # fmt: skip
_LOG_ROW = ("time_ns", "service", "severity", "body", "trace_id", "span_id", "instance", "attributes")


def traces(ask: Asker, window: Window, filters: Sequence[Filter], order: TraceOrder, limit: int, cursor: str) -> Traces:
    conditions = Conditions(filters, _SPAN_COLUMNS)
    params: dict[str, Any] = {**within(window), **conditions.params, "most": checked_limit(limit) + 1}
    after = "1"
    if cursor:
        of, params["at"], params["after"] = read_cursor(cursor, tuple[str, int, str])
        if of != order:
            raise UsageError(f"the cursor belongs to the order {of!r}; begin again without one.")
        after = "(key, trace_id) > ({at:Int64}, {after:String})"
    schema = ask.schema()
    if not schema.has(ch.TRACES):
        return Traces(rows=())
    rows = ask.rows(_traces_sql(schema, conditions, order, after), params)
    found = [
        TraceRow(
            trace_id=row[0], start_ns=row[2], duration_ms=row[3] / 1e6, service=row[4], name=row[5], spans=row[6],
            errors=row[7], services=row[8],
        )
        for row in rows[:limit]
    ]  # fmt: skip
    more = len(rows) > limit
    return Traces(rows=tuple(found), cursor=cursor_of(order, rows[limit - 1][1], rows[limit - 1][0]) if more else "")


def _traces_sql(schema: ch.Schema, conditions: Conditions, order: TraceOrder, after: str) -> str:
    """The ids of the page first, from two or three columns; then its traces."""
    where = ch.bounds("Timestamp")
    keys = {
        "newest": "-min(time_ns)",
        "slowest": "min(time_ns) - max(time_ns + duration_ns)",
        "errors": "-min(time_ns)",
    }
    if order not in keys:
        raise UsageError(f"no order {order!r}; take one of {', '.join(keys)}.")
    meeting = ""
    if conditions.fields:
        matching = ch.spans(schema, {"trace_id", *conditions.fields}, where)
        meeting = f" AND trace_id IN (SELECT trace_id FROM {matching} WHERE {conditions.sql})"
    failing = " AND countIf(status = 'error') > 0" if order == "errors" else ""
    narrow = ch.spans(schema, ("trace_id", "time_ns", "duration_ns", "status"), where)
    page = (
        f"SELECT trace_id, {keys[order]} AS key FROM {narrow} WHERE trace_id != ''{meeting} GROUP BY trace_id "
        f"HAVING {after}{failing} ORDER BY key, trace_id LIMIT {{most:UInt32}}"
    )
    wide = ch.spans(
        schema, ("trace_id", "span_id", "parent_span_id", "time_ns", "duration_ns", "name", "status"), where
    )
    return (
        f"SELECT trace_id, {keys[order]} AS key, min(time_ns) AS start, max(time_ns + duration_ns) - min(time_ns) AS "
        f"took, ({_ROOT} AS root).1 AS of_service, root.2 AS of_name, count() AS n, countIf(status = 'error') AS e, "
        f"uniqExact(service) AS s FROM {wide} WHERE trace_id IN (SELECT trace_id FROM ({page})) "
        "GROUP BY trace_id ORDER BY key, trace_id"
    )


# ---- one trace --------------------------------------------------------------------------------------------


def trace_source(ask: Asker, trace_id: str, fields: Sequence[str], params: dict[str, Any]) -> str:
    """The spans of a trace without duplicates, whenever they were; '' without any. The exporter's table of the times
    of traces, where there is one, says which partitions to read."""
    schema = ask.schema()
    if not trace_id or not schema.has(ch.TRACES):
        return ""
    params["trace"] = trace_id
    where = "TraceId = {trace:String}"
    if schema.has(ch.LOOKUP, "Start"):
        start, end = (f"toUnixTimestamp64Nano(toDateTime64({name}, 9))" for name in ("min(Start)", "max(End)"))
        sql = f"SELECT count(), {start}, {end} FROM {ch.LOOKUP} WHERE TraceId = {{trace:String}}"
        ((known, first, last),) = ask.rows(sql, params)
        if known:  # whole seconds in newer tables
            params |= {"start_ns": first, "end_ns": last + 1_000_000_000}
            where += f" AND {ch.bounds('Timestamp')}"
    spans = ch.spans(schema, {*fields, "time_ns", "duration_ns", "span_id", "kind"}, where)
    order = "time_ns, duration_ns DESC"
    return (
        f"(SELECT * FROM (SELECT * FROM {spans} ORDER BY {order}) ORDER BY {order} LIMIT 1 BY "
        "if(span_id = '', toString(rowNumberInAllBlocks()), span_id), kind)"
    )


def trace(ask: Asker, trace_id: str, limit: int, span_id: str | None = None) -> Spans:
    params: dict[str, Any] = {"most": checked_limit(limit)}
    source = trace_source(ask, trace_id, _SPAN_ROW, params)
    if not source:
        return Spans(rows=(), total=0, truncated=False)
    listed = f"SELECT {', '.join(_SPAN_ROW)}, count() OVER () AS total FROM {source}"
    if span_id is not None:
        params["span"] = span_id
        listed += " WHERE span_id = {span:String}"
    rows = ask.rows(f"{listed} ORDER BY time_ns, span_id, kind LIMIT {{most:UInt32}}", params)
    total = rows[0][-1] if rows else 0
    return Spans(rows=tuple(map(_span_row, rows)), total=total, truncated=total > len(rows))


def _span_row(row: tuple[Any, ...]) -> SpanRow:
    values: dict[str, Any] = dict(zip(_SPAN_ROW, row, strict=False))
    for name in _OPTIONAL:
        values[name] = missing(values[name])
    values["attributes"], values["resource"] = dict(values["attributes"]), dict(values.pop("resource_map"))
    return SpanRow(**values)


# ---- logs -------------------------------------------------------------------------------------------------


def logs(ask: Asker, window: Window, filters: Sequence[Filter], limit: int, cursor: str) -> Logs:
    conditions = Conditions(filters, _LOG_COLUMNS)
    skip = 0
    bounded = window
    checked_limit(limit)
    if cursor:
        latest, skip = read_cursor(cursor, tuple[int, int])
        if skip < 0 or not window.contains(latest):
            raise UsageError("the cursor lies outside of the window; begin again without one.")
        bounded = Window(window.start_ns, latest + 1)
    schema = ask.schema()
    source = ch.logs(schema, {*conditions.fields, *_LOG_ROW} - {"service"})
    if not source:
        return Logs(rows=())
    params = {**within(bounded), **conditions.params, "most": limit + 1, "skip": skip, "upto": limit + 1 + skip}
    narrow = ch.logs(schema, {"time_ns", *conditions.fields} - {"service"})
    # Bodies are the bulk: the time of the last line wanted is found first, without reading any.
    oldest = (
        f"SELECT min(time_ns) FROM (SELECT time_ns FROM {narrow} WHERE {conditions.sql} ORDER BY time_ns DESC "
        "LIMIT {upto:UInt64})"
    )
    rows = ask.rows(
        f"SELECT {', '.join(_LOG_ROW)} FROM {source} WHERE {conditions.sql} AND time_ns >= ({oldest}) ORDER BY "
        "time_ns DESC, service, severity, body, trace_id, span_id, instance LIMIT {skip:UInt64}, {most:UInt32}",
        params,
    )
    found = tuple(_log_row(row) for row in rows[:limit])
    if len(rows) <= limit:
        return Logs(rows=found)
    last = found[-1].time_ns
    same = sum(line.time_ns == last for line in found)
    before = skip if cursor and last == bounded.end_ns - 1 else 0
    return Logs(rows=found, cursor=cursor_of(last, same + before))


def _log_row(row: tuple[Any, ...]) -> LogRow:
    time_ns, *texts, attributes = row
    service, severity, body, trace_id, span_id, instance = map(missing, texts)
    return LogRow(
        time_ns=time_ns, service=service, severity=severity, body=body, trace_id=trace_id, span_id=span_id,
        instance=instance, attributes=dict(attributes),
    )  # fmt: skip


def shapes(ask: Asker, window: Window, step_ns: int, service: str | None, limit: int, most_lines: int) -> Shapes:
    start, bins = grid(window, step_ns)
    params: dict[str, Any] = {**within(window), "most": checked_limit(limit), "grid_ns": start, "step_ns": step_ns}
    mine = f"{chosen(service, params)} AND body != ''"
    source = ch.logs(ask.schema(), {"time_ns", "severity", "body"})
    if not source:
        return Shapes(rows=())
    severe = f"severity IN {SEVERE}"
    counted = ask.rows(f"SELECT countIf(NOT {severe}), countIf({severe}) FROM {source} WHERE {mine}", params)
    low, high = counted[0]
    one_in = (max(1, -(-low // most_lines)), max(1, -(-high // most_lines)))
    if one_in != (1, 1):
        mine += f" AND (time_ns % {SAMPLED}) % if({severe}, {one_in[1]}, {one_in[0]}) = 0"
    rows = ask.rows(
        "SELECT service, severity, min(body) AS least, count() AS n, "
        "sumMap(map(intDiv(time_ns - {grid_ns:Int64}, {step_ns:Int64}), toUInt64(1))) AS m, mapKeys(m), mapValues(m), "
        f"min(time_ns), max(time_ns) FROM {source} WHERE {mine} "
        f"GROUP BY service, severity, replaceRegexpAll(leftUTF8(body, 400), '{VALUES}', '*') "
        "ORDER BY n DESC, service, severity, least LIMIT {most:UInt32}",
        params,
    )
    found: list[ShapeRow] = []
    for owner, severity, body, _, _, at, counted_at, first, last in rows:
        held = dict(zip(at, counted_at, strict=True))
        times = one_in[severity in SEVERE]
        found.append(
            ShapeRow(
                service=missing(owner), severity=missing(severity), body=body,
                counts=tuple(held.get(number, 0) * times for number in range(bins)), first_ns=first, last_ns=last,
            )
        )  # fmt: skip
    return Shapes(rows=tuple(found), one_in=one_in)


# ---- changes and keys -------------------------------------------------------------------------------------


def changes(ask: Asker, window: Window, limit: int) -> tuple[ChangeRow, ...]:
    params = {**within(window), "most": checked_limit(limit)}
    if not ask.schema().has(ch.CHANGES):
        return ()
    listed = (
        "toUnixTimestamp64Nano(Timestamp) AS t, toString(Kind) AS k, toString(ServiceName) AS s, Description AS d, "
        "Attributes AS a"
    )
    rows = ask.rows(
        f"SELECT * FROM (SELECT {listed} FROM {ch.CHANGES} WHERE {ch.bounds('Timestamp')} ORDER BY t DESC, k DESC, "
        "s DESC, d DESC LIMIT {most:UInt32}) ORDER BY t, k, s, d",
        params,
    )
    return tuple(
        ChangeRow(time_ns=row[0], kind=row[1], service=missing(row[2]), description=missing(row[3]),
                  attributes=_changed(row[4]))
        for row in rows
    )  # fmt: skip


def _changed(attributes: Any) -> str | None:
    """Attributes of a change: JSON text, or a map in tables of one's own."""
    if isinstance(attributes, str):
        return missing(attributes)
    plain: Mapping[str, str] = dict(attributes or ())
    return msgspec.json.encode(plain, order="sorted").decode() if plain else None


def attribute_keys(ask: Asker, window: Window, signal: Literal["spans", "logs"], limit: int) -> tuple[str, ...]:
    params = {**within(window), "most": checked_limit(limit)}
    schema = ask.schema()
    if signal == "logs":
        source = ch.logs(schema, ("attributes",))
    else:
        source = ch.spans(schema, ("attributes",), ch.bounds("Timestamp")) if schema.has(ch.TRACES) else ""
    if not source:
        return ()
    rows = ask.rows(
        f"SELECT DISTINCT toString(arrayJoin(mapKeys(attributes))) AS key FROM {source} ORDER BY key "
        "LIMIT {most:UInt32}",
        params,
    )
    return tuple(row[0] for row in rows)
