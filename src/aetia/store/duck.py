"""The embedded store's answers: DuckDB over Parquet parts and hot rows.

Every question sees one snapshot, in which each acknowledged row is exactly once, in a part file or among the hot rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from aetia.model.stored import SIGNALS, Signal
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.store import (
    _duck_cohorts,
    _duck_edges,
    _duck_lines,
    _duck_points,
    _duck_red,
    _duck_traces,
    _duck_values,
    _duck_window,
)
from aetia.store._duck_engine import Engine
from aetia.store._duck_question import Answer, Question, Reading, ask
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


class DuckBackend:
    """`Backend` on a store that gives snapshots. Safe to use from several threads; close it before the store.

    `folder` is where the part files lie. `scratch` is a folder for what a question cannot keep in memory, which is made
    where it is missing; without one such a question fails. Parts that have a rollup (`store.rollups`) are answered for
    faster; the answers do not depend on it.
    """

    def __init__(self, store: Reading, folder: Path, scratch: Path | None = None) -> None:
        self._store = store
        self._engine = Engine(scratch, [folder])

    def close(self) -> None:
        self._engine.close()

    def _ask(
        self, window: Window | None, signals: Sequence[Signal], answer: Callable[[Question], Answer]
    ) -> Answer:  # fmt: skip
        return ask(self._engine, self._store, window, signals, answer)

    def extents(self) -> tuple[Extent, ...]:
        return self._ask(None, SIGNALS, _duck_window.extents)

    def services(self, window: Window, limit: int = 1000) -> tuple[ServiceRow, ...]:
        return self._ask(window, ("spans",), lambda question: _duck_red.services(question, window, limit))

    def operations(self, window: Window, service: Text = None, limit: int = 200) -> tuple[OperationRow, ...]:
        return self._ask(window, ("spans",), lambda question: _duck_red.operations(question, window, service, limit))

    def red(self, window: Window, step_ns: int, service: Text = None, name: Text = None) -> Series:
        return self._ask(window, ("spans",), lambda question: _duck_red.red(question, window, step_ns, service, name))

    def topology(self, window: Window, limit: int = 2000) -> tuple[EdgeRow, ...]:
        around = _duck_edges.around(window)
        return self._ask(around, ("spans",), lambda question: _duck_edges.topology(question, window, limit))

    def traces(
        self, window: Window, *, filters: Sequence[Filter] = (), order: TraceOrder = "newest", limit: int = 50,
        cursor: str = "",
    ) -> Traces:  # fmt: skip
        return self._ask(
            window, ("spans",), lambda question: _duck_traces.traces(question, window, filters, order, limit, cursor)
        )

    def trace(self, trace_id: str, *, limit: int = 10_000, span_id: Text = None) -> Spans:
        return self._ask(None, ("spans",), lambda question: _duck_traces.trace(question, trace_id, limit, span_id))

    def trace_table(self, trace_id: str) -> Telemetry:
        return self._ask(
            None, ("spans",), lambda question: Telemetry(spans=_duck_traces.trace_table(question, trace_id))
        )

    def logs(self, window: Window, *, filters: Sequence[Filter] = (), limit: int = 100, cursor: str = "") -> Logs:
        return self._ask(window, ("logs",), lambda question: _duck_lines.logs(question, window, filters, limit, cursor))

    def shapes(
        self, window: Window, step_ns: int, *, service: Text = None, limit: int = 10_000, most_lines: int = MOST_LINES
    ) -> Shapes:
        return self._ask(
            window,
            ("logs",),
            lambda question: _duck_lines.shapes(question, window, step_ns, service, limit, most_lines),
        )

    def metric_names(self, window: Window, *, service: Text = None, limit: int = 500) -> tuple[MetricRow, ...]:
        return self._ask(
            window, ("metrics",), lambda question: _duck_points.metric_names(question, window, service, limit)
        )

    def metric(
        self, window: Window, name: str, *, step_ns: int, service: Text = None, aggregate: Aggregate = "avg",
        limit: int = 50,
    ) -> tuple[MetricSeries, ...]:  # fmt: skip
        return self._ask(
            window,
            ("metrics",),
            lambda question: _duck_points.metric(question, window, name, step_ns, service, aggregate, limit),
        )

    def heat_map(self, window: Window, step_ns: int, *, service: Text = None, name: Text = None) -> HeatMap:
        return self._ask(
            window, ("spans",), lambda question: _duck_red.heat_map(question, window, step_ns, service, name)
        )

    def cohorts(self, chosen: Selection, *, most_keys: int = 60, most_values: int = 50) -> Cohorts:
        return self._ask(
            chosen.window, ("spans",), lambda question: _duck_cohorts.cohorts(question, chosen, most_keys, most_values)
        )

    def changes(self, window: Window, limit: int = 1000) -> tuple[ChangeRow, ...]:
        return self._ask(window, ("changes",), lambda question: _duck_lines.changes(question, window, limit))

    def attribute_keys(
        self, window: Window, signal: Literal["spans", "logs"] = "spans", limit: int = 500
    ) -> tuple[str, ...]:
        return self._ask(
            window, (signal,), lambda question: _duck_lines.attribute_keys(question, window, signal, limit)
        )

    def attribute_values(
        self, window: Window, key: str, signal: Literal["spans", "logs"] = "spans", limit: int = 100
    ) -> tuple[str, ...]:
        return self._ask(
            window, (signal,), lambda question: _duck_values.attribute_values(question, window, key, signal, limit)
        )

    def telemetry(self, window: Window, *, most_spans: int = 1_000_000) -> Telemetry:
        return self._ask(window, SIGNALS, lambda question: _duck_window.telemetry(question, window, most_spans))
