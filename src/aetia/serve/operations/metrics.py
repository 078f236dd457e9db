"""Metrics: names and series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from aetia.model.window import Window
from aetia.serve.operations._asking import Cursor, Limit, Name, Step, WindowParams, page, step_of, window_of
from aetia.serve.operations.registry import operation
from aetia.store.backend import Aggregate, MetricRow, MetricSeries

if TYPE_CHECKING:
    from aetia.serve.state import ServeState


class MetricsParams(WindowParams, frozen=True, kw_only=True):
    service: Annotated[Name, Meta(description="of this service alone")] = None
    limit: Limit = 500
    cursor: Cursor = ""


class MetricsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics that have points in the window, by name."""

    window: Window
    metrics: tuple[MetricRow, ...]
    truncated: bool
    cursor: str


class MetricParams(WindowParams, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=500, description="name of the metric")]
    service: Annotated[Name, Meta(description="of this service alone")] = None
    aggregate: Annotated[
        Aggregate, Meta(description="what becomes of the points of a bin; `rate` is the increase per second")
    ] = "avg"
    step: Step = None
    limit: Annotated[int, Meta(ge=1, le=500, description="most series")] = 50
    cursor: Cursor = ""


class MetricAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Series of one metric on one grid."""

    window: Window
    name: str
    series: tuple[MetricSeries, ...]
    truncated: bool
    cursor: str


@operation(path="/metrics", scope="read", summary="Metrics by name", example={"service": "checkout"})
def metrics(state: ServeState, params: MetricsParams) -> MetricsAnswer:
    """Unit, type, how many series and points, and whose they are."""
    window = window_of(state, params)

    def ask(most: int) -> tuple[MetricRow, ...]:
        return state.backend.metric_names(window, service=params.service, limit=most)

    found = page(ask, params.limit, params.cursor)
    return MetricsAnswer(window=window, metrics=found.rows, truncated=found.truncated, cursor=found.cursor)


@operation(path="/metrics/series", scope="read", summary="Series of one metric",
           example={"name": "process.cpu.utilization", "service": "checkout"})  # fmt: skip
def metric(state: ServeState, params: MetricParams) -> MetricAnswer:
    """One series per service, instance, node and labels; null where no point fell."""
    window = window_of(state, params)
    step_ns = step_of(window, params.step)

    def ask(most: int) -> tuple[MetricSeries, ...]:
        return state.backend.metric(
            window, params.name, step_ns=step_ns, service=params.service, aggregate=params.aggregate, limit=most
        )

    found = page(ask, params.limit, params.cursor)
    return MetricAnswer(
        window=window, name=params.name, series=found.rows, truncated=found.truncated, cursor=found.cursor
    )  # fmt: skip
