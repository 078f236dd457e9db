"""The tables of the OpenTelemetry Collector's ClickHouse exporter, read as the stored schemas.

What the embedded store derives when it decodes (service, instance, peer, status code, kind, severity, …) is derived
here by expressions that are made from the same lists of attribute keys and words. Missing texts are '' inside of
statements. Columns, types and tables that the exporter's versions lack or have are looked up, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aetia.ingest import semconv
from aetia.ingest.values import GRPC_NUMBERS, POD, SEVERITY_WORDS, STATUS_WORDS
from aetia.model.errors import StoreError
from aetia.model.tables import SEVERITIES, SPAN_KINDS

TRACES, LOGS, CHANGES = "otel_traces", "otel_logs", "aetia_changes"
LOOKUP = "otel_traces_trace_id_ts"
GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = (
    f"otel_metrics_{kind}" for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")
)
NAMED_TABLES = (TRACES, LOGS, GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY)
TABLES = (TRACES, LOOKUP, LOGS, GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY, CHANGES)
COLUMNS_SQL = (
    "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() AND table IN "
    f"({', '.join(repr(table) for table in TABLES)}) AND table NOT IN (SELECT name FROM system.tables WHERE "
    "database = currentDatabase() AND total_rows = 0)"
)
"""Columns of the tables that are there and not empty."""
EXCEPTION_SLACK_NS = 3_600_000_000_000
"""An exception's line has the time of the event; the spans searched for it began at most so long before."""


@dataclass(frozen=True)
class Schema:
    """Which of the exporter's tables a database has, and with which columns (name to type)."""

    tables: Mapping[str, Mapping[str, str]]
    unnamed: frozenset[str] = frozenset()
    """The tables that have rows without a service of their own."""

    def has(self, table: str, column: str = "") -> bool:
        return table in self.tables and (not column or column in self.tables[table])

    def column(self, table: str, column: str, otherwise: str) -> str:
        """The column where the table has it, else the expression."""
        return column if self.has(table, column) else otherwise

    def checked(self) -> Schema:
        """Raises StoreError for the exporter's tables with JSON columns, which answer differently."""
        for table, columns in self.tables.items():
            if columns.get("ResourceAttributes", "Map").startswith(("JSON", "Object")):
                raise StoreError(
                    f"{table} keeps attributes as JSON; create the tables with map columns (the exporter's default)."
                )
        return self


# ---- words ------------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A constant of this program as a literal; never for what comes from outside."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


UNKNOWN_SERVICE = "unknown_service"
"""What the resource conventions call a service that has no name."""
UNNAMED = f"(ServiceName = '' OR startsWith(ServiceName, {quoted(UNKNOWN_SERVICE)}))"
"""A condition: the row's service is not named."""


def array(texts: Iterable[str]) -> str:
    return "[" + ", ".join(quoted(text) for text in texts) + "]"


def first(column: str, keys: Iterable[str]) -> str:
    """The first attribute of a map column that has a value, '' where none has one. The map is named, because the
    server reads it once for every `map['key']` that it sees: three times slower for six keys."""
    return let("m", column, first_of([f"m[{quoted(key)}]" for key in keys]))


def first_of(expressions: Sequence[str]) -> str:
    """The first text that is not '', '' without any."""
    return expressions[0] if len(expressions) == 1 else f"arrayFirst(x -> x != '', [{', '.join(expressions)}])"


def let(name: str, value: str, body: str) -> str:
    """An expression that names a part of itself; repeating the part would cost the server's analysis dearly."""
    return f"arrayMap({name} -> {body}, [{value}])[1]"


def translated(expression: str, words: Mapping[str, str], otherwise: str = "''") -> str:
    return f"transform({expression}, {array(words)}, {array(words.values())}, {otherwise})"


def _forms(word: str, prefix: str) -> tuple[str, ...]:
    return word, word.capitalize(), word.upper(), f"{prefix}{word.upper()}"


def span_kind(column: str) -> str:
    """`Server`, `SPAN_KIND_SERVER`, `2` as the model's word."""
    forms = {form: kind for kind in SPAN_KINDS for form in _forms(kind, "SPAN_KIND_")}
    return translated(f"toString({column})", forms | {str(at): kind for at, kind in enumerate(SPAN_KINDS, start=1)})


def span_status(column: str) -> str:
    """`Error`, `STATUS_CODE_ERROR`, `2` as the model's word; what is neither ok nor error is unset."""
    forms = {form: word for word in ("ok", "error") for form in _forms(word, "STATUS_CODE_")}
    words = forms | {word: status for word, status in STATUS_WORDS.items() if word and status != "unset"}
    return translated(f"toString({column})", words, "'unset'")


def status_code(raw: str) -> str:
    """HTTP and gRPC codes as digits, as `ingest.values.status_code` reads them."""
    written = "'^(?i:http[ /]?(?:[0-9.]+ )?|status[ =:]?)?([0-9]{1,3})(?:[.]0+)?(?:[ \\\\t].*)?$'"
    digits = f"extract(code, {written})"
    named = translated("lower(replaceAll(replaceAll(code, '_', ''), ' ', ''))", GRPC_NUMBERS)
    other = let("d", digits, f"if(d != '', toString(toUInt16OrZero(d)), {named})")
    return let("code", raw, f"if(code = '' OR match(code, '^(0|[1-9][0-9]{{0,2}})$'), code, {other})")


def severity(schema: Schema) -> str:
    """The level that text or number name, '' where neither does (a body's own level is not read here)."""
    words = {level: level for level in SEVERITIES} | SEVERITY_WORDS
    word = "lower(replaceRegexpAll(toString(SeverityText), '^[][<>(): ]+|[][<>(): ]+$|[0-9]+$', ''))"
    level = translated(word, words)
    if not schema.has(LOGS, "SeverityNumber"):
        return level
    numbers = array(["", *(level for level in SEVERITIES for _ in range(4))])
    return let("level", level, first_of(["level", f"arrayElement({numbers}, toInt32(SeverityNumber) + 1)"]))


def json_text(text: str) -> str:
    return f"replaceAll(toJSONString({text}), '\\\\/', '/')"


def json_map(column: str) -> str:
    """A map of texts as JSON with sorted keys, the text that the embedded store keeps."""
    pairs = f"arraySort(x -> x.1, CAST({column}, 'Array(Tuple(String, String))'))"
    items = f"arrayMap(x -> concat({json_text('x.1')}, ':', {json_text('x.2')}), {pairs})"
    return f"concat('{{', arrayStringConcat({items}, ','), '}}')"


# ---- times ------------------------------------------------------------------------------------------------


def bounds(column: str, start: str = "start_ns", end: str = "end_ns", *, slack_ns: int = 0) -> str:
    """A condition that prunes partitions; the two are names of parameters."""
    first_ns = f"{{{start}:Int64}}" + (f" - {slack_ns}" if slack_ns else "")
    return f"{column} >= fromUnixTimestamp64Nano({first_ns}) AND {column} < fromUnixTimestamp64Nano({{{end}:Int64}})"


def nanoseconds(column: str, kind: str) -> str:
    return f"toUnixTimestamp64Nano({column if kind.startswith('DateTime64(9') else f'toDateTime64({column}, 9)'})"


# ---- sources ----------------------------------------------------------------------------------------------


def workload(table: str = "", resource: str = "ResourceAttributes") -> str:
    """The service of a resource whose `service.name` says nothing, as a decoder finds it: `semconv.service_of`, else
    by the name of its pod; a span has one always."""
    keys = (*semconv.SERVICE_KEYS[1:], None, semconv.SERVICE_KEYS[0])
    given = ["toString(ServiceName)" if key is None else f"m[{quoted(key)}]" for key in keys]
    pod = f"extract({first_of([f'm[{quoted(key)}]' for key in semconv.INSTANCE_KEYS])}, {quoted(POD)})"
    last = [quoted(UNKNOWN_SERVICE)] if table == TRACES else []
    return let(
        "m", resource, let("found", first_of(given), first_of(["found", let("pod", pod, first_of(["pod", *last]))]))
    )


def service(schema: Schema, table: str) -> str:
    """The service of a row, by its resource where it is not named."""
    if table not in schema.unnamed:
        return "toString(ServiceName)"
    return f"if({UNNAMED}, {workload(table)}, toString(ServiceName))"


SPAN_FIELDS: dict[str, str] = {
    "trace_id": "TraceId", "span_id": "SpanId", "parent_span_id": "ParentSpanId", "name": "SpanName",
    "kind": span_kind("SpanKind"), "duration_ns": "toInt64(Duration)", "status": span_status("StatusCode"),
    "status_code": status_code(f"({first('SpanAttributes', semconv.CODE_KEYS)})"),
    "peer": f"if({span_kind('SpanKind')} IN ('client', 'producer'), {first('SpanAttributes', semconv.PEER_KEYS)}, '')",
    "status_message": "StatusMessage", "instance": first("ResourceAttributes", semconv.INSTANCE_KEYS),
    "version": first("ResourceAttributes", semconv.VERSION_KEYS),
    "environment": first("ResourceAttributes", semconv.ENVIRONMENT_KEYS),
    "resource": json_map("ResourceAttributes"), "attributes": "SpanAttributes", "resource_map": "ResourceAttributes",
}  # fmt: skip
"""Stored columns of spans as expressions of otel_traces; the others depend on the table's version."""
_EVENT = (
    f"concat('{{\"attributes\":', {json_map('a')}, ',\"name\":', {json_text('toString(n)')}, ',\"time\":', "
    "toString(toUnixTimestamp64Nano(t)), '}')"
)
_EVENTS = (
    "if(empty(Events.Name), '', concat('[', arrayStringConcat(arrayMap((t, n, a) -> "
    f"{_EVENT}, Events.Timestamp, Events.Name, Events.Attributes), ','), ']'))"
)
_LINK = (
    f"concat('{{\"attributes\":', {json_map('a')}, ',\"span_id\":', {json_text('s')}, ',\"trace_id\":', "
    f"{json_text('t')}, '}}')"
)
_LINKS = (
    "if(empty(Links.SpanId), '', concat('[', arrayStringConcat(arrayMap((t, s, a) -> "
    f"{_LINK}, Links.TraceId, Links.SpanId, Links.Attributes), ','), ']'))"
)


def span_fields(schema: Schema) -> dict[str, str]:
    return SPAN_FIELDS | {
        "time_ns": "toUnixTimestamp64Nano(Timestamp)",
        "scope": schema.column(TRACES, "ScopeName", "SpanAttributes['otel.scope.name']"),
        "events": _EVENTS if schema.has(TRACES, "Events.Name") else "''",
        "links": _LINKS if schema.has(TRACES, "Links.SpanId") else "''",
    }


def log_fields(schema: Schema) -> dict[str, str]:
    return {
        "time_ns": "toUnixTimestamp64Nano(Timestamp)", "trace_id": "TraceId", "span_id": "SpanId", "body": "Body",
        "severity": severity(schema), "template": "''", "scope": schema.column(LOGS, "ScopeName", "''"),
        "instance": SPAN_FIELDS["instance"], "version": SPAN_FIELDS["version"],
        "environment": SPAN_FIELDS["environment"], "resource": SPAN_FIELDS["resource"], "attributes": "LogAttributes",
    }  # fmt: skip


def spans(schema: Schema, fields: Iterable[str], where: str) -> str:
    """A subquery with the stored columns of the spans that meet a condition on the exporter's columns."""
    return _sourced(schema, TRACES, span_fields(schema), fields, where)


def _sourced(schema: Schema, table: str, known: Mapping[str, str], fields: Iterable[str], where: str) -> str:
    """Spans or logs. Those without a service of their own need their resource, which is large: they come from a branch
    of their own, for which the sort key, which begins with the service, finds them without reading the others."""
    wanted = sorted(set(fields) - {"service"})
    listed = "".join(f", {known[name]} AS {name}" for name in wanted)
    if table not in schema.unnamed:
        return f"(SELECT toString(ServiceName) AS service{listed} FROM {table} WHERE {where})"
    return (
        f"(SELECT toString(ServiceName) AS service{listed} FROM {table} WHERE ({where}) AND NOT {UNNAMED}"
        f" UNION ALL SELECT {workload(table)} AS service{listed} FROM {table} WHERE ({where}) AND {UNNAMED})"
    )


def logs(schema: Schema, fields: Iterable[str], start: str = "start_ns", end: str = "end_ns") -> str:
    """A subquery with the stored columns of the log lines in a window: those of otel_logs, and the exceptions that
    spans recorded as events, which the embedded store keeps as lines too."""
    wanted = sorted(set(fields))
    branches: list[str] = []
    if schema.has(LOGS):
        where = bounds("Timestamp", start, end)
        if schema.has(LOGS, "TimestampTime"):  # the sort key and partitions of newer tables
            seconds = f"intDiv({{{start}:Int64}}, 1000000000)", f"intDiv({{{end}:Int64}}, 1000000000)"
            where += f" AND TimestampTime >= toDateTime({seconds[0]}) AND TimestampTime <= toDateTime({seconds[1]})"
        branches.append(_sourced(schema, LOGS, log_fields(schema), wanted, where))
    if schema.has(TRACES, "Events.Name"):
        branches.append(
            exceptions(schema, wanted, bounds("Timestamp", start, end, slack_ns=EXCEPTION_SLACK_NS), start, end)
        )
    columns = ", ".join(sorted({"service", *wanted}))
    return "(" + " UNION ALL ".join(f"SELECT {columns} FROM {branch}" for branch in branches) + ")" if branches else ""


def exceptions(schema: Schema, fields: Iterable[str], where: str, start: str, end: str) -> str:
    """A subquery with the log lines that `ingest` makes of span events named exception."""
    inner = span_fields(schema)
    kind = first("attributes", semconv.EXCEPTION_TYPE_KEYS)
    said = f"trimBoth(splitByChar('\\n', trimBoth({first('attributes', semconv.EXCEPTION_MESSAGE_KEYS)}))[1])"
    line = "multiIf(said = '', kind_of, startsWith(said, kind_of), said, concat(kind_of, ': ', said))"
    body = let("said", said, line)
    made = {"time_ns": "time_ns", "severity": "'error'", "template": "''", "body": body, "attributes": "attributes"}
    wanted = sorted({*fields, "time_ns"} - {"service"})
    carried = "".join(f", {inner[name]} AS {name}" for name in wanted if name not in made)
    listed = ", ".join(f"{made.get(name, name)} AS {name}" for name in wanted)
    own_time = "if(toUnixTimestamp64Nano(event_time) > 0, event_time, Timestamp)"
    source = (
        f"SELECT {service(schema, TRACES)} AS service{carried}, "
        f"toUnixTimestamp64Nano({own_time}) AS time_ns, "
        "CAST(event_attributes, 'Map(LowCardinality(String), String)') AS attributes "
        f"FROM {TRACES} ARRAY JOIN Events.Name AS event_name, Events.Timestamp AS event_time, "
        f"Events.Attributes AS event_attributes WHERE ({where}) AND has(Events.Name, 'exception') "
        "AND event_name = 'exception'"
    )
    return (
        f"(SELECT service, {listed} FROM (SELECT *, {kind} AS kind_of FROM ({source})) "
        f"WHERE kind_of != '' AND time_ns >= {{{start}:Int64}} AND time_ns < {{{end}:Int64}})"
    )
