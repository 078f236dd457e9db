"""Log lines, the shapes of their bodies, changes, and the keys of attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.store._duck_filters import Conditions, conditions
from aetia.store._duck_newest import newest_first
from aetia.store._duck_question import Question, checked_limit, grid, is_text, text
from aetia.store.backend import SAMPLED, SEVERE, VALUES, ChangeRow, Filter, LogRow, Logs, ShapeRow, Shapes

_PLAIN = ", ".join(
    f"coalesce({name}, '') AS {name}" for name in ("service", "severity", "body", "trace_id", "span_id", "instance")
)
_HOT = "NULL AS attributes, hot_row"
_ORDER = "t DESC, service, severity, body, trace_id, span_id"


def logs(question: Question, window: Window, filters: Sequence[Filter], limit: int, cursor: str) -> Logs:
    """Newest first. The cursor is the time of the last line given and how many of that time were given."""
    checked_limit(limit)
    last, given = _position(cursor)
    wanted = conditions(question, "logs", filters)
    if last is not None:
        window = Window(window.start_ns, max(min(window.end_ns, last + 1), window.start_ns))
    needed = given + limit + 1
    rows: list[Any] = []
    for step in newest_first(question, "logs", window, wanted):
        # Hot rows give their number instead of attributes, which are decoded for the page alone.
        columns = f"epoch_ns(time) AS t, {_PLAIN}, " + (_HOT if step.hot else "attributes, -1::BIGINT AS hot_row")
        rows += question.fetch(f"SELECT * FROM {step.rows(columns)} ORDER BY {_ORDER} LIMIT {needed}")
        rows = sorted(rows, key=lambda row: (-row[0], *row[1:6]))[:needed]
        if len(rows) == needed and rows[-1][0] >= step.horizon_ns:
            break
    page = rows[given : given + limit]
    attributes = _decoded(question, page)
    return Logs(
        rows=tuple(
            LogRow(
                time_ns=t, service=text(service), severity=text(severity), body=text(body), trace_id=text(trace),
                span_id=text(span), instance=text(instance), attributes=attributes.get(number, found) or {},
            )
            for t, service, severity, body, trace, span, instance, found, number in page
        ),
        cursor=_cursor(page[-1][0], rows[: given + limit]) if len(rows) == needed and page else "",
    )  # fmt: skip


def _decoded(question: Question, page: Sequence[Any]) -> dict[int, dict[str, str]]:
    """The attributes of the hot rows of a page, by row number."""
    numbers = sorted(row[-1] for row in page if row[-1] >= 0)
    if not numbers:
        return {}
    table = question.full("logs", numbers)
    return {number: found or {} for number, found in question.fetch(f"SELECT hot_row, attributes FROM {table}")}


def _cursor(last: int, rows: Sequence[Sequence[object]]) -> str:
    return f"{last}:{sum(row[0] == last for row in rows)}"


def _position(cursor: str) -> tuple[int | None, int]:
    if not cursor:
        return None, 0
    last, _, given = cursor.partition(":")
    if not (len(cursor) < 64 and cursor.isascii() and last.lstrip("-").isdigit() and given.isdigit()):
        raise UsageError("This is no cursor of a page of logs; give the one that came with the page before.")
    return int(last), int(given)


def shapes(
    question: Question, window: Window, step_ns: int, service: str | None, limit: int, most_lines: int
) -> Shapes:
    start, bins = grid(window, step_ns)
    severe = f"severity IN {SEVERE}"
    where = "coalesce(body, '') <> ''"
    if service is not None:
        where += f" AND {is_text(question, 'service', service)}"
    lines = question.rows("logs", f"coalesce({severe}, false) AS severe", window, where)
    low, high = question.one(f"SELECT count(*) FILTER (NOT severe), count(*) FILTER (severe) FROM {lines}")
    one_in = (max(1, -(-low // most_lines)), max(1, -(-high // most_lines)))
    if one_in != (1, 1):
        every = f"(CASE WHEN {severe} THEN {one_in[1]} ELSE {one_in[0]} END)"
        where += f" AND (epoch_ns(time) % {SAMPLED}) % {every} = 0"
    columns = "coalesce(service, '') AS service, coalesce(severity, '') AS severity, body, epoch_ns(time) AS t"
    found = question.rows("logs", columns, window, where)
    rows = question.fetch(
        f"SELECT service, severity, min(body) AS body, count(*) AS n, histogram((t - {start}) // {step_ns}), min(t), "
        f"max(t) FROM (SELECT *, regexp_replace(left(body, 400), '{VALUES}', '*', 'g') AS shape FROM {found}) "
        f"GROUP BY service, severity, shape ORDER BY n DESC, service, severity, body LIMIT {checked_limit(limit)}"
    )
    return Shapes(
        rows=tuple(
            ShapeRow(
                service=text(owner), severity=text(severity), body=body,
                counts=tuple(counts.get(at, 0) * one_in[severity in SEVERE] for at in range(bins)), first_ns=first,
                last_ns=last,
            )
            for owner, severity, body, _, counts, first, last in rows
        ),
        one_in=one_in,
    )  # fmt: skip


def changes(question: Question, window: Window, limit: int) -> tuple[ChangeRow, ...]:
    names = ("kind", "service", "description", "attributes")
    plain = ", ".join(f"coalesce({name}, '') AS {name}" for name in names)
    source = question.rows("changes", f"epoch_ns(time) AS t, {plain}", window)
    rows = question.fetch(
        f"SELECT * FROM (SELECT * FROM {source} ORDER BY t DESC, kind DESC, service DESC, description DESC "
        f"LIMIT {checked_limit(limit)}) ORDER BY t, kind, service, description"
    )
    return tuple(
        ChangeRow(time_ns=t, kind=kind, service=text(service), description=text(said), attributes=text(attributes))
        for t, kind, service, said, attributes in rows
    )


def attribute_keys(question: Question, window: Window, signal: Literal["spans", "logs"], limit: int) -> tuple[str, ...]:
    """Of hot rows the newest are looked at, because each has to be decoded."""
    checked_limit(limit)
    keys = "unnest(map_keys(attributes)) AS key"
    rolled, young = question.counted(window) if signal == "spans" else ({}, question.parts(signal, window))
    inside = [part for part in rolled.values() if window.start_ns <= part.start_ns and part.end_ns <= window.end_ns]
    border = [part for part in rolled.values() if part not in inside]
    relations = [question.rows(signal, keys, window, hot=False, parts=[*young, *border])]
    relations += [question.rolled("keys", "key", inside)] if inside else []
    for step in newest_first(question, signal, window, Conditions(full="true")):
        if step.hot:
            relations.append(step.rows(keys))
        break
    rows = question.fetch(
        f"SELECT DISTINCT key FROM ({' UNION ALL '.join(f'FROM {rows}' for rows in relations)}) "
        f"ORDER BY key LIMIT {limit}"
    )
    return tuple(row[0] for row in rows)
