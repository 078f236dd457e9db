"""Telemetry in ClickHouse, in the tables of the OpenTelemetry exporter, over ClickHouse's HTTP interface.

Statements are fixed; times and names are parameters that the server reads (`param_start`). When a table holds more rows
of the window than are taken, the server thins them out evenly by a hash: whole traces, whole series, single log lines.

Options: `database=otel` (that of the account otherwise), `prefix=otel_` of the tables' names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from aetia.ingest.files import merge
from aetia.ingest.otel_clickhouse import telemetry_of
from aetia.ingest.pull.exchange import Enough, Exchange, Walk, parts_of
from aetia.ingest.values import decoded
from aetia.model.errors import IngestError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import NetError

OPTIONS = ("database", "prefix")
LEAST_NS = 10**9
_PLACES = ("ServiceName", "ResourceAttributes")
_POINT = (*_PLACES, "MetricName", "MetricUnit", "Attributes", "TimeUnix")
# Name of the table behind the prefix: the columns that are read, and what a hash of thins it out.
_TABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "traces": (
        (*_PLACES, "Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "SpanAttributes",
         "Duration", "StatusCode", "Events.Name", "Events.Attributes"), "TraceId",
    ),
    "logs": ((*_PLACES, "Timestamp", "TraceId", "SpanId", "SeverityText", "SeverityNumber", "Body"), "Timestamp"),
    "metrics_gauge": ((*_POINT, "Value"), "MetricName, Attributes, ResourceAttributes"),
    "metrics_sum": (
        (*_POINT, "Value", "IsMonotonic", "AggregationTemporality"), "MetricName, Attributes, ResourceAttributes",
    ),
    "metrics_histogram": (
        (*_POINT, "Count", "Sum", "BucketCounts", "ExplicitBounds", "AggregationTemporality"),
        "MetricName, Attributes, ResourceAttributes",
    ),
    "metrics_exponential_histogram": (
        (*_POINT, "Count", "Sum", "Scale", "ZeroCount", "ZeroThreshold", "PositiveOffset", "PositiveBucketCounts",
         "NegativeOffset", "NegativeBucketCounts", "AggregationTemporality"),
        "MetricName, Attributes, ResourceAttributes",
    ),
    "metrics_summary": (
        (*_POINT, "Count", "Sum", "ValueAtQuantiles.Quantile", "ValueAtQuantiles.Value"),
        "MetricName, Attributes, ResourceAttributes",
    ),
}  # fmt: skip
_FULL = {"traces": ("Events.Timestamp", "Links.TraceId", "Links.SpanId"), "logs": ("LogAttributes",)}
_WORDS = {"traces": "spans", "logs": "logs"}


def pull(exchange: Exchange, window: Window, *, onset_ns: int | None, full: bool) -> Telemetry:
    """The telemetry of a window. Raises NetError and IngestError where nothing could be fetched."""
    fetch = _Fetch(exchange, window, onset_ns, full)
    present = fetch.present()
    if not present:
        raise IngestError(
            f"{exchange.source} has no table {fetch.prefix}traces, {fetch.prefix}logs or {fetch.prefix}metrics_…; add"
            " database=NAME to the URL, or prefix= where the tables are called otherwise."
        )
    parts: list[Telemetry] = []
    for name in _TABLES:
        if name not in present:
            continue
        try:
            parts += fetch.table(name, present[name])
        except (Enough, NetError) as stopped:
            if isinstance(stopped, NetError) and not parts:
                raise
            exchange.drop(_WORDS.get(name, "metrics"), f"the table {fetch.prefix}{name} was left out: {stopped}")
    return replace(merge(parts), sampled=fetch.sampled) if parts else Telemetry()


class _Fetch:
    """The state of one fetch."""

    def __init__(self, exchange: Exchange, window: Window, onset_ns: int | None, full: bool) -> None:
        self._exchange, self._window, self._onset_ns, self._full = exchange, window, onset_ns, full
        self._database = exchange.option("database")
        self.prefix = exchange.option("prefix") or "otel_"
        self.sampled = 1.0

    def present(self) -> dict[str, list[str]]:
        """The exporter's tables that exist, with their columns."""
        where = "currentDatabase()" if self._database is None else "{database:String}"
        sql = (
            f"SELECT table, name FROM system.columns WHERE database = {where} AND startsWith(table, {{prefix:String}})"
        )
        found: dict[str, list[str]] = {}
        for row in self._ask(sql, {"prefix": self.prefix}).to_pylist():
            found.setdefault(str(row["table"]).removeprefix(self.prefix), []).append(str(row["name"]))
        return {name: columns for name, columns in found.items() if name in _TABLES}

    def table(self, name: str, columns: Sequence[str]) -> list[Telemetry]:
        """The rows of one table in the window, slice by slice."""
        wanted, thinned_by = _TABLES[name]
        wanted = (*wanted, *(_FULL.get(name, ()) if self._full else ()))
        time = "TimeUnix" if name.startswith("metrics") else "Timestamp"
        selected = ", ".join(f"`{column}`" for column in wanted if column in columns)
        source = "{table:Identifier}" if self._database is None else "{database:Identifier}.{table:Identifier}"
        condition = (
            f"{time} >= fromUnixTimestamp64Nano({{start:Int64}}) AND {time} < fromUnixTimestamp64Nano({{end:Int64}})"
        )
        keep = self._keep(name, f"SELECT count() AS rows FROM {source} WHERE {condition}")
        if keep > 1:
            condition += f" AND cityHash64({thinned_by}) % {{keep:UInt64}} = 0"
        sql = f"SELECT {selected} FROM {source} WHERE {condition}"
        parts: list[Telemetry] = []
        for part, direction in parts_of(self._window, self._onset_ns):
            walk = Walk(part, direction, least_ns=LEAST_NS)
            while not walk.over:
                try:
                    found = self._ask(sql, self._params(name, walk.slice(), keep))
                except NetError as error:
                    if error.category in ("too_large", "timeout") and walk.full():
                        continue
                    raise
                if found.num_rows:
                    plain = {column: _plain(found[column]) for column in found.column_names}
                    parts.append(telemetry_of(plain, self._exchange.source, full=self._full))
                walk.done(sparse=found.num_rows < 50_000)
        return parts

    def _keep(self, name: str, sql: str) -> int:
        """One of how many rows is taken."""
        rows = int(self._ask(sql, self._params(name, self._window)).column("rows")[0].as_py())
        keep = -(-rows // self._exchange.limits.rows)
        if keep > 1:
            left_out = rows - rows // keep
            word = _WORDS.get(name, "metrics")
            self._exchange.drop(
                word, f"{keep - 1} of {keep} were left out evenly, because {rows} are too many; add rows=N", left_out
            )
            self.sampled = 1 / keep if name == "traces" else self.sampled
        return max(keep, 1)

    def _params(self, name: str, time: Window, keep: int = 1) -> dict[str, Any]:
        return {"table": self.prefix + name, "start": time.start_ns, "end": time.end_ns, "keep": keep}

    def _ask(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        given = dict(params) | ({} if self._database is None else {"database": self._database})
        query = [(f"param_{name}", str(value)) for name, value in given.items() if f"{{{name}:" in sql]
        answer = self._exchange.post(
            "/", query, f"{sql} FORMAT ArrowStream".encode(), "text/plain; charset=utf-8", accept="*/*"
        )
        try:
            return pa.ipc.open_stream(pa.py_buffer(answer.body)).read_all()
        except (pa.ArrowException, OSError):
            said = " ".join(answer.body[:200].decode("utf-8", "replace").split())
            raise IngestError(
                f"{self._exchange.source} does not answer as ClickHouse's HTTP interface does ({said[:120]!r}); check"
                " the address and its path."
            ) from None


def _plain(column: Any) -> Any:
    """The column with texts as texts: ClickHouse's strings may come as bytes, also inside of maps and lists."""
    column = decoded(column)
    kind = _text_type(column.type)
    return column if kind == column.type else column.cast(kind)


def _text_type(kind: Any) -> Any:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.string()
    if pa.types.is_map(kind):
        return pa.map_(_text_type(kind.key_type), _text_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_text_type(kind.value_type))
    return kind
