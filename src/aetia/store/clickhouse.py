"""The questions of `store/backend.py` asked of ClickHouse, in the tables of the OpenTelemetry Collector's exporter.

Aggregation happens in ClickHouse: an answer crosses the wire at the size in which it is shown. Statements are made
from constants of this program; whatever a caller says (texts, times, limits, keys of attributes) travels as a
parameter that the server binds. Every statement but `extents` and the look-up of a trace bounds the time of its rows,
so that partitions outside of the window are not opened.

`changes` come from an optional table `aetia_changes` (`Timestamp DateTime64(9)`, `Kind`, `ServiceName`, `Description`
and `Attributes`, all text), which the exporter does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Client
from aetia.store import (
    _clickhouse_cohorts,
    _clickhouse_metrics,
    _clickhouse_red,
    _clickhouse_rows,
    _clickhouse_values,
    _clickhouse_whole,
)
from aetia.store._clickhouse_ask import Asker
from aetia.store._clickhouse_http import Execute, http_address, http_executor, parameter_texts, read_stream
from aetia.store.backend import (
    MOST_LINES,
    Aggregate,
    ChangeRow,
    Cohorts,
    EdgeRow,
    Extent,
    Filter,
    HeatMap,
    Logs,
    MetricRow,
    MetricSeries,
    OperationRow,
    Selection,
    Series,
    ServiceRow,
    Shapes,
    Spans,
    Text,
    TraceOrder,
    Traces,
)

__all__ = ["ClickHouseBackend", "Execute", "clickhouse_backend", "http_executor", "parameter_texts", "read_stream"]


def clickhouse_backend(url: str, *, seconds: float = 30.0, net: Client | None = None) -> ClickHouseBackend:
    """The backend of `clickhouse://user:password@host:8123/database` (`clickhouses://` for TLS). Raises StoreError."""
    address, user, password, database = http_address(url)
    return ClickHouseBackend(http_executor(address, user, password, database, seconds=seconds, net=net))


class ClickHouseBackend:
    """`Backend` on the exporter's tables. `execute` runs one statement with parameters and is safe in threads."""

    def __init__(self, execute: Execute) -> None:
        self._ask = Asker(execute)

    def extents(self) -> tuple[Extent, ...]:
        return _clickhouse_whole.extents(self._ask)

    def services(self, window: Window, limit: int = 1000) -> tuple[ServiceRow, ...]:
        return _clickhouse_red.services(self._ask, window, limit)

    def operations(self, window: Window, service: Text = None, limit: int = 200) -> tuple[OperationRow, ...]:
        return _clickhouse_red.operations(self._ask, window, service, limit)

    def red(self, window: Window, step_ns: int, service: Text = None, name: Text = None) -> Series:
        return _clickhouse_red.series(self._ask, window, step_ns, service, name)

    def topology(self, window: Window, limit: int = 2000) -> tuple[EdgeRow, ...]:
        return _clickhouse_red.topology(self._ask, window, limit)

    def traces(
        self, window: Window, *, filters: Sequence[Filter] = (), order: TraceOrder = "newest", limit: int = 50,
        cursor: str = "",
    ) -> Traces:  # fmt: skip
        return _clickhouse_rows.traces(self._ask, window, filters, order, limit, cursor)

    def trace(self, trace_id: str, *, limit: int = 10_000, span_id: Text = None) -> Spans:
        return _clickhouse_rows.trace(self._ask, trace_id, limit, span_id)

    def trace_table(self, trace_id: str) -> Telemetry:
        return _clickhouse_whole.trace_table(self._ask, trace_id)

    def logs(self, window: Window, *, filters: Sequence[Filter] = (), limit: int = 100, cursor: str = "") -> Logs:
        return _clickhouse_rows.logs(self._ask, window, filters, limit, cursor)

    def shapes(
        self, window: Window, step_ns: int, *, service: Text = None, limit: int = 10_000, most_lines: int = MOST_LINES
    ) -> Shapes:
        return _clickhouse_rows.shapes(self._ask, window, step_ns, service, limit, most_lines)

    def metric_names(self, window: Window, *, service: Text = None, limit: int = 500) -> tuple[MetricRow, ...]:
        return _clickhouse_metrics.metric_names(self._ask, window, service, limit)

    def metric(
        self, window: Window, name: str, *, step_ns: int, service: Text = None, aggregate: Aggregate = "avg",
        limit: int = 50,
    ) -> tuple[MetricSeries, ...]:  # fmt: skip
        return _clickhouse_metrics.metric(self._ask, window, name, step_ns, service, aggregate, limit)

    def heat_map(self, window: Window, step_ns: int, *, service: Text = None, name: Text = None) -> HeatMap:
        return _clickhouse_red.heat_map(self._ask, window, step_ns, service, name)

    def cohorts(self, chosen: Selection, *, most_keys: int = 60, most_values: int = 50) -> Cohorts:
        return _clickhouse_cohorts.cohorts(self._ask, chosen, most_keys, most_values)

    def changes(self, window: Window, limit: int = 1000) -> tuple[ChangeRow, ...]:
        return _clickhouse_rows.changes(self._ask, window, limit)

    def attribute_keys(
        self, window: Window, signal: Literal["spans", "logs"] = "spans", limit: int = 500
    ) -> tuple[str, ...]:
        return _clickhouse_rows.attribute_keys(self._ask, window, signal, limit)

    def attribute_values(
        self, window: Window, key: str, signal: Literal["spans", "logs"] = "spans", limit: int = 100
    ) -> tuple[str, ...]:
        return _clickhouse_values.attribute_values(self._ask, window, key, signal, limit)

    def telemetry(self, window: Window, *, most_spans: int = 1_000_000) -> Telemetry:
        return _clickhouse_whole.telemetry(self._ask, window, most_spans)
