"""Rate, errors and duration of services, instances, operations and edges, in time bins or windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aetia.model.window import Window
from aetia.signals.frames import F64, I32, I64, KIND_CLIENT, KIND_PRODUCER, KIND_UNKNOWN, Bool, SpanFrame
from aetia.signals.keys import sorted_in_groups

Of = Literal["service", "instance", "operation", "edge"]
NS_PER_MS = 1e6
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """`n` bins of `step_ns` from `start_ns` on."""

    start_ns: int
    step_ns: int
    n: int

    @classmethod
    def covering(cls, window: Window, step_ns: int) -> Bins:
        """Bins of a step that cover a window; the last may reach beyond its end."""
        step_ns = max(step_ns, 1)
        return cls(start_ns=window.start_ns, step_ns=step_ns, n=-(-(window.end_ns - window.start_ns) // step_ns))

    @property
    def starts_ns(self) -> I64:
        """Start of each bin, shape (n,)."""
        return self.start_ns + self.step_ns * np.arange(self.n, dtype=np.int64)

    def bin_of(self, times_ns: I64) -> I32:
        """Bin of each time, -1 outside."""
        at = (times_ns - self.start_ns) // self.step_ns
        return np.where((at >= 0) & (at < self.n), at, -1).astype(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Red:
    """g groups over b columns (bins or windows), each array (g, b). Durations are ms, NaN where nothing ran."""

    count: I64
    errors: I64
    mean_ms: F64
    p50_ms: F64
    p95_ms: F64
    p99_ms: F64
    exclusive_ms: F64
    """Sum of the exclusive time of the counted spans."""

    @property
    def error_share(self) -> F64:
        """Errors per call, NaN where nothing ran."""
        return np.divide(self.errors, self.count, out=np.full(self.count.shape, np.nan), where=self.count > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCalls:
    """c calls from a span of one service to a span of another, in order of the callee's row.

    `client_ns` is the duration at the caller, `server_ns` at the callee, `raw_gap_ns` their difference and
    `gap_ns` the same without negative values: time on the wire and in queues. The gap means the network only
    where `paired` is True: the caller's span is a client or producer span, or of unknown kind, and has this one
    child alone.
    """

    caller: I32
    callee: I32
    operation: I32
    """Operation code of the callee's span."""
    child: I32
    parent: I32
    client_ns: I64
    server_ns: I64
    gap_ns: I64
    raw_gap_ns: I64
    paired: Bool

    def __len__(self) -> int:
        return len(self.child)


def service_entry_mask(spans: SpanFrame) -> Bool:
    """Mask (n,) of the spans with which a service's part of a call begins: no parent, or another service's."""
    parent = spans.parent
    return (parent < 0) | (spans.service[parent] != spans.service)


def edge_calls(spans: SpanFrame) -> EdgeCalls:
    """Every call between two known services that a parent and a child span show."""
    child = np.flatnonzero(spans.parent >= 0)
    parent = spans.parent[child]
    caller, callee = spans.service[parent], spans.service[child]
    cross = np.flatnonzero((caller != callee) & (caller >= 0) & (callee >= 0))
    only = np.bincount(parent, minlength=len(spans)) == 1
    child, parent = child[cross].astype(np.int32), parent[cross]
    kind = spans.kind[parent]
    calling = (kind == KIND_CLIENT) | (kind == KIND_PRODUCER) | (kind == KIND_UNKNOWN)
    client, server = spans.duration_ns[parent], spans.duration_ns[child]
    raw = client - server
    return EdgeCalls(
        caller=caller[cross],
        callee=callee[cross],
        operation=spans.operation[child],
        child=child,
        parent=parent,
        client_ns=client,
        server_ns=server,
        gap_ns=np.maximum(raw, 0),
        raw_gap_ns=raw,
        paired=calling & only[parent],
    )


def edge_codes(calls: EdgeCalls) -> tuple[I32, tuple[tuple[int, int], ...]]:
    """Edge code of each call, and the sorted (caller, callee) pairs."""
    keys = (calls.caller.astype(np.int64) << 32) | calls.callee
    found, codes = np.unique(keys, return_inverse=True)
    return codes.astype(np.int32), tuple((int(k >> 32), int(k & 0xFFFFFFFF)) for k in found)


def grouped_quantiles(
    values: F64 | I64, group: I32 | I64, n_groups: int, quantiles: Sequence[float], *, unit: float = 1.0
) -> F64:
    """Quantiles (n_groups, q) of the values of each group, linearly interpolated; NaN for empty groups.

    Rows of group -1 are left out. The sorted values are divided by `unit`: whole numbers sort faster than floats.
    """
    result = np.full((n_groups, len(quantiles)), np.nan)
    rows = np.flatnonzero(group >= 0)
    if len(rows) == 0:
        return result
    inside = np.asarray(group)[rows]
    chosen = np.asarray(values)[rows]
    chosen = chosen[sorted_in_groups(chosen, inside)].astype(np.float64)
    if unit != 1.0:
        chosen /= unit
    counts = np.bincount(inside, minlength=n_groups)
    first = np.cumsum(counts) - counts
    full = np.flatnonzero(counts)
    for column, quantile in enumerate(quantiles):
        place = quantile * (counts[full] - 1)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, counts[full] - 1)
        below, above = chosen[first[full] + low], chosen[first[full] + high]
        result[full, column] = below + (above - below) * (place - low)
    return result


def red(
    spans: SpanFrame, bins: Bins, *, of: Of = "service", mask: Bool | None = None, n_groups: int | None = None
) -> Red:
    """Rate, errors and duration per group and bin, by the start of each span.

    Services and instances are measured at the spans with which their part of a call begins, operations at each
    of their spans, edges at the calling end (groups are those of `edge_codes`). `n_groups` defaults to the
    largest code present plus one.
    """
    return _summary(spans, bins.bin_of(spans.start_ns), bins.n, of=of, mask=mask, n_groups=n_groups)


def window_stats(spans: SpanFrame, masks: Sequence[Bool], *, of: Of = "service", n_groups: int | None = None) -> Red:
    """The same per group and window: column w holds the spans of `masks[w]` (windows must not overlap)."""
    column = np.full(len(spans), -1, np.int32)
    for w, inside in enumerate(masks):
        column[inside] = w
    return _summary(spans, column, len(masks), of=of, mask=None, n_groups=n_groups)


def _summary(spans: SpanFrame, column: I32, n_columns: int, *, of: Of, mask: Bool | None, n_groups: int | None) -> Red:
    row, group, duration = _measured(spans, of)
    column = column[row]
    kept = (group >= 0) & (column >= 0)
    if mask is not None:
        kept &= mask[row]
    row, group, duration, column = row[kept], group[kept], duration[kept], column[kept]
    if n_groups is None:
        n_groups = int(group.max()) + 1 if len(group) else 0
    return _tabulate(
        group.astype(np.int64) * n_columns + column,
        (n_groups, n_columns),
        duration,
        spans.error[row],
        spans.exclusive_ns[row],
    )


def _measured(spans: SpanFrame, of: Of) -> tuple[I64, I32, I64]:
    """(rows that count, their group, the duration that counts)."""
    if of == "edge":
        calls = edge_calls(spans)
        return calls.child.astype(np.int64), edge_codes(calls)[0], calls.client_ns
    if of == "operation":
        return np.arange(len(spans), dtype=np.int64), spans.operation, spans.duration_ns
    row = np.flatnonzero(service_entry_mask(spans))
    code = spans.service if of == "service" else spans.instance
    return row, code[row], spans.duration_ns[row]


def _tabulate(cell: I64, shape: tuple[int, int], duration: I64, error: Bool, exclusive: I64) -> Red:
    size = shape[0] * shape[1]
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=duration, minlength=size)
    quantiles = grouped_quantiles(duration, cell, size, QUANTILES) / NS_PER_MS
    mean = np.divide(total, count * NS_PER_MS, out=np.full(size, np.nan), where=count > 0)
    return Red(
        count=count.reshape(shape),
        errors=np.bincount(cell[error], minlength=size).reshape(shape),
        mean_ms=mean.reshape(shape),
        p50_ms=quantiles[:, 0].reshape(shape),
        p95_ms=quantiles[:, 1].reshape(shape),
        p99_ms=quantiles[:, 2].reshape(shape),
        exclusive_ms=np.bincount(cell, weights=exclusive / NS_PER_MS, minlength=size).astype(np.float64).reshape(shape),
    )
