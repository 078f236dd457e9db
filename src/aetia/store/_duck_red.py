"""Requests, errors and latency of services and operations, over time and as a heat map.

All of it is read from cells: counts of spans by service, name, kind, time and latency bucket. A bucket is a twelfth of
an octave, whose middle is within 2^(1/24) = 2.93 % of everything in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aetia.model.window import Window
from aetia.store._duck_question import Question, checked_limit, grid, is_text, text
from aetia.store._duck_sql import CELL_COLUMNS, LOWEST, PER_OCTAVE, SENT, SERVED, STEP_NS
from aetia.store.backend import HeatMap, OperationRow, Series, ServiceRow

QUANTILES = (50, 95, 99)


def cells(question: Question, window: Window, service: str | None = None, step_ns: int = STEP_NS) -> str:
    """A relation of cells in a window: service, name, kind, root, t, bucket, n, errors.

    Counted parts give them for the whole steps of `STEP_NS` inside the window, where a grid of `step_ns` cuts none of
    these in two; all else is read as rows.
    """
    where = "" if service is None else is_text(question, "service", service)
    first, last = -(-window.start_ns // STEP_NS), window.end_ns // STEP_NS
    numbers, young = question.counted(window)
    if step_ns % STEP_NS or first >= last or not numbers:
        return question.rows("spans", CELL_COLUMNS, window, where)
    old = list(numbers.values())
    ragged = [
        question.rows("spans", CELL_COLUMNS, border, where, hot=False, parts=old)
        for border in (Window(window.start_ns, first * STEP_NS), Window(last * STEP_NS, window.end_ns))
        if border.end_ns > border.start_ns
    ]
    owner = "" if service is None else f"AND service = {question.bind(service)}"
    counted = (
        f"(SELECT service, name, kind, root, bin * {STEP_NS} AS t, bucket, n, errors FROM cells JOIN operations "
        f"ON operation = id WHERE bin >= {first} AND bin < {last} {owner} "
        f"AND part IN (SELECT unnest({question.bind(list(numbers))})))"
    )
    fresh = question.rows("spans", CELL_COLUMNS, window, where, parts=young)
    return "(" + " UNION ALL ".join(f"FROM {relation}" for relation in (counted, fresh, *ragged)) + ")"


def by_quantile(keys: str, relation: str, where: str) -> str:
    """SQL: per key the requests, the errors, and the buckets that the quantiles fall into (nearest rank)."""
    picked = ", ".join(f"min(bucket) FILTER (WHERE upto >= (total * {q} + 99) // 100) AS q{q}" for q in QUANTILES)
    over = f"PARTITION BY {keys}" if keys else ""
    lead = f"{keys}, " if keys else ""
    group = f"GROUP BY {keys}" if keys else ""
    return (
        f"SELECT {lead}sum(n)::BIGINT AS requests, sum(e)::BIGINT AS errors, {picked} FROM ("
        f"SELECT *, sum(n) OVER ({over} ORDER BY bucket) AS upto, sum(n) OVER ({over}) AS total FROM ("
        f"SELECT {lead}bucket, sum(n)::BIGINT AS n, sum(errors)::BIGINT AS e FROM {relation} WHERE {where} "
        f"GROUP BY {lead}bucket)) {group}"
    )


def milliseconds(bucket: int | None) -> float | None:
    """The middle of a latency bucket; the lowest one begins at 0."""
    if bucket is None:
        return None
    return 0.0005 if bucket == LOWEST else 2.0 ** ((bucket + 0.5) / PER_OCTAVE)


def requests_of(question: Question, relation: str, services: dict[str, int] | None = None) -> str:
    """The condition on cells that holds for requests served.

    Services without spans of kind server or consumer are found first; `services`, where given, is filled with all
    services and 0, or 1 where nothing counts as a request.
    """
    found = question.fetch(f"SELECT service, bool_or({SERVED}) FROM {relation} GROUP BY service")
    without = [service for service, served in found if not served]
    where = SERVED
    if without:
        listed = question.bind(without)
        tiers = question.fetch(
            f"SELECT service, bool_or(root), bool_or(NOT {SENT}) FROM {relation} "
            f"WHERE list_contains({listed}, service) GROUP BY service"
        )
        roots = question.bind([service for service, root, _ in tiers if root])
        others = question.bind([service for service, root, other in tiers if other and not root])
        where = (
            f"({SERVED} OR (root AND list_contains({roots}, service)) "
            f"OR (NOT {SENT} AND list_contains({others}, service)))"
        )
    if services is not None:
        services.update({service: 0 for service, _ in found})
    return where


def services(question: Question, window: Window, limit: int) -> tuple[ServiceRow, ...]:
    relation = cells(question, window)
    known: dict[str, int] = {}
    where = requests_of(question, relation, known)
    rows = {row[0]: row[1:] for row in question.fetch(by_quantile("service", relation, where))}
    names = sorted(known, key=str.encode)[: checked_limit(limit)]
    return tuple(ServiceRow(service=name, **_red(rows.get(name, (0, 0, None, None, None)), window)) for name in names)


def operations(question: Question, window: Window, service: str | None, limit: int) -> tuple[OperationRow, ...]:
    sql = by_quantile("service, name, kind", cells(question, window, service), "true")
    rows = question.fetch(
        f"SELECT * FROM ({sql}) ORDER BY requests DESC, service, name, kind LIMIT {checked_limit(limit)}"
    )
    return tuple(
        OperationRow(service=owner, name=name, kind=text(kind), **_red(counts, window))
        for owner, name, kind, *counts in rows
    )


def _red(counts: Sequence[Any], window: Window) -> dict[str, Any]:
    requests, errors, p50, p95, p99 = counts
    return {
        "requests": requests, "errors": errors, "per_second": requests / window.seconds if window.seconds else 0.0,
        "error_share": errors / requests if requests else 0.0, "p50_ms": milliseconds(p50),
        "p95_ms": milliseconds(p95), "p99_ms": milliseconds(p99),
    }  # fmt: skip


def red(question: Question, window: Window, step_ns: int, service: str | None, name: str | None) -> Series:
    start, bins = grid(window, step_ns)
    rows: dict[int, Any] = {}
    if bins:
        relation, where = _requests(question, window, service, name, step_ns)
        binned = f"(SELECT *, (t - {start}) // {step_ns} AS bin FROM {relation} WHERE {where})"
        rows = {row[0]: row[1:] for row in question.fetch(by_quantile("bin", binned, "true"))}
    found = [rows.get(number, (0, 0, None, None, None)) for number in range(bins)]
    return Series(
        start_ns=start, step_ns=step_ns, requests=tuple(row[0] for row in found),
        errors=tuple(row[1] for row in found), p50_ms=tuple(milliseconds(row[2]) for row in found),
        p95_ms=tuple(milliseconds(row[3]) for row in found), p99_ms=tuple(milliseconds(row[4]) for row in found),
    )  # fmt: skip


def _requests(
    question: Question, window: Window, service: str | None, name: str | None, step_ns: int
) -> tuple[str, str]:
    """Cells, and the condition that they count requests of a service (and operation)."""
    relation = cells(question, window, service, step_ns)
    where = requests_of(question, relation)
    return relation, where if name is None else f"{where} AND name = {question.bind(name)}"


HEAT = "floor(bucket / 3.0)::INTEGER"
"""A step of the heat map is a quarter of an octave: three buckets."""


def heat_map(question: Question, window: Window, step_ns: int, service: str | None, name: str | None) -> HeatMap:
    start, bins = grid(window, step_ns)
    rows: list[Any] = []
    if bins:
        relation, where = _requests(question, window, service, name, step_ns)
        rows = question.fetch(
            f"SELECT (t - {start}) // {step_ns}, {HEAT}, sum(n)::BIGINT, sum(errors)::BIGINT FROM {relation} "
            f"WHERE {where} GROUP BY ALL"
        )
    low = min((row[1] for row in rows), default=0)
    high = max((row[1] for row in rows), default=-1)
    counts = [[0] * (high - low + 1) for _ in range(bins)]
    errors = [[0] * (high - low + 1) for _ in range(bins)]
    for number, step, n, failed in rows:
        counts[number][step - low] = n
        errors[number][step - low] = failed
    return HeatMap(
        start_ns=start, step_ns=step_ns, edges_ms=tuple(2.0 ** (k / 4) for k in range(low, high + 2)) if rows else (),
        counts=tuple(map(tuple, counts)), errors=tuple(map(tuple, errors)),
    )  # fmt: skip
