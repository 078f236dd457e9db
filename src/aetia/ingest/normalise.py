"""Shared normalisation: loosely typed columns in, tables in the model's exact column order out.

Every reader ends here, so that the rest of Aetia meets one form of telemetry. String columns with few
distinct values (`CATEGORIES`) are dictionary-encoded with one dictionary per column; ids, bodies, span
attributes, events and links are plain strings. Columns that a source lacks are null. Rows that cannot be used
are set aside and counted as `Dropped`:

* any row without a readable time;
* spans without a service, without a duration or with a negative one;
* metric points without a name, or with a value that is null, NaN or infinite;
* topology rows without both ends.

A row without a service takes it from its instance where that is the name of a Kubernetes pod.

Log lines may lack a service (they still belong to their trace). A body beyond 64 KiB is cut, not lost: its
`Dropped` record says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import pyarrow as pa

from aetia.ingest.values import (
    CATEGORY,
    ArrayLike,
    Column,
    TimeUnit,
    as_column,
    category,
    decoded,
    guess_time_unit,
    ids,
    is_text,
    names,
    nulls,
    parse_durations,
    parse_times,
    pc,
    service_of_pod,
    severity,
    severity_of,
    span_kind,
    span_status,
    status_code,
    text,
)
from aetia.model.tables import CHANGE_KINDS, METRIC_TYPES, SCHEMAS, Dropped

__all__ = [
    "CATEGORIES", "MAX_BODY_BYTES", "ArrayLike", "Column", "TimeUnit", "as_column", "category", "concat",
    "guess_time_unit", "ids", "json_text", "names", "other_unit", "parse_durations", "parse_times", "severity",
    "severity_of", "span_kind", "span_status", "status_code", "text", "to_changes", "to_logs", "to_metrics",
    "to_spans", "to_table", "to_topology",
]  # fmt: skip

Columns = Mapping[str, ArrayLike]
MAX_BODY_BYTES = 64 * 1024
LARGEST_VALUE = 1e100
"""No sensor means more, and the square of more is not far from the end of the floats."""
CATEGORIES: dict[str, frozenset[str]] = {
    "spans": frozenset({"service", "instance", "name", "kind", "status", "status_code", "peer"}),
    "logs": frozenset({"service", "instance", "severity", "template"}),
    "metrics": frozenset({"name", "unit", "type", "service", "instance", "node", "attributes"}),
    "changes": frozenset({"kind", "service"}),
    "topology": frozenset({"caller", "callee", "kind"}),
}
_NAMES = {"service", "instance", "node", "name", "peer", "caller", "callee", "unit"}
_IDS = {"trace_id", "span_id", "parent_span_id"}
_NESTED = frozenset({"attributes", "events", "links"})
_TYPE_WORDS = {
    "sum": "counter", "cumulative": "counter", "monotonic": "counter", "count": "counter", "untyped": "gauge",
    "summary": "gauge", "exponentialhistogram": "histogram", "exponential_histogram": "histogram",
    "updowncounter": "gauge",
}  # fmt: skip
_CHANGE_WORDS = {
    "deployment": "deploy", "release": "deploy", "rollout": "deploy", "configuration": "config",
    "configmap": "config", "scaling": "scale", "hpa": "scale", "autoscale": "scale", "reboot": "restart",
    "feature_flag": "flag", "featureflag": "flag", "alarm": "alert",
}  # fmt: skip


def to_spans(
    columns: Columns, *, source: str = "", time_unit: TimeUnit | None = None, duration_unit: TimeUnit = "ns",
    full: bool = True,
) -> tuple[pa.Table, list[Dropped]]:  # fmt: skip
    """Spans. `columns` may hold any names of `model.tables.SPANS`; `duration` (in `duration_unit`) or `end`
    (a time) may stand for `duration_ns`. Without `full`, attributes, events and links are left out."""
    work = dict(columns)
    work["duration_ns"] = _durations(work, time_unit, duration_unit)
    skip = frozenset[str]() if full else _NESTED
    table = _assemble("spans", work, time_unit, skip)
    rules: list[tuple[str, Callable[[pa.Table], Column]]] = [
        ("no readable start time; give epoch numbers or ISO 8601 text", lambda t: pc.is_null(t["time"])),
        ("no service name", lambda t: pc.is_null(t["service"])),
        ("no readable duration", lambda t: pc.is_null(t["duration_ns"])),
        (
            "a negative duration; the clock of the recorder was set back",
            lambda t: pc.less(t["duration_ns"], 0),
        ),
    ]
    return _sieve("spans", table, rules, source, work)


def _durations(columns: Mapping[str, ArrayLike], time_unit: TimeUnit | None, unit: TimeUnit) -> ArrayLike:
    if "duration_ns" in columns:
        return parse_durations(as_column(columns["duration_ns"]), "ns")
    if "duration" in columns:
        return parse_durations(as_column(columns["duration"]), unit)
    if "end" in columns and "time" in columns:
        start = parse_times(columns["time"], time_unit).cast(pa.int64())
        end = parse_times(columns["end"], time_unit).cast(pa.int64())
        return pc.subtract(end, start)
    return None


def to_logs(
    columns: Columns, *, source: str = "", time_unit: TimeUnit | None = None, full: bool = True
) -> tuple[pa.Table, list[Dropped]]:
    """Log lines. A missing severity is taken from the body where it plainly begins with a level."""
    work = dict(columns)
    cut = 0
    body: Column | None = None
    if work.get("body") is not None:
        body, cut = _cut_bodies(text(json_text(as_column(work["body"]))))
        work["body"] = body
    given = work.get("severity")
    if given is not None or body is not None:
        work["severity"] = severity(None if given is None else as_column(given, _rows(work)), body)
    skip = frozenset[str]() if full else frozenset({"attributes"})
    table = _assemble("logs", work, time_unit, skip)
    rules: list[tuple[str, Callable[[pa.Table], Column]]] = [
        ("no readable time; give epoch numbers or ISO 8601 text", lambda t: pc.is_null(t["time"])),
    ]
    table, dropped = _sieve("logs", table, rules, source, work)
    if cut:
        dropped.append(
            Dropped(
                table="logs",
                rows=cut,
                reason="a body beyond 64 KiB was cut; the line itself was kept",
                source=source,
            )
        )
    return table, dropped


def _cut_bodies(body: Column) -> tuple[Column, int]:
    """Bodies of at most `MAX_BODY_BYTES` bytes, and how many were cut."""
    long = pc.fill_null(pc.greater(pc.binary_length(body), MAX_BODY_BYTES), False)
    count = int(pc.sum(long).as_py() or 0)
    if not count:
        return body, 0
    chunks: list[Any] = []
    for chunk, mask in zip(body.chunks, long.chunks, strict=True):
        heads = [value.as_buffer()[:MAX_BODY_BYTES].to_pybytes() for value in chunk.filter(mask)]
        kept = pa.array([head.decode("utf-8", "ignore") for head in heads], pa.string())
        chunks.append(pc.replace_with_mask(chunk, mask, kept))
    return pa.chunked_array(chunks, pa.string()), count


def to_metrics(
    columns: Columns, *, source: str = "", time_unit: TimeUnit | None = None, full: bool = True
) -> tuple[pa.Table, list[Dropped]]:
    """Metric points. `value` may be text; `type` defaults to null (unknown) where the source does not say."""
    del full  # Attributes identify a series, so they are always read.
    work = dict(columns)
    if work.get("value") is not None:
        work["value"] = _numbers(as_column(work["value"]))
    table = _assemble("metrics", work, time_unit, frozenset())
    rules: list[tuple[str, Callable[[pa.Table], Column]]] = [
        ("no readable time; give epoch numbers or ISO 8601 text", lambda t: pc.is_null(t["time"])),
        ("no metric name", lambda t: pc.is_null(t["name"])),
        ("no value", lambda t: pc.is_null(t["value"])),
        ("a value that is NaN or infinite", lambda t: pc.invert(pc.is_finite(t["value"]))),
        (f"a value beyond {LARGEST_VALUE:g}", lambda t: pc.greater(pc.abs(t["value"]), LARGEST_VALUE)),
    ]
    return _sieve("metrics", table, rules, source, work)


def _numbers(column: Column) -> Column:
    column = decoded(column)
    if is_text(column.type) or pa.types.is_binary(column.type):
        clean = pc.utf8_trim_whitespace(text(column))
        usable = pc.match_substring_regex(
            clean, r"^(?:-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|-?(?i:nan|inf|infinity))$"
        )
        return pc.if_else(usable, clean, pa.scalar(None, pa.string())).cast(pa.float64())
    if pa.types.is_boolean(column.type):
        return column.cast(pa.int8()).cast(pa.float64())
    if pa.types.is_integer(column.type):
        return column.cast(pa.float64(), safe=False)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.float64())
    return nulls(len(column), pa.float64())


def to_changes(
    columns: Columns, *, source: str = "", time_unit: TimeUnit | None = None, full: bool = True
) -> tuple[pa.Table, list[Dropped]]:
    """Deployments, configuration changes, alerts and the like; kinds in the model's words where one fits."""
    del full
    table = _assemble("changes", columns, time_unit, frozenset())
    rules: list[tuple[str, Callable[[pa.Table], Column]]] = [
        ("no readable time; give epoch numbers or ISO 8601 text", lambda t: pc.is_null(t["time"])),
    ]
    return _sieve("changes", table, rules, source, columns)


def to_topology(columns: Columns, *, source: str = "", full: bool = True) -> tuple[pa.Table, list[Dropped]]:
    """Declared calls; rows without both ends are set aside."""
    del full
    table = _assemble("topology", columns, None, frozenset())
    rules: list[tuple[str, Callable[[pa.Table], Column]]] = [
        ("no caller or no callee", lambda t: pc.or_(pc.is_null(t["caller"]), pc.is_null(t["callee"]))),
    ]
    return _sieve("topology", table, rules, source, columns)


def to_table(
    name: str, columns: Columns, *, source: str = "", time_unit: TimeUnit | None = None, full: bool = True
) -> tuple[pa.Table, list[Dropped]]:
    """The table of that name (`spans`, `logs`, `metrics`, `changes` or `topology`)."""
    if name == "topology":
        return to_topology(columns, source=source)
    makers = {"spans": to_spans, "logs": to_logs, "metrics": to_metrics, "changes": to_changes}
    return makers[name](columns, source=source, time_unit=time_unit, full=full)


def other_unit(table: str, rows: int, unit: TimeUnit, nominal: TimeUnit, source: str) -> list[Dropped]:
    """The record of times that were read in another unit than their layout says; nothing was lost."""
    if unit == nominal:
        return []
    reason = f"times of the size of {unit}, where this layout has {nominal}; read as {unit}"
    return [Dropped(table=table, rows=rows, reason=reason, source=source)]


def concat(name: str, tables: Iterable[pa.Table]) -> pa.Table:
    """Tables of one kind as one, in the model's column order, with one dictionary per column.

    A column that some tables lack is null there; a column that all of them lack stays out.
    """
    some = [table for table in tables if table.num_columns]
    filled = [table for table in some if table.num_rows] or some[:1]
    if not filled:
        return SCHEMAS[name].empty_table()
    present = {column for table in filled for column in table.column_names}
    schema = pa.schema(
        [
            (field.name, CATEGORY if field.name in CATEGORIES[name] else field.type)
            for field in SCHEMAS[name]
            if field.name in present
        ]
    )
    aligned = [_aligned(table, schema) for table in filled]
    return aligned[0] if len(aligned) == 1 else pa.concat_tables(aligned).unify_dictionaries()


def _aligned(table: pa.Table, schema: pa.Schema) -> pa.Table:
    arrays: list[Column] = []
    for field in schema:
        if field.name not in table.column_names:
            arrays.append(nulls(table.num_rows, field.type))
        elif table[field.name].type == field.type:
            arrays.append(table[field.name])
        elif field.type == CATEGORY:
            arrays.append(category(table[field.name]))
        else:
            arrays.append(decoded(table[field.name]).cast(field.type))
    return pa.table(arrays, schema=schema)


def _rows(columns: Mapping[str, ArrayLike]) -> int:
    for value in columns.values():
        if hasattr(value, "__len__") and not isinstance(value, str | bytes):
            return len(value)
    return 0


def _assemble(name: str, columns: Columns, time_unit: TimeUnit | None, skip: frozenset[str]) -> pa.Table:
    """The table with every column normalised, before unusable rows are set aside."""
    rows = _rows(columns)
    fields = [field for field in SCHEMAS[name] if field.name not in skip]
    arrays: list[Column] = []
    for field in fields:
        kind = CATEGORY if field.name in CATEGORIES[name] else field.type
        value = columns.get(field.name)
        if value is None:
            arrays.append(nulls(rows, kind))
        else:
            arrays.append(_normalised(name, field.name, as_column(value, rows), time_unit))
    table = pa.Table.from_arrays(arrays, names=[field.name for field in fields])
    if "instance" in table.column_names and table["service"].null_count > table["instance"].null_count:
        found = pc.coalesce(table["service"].cast(pa.string()), service_of_pod(table["instance"]).cast(pa.string()))
        table = table.set_column(table.column_names.index("service"), "service", category(found))
    return table


def _normalised(table: str, column: str, values: Column, time_unit: TimeUnit | None) -> Column:
    if column == "time":
        return parse_times(values, time_unit)
    if column in ("duration_ns", "value"):
        return values
    if pa.types.is_null(values.type):
        return nulls(len(values), CATEGORY if column in CATEGORIES[table] else pa.string())
    if column in _IDS:
        return ids(values)
    if column in _NESTED:
        plain = json_text(values)
        return category(plain) if column in CATEGORIES[table] else text(plain)
    if column == "kind":
        return {"spans": span_kind, "changes": _change_kind}.get(table, names)(values)
    special = {"status": span_status, "status_code": status_code, "type": _metric_type}.get(column)
    if special is not None:
        return special(values)
    if column in _NAMES:
        return names(values)
    return category(values) if column in CATEGORIES[table] else text(values)


def _worded(column: Column, known: Iterable[str], words: Mapping[str, str], keep: bool) -> Column:
    vocabulary = frozenset(known)

    def lookup(value: str | None) -> str | None:
        word = (value or "").strip().lower()
        return word if word in vocabulary else words.get(word, (word or None) if keep else None)

    def transform(values: Column) -> Column:
        return pa.chunked_array([pa.array([lookup(value) for value in values.to_pylist()], pa.string())])

    return category(column, transform)


def _metric_type(column: Column) -> Column:
    return _worded(column, METRIC_TYPES, _TYPE_WORDS, keep=False)


def _change_kind(column: Column) -> Column:
    """The model's word where one fits, otherwise the source's own in lower case."""
    return _worded(column, CHANGE_KINDS, _CHANGE_WORDS, keep=True)


def json_text(column: Column) -> Column:
    """Nested values (maps, structs, lists) as JSON text; text is left as it is."""
    kind = column.type
    if pa.types.is_dictionary(kind) and not pa.types.is_nested(kind.value_type):
        return column
    if not pa.types.is_nested(kind):
        return column
    column = decoded(column)
    encode = msgspec.json.Encoder(enc_hook=str).encode
    is_map = pa.types.is_map(column.type)
    out: list[str | None] = []
    for value in column.to_pylist():
        if value is None:
            out.append(None)
        else:
            plain = {str(key): item for key, item in value} if is_map else value
            out.append(encode(plain).decode())
    return pa.chunked_array([pa.array(out, pa.string())])


def _sieve(
    name: str, table: pa.Table, rules: list[tuple[str, Callable[[pa.Table], Column]]], source: str, given: Columns
) -> tuple[pa.Table, list[Dropped]]:
    """The usable rows, and a record per reason for the others (each row counts under its first reason), and one
    per given column whose values had to be left out."""
    dropped = [
        Dropped(table=name, rows=rows, reason=f"{column} is a list or a structure, not text; left empty", source=source)
        for column, rows in _misfits(name, given)
    ]
    for reason, rule in rules:
        bad = pc.fill_null(rule(table), False)
        count = int(pc.sum(bad).as_py() or 0)
        if count:
            dropped.append(Dropped(table=name, rows=count, reason=reason, source=source))
            table = table.filter(pc.invert(bad))
    return table, dropped


def _misfits(name: str, given: Columns) -> Iterable[tuple[str, int]]:
    """Text columns that hold nested values, and how many."""
    for column in SCHEMAS[name].names:
        values = given.get(column)
        if column in _NESTED or not isinstance(values, pa.Array | pa.ChunkedArray):
            continue
        kind: Any = values.type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(kind) and column not in ("time", "value", "duration_ns"):
            yield column, len(values) - values.null_count
