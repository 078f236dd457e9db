"""The exporter's five metric tables as the model's points, by the convention of `ingest/histograms.py`.

A histogram row becomes its `_count`, `_sum` and `_bucket` points, an exponential one the same after merging its
buckets, a summary its quantiles: arrays are taken apart in the server, so metrics of every kind are aggregated there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aetia.ingest import semconv
from aetia.ingest.histograms import EXPONENTIAL_SCALE, MAX_EXPONENTIAL_BUCKETS
from aetia.store import _clickhouse_schema as ch

FIELDS = ("time_ns", "name", "value", "unit", "type", "service", "instance", "node", "labels")
_PLACE = "^(" + "|".join(re.escape(prefix) for prefix in semconv.PLACE_PREFIXES) + ")"
_DELTA = "AggregationTemporality"
_SUFFIXES = ("_count", "_sum", "_bucket")


def points(schema: ch.Schema, fields: Iterable[str], *, name: str | None = None, service: bool = False) -> str:
    """A subquery with the points of a window; '' without any table. With `name`, of the metric that the parameters
    `name` and `stem` (without the suffix of a histogram) say; with `service`, of the service of that parameter."""
    wanted = [field for field in FIELDS if field in {*fields, "name"}]
    branches: list[str] = []
    for table in (ch.GAUGE, ch.SUM, ch.HISTOGRAM, ch.EXPONENTIAL, ch.SUMMARY):
        plain = table in (ch.GAUGE, ch.SUM)
        if not schema.has(table):
            continue
        where = ch.bounds("TimeUnix")
        if service:
            unnamed = f" OR {ch.UNNAMED}" if table in schema.unnamed else ""
            where += f" AND (ServiceName = {{service:String}}{unnamed})"
        if name is not None:
            where += " AND MetricName = {name:String}" if plain else " AND MetricName IN ({name:String}, {stem:String})"
        branches.append(_branch(schema, table, _expanded(schema, table), wanted, where))
    if not branches:
        return ""
    met = ["service = {service:String}"] * service + ["name = {name:String}"] * (name is not None)
    return f"(SELECT {', '.join(wanted)} FROM ({' UNION ALL '.join(branches)}) WHERE {' AND '.join(met) or '1'})"


def stem(name: str) -> str:
    """The metric's own name, without what a histogram's point adds."""
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)


def _branch(schema: ch.Schema, table: str, made: dict[str, str], wanted: list[str], where: str) -> str:
    """One table's points of one kind: expressions of its columns over `FIELDS`, and `join`, an array to take apart."""
    place = {
        "time_ns": ch.nanoseconds("TimeUnix", schema.tables[table]["TimeUnix"]),
        "service": ch.service(schema, table),
        "instance": ch.first("ResourceAttributes", semconv.INSTANCE_KEYS),
        "node": ch.first("ResourceAttributes", semconv.NODE_KEYS),
        "name": "toString(MetricName)", "unit": "MetricUnit", "labels": _labels(schema, table, made.get("label", "")),
    }  # fmt: skip
    known = place | made
    listed = ", ".join(f"{known[field]} AS {field}" for field in wanted)
    join = f" ARRAY JOIN {made['join']}" if "join" in made else ""
    return f"SELECT {listed} FROM {table}{join} WHERE {where}"


def _labels(schema: ch.Schema, table: str, more: str) -> str:
    """A series' labels as JSON: the resource's that are no place, the point's own, the temporality of increments."""
    own = "CAST(Attributes, 'Map(String, String)')"
    resource = (
        f"mapFilter((k, v) -> NOT match(k, {ch.quoted(_PLACE)}), CAST(ResourceAttributes, 'Map(String, String)'))"
    )
    merged = f"mapUpdate({resource}, {own})"
    if schema.has(table, _DELTA):
        marked = f"map({ch.quoted(semconv.TEMPORALITY_KEY)}, 'delta')"
        merged = f"mapUpdate({merged}, if({_DELTA} = 1, {marked}, CAST(map(), 'Map(String, String)')))"
    if more:
        merged = f"mapUpdate({merged}, {more})"
    return ch.let("m", merged, f"if(empty(m), '', {ch.json_map('m')})")


def _expanded(schema: ch.Schema, table: str) -> dict[str, str]:
    """What the points of a table are, as expressions; `join` is the array of points that a row is taken apart into:
    (suffix of the name, value, type, key of a further label, its value)."""
    if table == ch.GAUGE:
        return {"value": "Value", "type": "'gauge'"}
    if table == ch.SUM:
        return {"value": "Value", "type": "if(IsMonotonic, 'counter', 'gauge')"}
    totals = "[('_count', toFloat64(Count), 'counter', '', ''), ('_sum', Sum, 'counter', '', '')]"
    if table == ch.SUMMARY:
        own = (
            "arrayMap((q, v) -> ('', v, 'gauge', 'quantile', printf('%g', q)), ValueAtQuantiles.Quantile, "
            "ValueAtQuantiles.Value)"
        )
    else:
        buckets = _explicit() if table == ch.HISTOGRAM else _exponential(schema)
        bound = "if(isInfinite(b.1), '+Inf', printf('%.6g', b.1))"
        own = f"arrayMap(b -> ('_bucket', b.2, 'histogram', 'le', {bound}), {buckets})"
    return {
        "join": f"arrayConcat({totals}, {own}) AS p", "value": "p.2", "type": "p.3",
        "name": "concat(toString(MetricName), p.1)", "unit": "if(p.1 = '_count', '', MetricUnit)",
        "label": "if(p.4 = '', CAST(map(), 'Map(String, String)'), map(p.4, p.5))",
    }  # fmt: skip


def _explicit() -> str:
    """(upper bound, running count) of each bucket; none where counts and bounds do not fit together."""
    # Both sides of a condition may be computed, and arrayZip refuses arrays of unlike lengths.
    fitting = "arrayResize(BucketCounts, length(ExplicitBounds) + 1)"
    running = f"arrayMap(c -> toFloat64(c), arrayCumSum({fitting}))"
    pairs = f"arrayZip(arrayPushBack(ExplicitBounds, inf), {running})"
    return f"if(length(BucketCounts) = length(ExplicitBounds) + 1, {pairs}, [])"


def _exponential(schema: ch.Schema) -> str:
    """The same of an exponential histogram, its buckets merged to at most four per doubling."""
    shift = f"pow(2, greatest(Scale - {EXPONENTIAL_SCALE}, 0))"
    base = f"pow(2, least(Scale, {EXPONENTIAL_SCALE}))"

    def merged(side: str, bound: str) -> str:
        counts = f"arraySlice({side}BucketCounts, 1, {MAX_EXPONENTIAL_BUCKETS})"
        at = f"arrayMap(i -> toInt64(floor(({side}Offset + i - 1) / {shift})), arrayEnumerate({counts}))"
        by_index = f"arrayReduce('sumMap', [{at}], [arrayMap(c -> toUInt64(c), {counts})])"
        return ch.let("m", by_index, f"arrayZip(arrayMap(i -> {bound}, m.1), m.2)")

    below = f"arrayReverse({merged('Negative', f'-pow(2, i / {base})')})"
    above = merged("Positive", f"pow(2, (i + 1) / {base})")
    threshold = schema.column(ch.EXPONENTIAL, "ZeroThreshold", "0")
    zero = f"[(greatest(toFloat64({threshold}), 0.), toUInt64(ZeroCount))]"
    every = f"arrayConcat({below}, {zero}, {above}, [(inf, toUInt64(0))])"
    return ch.let("every", every, "arrayZip(every.1, arrayMap(c -> toFloat64(c), arrayCumSum(every.2)))")
