"""Two traces side by side: which parts of the request took longer, appeared or are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from aetia.serve.operations._asking import Cursor, Limit, page
from aetia.serve.operations._tracing import Paths, Trace, read_trace
from aetia.serve.operations.registry import operation
from aetia.serve.operations.traces import TraceId
from aetia.signals.frames import I32, I64

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

MOST_STEPS = 40
"""Steps of a chain that are shown; the ones in the middle of a longer one are left out."""
SELF, CRITICAL = 3, 4


class CompareTracesParams(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: TraceId
    other: Annotated[str, Meta(min_length=1, max_length=200, description="id of the trace to compare with")]
    limit: Limit = 100
    cursor: Cursor = ""


class TraceSide(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two traces."""

    trace_id: str
    start_ns: int
    duration_ms: float
    spans: int
    errors: int
    services: int


class PathPart(msgspec.Struct, frozen=True, kw_only=True):
    """What the spans of one path have in one of the traces: how many, how many failed, and milliseconds in all, without
    their children (`self_ms`), and on the critical path."""

    spans: int
    errors: int
    total_ms: float
    self_ms: float
    critical_ms: float


class PathRow(msgspec.Struct, frozen=True, kw_only=True):
    """Spans with the same chain of (service, operation) from the top. The differences are this trace less the other;
    those of `critical_ms` add up to the difference of the two waits."""

    path: tuple[tuple[str, str], ...]
    service: str
    operation: str
    this: PathPart
    other: PathPart
    total_ms: float
    self_ms: float
    critical_ms: float
    only: str


class CompareTracesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Paths whose share of the wait differs most first. `duration_ms` is how much longer this trace took."""

    this: TraceSide
    other: TraceSide
    duration_ms: float
    paths: tuple[PathRow, ...]
    truncated: bool
    cursor: str


@operation(
    path="/traces/{trace_id}/compare", scope="read", summary="Compare a trace with another, path by path",
    example={"trace_id": "5b8aa5a2d2c872e8321cf37308d69df2", "other": "0af7651916cd43dd8448eb211c80319c"},
)  # fmt: skip
def compare_traces(state: ServeState, params: CompareTracesParams) -> CompareTracesAnswer:
    """Spans are aligned by their chain of services and operations, so that retries and loops add up."""
    this, other = read_trace(state, params.trace_id), read_trace(state, params.other)
    found = page(lambda most: compared(this, other, most), params.limit, params.cursor)
    return CompareTracesAnswer(
        this=_side(params.trace_id, this), other=_side(params.other, other),
        duration_ms=_ms(this.duration_ns - other.duration_ns), paths=found.rows, truncated=found.truncated,
        cursor=found.cursor,
    )  # fmt: skip


def compared(this: Trace, other: Trace, most: int) -> list[PathRow]:
    """The paths of both traces, largest difference of the wait first, then of the time of their own."""
    known = Paths()
    codes = known.of(this), known.of(other)
    left, right = (_sums(trace, code, len(known.nodes)) for trace, code in zip((this, other), codes, strict=True))
    gap = left - right
    order = np.lexsort((-np.abs(gap[SELF]), -np.abs(gap[CRITICAL])))[:most].tolist()
    return [_row(known.chain(node, MOST_STEPS), left[:, node].tolist(), right[:, node].tolist()) for node in order]


def _row(path: tuple[tuple[str, str], ...], a: list[int], b: list[int]) -> PathRow:
    only = "" if a[0] and b[0] else "this" if a[0] else "other"
    return PathRow(
        path=path, service=path[-1][0], operation=path[-1][1], this=_part(a), other=_part(b),
        total_ms=_ms(a[2] - b[2]), self_ms=_ms(a[SELF] - b[SELF]), critical_ms=_ms(a[CRITICAL] - b[CRITICAL]),
        only=only,
    )  # fmt: skip


def _sums(trace: Trace, code: I32, nodes: int) -> I64:
    """(5, nodes): spans, failed ones, and ns of duration, self time and critical time."""
    columns = (np.ones(len(trace), np.int64), trace.failed.astype(np.int64), trace.frame.duration_ns,
               trace.frame.exclusive_ns, trace.critical_ns)  # fmt: skip
    sums = np.zeros((5, nodes), np.int64)
    for line, column in zip(sums, columns, strict=True):
        np.add.at(line, code, column)
    return sums


def _part(side: list[int]) -> PathPart:
    return PathPart(
        spans=side[0], errors=side[1], total_ms=_ms(side[2]), self_ms=_ms(side[SELF]), critical_ms=_ms(side[CRITICAL])
    )


def _side(trace_id: str, trace: Trace) -> TraceSide:
    return TraceSide(
        trace_id=trace_id, start_ns=trace.start_ns, duration_ms=_ms(trace.duration_ns), spans=len(trace),
        errors=int(trace.failed.sum()), services=len(trace.services),
    )  # fmt: skip


def _ms(ns: int) -> float:
    return ns / 1e6
