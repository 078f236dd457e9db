"""What can be asked of stored telemetry, whoever stores it: the embedded store or ClickHouse.

Every question is bounded: a window, a limit, a cursor. Answers are frozen values that REST, MCP and the command line
pass on as they are. All times are UTC nanoseconds, all durations milliseconds unless a name says otherwise.

What two backends must agree on, so that they give the same page:

* An empty text counts as missing: `None` in a `Text` field, "" in a `str` field. Spans without a service are those of
  the service "". A missing duration is 0. Rows count as they are; only `trace` and `trace_table` drop duplicates.
* Texts sort by their code points (bytes of UTF-8), missing ones first. Rows with equal sort keys come in ascending
  order of the columns that name them, in the order of the struct (a trace by its id, a service by its name, a series
  by service, instance, node, labels; a log line by service, severity, body, trace and span id).
* Quantile q of n durations is the ceil(q * n)-th shortest (nearest rank), exact to 3 % or a microsecond.
* Grids lie on multiples of `step_ns` since the epoch: bin 0 holds `window.start_ns`, the last one holds
  `window.end_ns - 1`, so the first and the last bin may lie partly outside of the window and hold only what is inside.
  A grid has at most 10,000 bins (UsageError beyond, or for a step that is not positive); an empty window has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from aetia.model.errors import UsageError
from aetia.model.stored import STORED, Signal
from aetia.model.tables import Telemetry
from aetia.model.window import Window

Text = str | None
FilterOp = Literal["=", "!=", "contains", ">", "<", "exists"]
TraceOrder = Literal["newest", "slowest", "errors"]
Aggregate = Literal["avg", "min", "max", "sum", "last", "count", "rate"]
ENOUGH_VALUES = 5000
"""Rows from which the values of an attribute are told."""
CURSOR = "opaque text; pass it on to get what follows, empty at the end"


def is_text_column(signal: Signal, key: str) -> bool:
    """Whether a key is a column of texts; else it is that of an attribute. Raises UsageError for other columns."""
    if not key or key in ("time", "attributes", "duration_ns", "duration_ms"):
        raise UsageError(f"There are no values of '{key}' to choose from; give the key of an attribute.")
    return key in STORED[signal].names


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """One condition on a column or an attribute. `field` is a column of the stored table (`service`, `name`,
    `duration_ms`, `status`, …; not `time`) or else the key of an attribute (`http.route`). `>` and `<` compare as
    numbers: a `value` that is none is a UsageError, a row whose text is none does not meet them. `=` and `!=` compare
    as texts, except that `duration_ms` and `duration_ns` compare as numbers. `contains` heeds case. `exists` ignores
    `value`. A row that lacks the field meets `!=` alone, whatever the value."""

    field: str
    op: FilterOp = "="
    value: str = ""


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of one signal: rows and the window of their times (None without rows)."""

    signal: str
    rows: int
    window: Window | None


class ServiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """RED of one service in a window: the requests it served, which are its spans of kind server or consumer; of a
    service that has neither in the window, its spans without a parent; without these too, all that are not of kind
    client or producer; a service with spans but without requests is listed with 0. An error is a span whose status is
    error."""

    service: str
    requests: int
    errors: int
    per_second: float
    error_share: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class OperationRow(msgspec.Struct, frozen=True, kw_only=True):
    """RED of one operation: all spans of a service with one name and kind, a missing kind being one of its own."""

    service: str
    name: str
    kind: Text
    requests: int
    errors: int
    per_second: float
    error_share: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """RED on a grid: bin `i` covers `[start_ns + i * step_ns, …)`. `null` quantiles where no request fell."""

    start_ns: int
    step_ns: int
    requests: tuple[int, ...]
    errors: tuple[int, ...]
    p50_ms: tuple[float | None, ...]
    p95_ms: tuple[float | None, ...]
    p99_ms: tuple[float | None, ...]


class EdgeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one service to another: a span whose parent is a span of another service, or a client or producer span
    without a child of another service, which names its `peer`. Duration and error are the callee's where there is one.

    Parent and child share the trace id, the child's parent id is the parent's span id, and they began within 5 minutes
    of each other. The call is in the window when its row is: the child, or the client span without one; the other end
    may lie outside. A child counts once per distinct service among its parents, not at all when one of them is its own
    service. Calls that lack a caller or callee, or go to the caller itself, are no edge. `external`: none of the
    calls has a callee's span."""

    caller: str
    callee: str
    calls: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    external: bool = False


class TraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One trace: its root (earliest span without a parent id, else the earliest span; of those alike the longest, then
    by span id), extent (earliest start to latest end) and errors."""

    trace_id: str
    start_ns: int
    duration_ms: float
    service: str
    name: str
    spans: int
    errors: int
    services: int


class SpanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One span with all that is known of it."""

    trace_id: str
    span_id: str
    parent_span_id: Text
    time_ns: int
    duration_ns: int
    service: str
    name: str
    kind: Text = None
    instance: Text = None
    status: Text = None
    status_code: Text = None
    status_message: Text = None
    peer: Text = None
    version: Text = None
    attributes: dict[str, str] = {}
    resource: dict[str, str] = {}
    events: Text = None
    links: Text = None


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One log line."""

    time_ns: int
    service: Text
    severity: Text
    body: Text
    trace_id: Text = None
    span_id: Text = None
    instance: Text = None
    attributes: dict[str, str] = {}


VALUES = "[0-9a-fA-F]*[0-9][0-9a-fA-F]*"
"""What differs between log lines of one shape (RE2, which both backends speak)."""
SAMPLED = 1_000_003
"""A prime, so that times that are whole milliseconds are spread evenly."""
MOST_LINES = 300_000
SEVERE = ("warn", "error", "fatal")


class ShapeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Log lines of a service and severity that are alike but for words of hexadecimal digits with a decimal one in them
    (`VALUES`, in the first 400 characters): how many per bin of the window, when first and last, and the least of the
    bodies as an example."""

    service: Text
    severity: Text
    body: str
    counts: tuple[int, ...]
    first_ns: int
    last_ns: int


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes of log lines, most frequent first. `one_in`: of lines less severe than a warning, and of the others, one
    in so many was read and counts for all of them (1 and 1: every line)."""

    rows: tuple[ShapeRow, ...]
    one_in: tuple[int, int] = (1, 1)


class MetricRow(msgspec.Struct, frozen=True, kw_only=True):
    """One metric by name: unit, type (the least where they differ), how many series and points in the window, whose
    they are (by name)."""

    name: str
    unit: Text
    type: Text
    series: int
    points: int
    services: tuple[str, ...]


class MetricSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One series of a metric on a grid of `step_ns` from `start_ns`; None where no point fell."""

    name: str
    service: Text
    instance: Text
    node: Text
    labels: Text
    start_ns: int
    step_ns: int
    values: tuple[float | None, ...]


class HeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Requests by time and latency. `counts[t][d]` are requests that began in time bin t and lasted between
    `edges_ms[d]` (included) and `edges_ms[d + 1]`; `errors` the failed ones of them. Edges are 2^(k/4) for consecutive
    k from the fastest request's to the slowest's; what lasted less than 2^(-40/4) ms counts at k = -40. Without
    requests there are no edges and empty bins."""

    start_ns: int
    step_ns: int
    edges_ms: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    errors: tuple[tuple[int, ...], ...]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A box in a heat map: requests (of `services`) of a service (and operation) that began in the window and lasted
    `[low_ms, high_ms)`, all, failed or good ones."""

    window: Window
    service: Text = None
    name: Text = None
    low_ms: float = 0.0
    high_ms: float | None = None
    failed: bool | None = None


class ValueCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often a value of a column or attribute occurs inside a selection and outside of it. `value` None: absent.
    Columns are service, instance, name, kind, status, status_code, status_message, peer, scope, version, environment;
    an attribute of the same key as a column is left out."""

    key: str
    value: Text
    inside: int
    outside: int


class Cohorts(msgspec.Struct, frozen=True, kw_only=True):
    """The material of a comparison: sizes of the two cohorts and the counts of their values.

    Keys with values come by how many rows have them, then by name; values of a key by how many rows have them, then by
    text; last of a key, where there are any, the rows that lack it. `truncated`: there were more keys or values,
    or so many spans in the window (more than 500,000) that only times were looked at in which most of the selection
    is. `looked_at` is the share of the window's time that these make; all counts are of them."""

    inside: int
    outside: int
    values: tuple[ValueCount, ...]
    truncated: bool
    looked_at: float = 1.0


class ChangeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A deploy, config, scale, restart, flag or alert."""

    time_ns: int
    kind: str
    service: Text
    description: Text
    attributes: Text = None


class Traces(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[TraceRow, ...]
    cursor: str = ""


class Spans(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one trace in order of start; `total` says how many there are, `truncated` that rows are fewer."""

    rows: tuple[SpanRow, ...]
    total: int
    truncated: bool


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[LogRow, ...]
    cursor: str = ""


class Backend(Protocol):
    """Questions to stored telemetry. All may be asked from several threads at once.

    Raises StoreError (what, where, how to mend) where the store cannot answer, UsageError for a cursor or filter that
    it does not understand. `window` bounds rows by `time` (start of a span). `limit` is positive and at most 10,000.
    """

    def extents(self) -> tuple[Extent, ...]:
        """What there is, per signal."""
        ...

    def services(self, window: Window, limit: int = 1000) -> tuple[ServiceRow, ...]:
        """By name."""
        ...

    def operations(self, window: Window, service: Text = None, limit: int = 200) -> tuple[OperationRow, ...]:
        """Spans per (service, name, kind), whether served, sent or internal; most first."""
        ...

    def red(self, window: Window, step_ns: int, service: Text = None, name: Text = None) -> Series:
        """RED over time of a service (or one of its operations; of all services when none is given): the same requests
        as in `services`. Cheapest when `step_ns` is a multiple of 10 s."""
        ...

    def topology(self, window: Window, limit: int = 2000) -> tuple[EdgeRow, ...]:
        """Who calls whom; by caller and callee. Of more than `limit` those with most calls are kept. The window is
        widened to multiples of 10 s since the epoch."""
        ...

    def traces(
        self, window: Window, *, filters: Sequence[Filter] = (), order: TraceOrder = "newest", limit: int = 50,
        cursor: str = "",
    ) -> Traces:  # fmt: skip
        """Traces that have a span in the window which meets all filters; the row describes the part of the trace in the
        window. `newest` start first, `slowest` first, `errors`: those with an error, newest start first. Spans without
        a trace id are of no trace."""
        ...

    def trace(self, trace_id: str, *, limit: int = 10_000, span_id: Text = None) -> Spans:
        """All spans of a trace (or those with one id alone), whenever they were; duplicates (same span id and kind)
        once, the earliest, of those alike the longest. By time, span id and kind."""
        ...

    def trace_table(self, trace_id: str) -> Telemetry:
        """The same as `Telemetry.spans` with analysis columns, unlimited, for the critical path and the waterfall; the
        other tables are empty."""
        ...

    def logs(self, window: Window, *, filters: Sequence[Filter] = (), limit: int = 100, cursor: str = "") -> Logs:
        """Log lines, newest first."""
        ...

    def shapes(
        self, window: Window, step_ns: int, *, service: Text = None, limit: int = 10_000, most_lines: int = MOST_LINES
    ) -> Shapes:
        """Shapes of the bodies of the window, most frequent first; templates are mined from them. Lines without a body
        are left out. Beyond `most_lines` of lines below a warning, and of others, those are read whose time in ns,
        modulo `SAMPLED`, is a multiple of `one_in`. Raises UsageError for a step that gives no grid."""
        ...

    def metric_names(self, window: Window, *, service: Text = None, limit: int = 500) -> tuple[MetricRow, ...]:
        """Metrics that have points in the window, by name."""
        ...

    def metric(
        self, window: Window, name: str, *, step_ns: int, service: Text = None, aggregate: Aggregate = "avg",
        limit: int = 50,
    ) -> tuple[MetricSeries, ...]:  # fmt: skip
        """Series of one metric by service, instance, node and labels. `rate` is the increase per second of a counter,
        resets counted from zero: each point but the first of a series in the window gives an increase (its value, where
        it is less than the one before) and a time since the one before; a bin holds the sum of the first over the sum
        of the second, None where that is 0. `last` is the latest value, of those alike the greatest; points of equal
        time follow one another by value. Values that are no finite number are left out."""
        ...

    def heat_map(self, window: Window, step_ns: int, *, service: Text = None, name: Text = None) -> HeatMap:
        """Latency of the requests of `services` over time."""
        ...

    def cohorts(self, chosen: Selection, *, most_keys: int = 60, most_values: int = 50) -> Cohorts:
        """Values of columns and attributes inside a selection and in the other requests of the same service (and
        operation) in the same window; values beyond `most_values` of a key are left out and `truncated` says so."""
        ...

    def changes(self, window: Window, limit: int = 1000) -> tuple[ChangeRow, ...]:
        """The latest `limit`, in order of time, then kind, service and description."""
        ...

    def attribute_keys(
        self, window: Window, signal: Literal["spans", "logs"] = "spans", limit: int = 500
    ) -> tuple[str, ...]:
        """Keys of attributes in the window, by name."""
        ...

    def attribute_values(
        self, window: Window, key: str, signal: Literal["spans", "logs"] = "spans", limit: int = 100
    ) -> tuple[str, ...]:
        """What to offer where a filter on an attribute, or on a column of texts, is written: values in the newest 5,000
        rows of the window that have one, or in somewhat more or less, whatever is cheap to read; most frequent first,
        then by text. UsageError for a key that is empty or a column of numbers."""
        ...

    def telemetry(self, window: Window, *, most_spans: int = 1_000_000) -> Telemetry:
        """All signals of a window in the model's schemas, analysis columns, for a diagnosis. Beyond `most_spans` whole
        traces are sampled by the hash of their id and `Telemetry.sampled` says how many; log lines of other traces
        go, those without a trace stay; spans without one are sampled one by one. Which hash is the backend's choice."""
        ...
