"""What the store keeps of each signal: the model's columns and those that a query wants without unpacking attributes.

A stored table is a valid table of a case (`model/tables.py`): same names, more columns. `attributes` of spans and logs
is a map of texts (numbers in decimal, arrays and maps as JSON, bytes as hex), the shape that the OpenTelemetry
ClickHouse exporter writes too. `resource` is the resource's attributes as JSON text with sorted keys; it has few
distinct values.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from aetia.model.tables import CHANGES, METRICS, TEXT, TIME

Signal = Literal["spans", "logs", "metrics", "changes"]
SIGNALS: tuple[Signal, ...] = ("spans", "logs", "metrics", "changes")
SCHEMA_VERSION = 1
"""Of the folder's layout and of the tables; a folder of a later version is refused, of an earlier one migrated."""

CATEGORY = pa.dictionary(pa.int32(), pa.string())
MAP = pa.map_(pa.string(), pa.string())

SPANS = pa.schema(
    [
        ("time", TIME), ("trace_id", TEXT), ("span_id", TEXT), ("parent_span_id", TEXT), ("service", CATEGORY),
        ("instance", CATEGORY), ("name", CATEGORY), ("kind", CATEGORY), ("duration_ns", pa.int64()),
        ("status", CATEGORY), ("status_code", CATEGORY), ("peer", CATEGORY), ("status_message", CATEGORY),
        ("scope", CATEGORY), ("version", CATEGORY), ("environment", CATEGORY), ("resource", CATEGORY),
        ("attributes", MAP), ("events", TEXT), ("links", TEXT),
    ]
)  # fmt: skip
LOGS = pa.schema(
    [
        ("time", TIME), ("trace_id", TEXT), ("span_id", TEXT), ("service", CATEGORY), ("instance", CATEGORY),
        ("severity", CATEGORY), ("body", TEXT), ("template", CATEGORY), ("scope", CATEGORY), ("version", CATEGORY),
        ("environment", CATEGORY), ("resource", CATEGORY), ("attributes", MAP),
    ]
)  # fmt: skip
STORED: dict[Signal, pa.Schema] = {"spans": SPANS, "logs": LOGS, "metrics": METRICS, "changes": CHANGES}
"""Metrics are the model's own points: `attributes` is the series' labels as JSON text."""

PROMOTED: dict[Signal, tuple[str, ...]] = {
    "spans": tuple(name for name in SPANS.names if name not in ("attributes", "events", "links")),
    "logs": tuple(name for name in LOGS.names if name != "attributes"),
    "metrics": tuple(METRICS.names),
    "changes": tuple(CHANGES.names),
}
"""Columns that exist from the moment of acknowledgement; the others once a segment is compacted."""
