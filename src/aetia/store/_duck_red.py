"""Requests, errors and latency of services and operations, over time and as a heat map.

All of it is read from cells: counts of spans by service, name, kind, time and latency bucket. A bucket is a twelfth of
an octave, whose middle is within 2^(1/24) = 2.93 % of everything in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aetia.model.window import Window
from aetia.store._duck_question import Question, checked_limit, covers, grid, is_text, text
from aetia.store._duck_sql import CELL_COLUMNS, LOWEST, PER_OCTAVE, SENT, SERVED, STEP_NS
from aetia.store.backend import HeatMap, OperationRow, Series, ServiceRow

QUANTILES = (50, 95, 99)


def cells(question: Question, window: Window, service: str | None = None, step_ns: int | None = None) -> str:
    """A relation of cells in a window: service, name, kind, root, t, bucket, n, errors.

    Rollups give them for the whole steps of `STEP_NS` inside the window, where a grid of `step_ns` cuts none of these
    in two; all else is read as rows. Without a grid `t` does not matter, and parts inside the window give their totals.
    """
    where = "" if service is None else is_text(question, "service", service)
    first, last = -(-window.start_ns // STEP_NS), window.end_ns // STEP_NS
    rolled, young = question.counted(window)
    if step_ns is not None and (step_ns % STEP_NS or first >= last):
        return question.rows("spans", CELL_COLUMNS, window, where)
    whole = [part for part in rolled.values() if step_ns is None and covers(window, part)]
    cut = [part for part in rolled.values() if part not in whole]
    owner = "" if service is None else f"service = {question.bind(service)}"
    relations = [question.rows("spans", CELL_COLUMNS, window, where, parts=young)]
    if whole:
        columns = "service, name, kind, root, NULL::BIGINT AS t, bucket, n, errors"
        relations.append(question.rolled("totals", columns, whole, owner))
    if cut:
        columns = f"service, name, kind, root, bin * {STEP_NS} AS t, bucket, n, errors"
        inside = f"bin >= {first} AND bin < {last}" + (f" AND {owner}" if owner else "")
        relations.append(question.rolled("cells", columns, cut, inside))
        ends = [(window.start_ns, first * STEP_NS), (last * STEP_NS, window.end_ns)]
        for start, end in [(window.start_ns, window.end_ns)] if first >= last else ends:
            if end > start:
                ragged = Window(start, end)
                relations.append(question.rows("spans", CELL_COLUMNS, ragged, where, hot=False, parts=cut))
    return "(" + " UNION ALL ".join(f"FROM {relation}" for relation in relations) + ")"


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


def _summed(question: Question, relation: str, keys: str) -> str:
    """The table `summed`: the cells of a relation by those keys and bucket."""
    question.run(
        f"CREATE TEMP TABLE summed AS SELECT {keys}, bucket, sum(n)::BIGINT AS n, sum(errors)::BIGINT AS errors "
        f"FROM {relation} GROUP BY ALL"
    )
    return "summed"


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
        rows = {row[0]: row[1:] for row in question.fetch(by_quantile("bin", relation, where))}
    found = [rows.get(number, (0, 0, None, None, None)) for number in range(bins)]
    return Series(
        start_ns=start, step_ns=step_ns, requests=tuple(row[0] for row in found),
        errors=tuple(row[1] for row in found), p50_ms=tuple(milliseconds(row[2]) for row in found),
        p95_ms=tuple(milliseconds(row[3]) for row in found), p99_ms=tuple(milliseconds(row[4]) for row in found),
    )  # fmt: skip


def _requests(
    question: Question, window: Window, service: str | None, name: str | None, step_ns: int
) -> tuple[str, str]:
    """Cells by `bin` of the grid, and the condition that they count requests of a service (and operation)."""
    start, _ = grid(window, step_ns)
    keys = f"service, name, kind, root, (t - {start}) // {step_ns} AS bin"
    relation = cells(question, window, service, step_ns)
    if service is None or step_ns % STEP_NS:
        relation = f"(SELECT {keys}, bucket, n, errors FROM {relation})"
    else:  # it is read twice, and what the rollups have of one service is small
        relation = _summed(question, relation, keys)
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
            f"SELECT bin, {HEAT}, sum(n)::BIGINT, sum(errors)::BIGINT FROM {relation} WHERE {where} GROUP BY ALL"
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
