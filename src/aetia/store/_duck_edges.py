"""Who calls whom: what was counted of the parts, the calls among younger rows, and those between all of these."""

from __future__ import annotations

from collections.abc import Mapping

from aetia.model.window import Window
from aetia.store._duck_question import Part, Question, checked_limit
from aetia.store._duck_red import by_quantile, milliseconds
from aetia.store._duck_sql import CALL_COLUMNS, REACH_NS, STEP_NS, calls, calls_between
from aetia.store.backend import EdgeRow

_YOUNG = -1
"""Stands for the number of a part: hot rows and parts that are not counted are one."""
_COLUMNS = "trace_id, self, parent, service, peer, sent, t, bucket, errors"


def around(window: Window) -> Window:
    """Where the other end of a call may be that is in the window."""
    return Window(window.start_ns - STEP_NS - REACH_NS, window.end_ns + STEP_NS + REACH_NS)


def topology(question: Question, window: Window, limit: int) -> tuple[EdgeRow, ...]:
    checked_limit(limit)
    if window.end_ns == window.start_ns:
        return ()
    first, last = window.start_ns // STEP_NS, -(-window.end_ns // STEP_NS)
    numbers, young = question.counted(around(window))
    question.run("CREATE TEMP TABLE young AS FROM " + question.rows("spans", CALL_COLUMNS, around(window), parts=young))
    inside = f"t >= {first * STEP_NS} AND t < {last * STEP_NS}"
    branches = [f"SELECT caller, callee, known, bucket, 1 AS n, errors FROM ({calls('young')}) WHERE {inside}"]
    if numbers:
        _collect_border(question, numbers, around(window))
        branches += [
            f"SELECT caller, callee, known, bucket, n, errors FROM edges WHERE bin >= {first} AND bin < {last} "
            f"AND part IN (SELECT unnest({question.bind(list(numbers))}))",
            f"SELECT caller, callee, known, bucket, n, errors FROM ({calls_between('meeting')}) WHERE {inside}",
        ]
    question.run(
        "CREATE TEMP TABLE calls AS SELECT caller, callee, known, bucket, sum(n)::BIGINT AS n, sum(errors)::BIGINT AS "
        f"errors FROM ({' UNION ALL '.join(branches)}) GROUP BY ALL HAVING sum(n) <> 0"
    )
    rows = question.fetch(
        f"SELECT * FROM (SELECT * FROM ({by_quantile('caller, callee', 'calls', 'true')}) "
        f"ORDER BY requests DESC, caller, callee LIMIT {limit}) ORDER BY caller, callee"
    )
    known = set(question.fetch("SELECT DISTINCT caller, callee FROM calls WHERE known"))
    return tuple(
        EdgeRow(
            caller=caller, callee=callee, calls=n, errors=errors, p50_ms=milliseconds(p50), p95_ms=milliseconds(p95),
            external=(caller, callee) not in known,
        )
        for caller, callee, n, errors, p50, p95, _ in rows
    )  # fmt: skip


def _collect_border(question: Question, numbers: Mapping[int, Part], window: Window) -> None:
    """The table `meeting`: all spans of the traces that lie in several counted parts, or in one and among the young."""
    listed = question.bind(list(numbers))
    question.run(
        "CREATE TEMP TABLE shared AS SELECT part, trace_id, first, last FROM traces SEMI JOIN young USING (trace_id) "
        f"WHERE part IN (SELECT unnest({listed}))"
    )
    question.run(
        f"CREATE TEMP TABLE meeting AS SELECT part, {_COLUMNS} FROM border WHERE part IN (SELECT unnest({listed})) "
        f"AND t >= {window.start_ns} AND t < {window.end_ns}"
    )
    question.run(f"INSERT INTO meeting SELECT {_YOUNG}, {_COLUMNS} FROM young SEMI JOIN shared USING (trace_id)")
    lacking = question.fetch(
        "SELECT part, min(first), max(last), list(trace_id) FROM shared ANTI JOIN "
        f"(SELECT part, trace_id FROM border WHERE part IN (SELECT unnest({listed}))) USING (part, trace_id) "
        "GROUP BY part"
    )
    for number, first, last, ids in lacking:
        source = question.rows(
            "spans", CALL_COLUMNS, Window(first, last + 1), f"trace_id IN (SELECT unnest({question.bind(ids)}))",
            hot=False, parts=[numbers[number]],
        )  # fmt: skip
        question.run(f"INSERT INTO meeting SELECT {number}, {_COLUMNS} FROM {source}")
