"""Who calls whom: what the rollups have, the calls among the rows beside them, and those between all of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aetia.model.window import Window
from aetia.store._duck_question import Part, Question, checked_limit, covers
from aetia.store._duck_red import by_quantile, milliseconds
from aetia.store._duck_sql import CALL_COLUMNS, MET_COLUMNS, REACH_NS, STEP_NS, calls, calls_between
from aetia.store.backend import EdgeRow

_YOUNG = ""
"""Stands for the name of a part: hot rows and parts without a rollup are one."""
_COLUMNS = "trace_id, self, parent, service, peer, sent, t, bucket, errors"


def around(window: Window) -> Window:
    """Where the other end of a call may be that is in the window."""
    return Window(window.start_ns - STEP_NS - REACH_NS, window.end_ns + STEP_NS + REACH_NS)


def topology(question: Question, window: Window, limit: int) -> tuple[EdgeRow, ...]:
    checked_limit(limit)
    if window.end_ns == window.start_ns:
        return ()
    first, last = window.start_ns // STEP_NS, -(-window.end_ns // STEP_NS)
    rolled, young = question.counted(around(window))
    question.run("CREATE TEMP TABLE young AS FROM " + question.rows("spans", CALL_COLUMNS, around(window), parts=young))
    inside = f"t >= {first * STEP_NS} AND t < {last * STEP_NS}"
    branches = [f"SELECT caller, callee, known, bucket, 1 AS n, errors FROM ({calls('young')}) WHERE {inside}"]
    if rolled:
        _collect_border(question, rolled, around(window))
        branches += [
            *(f"FROM {relation}" for relation in _counted(question, list(rolled.values()), first, last)),
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


def _counted(question: Question, parts: Sequence[Part], first: int, last: int) -> list[str]:
    """Relations of the calls within parts, in the steps from `first` to before `last`."""
    columns = "caller, callee, known, bucket, n, errors"
    inside = Window(first * STEP_NS, last * STEP_NS)
    whole = [part for part in parts if covers(inside, part)]
    cut = [part for part in parts if part not in whole]
    out = [question.rolled("calls", columns, whole)] if whole else []
    return out + ([question.rolled("edges", columns, cut, f"bin >= {first} AND bin < {last}")] if cut else [])


def _collect_border(question: Question, rolled: Mapping[str, Part], window: Window) -> None:
    """The table `meeting`: all spans of the traces that lie in several parts with a rollup, or in one and among the
    young."""
    every = rolled.values()
    names = question.bind(list(rolled))
    # Of two parts, one rollup has the spans of both; a third one may have the same.
    border = question.rolled("border", f"{MET_COLUMNS}, filename", every, f"part IN (SELECT unnest({names}))")
    question.run(
        f"CREATE TEMP TABLE meeting AS SELECT part, {_COLUMNS} FROM {border} QUALIFY filename = min(filename) OVER "
        "(PARTITION BY part, trace_id)"
    )
    first, last = question.one("SELECT min(t), max(t) FROM young")
    near = [part for part in every if first is not None and _is_near(part, first, last)]
    if near:
        _join_young(question, {part.path.stem: part for part in near})
    question.run(f"DELETE FROM meeting WHERE t < {window.start_ns} OR t >= {window.end_ns}")


def _is_near(part: Part, first: int, last: int) -> bool:
    return part.start_ns - REACH_NS <= last and first - REACH_NS < part.end_ns


def _join_young(question: Question, near: Mapping[str, Part]) -> None:
    """Add the spans of the traces that lie among the young and in some parts with a rollup."""
    reach = f"last >= (SELECT min(t) - {REACH_NS} FROM young) AND first <= (SELECT max(t) + {REACH_NS} FROM young)"
    question.run(
        "CREATE TEMP TABLE shared AS FROM "
        + question.rolled("traces", "part, trace_id, first, last", near.values(), reach)
        + " SEMI JOIN young USING (trace_id)"
    )
    lacking = question.fetch(
        "SELECT part, min(first), max(last), list(trace_id) FROM shared ANTI JOIN meeting USING (part, trace_id) "
        "GROUP BY part"
    )
    question.run(f"INSERT INTO meeting SELECT '{_YOUNG}', {_COLUMNS} FROM young SEMI JOIN shared USING (trace_id)")
    for name, first, last, ids in lacking:
        source = question.rows(
            "spans", CALL_COLUMNS, Window(first, last + 1), f"trace_id IN (SELECT unnest({question.bind(ids)}))",
            hot=False, parts=[near[name]],
        )  # fmt: skip
        question.run(f"INSERT INTO meeting SELECT {question.bind(name)}, {_COLUMNS} FROM {source}")
