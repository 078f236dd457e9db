"""Metrics: which there are, and their series on a grid."""

from __future__ import annotations

import math

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.store._duck_question import Question, checked_limit, grid, is_text, text
from aetia.store.backend import Aggregate, MetricRow, MetricSeries

_SERIES = "service, instance, node, labels"
_COLUMNS = (
    "epoch_ns(time) AS t, coalesce(name, '') AS name, value, coalesce(service, '') AS service, "
    "coalesce(instance, '') AS instance, coalesce(node, '') AS node, coalesce(attributes, '') AS labels"
)
_FOLDS: dict[Aggregate, str] = {
    "avg": "avg(value)",
    "min": "min(value)",
    "max": "max(value)",
    "sum": "fsum(value)",
    "last": "arg_max(value, (t, value))",
    "count": "count(*)::DOUBLE",
}


def metric_names(question: Question, window: Window, service: str | None, limit: int) -> tuple[MetricRow, ...]:
    columns = f"{_COLUMNS}, nullif(unit, '') AS unit, nullif(type, '') AS type"
    source = question.rows("metrics", columns, window, _of(question, service))
    rows = question.fetch(
        f"WITH series AS (SELECT name, {_SERIES}, count(*) AS points, min(unit) AS unit, min(type) AS type "
        f"FROM {source} GROUP BY ALL) "
        "SELECT name, min(unit), min(type), count(*), sum(points)::BIGINT, "
        "list(DISTINCT service ORDER BY service) FILTER (WHERE service <> '') FROM series GROUP BY name ORDER BY name "
        f"LIMIT {checked_limit(limit)}"
    )
    return tuple(
        MetricRow(name=name, unit=unit, type=kind, series=series, points=points, services=tuple(services or ()))
        for name, unit, kind, series, points, services in rows
    )


def metric(
    question: Question, window: Window, name: str, step_ns: int, service: str | None, aggregate: Aggregate, limit: int
) -> tuple[MetricSeries, ...]:
    start, bins = grid(window, step_ns)
    if aggregate != "rate" and aggregate not in _FOLDS:
        raise UsageError(f"There is no aggregate '{aggregate}'; use {', '.join(_FOLDS)} or rate.")
    where = f"{is_text(question, 'name', name)} AND isfinite(value)"
    if service is not None:
        where += f" AND {_of(question, service)}"
    source = question.rows("metrics", _COLUMNS, window, where)
    value = "fsum(gain) / nullif(sum(elapsed), 0)" if aggregate == "rate" else _FOLDS[aggregate]
    rows = question.fetch(
        f"WITH points AS MATERIALIZED (SELECT t, value, {_SERIES} FROM {source}), "
        f"chosen AS (SELECT DISTINCT {_SERIES} FROM points ORDER BY {_SERIES} LIMIT {checked_limit(limit)}), "
        f"steps AS ({_STEPS if aggregate == 'rate' else 'SELECT * FROM points'}) "
        f"SELECT {_SERIES}, (t - {start}) // {step_ns} AS bin, {value} FROM steps SEMI JOIN chosen "
        f"USING ({_SERIES}) GROUP BY ALL ORDER BY {_SERIES}, bin"
    )
    series: dict[tuple[str, ...], list[float | None]] = {}
    for *which, number, found in rows:
        values = series.setdefault(tuple(which), [None] * bins)
        values[number] = found if found is not None and math.isfinite(found) else None
    return tuple(
        MetricSeries(
            name=name, service=text(owner), instance=text(instance), node=text(node), labels=text(labels),
            start_ns=start, step_ns=step_ns, values=tuple(values),
        )
        for (owner, instance, node, labels), values in series.items()
    )  # fmt: skip


_STEPS = (
    f"SELECT {_SERIES}, t, CASE WHEN value >= before THEN value - before WHEN before IS NOT NULL THEN value END "
    f"AS gain, (t - since) / 1e9 AS elapsed FROM (SELECT *, lag(value) OVER w AS before, lag(t) OVER w AS since "
    f"FROM points WINDOW w AS (PARTITION BY {_SERIES} ORDER BY t, value))"
)


def _of(question: Question, service: str | None) -> str:
    return "" if service is None else is_text(question, "service", service)
