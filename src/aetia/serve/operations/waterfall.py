"""One trace as a drawing needs it: columns instead of objects, so that 100,000 spans are a few megabytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from aetia.serve.operations._tracing import Trace, drawing_order, read_trace, top_spans
from aetia.serve.operations.registry import operation
from aetia.serve.operations.traces import TraceId
from aetia.signals.critical_path import critical_path
from aetia.signals.frames import I64

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

MOST_SPANS = 100_000
MOST_SEGMENTS = 20_000
KINDS = ("internal", "server", "client", "producer", "consumer", "unknown")
FAILED, CRITICAL, ORPHAN = 1, 2, 4


class WaterfallParams(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: TraceId
    limit: Annotated[
        int, Meta(ge=1, le=MOST_SPANS, description="most spans; the longest stay, with all above them")
    ] = MOST_SPANS


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """A trace as columns, one value per span, in the order of a drawing: a span is followed by all that lies below it,
    children by start.

    `parent` is the row of the parent (-1 none), `depth` its distance from the top, `size` how many spans lie below.
    `start` (ns) counts from the start of the trace, `duration` is in ns. `service` and `name` are places in `services`
    and `names`, `kind` in `kinds`. `flags`: 1 failed, 2 on the critical path, 4 its parent is missing. `self_time` (ns)
    is the time that no child covers, `critical` (ns) the time that the trace really waited for this span. `path` are
    the segments of the critical path of the longest tree, in order of time: row, from, to (ns from the trace's start).
    """

    trace_id: str
    start_ns: int
    duration_ns: int
    total: int
    truncated: bool
    errors: int
    services: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    ids: tuple[str, ...]
    parent: list[int]
    depth: list[int]
    size: list[int]
    start: list[int]
    duration: list[int]
    service: list[int]
    name: list[int]
    kind: list[int]
    flags: list[int]
    self_time: list[int]
    critical: list[int]
    path: list[tuple[int, int, int]]


@operation(path="/traces/{trace_id}/waterfall", scope="read", summary="One trace as columns, for drawing",
           example={"trace_id": "5b8aa5a2d2c872e8321cf37308d69df2"})  # fmt: skip
def waterfall(state: ServeState, params: WaterfallParams) -> Waterfall:
    """Up to 100,000 spans with parents, depth, failures and the critical path; attributes are in the trace itself."""
    trace = read_trace(state, params.trace_id)
    chosen = np.arange(len(trace), dtype=np.int64)
    if len(trace) > params.limit:
        chosen = np.asarray(top_spans(trace, params.limit), np.int64)
    return drawn(params.trace_id, trace, chosen)


def drawn(trace_id: str, trace: Trace, chosen: I64) -> Waterfall:
    """The columns of some rows of a trace; the parent of each chosen row is chosen too, or it becomes a top."""
    frame = trace.frame
    local = np.full(len(frame) + 1, -1, np.int32)  # the last place serves parent -1
    local[chosen] = np.arange(len(chosen), dtype=np.int32)
    parent = local[frame.parent[chosen]]
    place, size = drawing_order(parent, frame.depth[chosen])
    order = np.argsort(place, kind="stable")
    rows = chosen[order]
    moved = np.full(len(frame) + 1, -1, np.int64)
    moved[rows] = np.arange(len(rows))
    path = critical_path(frame, trace.top)
    on_path = trace.critical_ns > 0
    on_path[path.row] = True
    flags = FAILED * trace.failed + CRITICAL * on_path + ORPHAN * _orphans(trace)
    start = frame.start_ns - trace.start_ns
    span_ids = trace.table.spans.column("span_id").take(frame.source_row[rows])
    steps = zip(moved[path.row].tolist(), (path.start_ns - trace.start_ns).tolist(),
                (path.end_ns - trace.start_ns).tolist(), strict=True)  # fmt: skip
    return Waterfall(
        trace_id=trace_id, start_ns=trace.start_ns, duration_ns=trace.duration_ns, total=len(frame),
        truncated=len(rows) < len(frame), errors=int(trace.failed.sum()), services=trace.services, names=trace.names,
        kinds=KINDS, ids=tuple(text or "" for text in span_ids.to_pylist()),
        parent=moved[frame.parent[rows]].tolist(), depth=frame.depth[rows].tolist(), size=size[order].tolist(),
        start=start[rows].tolist(), duration=frame.duration_ns[rows].tolist(), service=trace.service[rows].tolist(),
        name=trace.name[rows].tolist(), kind=np.where(frame.kind < 0, len(KINDS) - 1, frame.kind)[rows].tolist(),
        flags=flags[rows].tolist(), self_time=frame.exclusive_ns[rows].tolist(),
        critical=trace.critical_ns[rows].tolist(),
        path=[step for step in steps if step[0] >= 0][:MOST_SEGMENTS],
    )  # fmt: skip


def _orphans(trace: Trace) -> I64:
    """1 (n,) for spans that name a parent which is not there."""
    tops = np.flatnonzero(trace.frame.parent < 0)
    named = trace.table.spans.column("parent_span_id").take(trace.frame.source_row[tops]).to_pylist()
    found = np.zeros(len(trace), np.int64)
    found[tops] = [bool(text) and not set(text) <= {"0"} for text in named]
    return found
