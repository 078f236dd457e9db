"""Traces: which there are, and one of them with all its spans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from aetia.model.errors import UsageError
from aetia.model.tables import ANALYSIS_COLUMNS
from aetia.model.window import Window
from aetia.store._duck_filters import conditions
from aetia.store._duck_newest import newest_first
from aetia.store._duck_question import Part, Question, checked_limit, is_text, text
from aetia.store._duck_sql import TRACE_COLUMNS, traces_of
from aetia.store.backend import Filter, SpanRow, Spans, TraceOrder, TraceRow, Traces

_ORDERS: dict[TraceOrder, str] = {"newest": "start", "slowest": "took", "errors": "start"}
_ENDS = "trace_id, first, ended, errors"
_SHAPE = f"{_ENDS}, spans, services, service, name, rank"


def traces(
    question: Question, window: Window, filters: Sequence[Filter], order: TraceOrder, limit: int, cursor: str
) -> Traces:
    """A page of traces. The cursor is the sort key of its last one."""
    checked_limit(limit)
    if order not in _ORDERS:
        raise UsageError(f"There is no order '{order}' of traces; use newest, slowest or errors.")
    after = _position(question, cursor, _ORDERS[order])
    wanted = conditions(question, "spans", filters)
    if window.end_ns == window.start_ns:
        return Traces(rows=())
    rolled = _sum_up(question, window)
    failed = "HAVING sum(errors) > 0" if order == "errors" else ""
    sql = (
        "SELECT * FROM (SELECT trace_id, min(first) AS start, max(ended) - min(first) AS took FROM "
        f"(SELECT {_ENDS} FROM loose UNION ALL SELECT {_ENDS} FROM known) "
        f"{'SEMI JOIN matching USING (trace_id)' if filters else ''} GROUP BY trace_id {failed}) {after} "
        f"ORDER BY {_ORDERS[order]} DESC, trace_id LIMIT {limit + 1}"
    )
    rows: list[tuple[str, int, int]] = [] if filters else question.fetch(sql)
    if filters:
        question.run("CREATE TEMP TABLE matching (trace_id VARCHAR)")
        for step in newest_first(question, "spans", window, wanted, at_once=order == "slowest"):
            found = step.rows("trace_id", "coalesce(trace_id, '') <> ''")
            question.run(f"INSERT INTO matching SELECT DISTINCT trace_id FROM {found}")
            (enough,) = question.one(f"SELECT count(DISTINCT trace_id) > {limit} FROM matching")
            if not (enough or step.last):
                continue
            rows = question.fetch(sql)
            # A trace that began after all that is unread cannot come to match by what is unread.
            if len(rows) > limit and order != "slowest" and rows[-1][1] >= step.horizon_ns:
                break
    page = rows[:limit]
    details = _details(question, rolled, page)
    found_rows = tuple(details[trace_id] for trace_id, _, _ in page)
    if len(rows) <= limit:
        return Traces(rows=found_rows)
    trace_id, start, took = page[-1]
    return Traces(rows=found_rows, cursor=f"{took if order == 'slowest' else start}:{trace_id}")


def _sum_up(question: Question, window: Window) -> Mapping[str, Part]:
    """The tables `known` and `loose`: the traces in a window, one row per trace and place where it lies. Returns the
    parts that those of `known` lie in.

    Traces that lie inside the window are known from the rollups. Those that its borders cut are read as rows, and so is
    what has no rollup.
    """
    rolled, young = question.counted(window)
    loose = [question.rows("spans", TRACE_COLUMNS, window, parts=young)]
    question.run("CREATE TEMP TABLE known (part VARCHAR, trace_id VARCHAR, first BIGINT, last BIGINT, ended BIGINT, "
                 "errors INTEGER)")  # fmt: skip
    if rolled:
        start, end = window.start_ns, window.end_ns
        touching = f"first < {end} AND last >= {start}"
        columns = "part, trace_id, first, last, ended, errors"
        question.run(f"INSERT INTO known FROM {question.rolled('traces', columns, rolled.values(), touching)}")
        question.run(
            f"CREATE TEMP TABLE torn AS SELECT trace_id, min(first) < {start} AS early FROM known "
            f"WHERE first < {start} OR last >= {end} GROUP BY trace_id"
        )
        reaches = question.fetch(
            "SELECT early, min(first), max(last) FROM known JOIN torn USING (trace_id) GROUP BY early"
        )
        for early, first, last in reaches:
            part_of = Window(start, min(last + 1, end)) if early else Window(max(first, start), end)
            where = f"trace_id IN (SELECT trace_id FROM torn WHERE early = {early})"
            rows = question.rows("spans", TRACE_COLUMNS, part_of, where, hot=False, parts=list(rolled.values()))
            loose.append(rows)
        question.run("DELETE FROM known WHERE trace_id IN (SELECT trace_id FROM torn)")
    every = " UNION ALL ".join(f"FROM {rows}" for rows in loose)
    question.run(f"CREATE TEMP TABLE loose AS {traces_of(f'({every})')}")
    return rolled


def _position(question: Question, cursor: str, column: str) -> str:
    if not cursor:
        return ""
    last, colon, trace_id = cursor.partition(":")
    if not (colon and trace_id and len(last) < 25 and last.isascii() and last.lstrip("-").isdigit()):
        raise UsageError("This is no cursor of a page of traces; give the one that came with the page before.")
    value, after = question.bind(int(last)), question.bind(trace_id)
    return f"WHERE {column} < {value} OR ({column} = {value} AND trace_id > {after})"


def _details(
    question: Question, rolled: Mapping[str, Part], page: Sequence[tuple[str, int, int]]
) -> dict[str, TraceRow]:
    chosen = question.bind([trace_id for trace_id, _, _ in page])
    here = f"trace_id IN (SELECT unnest({chosen}::VARCHAR[]))"
    places = question.fetch(f"SELECT part, min(first), max(first) FROM known WHERE {here} GROUP BY part")
    relations = [f"SELECT {_SHAPE} FROM loose WHERE {here}"]
    if places:
        first, last = min(place[1] for place in places), max(place[2] for place in places)
        where = f"first >= {first} AND first <= {last} AND trace_id IN (SELECT trace_id FROM known WHERE {here})"
        relations.append("FROM " + question.rolled("traces", _SHAPE, [rolled[place[0]] for place in places], where))
    rows = question.fetch(
        "SELECT trace_id, min(first), max(ended), arg_min(service, rank), arg_min(name, rank), sum(spans)::BIGINT, "
        "sum(errors)::BIGINT, len(list_distinct(flatten(list(services)))) FROM "
        f"({' UNION ALL '.join(relations)}) GROUP BY trace_id"
    )
    return {
        trace_id: TraceRow(
            trace_id=trace_id, start_ns=first, duration_ms=(ended - first) / 1e6, service=service, name=name,
            spans=spans, errors=errors, services=services,
        )
        for trace_id, first, ended, service, name, spans, errors, services in rows
    }  # fmt: skip


_MOST_SPANS = 10_000

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


def _rows_of(question: Question, columns: str, trace_id: str, within: str = "", also: str = "") -> str:
    """A relation of the spans of a trace, of those that meet `also`: parts whose rollups have none are not opened."""
    where = is_text(question, "trace_id", trace_id) + also
    rolled, young = question.counted(None)
    relations = [question.rows("spans", columns, None, where, parts=young, within=within)]
    here = f"trace_id = {question.bind(trace_id)}"
    known = question.rolled("traces", "part, first, last", rolled.values(), here) if rolled else ""
    places = question.fetch(f"FROM {known}") if rolled else []
    if places:
        reach = Window(min(place[1] for place in places), max(place[2] for place in places) + 1)
        parts = [rolled[place[0]] for place in places]
        relations.append(question.rows("spans", columns, reach, where, hot=False, parts=parts))
    return "(" + " UNION ALL ".join(f"FROM {relation}" for relation in relations) + ")"


def trace(question: Question, trace_id: str, limit: int, span_id: str | None = None) -> Spans:
    checked_limit(limit, _MOST_SPANS)
    if not trace_id:
        return Spans(rows=(), total=0, truncated=False)
    one = "" if span_id is None else f" AND {is_text(question, 'span_id', span_id)}"
    where = is_text(question, "trace_id", trace_id) + one
    hot = question.full_rows("spans", None, where) if question.snapshot.hot["spans"].num_rows else ""
    plain = ", ".join(f"coalesce({name}, '') AS {name}" for name in _PLAIN)
    columns = f"epoch_ns(time) AS t, coalesce(duration_ns, 0) AS duration_ns, {plain}, attributes, events, links"
    source = _rows_of(question, columns, trace_id, hot, one)
    rows = question.fetch(
        f"SELECT *, count(*) OVER () FROM ({_without_duplicates(source)}) ORDER BY t, span_id, kind LIMIT {limit}"
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
    columns = f"{', '.join(names)}, epoch_ns(time) AS t"
    source = _rows_of(question, columns, trace_id) if trace_id else question.rows("spans", columns, None, "false")
    return question.arrow(
        f"SELECT {', '.join(names)} FROM ({_without_duplicates(source)}) ORDER BY t, coalesce(span_id, ''), kind"
    )
