"""Requests, errors and latency of services and operations, over time and as a heat map.

All of it is read from cells: counts of spans by service, name, kind, time and latency bucket. A bucket is a twelfth of
an octave, whose middle is within 2^(1/24) = 2.93 % of everything in it.
"""

from __future__ import annotations

from typing import Any

from aetia.model.window import Window
from aetia.store._duck_question import Question, checked_limit, grid, is_text, text
from aetia.store.backend import HeatMap, OperationRow, Series, ServiceRow

PER_OCTAVE = 12
LOWEST = -120
"""The bucket of what lasted less than 2^(-120/12) ms."""
BUCKET = (
    f"(CASE WHEN coalesce(duration_ns, 0) < 977 THEN {LOWEST} "
    f"ELSE floor({PER_OCTAVE} * log2(duration_ns / 1e6)) END)::SMALLINT"
)
FAILED = "coalesce(status = 'error', false)"
ROOT = "coalesce(parent_span_id, '') = ''"
CELL_COLUMNS = (
    "coalesce(service, '') AS service, coalesce(name, '') AS name, coalesce(kind, '') AS kind, "
    f"{ROOT} AS root, epoch_ns(time) AS t, {BUCKET} AS bucket, 1 AS n, {FAILED}::INTEGER AS errors"
)
SERVED = "kind IN ('server', 'consumer')"
SENT = "kind IN ('client', 'producer')"
QUANTILES = (50, 95, 99)


def cells(question: Question, window: Window, service: str | None = None) -> str:
    """A relation of cells in a window: service, name, kind, root, t, bucket, n, errors."""
    where = "" if service is None else is_text(question, "service", service)
    return question.rows("spans", CELL_COLUMNS, window, where)


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
    return tuple(ServiceRow(service=name, **_red(*rows.get(name, (0, 0, None, None, None)), window)) for name in names)


def operations(question: Question, window: Window, service: str | None, limit: int) -> tuple[OperationRow, ...]:
    sql = by_quantile("service, name, kind", cells(question, window, service), "true")
    rows = question.fetch(
        f"SELECT * FROM ({sql}) ORDER BY requests DESC, service, name, kind LIMIT {checked_limit(limit)}"
    )
    return tuple(
        OperationRow(service=owner, name=name, kind=text(kind), **_red(*counts, window))
        for owner, name, kind, *counts in rows
    )


def _red(requests: int, errors: int, p50: Any, p95: Any, p99: Any, window: Window) -> dict[str, Any]:
    return {
        "requests": requests, "errors": errors, "per_second": requests / window.seconds if window.seconds else 0.0,
        "error_share": errors / requests if requests else 0.0, "p50_ms": milliseconds(p50),
        "p95_ms": milliseconds(p95), "p99_ms": milliseconds(p99),
    }  # fmt: skip


def red(question: Question, window: Window, step_ns: int, service: str | None, name: str | None) -> Series:
    start, bins = grid(window, step_ns)
    rows: dict[int, Any] = {}
    if bins:
        relation, where = _requests(question, window, service, name)
        binned = f"(SELECT *, (t - {start}) // {step_ns} AS bin FROM {relation} WHERE {where})"
        rows = {row[0]: row[1:] for row in question.fetch(by_quantile("bin", binned, "true"))}
    found = [rows.get(number, (0, 0, None, None, None)) for number in range(bins)]
    return Series(
        start_ns=start, step_ns=step_ns, requests=tuple(row[0] for row in found),
        errors=tuple(row[1] for row in found), p50_ms=tuple(milliseconds(row[2]) for row in found),
        p95_ms=tuple(milliseconds(row[3]) for row in found), p99_ms=tuple(milliseconds(row[4]) for row in found),
    )  # fmt: skip


def _requests(question: Question, window: Window, service: str | None, name: str | None) -> tuple[str, str]:
    """Cells, and the condition that they count requests of a service (and operation)."""
    relation = cells(question, window, service)
    where = requests_of(question, relation)
    return relation, where if name is None else f"{where} AND name = {question.bind(name)}"


HEAT = "floor(bucket / 3.0)::INTEGER"
"""A step of the heat map is a quarter of an octave: three buckets."""


def heat_map(question: Question, window: Window, step_ns: int, service: str | None, name: str | None) -> HeatMap:
    start, bins = grid(window, step_ns)
    rows: list[Any] = []
    if bins:
        relation, where = _requests(question, window, service, name)
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
