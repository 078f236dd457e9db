"""Telemetry of RCAEval's CSV files as Arrow tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aetia.ingest.datasets._column_names import split_columns
from aetia.ingest.datasets._csvfile import read_csv
from aetia.ingest.datasets._wide import Series, floats, is_numeric, melt
from aetia.ingest.normalise import category, concat, parse_times, status_code, to_logs, to_metrics, to_spans
from aetia.ingest.values import ArrayLike, Column, pc
from aetia.model.tables import SCHEMAS, Dropped

TIME_COLUMNS = ("time", "timestamp")
"""Names of the time column, the preferred one first."""
_NOT_SERIES = frozenset({"time", "timestamp", "time.1", "is_anomaly", "label", ""})
_METRIC_COLUMNS = ("metric", "metric_name", "name", "kpi", "kpi_name")
_SERVICE_COLUMNS = ("service", "service_name", "servicename", "container_name", "container")
_POD_COLUMNS = ("pod_name", "pod", "podname")
_UNITS = {"bytes": "bytes", "seconds": "s", "milliseconds": "ms"}
_COUNTER_WORDS = ("total", "count")
_TEXTS = (
    "traceID", "spanID", "parentSpanID", "serviceName", "methodName", "operationName", "message", "level",
    "container_name", "pod_name", "log_template", "error",
)  # fmt: skip
_LATENCY = re.compile(r"latency(-\d+)?")
_RISES = 3
_GRPC_ERRORS = tuple(str(code) for code in range(1, 17))


def read_metrics(path: Path) -> tuple[pa.Table, list[Dropped]]:
    """Metric points of a wide file (`<service>_<metric>` columns) or of a long one (metric, value)."""
    raw, dropped = read_csv(path, "metrics")
    if not raw.num_rows:
        return concat("metrics", []), dropped
    known = {name.lower(): name for name in reversed(raw.column_names)}
    clock = next((known[name] for name in TIME_COLUMNS if name in known), raw.column_names[0])
    metric = next((known[name] for name in _METRIC_COLUMNS if name in known), None)
    if metric is not None and "value" in known:
        table, more = _long(raw, known, clock, metric, path.name)
        return table, dropped + more
    columns = [
        name for name in dict.fromkeys(raw.column_names)
        if raw.column_names.count(name) == 1 and name.lower() not in _NOT_SERIES and is_numeric(raw[name])
    ]  # fmt: skip
    pairs = split_columns(columns)
    series = [_series(column, *pairs[column], values=floats(raw[column])) for column in columns]
    table, more = melt(raw, raw[clock], series, source=path.name)
    return concat("metrics", [table]), dropped + more


def _series(column: str, entity: str | None, metric: str, *, values: NDArray[np.float64]) -> Series:
    # The node exporter names all its metrics `node_…`: their entity is a machine, not a service.
    machine = metric.startswith(("node-", "node_"))
    unit = next((unit for word, unit in _UNITS.items() if metric.endswith(word)), None)
    # The mesh's quantiles are in seconds; their names do not say so.
    unit = "s" if unit is None and _LATENCY.fullmatch(metric) else unit
    return Series(
        column, metric, unit=unit, type="counter" if _is_counter(metric, values) else "gauge",
        service=None if machine else entity, node=entity if machine else None,
    )  # fmt: skip


def _is_counter(metric: str, values: NDArray[np.float64]) -> bool:
    """Whether a metric named like a count only rises; the files hold rates under the same names as well."""
    if not any(word in metric for word in _COUNTER_WORDS):
        return False
    steps = np.diff(values[np.isfinite(values)])
    return bool(np.count_nonzero(steps > 0) >= _RISES and not np.any(steps < 0))


def _long(raw: pa.Table, known: dict[str, str], clock: str, metric: str, source: str) -> tuple[pa.Table, list[Dropped]]:
    names = raw[metric].cast(pa.string())
    service: ArrayLike = _first(raw, known, _SERVICE_COLUMNS)
    if service is None:
        pairs = split_columns(str(name) for name in names.unique().to_pylist() if name)
        service, names = (
            _renamed(names, {n: p[0] for n, p in pairs.items()}),
            _renamed(names, {n: p[1] for n, p in pairs.items()}),
        )
    columns = {
        "time": raw[clock], "name": names, "value": raw[known["value"]], "service": service,
        "instance": _first(raw, known, _POD_COLUMNS),
    }  # fmt: skip
    return to_metrics(columns, source=source)


def _renamed(column: Column, mapping: dict[str, str | None]) -> Column:
    def transform(values: Column) -> Column:
        found = [mapping.get(str(value)) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(found, pa.string())])

    return category(column, transform)


def _first(raw: pa.Table, known: dict[str, str], names: Iterable[str]) -> ArrayLike:
    return next((raw[known[name]] for name in names if name in known), None)


def read_spans(path: Path, services: frozenset[str], *, full: bool = False) -> tuple[pa.Table, list[Dropped]]:
    """Spans of `traces.csv`; services are named as in the metrics (`services`) where the names agree."""
    if not path.is_file():
        return SCHEMAS["spans"].empty_table(), []
    raw, dropped = read_csv(path, "spans", text=_TEXTS)
    if not raw.num_rows or not {"spanID", "traceID"} <= set(raw.column_names):
        return SCHEMAS["spans"].empty_table(), dropped
    known = {name.lower(): name for name in raw.column_names}
    code = status_code(_text(raw, known, "statuscode"))
    table, more = to_spans(
        {
            "time": _times(raw, known, ("starttime", "starttimemillis", "timestamp", "time")),
            "duration": raw[known["duration"]] if "duration" in known else pa.nulls(raw.num_rows, pa.int64()),
            "trace_id": raw["traceID"].cast(pa.string()), "span_id": raw["spanID"].cast(pa.string()),
            "parent_span_id": _text(raw, known, "parentspanid"),
            "service": _unified(_text(raw, known, "servicename"), services),
            "instance": _first(raw, known, _POD_COLUMNS),
            "name": pc.coalesce(_text(raw, known, "operationname"), _text(raw, known, "methodname")),
            "status": _status(code), "status_code": code,
        },
        source=path.name, duration_unit="us", full=full,
    )  # fmt: skip
    return table, dropped + more


def _status(code: Column) -> Column:
    """`error` for gRPC codes other than 0 and for HTTP 5xx; other codes do not say that the call failed."""
    plain = code.cast(pa.string())
    grpc = pc.is_in(plain, value_set=pa.array(_GRPC_ERRORS))
    http = pc.match_substring_regex(plain, r"^5\d\d$")
    return pc.if_else(pc.fill_null(pc.or_(grpc, http), False), "error", "unset")


def read_logs(path: Path, services: frozenset[str], *, full: bool = False) -> tuple[pa.Table, list[Dropped]]:
    """Lines of `logs.csv`; a missing level is taken from the message."""
    if not path.is_file():
        return SCHEMAS["logs"].empty_table(), []
    raw, dropped = read_csv(path, "logs", text=_TEXTS)
    if not raw.num_rows:
        return SCHEMAS["logs"].empty_table(), dropped
    known = {name.lower(): name for name in raw.column_names}
    service = next((name for name in _SERVICE_COLUMNS if name in known), "")
    table, more = to_logs(
        {
            "time": _times(raw, known, ("timestamp", "time")),
            "service": _unified(_text(raw, known, service), services),
            "instance": _first(raw, known, _POD_COLUMNS), "severity": _text(raw, known, "level"),
            "body": pc.coalesce(_text(raw, known, "message"), _text(raw, known, "error")),
            "template": _first(raw, known, ("log_template",)),
        },
        source=path.name, full=full,
    )  # fmt: skip
    return table, dropped + more


def _text(raw: pa.Table, known: dict[str, str], name: str) -> Column:
    """A column as text, empty text as null; all null where the file has no such column."""
    if name not in known:
        return pa.chunked_array([pa.nulls(raw.num_rows, pa.string())])
    column = raw[known[name]].cast(pa.string())
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _times(raw: pa.Table, known: dict[str, str], names: Iterable[str]) -> Column:
    """The first of the columns that holds times after 1970 in most rows (`time` may be a mere clock)."""
    best = pa.chunked_array([pa.nulls(raw.num_rows, pa.timestamp("ns", tz="UTC"))])
    for name in names:
        if name not in known:
            continue
        column = raw[known[name]]
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        times = parse_times(pc.if_else(pc.greater(column, 0), column, None) if numeric else column)
        if times.null_count * 2 < len(times):
            return times
        best = times if times.null_count < best.null_count else best
    return best


def _unified(column: Column, services: frozenset[str]) -> Column:
    """Names as the metrics have them: `frontendservice` is `frontend` where only the latter has metrics."""

    def known(name: str | None) -> str | None:
        if name is None or name in services:
            return name
        stem = name.removesuffix("service").rstrip("-_")
        forms = (stem, f"{name}service", f"{name}-service")
        return next((form for form in forms if form in services), name)

    def transform(values: Column) -> Column:
        return pa.chunked_array([pa.array([known(value) for value in values.to_pylist()], pa.string())])

    return category(column, transform)
