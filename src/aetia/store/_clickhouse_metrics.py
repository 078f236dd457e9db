"""Metrics in ClickHouse: names, and series on a grid."""

from __future__ import annotations

from typing import Any

from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.store._clickhouse_ask import Asker, checked_limit, grid, missing, within
from aetia.store._clickhouse_points import points, stem
from aetia.store.backend import Aggregate, MetricRow, MetricSeries

_SERIES = "service, instance, node, labels"
_FOLDS = {
    "avg": "avg(value)", "min": "min(value)", "max": "max(value)", "sum": "sum(value)", "count": "toFloat64(count())",
    "last": "argMax(value, (time_ns, value))",
    "rate": "if(sum(passed) > 0, sum(gain) / (sum(passed) / 1e9), NULL)",
}  # fmt: skip


def metric_names(ask: Asker, window: Window, service: str | None, limit: int) -> tuple[MetricRow, ...]:
    params: dict[str, Any] = {**within(window), "most": checked_limit(limit)}
    if service is not None:
        params["service"] = service
    fields = ("name", "unit", "type", "service", "instance", "node", "labels")
    source = points(ask.schema(), fields, service=service is not None)
    if not source:
        return ()
    rows = ask.rows(
        "SELECT name, minIf(unit, unit != ''), minIf(type, type != ''), "
        f"uniqExact({_SERIES}), count(), arraySort(groupUniqArrayIf(service, service != '')) FROM {source} "
        "GROUP BY name ORDER BY name LIMIT {most:UInt32}",
        params,
    )
    return tuple(
        MetricRow(name=row[0], unit=missing(row[1]), type=missing(row[2]), series=row[3], points=row[4],
                  services=tuple(row[5]))
        for row in rows
    )  # fmt: skip


def metric(
    ask: Asker, window: Window, name: str, step_ns: int, service: str | None, aggregate: Aggregate, limit: int
) -> tuple[MetricSeries, ...]:
    start, bins = grid(window, step_ns)
    if aggregate not in _FOLDS:
        raise UsageError(f"no aggregate {aggregate!r}; take one of {', '.join(_FOLDS)}.")
    params: dict[str, Any] = {**within(window), "most": checked_limit(limit), "name": name, "stem": stem(name)}
    params |= {"grid": start, "step": step_ns}
    if service is not None:
        params["service"] = service
    fields = ("time_ns", "value", "service", "instance", "node", "labels")
    source = points(ask.schema(), fields, name=name, service=service is not None)
    if not source or not bins:
        return ()
    kept = f"SELECT * FROM {source} WHERE isFinite(value)"
    rows = ask.rows(_series_sql(_gains(kept) if aggregate == "rate" else kept, _FOLDS[aggregate]), params)
    out: list[MetricSeries] = []
    for row in rows:
        values: list[float | None] = [None] * bins
        for at, value in (tuple(pair.values()) for pair in row[4]):
            values[at] = value
        place = dict(zip(("service", "instance", "node", "labels"), map(missing, row[:4]), strict=True))
        out.append(MetricSeries(name=name, start_ns=start, step_ns=step_ns, values=tuple(values), **place))
    return tuple(out)


def _series_sql(kept: str, fold: str) -> str:
    binned = (
        f"SELECT {_SERIES}, intDiv(time_ns - {{grid:Int64}}, {{step:Int64}}) AS bin, {fold} AS folded "
        f"FROM ({kept}) GROUP BY {_SERIES}, bin"
    )
    return (
        f"SELECT {_SERIES}, groupArray(tuple(bin, folded)) AS bins FROM ({binned}) GROUP BY {_SERIES} "
        f"ORDER BY {_SERIES} LIMIT {{most:UInt32}}"
    )


def _gains(kept: str) -> str:
    """Each point with its increase and the time since the one before in its series; the first has neither."""
    return (
        "SELECT *, if(number = 1, 0, if(value >= earlier, value - earlier, value)) AS gain, "
        "if(number = 1, 0, time_ns - then_ns) AS passed FROM (SELECT *, lagInFrame(value) OVER w AS earlier, "
        f"lagInFrame(time_ns) OVER w AS then_ns, row_number() OVER w AS number FROM ({kept}) WINDOW w AS "
        f"(PARTITION BY {_SERIES} ORDER BY time_ns, value ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))"
    )
