"""Traces: search, and the spans of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from aetia.model.window import Window
from aetia.serve.operations._asking import Cursor, Filters, WindowParams, filters_of, window_of
from aetia.serve.operations.registry import operation
from aetia.serve.problems import Refused
from aetia.store.backend import SpanRow, TraceOrder, TraceRow

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

TraceId = Annotated[str, Meta(min_length=1, max_length=200, description="id of the trace, hexadecimal")]


class TracesParams(WindowParams, frozen=True, kw_only=True):
    filter: Filters = ()
    order: Annotated[TraceOrder, Meta(description="newest, slowest, or most failed spans first")] = "newest"
    limit: Annotated[int, Meta(ge=1, le=1000, description="most rows of one answer")] = 50
    cursor: Cursor = ""


class TracesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Traces that have a span which meets all filters."""

    window: Window
    traces: tuple[TraceRow, ...]
    truncated: bool
    cursor: str


class TraceParams(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: TraceId
    span_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None, Meta(description="this span of it alone")
    ] = None
    limit: Annotated[int, Meta(ge=1, le=10_000, description="most spans")] = 1000


class TraceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Spans in order of start; `total` says how many there are."""

    trace_id: str
    total: int
    truncated: bool
    spans: tuple[SpanRow, ...]


@operation(
    path="/traces", scope="read", summary="Search traces",
    example={"filter": ["service:=:checkout", "duration_ms:>:500"], "order": "slowest", "limit": 20},
)  # fmt: skip
def traces(state: ServeState, params: TracesParams) -> TracesAnswer:
    """The row of a trace describes the part of it that lies in the window."""
    window = window_of(state, params)
    found = state.backend.traces(
        window, filters=filters_of(params.filter), order=params.order, limit=params.limit, cursor=params.cursor
    )
    return TracesAnswer(window=window, traces=found.rows, truncated=bool(found.cursor), cursor=found.cursor)


@operation(path="/traces/{trace_id}", scope="read", summary="The spans of one trace with all that is known of them",
           example={"trace_id": "5b8aa5a2d2c872e8321cf37308d69df2", "limit": 100})  # fmt: skip
def trace(state: ServeState, params: TraceParams) -> TraceAnswer:
    """Whenever they were; for a drawing ask for the waterfall, which is much smaller."""
    found = state.backend.trace(params.trace_id, limit=params.limit, span_id=params.span_id)
    if not found.total and params.span_id is None:
        raise no_such_trace(params.trace_id)
    return TraceAnswer(trace_id=params.trace_id, total=found.total, truncated=found.truncated, spans=found.rows)


def no_such_trace(trace_id: str) -> Refused:
    """404 that says where was looked."""
    return Refused(
        "not_found", f"there is no trace '{trace_id[:80]}'.", searched="all spans of the store",
        try_="ids are in the answer of /api/v1/traces; old traces are deleted after the retention time",
    )  # fmt: skip
