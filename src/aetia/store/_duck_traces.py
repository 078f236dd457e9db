"""Traces: which there are, and one of them with all its spans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from aetia.model.errors import UsageError
from aetia.model.tables import ANALYSIS_COLUMNS
from aetia.model.window import Window
from aetia.store._duck_filters import conditions
from aetia.store._duck_question import Question, checked_limit, is_text, text
from aetia.store.backend import Filter, SpanRow, Spans, TraceOrder, TraceRow, Traces

_HAS_TRACE = "coalesce(trace_id, '') <> ''"
_ENDED = "epoch_ns(time) + coalesce(duration_ns, 0)"
_ORDERS: dict[TraceOrder, str] = {"newest": "start", "slowest": "took", "errors": "start"}
_MOST_SPANS = 10_000


def traces(
    question: Question, window: Window, filters: Sequence[Filter], order: TraceOrder, limit: int, cursor: str
) -> Traces:
    """A page of traces. The cursor is the sort key of its last one."""
    checked_limit(limit)
    if order not in _ORDERS:
        raise UsageError(f"There is no order '{order}' of traces; use newest, slowest or errors.")
    last = _position(question, cursor, _ORDERS[order])
    wanted = conditions(question, "spans", filters)
    columns = f"trace_id, epoch_ns(time) AS t, {_ENDED} AS ended, coalesce(status = 'error', false) AS failed"
    source = question.rows("spans", columns, window, _HAS_TRACE)
    having = "HAVING bool_or(failed)" if order == "errors" else ""
    matching = (
        f"SEMI JOIN {_matching(question, window, wanted.promoted, wanted.all, bool(wanted.full))} USING (trace_id)"
    )
    rows = question.fetch(
        f"SELECT trace_id, start, took FROM (SELECT trace_id, min(t) AS start, max(ended) - min(t) AS took "
        f"FROM {source} {matching if filters else ''} GROUP BY trace_id {having}) {last} "
        f"ORDER BY {_ORDERS[order]} DESC, trace_id LIMIT {limit + 1}"
    )
    page = rows[:limit]
    details = _details(question, window, page)
    found = tuple(details[trace_id] for trace_id, _, _ in page)
    if len(rows) <= limit:
        return Traces(rows=found)
    trace_id, start, took = page[-1]
    return Traces(rows=found, cursor=f"{took if order == 'slowest' else start}:{trace_id}")


def _matching(question: Question, window: Window, promoted: str, every: str, full: bool) -> str:
    """The ids of the traces that have a span in the window which meets all conditions."""
    hot = ""
    if full and question.snapshot.hot["spans"].num_rows:
        hot = question.full_rows("spans", window, promoted)
    return question.rows("spans", "trace_id", window, f"{_HAS_TRACE} AND {every}" if every else _HAS_TRACE, within=hot)


def _position(question: Question, cursor: str, column: str) -> str:
    if not cursor:
        return ""
    last, colon, trace_id = cursor.partition(":")
    if not (colon and trace_id and len(last) < 25 and last.isascii() and last.lstrip("-").isdigit()):
        raise UsageError("This is no cursor of a page of traces; give the one that came with the page before.")
    value, after = question.bind(int(last)), question.bind(trace_id)
    return f"WHERE {column} < {value} OR ({column} = {value} AND trace_id > {after})"


def _details(question: Question, window: Window, page: Sequence[tuple[str, int, int]]) -> dict[str, TraceRow]:
    if not page:
        return {}
    span = Window(min(row[1] for row in page), max(row[1] + row[2] for row in page) + 1)
    narrow = Window(max(window.start_ns, span.start_ns), min(window.end_ns, max(span.end_ns, span.start_ns + 1)))
    chosen = question.bind([row[0] for row in page])
    columns = (
        "trace_id, coalesce(service, '') AS service, coalesce(name, '') AS name, coalesce(status = 'error', false) AS "
        "failed, (coalesce(parent_span_id, '') <> '', epoch_ns(time), -coalesce(duration_ns, 0), "
        "coalesce(span_id, '')) AS rank"
    )
    source = question.rows("spans", columns, narrow, f"trace_id IN (SELECT unnest({chosen}))")
    rows = question.fetch(
        "SELECT trace_id, arg_min(service, rank), arg_min(name, rank), count(*), count_if(failed), "
        f"count(DISTINCT service) FROM {source} GROUP BY trace_id"
    )
    extents = {trace_id: (start, took) for trace_id, start, took in page}
    return {
        trace_id: TraceRow(
            trace_id=trace_id, start_ns=extents[trace_id][0], duration_ms=extents[trace_id][1] / 1e6, service=service,
            name=name, spans=spans, errors=errors, services=services,
        )
        for trace_id, service, name, spans, errors, services in rows
    }  # fmt: skip


# ---- one trace ---------------------------------------------------------------------------------------------

_PLAIN = (
    "span_id", "parent_span_id", "service", "name", "kind", "instance", "status", "status_code", "status_message",
    "peer", "version", "resource",
)  # fmt: skip


def _without_duplicates(source: str) -> str:
    """SQL: spans of one trace, each span id and kind once; `t` and `duration_ns` say which of them stays."""
    return (
        f"SELECT * EXCLUDE (copy) FROM (SELECT *, CASE WHEN coalesce(span_id, '') = '' THEN 1 ELSE row_number() OVER ("
        "PARTITION BY span_id, coalesce(kind, '') ORDER BY t, duration_ns DESC) END AS copy "
        f"FROM {source}) WHERE copy = 1"
    )


def trace(question: Question, trace_id: str, limit: int) -> Spans:
    if not trace_id:
        return Spans(rows=(), total=0, truncated=False)
    where = is_text(question, "trace_id", trace_id)
    hot = question.full_rows("spans", None, where) if question.snapshot.hot["spans"].num_rows else ""
    plain = ", ".join(f"coalesce({name}, '') AS {name}" for name in _PLAIN)
    columns = f"epoch_ns(time) AS t, coalesce(duration_ns, 0) AS duration_ns, {plain}, attributes, events, links"
    source = question.rows("spans", columns, None, where, within=hot)
    rows = question.fetch(
        f"SELECT *, count(*) OVER () FROM ({_without_duplicates(source)}) ORDER BY t, span_id, kind "
        f"LIMIT {checked_limit(limit, _MOST_SPANS)}"
    )
    total = rows[0][-1] if rows else 0
    return Spans(rows=tuple(_span(trace_id, row) for row in rows), total=total, truncated=total > len(rows))


def _span(trace_id: str, row: Sequence[Any]) -> SpanRow:
    time, duration, span, parent, service, name, kind, instance, status, code, message, peer, version, resource = row[
        :14
    ]
    attributes, events, links = row[14:17]
    return SpanRow(
        trace_id=trace_id, span_id=span, parent_span_id=text(parent), time_ns=time, duration_ns=duration,
        service=service, name=name, kind=text(kind), instance=text(instance), status=text(status),
        status_code=text(code), status_message=text(message), peer=text(peer), version=text(version),
        attributes={key: value for key, value in (attributes or {}).items() if value is not None},
        resource=_flat(resource), events=text(events), links=text(links),
    )  # fmt: skip


def _flat(resource: str) -> dict[str, str]:
    try:
        found = json.loads(resource) if resource else {}
    except ValueError:
        return {}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}


def trace_table(question: Question, trace_id: str) -> pa.Table:
    """The spans of a trace in analysis columns, in order of time."""
    names = ANALYSIS_COLUMNS["spans"]
    where = is_text(question, "trace_id", trace_id) if trace_id else "false"
    source = question.rows("spans", f"{', '.join(names)}, epoch_ns(time) AS t", None, where)
    return question.arrow(
        f"SELECT {', '.join(names)} FROM ({_without_duplicates(source)}) ORDER BY t, coalesce(span_id, ''), kind"
    )
