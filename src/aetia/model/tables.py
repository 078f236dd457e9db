"""Arrow schemas of telemetry, and the bundle that carries the tables of one incident.

Column names follow the OpenTelemetry ClickHouse exporter, in snake case. All times are UTC nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyarrow as pa

TIME = pa.timestamp("ns", tz="UTC")
TEXT = pa.string()

SPANS = pa.schema(
    [
        ("time", TIME), ("trace_id", TEXT), ("span_id", TEXT), ("parent_span_id", TEXT), ("service", TEXT),
        ("instance", TEXT), ("name", TEXT), ("kind", TEXT), ("duration_ns", pa.int64()), ("status", TEXT),
        ("status_code", TEXT), ("peer", TEXT), ("attributes", TEXT), ("events", TEXT), ("links", TEXT),
    ]
)  # fmt: skip
LOGS = pa.schema(
    [
        ("time", TIME), ("trace_id", TEXT), ("span_id", TEXT), ("service", TEXT), ("instance", TEXT),
        ("severity", TEXT), ("body", TEXT), ("template", TEXT), ("attributes", TEXT),
    ]
)  # fmt: skip
METRICS = pa.schema(
    [
        ("time", TIME), ("name", TEXT), ("value", pa.float64()), ("unit", TEXT), ("type", TEXT), ("service", TEXT),
        ("instance", TEXT), ("node", TEXT), ("attributes", TEXT),
    ]
)  # fmt: skip
CHANGES = pa.schema([("time", TIME), ("kind", TEXT), ("service", TEXT), ("description", TEXT), ("attributes", TEXT)])
TOPOLOGY = pa.schema([("caller", TEXT), ("callee", TEXT), ("kind", TEXT)])

SCHEMAS: dict[str, pa.Schema] = {
    "spans": SPANS, "logs": LOGS, "metrics": METRICS, "changes": CHANGES, "topology": TOPOLOGY,
}  # fmt: skip

# What the analysis reads; `attributes`, `events` and `links` of spans are the bulk of a file and are left on disk.
ANALYSIS_COLUMNS: dict[str, tuple[str, ...]] = {
    "spans": tuple(name for name in SPANS.names if name not in ("attributes", "events", "links")),
    "logs": tuple(name for name in LOGS.names if name != "attributes"),
    "metrics": tuple(METRICS.names),
    "changes": tuple(CHANGES.names),
    "topology": tuple(TOPOLOGY.names),
}

SPAN_KINDS = ("internal", "server", "client", "producer", "consumer")
SPAN_STATUSES = ("unset", "ok", "error")
METRIC_TYPES = ("gauge", "counter", "histogram")
CHANGE_KINDS = ("deploy", "config", "scale", "restart", "flag", "alert")
SEVERITIES = ("trace", "debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Telemetry that could not be used: how much, where and why (one sentence that also says the mend)."""

    table: str
    rows: int
    reason: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The tables of one incident; a missing modality is an empty table.

    String columns may be dictionary-encoded. Columns that the caller did not ask for may be absent from
    `spans` and `logs` beyond `ANALYSIS_COLUMNS`; all others are present, null where unknown.
    """

    spans: pa.Table = field(default_factory=SPANS.empty_table)
    logs: pa.Table = field(default_factory=LOGS.empty_table)
    metrics: pa.Table = field(default_factory=METRICS.empty_table)
    changes: pa.Table = field(default_factory=CHANGES.empty_table)
    topology: pa.Table = field(default_factory=TOPOLOGY.empty_table)
    dropped: tuple[Dropped, ...] = ()
    sampled: float = 1.0
    """Share of traces that were read (1.0: all); lower when a window did not fit in memory."""

    def table(self, name: str) -> pa.Table:
        return getattr(self, name)

    def with_dropped(self, *records: Dropped) -> Telemetry:
        return replace(self, dropped=self.dropped + tuple(record for record in records if record.rows > 0))

    @property
    def rows(self) -> dict[str, int]:
        return {name: self.table(name).num_rows for name in SCHEMAS}
