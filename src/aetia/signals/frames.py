"""Dense forms of telemetry: spans, logs and metrics as numpy columns that share one service vocabulary.

Codes are int32 indices into the vocabularies of `Names`; -1 means unknown. Rows keep no Python objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
I16 = NDArray[np.int16]
I8 = NDArray[np.int8]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER, KIND_UNKNOWN = 0, 1, 2, 3, 4, -1
SEVERITY_UNSET, SEVERITY_TRACE, SEVERITY_DEBUG, SEVERITY_INFO, SEVERITY_WARN, SEVERITY_ERROR, SEVERITY_FATAL = range(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Vocabularies shared by all frames of one incident; each is sorted, so row order never matters.

    `services` holds every service of any table, then every external dependency (inferred from client spans
    without a matching server span, `Topology.external` marks them).
    """

    services: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    operations: tuple[tuple[int, str], ...] = ()
    """(service code, span name) per operation code."""

    def service_code(self, name: str) -> int:
        """Index of a service, -1 when unknown."""
        try:
            return self.services.index(name)
        except ValueError:
            return -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFrame:
    """n spans, sorted by (start_ns, stable), duplicates removed, parents resolved.

    `parent` is a row index (always another row; cycles are cut, orphans have -1), `root` the row index of the
    top of the span's tree, `depth` 0 for tops. `exclusive_ns` is the duration not covered by the union of the
    children's intervals clipped to the span; asynchronous children beyond the parent's end count only where
    they overlap. `error` is status error, or a gRPC/HTTP code that means failure. `entry` marks spans where
    requests enter from outside (tops that are not client spans of a probe).
    """

    trace: I32
    parent: I32
    root: I32
    depth: I32
    service: I32
    instance: I32
    operation: I32
    kind: I8
    start_ns: I64
    duration_ns: I64
    exclusive_ns: I64
    error: Bool
    status_code: I32
    """HTTP or gRPC code; -1 unknown."""
    peer: I32
    """Service code of the remote end that a client/producer span names and that no child span shows; -1 none."""
    entry: Bool
    trace_id: tuple[str, ...] | None = None
    """Not filled on the hot path; see `trace_label`."""
    source_row: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """Row of each span in the source table."""
    key: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of each span's trace and span id, by which log lines find it; 0 where it has no id."""

    def __len__(self) -> int:
        return len(self.start_ns)


class Template(NamedTuple):
    """One log template: text with `<*>` wildcards, worst severity seen, exception type if one is named."""

    text: str
    severity: int
    exception: str | None
    call_site: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFrame:
    """n log lines, sorted by time. `span` is the row in the SpanFrame that the line belongs to, -1 none."""

    time_ns: I64
    service: I32
    instance: I32
    severity: I8
    template: I32
    span: I32
    templates: tuple[Template, ...] = ()
    source_row: I64 = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.time_ns)


class Series(NamedTuple):
    """Identity of one metric series. `what` is the recognised meaning (see signals/kinds.py): cpu, memory,
    disk, network, latency, errors, success, traffic, restarts, gc, threads, pool, saturation or other; `bad`
    is the direction that hurts: +1 up, -1 down, 0 either. Rates are per second, latencies in ms, shares 0..1
    where the unit could be told; `raw` is the metric's own name."""

    service: int
    instance: int
    node: int
    caller: int
    callee: int
    raw: str
    what: str
    bad: int
    unit: str
    statistic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFrame:
    """s series on one grid of b bins: `values` (s, b) float64, NaN where nothing was recorded.

    Counters are already rates (resets handled), histograms already quantiles and rates.
    """

    series: tuple[Series, ...] = ()
    values: F64 = field(default_factory=lambda: np.zeros((0, 0)))
    bin_start_ns: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    step_ns: int = 0

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Directed call graph over service codes: `caller[i] -> callee[i]`, seen `calls[i]` times (0: declared).

    `external[k]` marks service k as an external dependency, `entry[k]` as one where requests enter.
    `instance_service`, `instance_node` map instance codes to service and node codes (-1 unknown).
    """

    caller: I32 = field(default_factory=lambda: np.zeros(0, np.int32))
    callee: I32 = field(default_factory=lambda: np.zeros(0, np.int32))
    calls: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    external: Bool = field(default_factory=lambda: np.zeros(0, np.bool_))
    entry: Bool = field(default_factory=lambda: np.zeros(0, np.bool_))
    instance_service: I32 = field(default_factory=lambda: np.zeros(0, np.int32))
    instance_node: I32 = field(default_factory=lambda: np.zeros(0, np.int32))

    def callees_of(self, service: int) -> I32:
        return self.callee[self.caller == service]

    def callers_of(self, service: int) -> I32:
        return self.caller[self.callee == service]
