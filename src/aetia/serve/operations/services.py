"""Services: who there is, how they are doing, who calls whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from aetia.model.window import Window
from aetia.serve.operations._asking import Cursor, Limit, Name, Step, WindowParams, page, step_of, window_of
from aetia.serve.operations.registry import operation
from aetia.store.backend import EdgeRow, OperationRow, Series, ServiceRow

if TYPE_CHECKING:
    from aetia.serve.state import ServeState


class ServicesParams(WindowParams, frozen=True, kw_only=True):
    limit: Limit = 1000
    cursor: Cursor = ""


class ServicesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """RED of each service that served a request in the window, by name."""

    window: Window
    services: tuple[ServiceRow, ...]
    truncated: bool
    cursor: str


class OperationsParams(WindowParams, frozen=True, kw_only=True):
    service: Annotated[Name, Meta(description="of this service alone")] = None
    limit: Limit = 200
    cursor: Cursor = ""


class OperationsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """RED of each operation, most requests first."""

    window: Window
    operations: tuple[OperationRow, ...]
    truncated: bool
    cursor: str


class RedParams(WindowParams, frozen=True, kw_only=True):
    service: Annotated[Name, Meta(description="of this service; of all without it")] = None
    operation: Annotated[Name, Meta(description="of this operation of the service")] = None
    step: Step = None


class RedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rate, errors and duration over time."""

    window: Window
    service: str | None
    operation: str | None
    red: Series


class TopologyParams(WindowParams, frozen=True, kw_only=True):
    limit: Limit = 2000
    cursor: Cursor = ""


class TopologyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Calls from service to service."""

    window: Window
    edges: tuple[EdgeRow, ...]
    truncated: bool
    cursor: str


@operation(path="/services", scope="read", summary="Services with rate, errors and duration", example={"start": "-15m"})
def services(state: ServeState, params: ServicesParams) -> ServicesAnswer:
    """Requests are spans of kind server or consumer; an error is a span whose status is error. By name."""
    window = window_of(state, params)
    found = page(lambda most: state.backend.services(window, most), params.limit, params.cursor)
    return ServicesAnswer(window=window, services=found.rows, truncated=found.truncated, cursor=found.cursor)


@operation(path="/operations", scope="read", summary="Operations with rate, errors and duration",
           example={"service": "checkout"})  # fmt: skip
def operations(state: ServeState, params: OperationsParams) -> OperationsAnswer:
    """Requests served and sent, per service, span name and kind; most requests first."""
    window = window_of(state, params)
    found = page(lambda most: state.backend.operations(window, params.service, most), params.limit, params.cursor)
    return OperationsAnswer(window=window, operations=found.rows, truncated=found.truncated, cursor=found.cursor)


@operation(path="/red", scope="read", summary="Rate, errors and duration over time",
           example={"service": "checkout", "step": 15})  # fmt: skip
def red(state: ServeState, params: RedParams) -> RedAnswer:
    """One value per bin; quantiles are null where no request fell."""
    window = window_of(state, params)
    found = state.backend.red(window, step_of(window, params.step), params.service, params.operation)
    return RedAnswer(window=window, service=params.service, operation=params.operation, red=found)


@operation(path="/topology", scope="read", summary="Who calls whom")
def topology(state: ServeState, params: TopologyParams) -> TopologyAnswer:
    """Calls, errors and the callee's duration on each edge; by caller and callee."""
    window = window_of(state, params)
    found = page(lambda most: state.backend.topology(window, most), params.limit, params.cursor)
    return TopologyAnswer(window=window, edges=found.rows, truncated=found.truncated, cursor=found.cursor)
