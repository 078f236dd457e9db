"""A stored trace as dense columns, for its drawing and for comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from aetia.model.tables import Telemetry
from aetia.serve.operations.traces import no_such_trace
from aetia.signals.critical_path import critical_time
from aetia.signals.frames import I32, I64, Bool, SpanFrame
from aetia.signals.names import build_names, column_of, encode
from aetia.signals.spans import build_spans

if TYPE_CHECKING:
    from aetia.serve.state import ServeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """n spans in order of start. `service` and `name` are places in `services` and `names`; `failed`: status error."""

    table: Telemetry
    frame: SpanFrame
    services: tuple[str, ...]
    names: tuple[str, ...]
    service: I32
    name: I32
    failed: Bool
    critical_ns: I64

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def start_ns(self) -> int:
        return int(self.frame.start_ns.min())

    @property
    def duration_ns(self) -> int:
        return int((self.frame.start_ns + self.frame.duration_ns).max()) - self.start_ns

    @property
    def top(self) -> int:
        """The row of the longest tree's top."""
        tops = np.flatnonzero(self.frame.parent < 0)
        return int(tops[np.argmax(self.frame.duration_ns[tops])])


def read_trace(state: ServeState, trace_id: str) -> Trace:
    """The whole trace; raises Refused (404) when there is none."""
    telemetry = state.backend.trace_table(trace_id)
    if telemetry.spans.num_rows == 0:
        raise no_such_trace(trace_id)
    frame, _, _ = build_spans(telemetry, build_names(telemetry))
    if not len(frame):
        raise no_such_trace(trace_id)
    rows = frame.source_row
    service, services = _words(telemetry, "service", rows)
    name, names = _words(telemetry, "name", rows)
    status, statuses = _words(telemetry, "status", rows)
    failing = np.array([value.lower() == "error" for value in statuses], np.bool_)
    return Trace(
        table=telemetry, frame=frame, services=services, names=names, service=service, name=name,
        failed=failing[status], critical_ns=critical_time(frame),
    )  # fmt: skip


def _words(telemetry: Telemetry, column: str, rows: I64) -> tuple[I32, tuple[str, ...]]:
    """Places (n,) of a text column in its distinct values; what is unknown is the empty text."""
    codes, values = encode(column_of(telemetry.spans, column))
    words = [value or "" for value in values]
    codes = np.where(codes < 0, np.int32(len(words)), codes)[rows]
    used, places = np.unique(codes, return_inverse=True)
    words.append("")
    return places.astype(np.int32), tuple(words[code] for code in used.tolist())


@dataclass(slots=True)
class Paths:
    """Chains of (service, name) from the top, as a tree that several traces share: a node is the node above, a service
    and a name. A chain is spelt out only where it is shown, since those of a deep trace would fill the memory."""

    known: dict[tuple[int, str, str], int] = field(default_factory=dict[tuple[int, str, str], int])
    nodes: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])

    def of(self, trace: Trace) -> I32:
        """Node (n,) of each span. One step per span."""
        order = np.argsort(trace.frame.depth, kind="stable").tolist()
        parent, service, name = trace.frame.parent.tolist(), trace.service.tolist(), trace.name.tolist()
        code = [0] * len(order)
        for row in order:
            above = code[parent[row]] if parent[row] >= 0 else -1
            key = (above, trace.services[service[row]], trace.names[name[row]])
            at = self.known.get(key)
            if at is None:
                at = self.known[key] = len(self.nodes)
                self.nodes.append(key)
            code[row] = at
        return np.array(code, np.int32)

    def chain(self, node: int, most: int) -> tuple[tuple[str, str], ...]:
        """Steps from the top, at most that many; `…` stands for those left out in the middle."""
        steps: list[tuple[str, str]] = []
        while node >= 0:
            node, service, name = self.nodes[node]
            steps.append((service, name))
        steps.reverse()
        if len(steps) <= most:
            return tuple(steps)
        half = most // 2
        return (*steps[:half], ("…", ""), *steps[-half:])


def subtree_sizes(parent: I32, depth: I32) -> I32:
    """Spans below each span (n,), itself not counted. One step per span, so that a chain costs no more than a star."""
    size = [0] * len(parent)
    above = parent.tolist()
    for row in np.argsort(-depth, kind="stable").tolist():
        if above[row] >= 0:
            size[above[row]] += size[row] + 1
    return np.array(size, np.int32)


def drawing_order(parent: I32, depth: I32) -> tuple[I64, I32]:
    """Place of each row (n,) in the order of a drawing, and how many lie below it. Rows are in order of start, and so
    are the children of one parent. The place is the sum of what comes before on each level, by pointer doubling."""
    size = subtree_sizes(parent, depth)
    order = np.argsort(parent, kind="stable")
    whole = size[order].astype(np.int64) + 1
    before = np.cumsum(whole) - whole
    family = parent[order]
    first = np.searchsorted(family, family)
    place = np.empty(len(parent), np.int64)
    place[order] = before - before[first] + (family >= 0)
    jump = parent.copy()
    while (jump >= 0).any():
        up = jump >= 0
        place[up] += place[jump[up]]
        jump[up] = jump[jump[up]]
    return place, size


def top_spans(trace: Trace, most: int) -> Sequence[int]:
    """Rows of the longest spans with all above them, at most that many (fewer where they share few ancestors)."""
    from aetia.signals.trees import climb

    longest = np.argsort(-trace.frame.duration_ns, kind="stable")
    wanted = most
    while wanted:
        marked = climb(trace.frame.parent, longest[:wanted].astype(np.int32))
        if int(marked.sum()) <= most:
            return np.flatnonzero(marked).tolist()
        wanted //= 2
    return np.flatnonzero(trace.frame.depth < most)[:most].tolist()
