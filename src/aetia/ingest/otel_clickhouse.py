"""Reader of Parquet or CSV files in the columns of the OpenTelemetry ClickHouse exporter.

`otel_traces`, `otel_logs` and `otel_metrics_gauge|sum|histogram|exponential_histogram|summary`, exported by any tool:
maps may be map columns, JSON text or ClickHouse's single-quoted text, arrays likewise; names in the exporter's
CamelCase or in snake_case. The file's name does not matter, its columns do. Metric rows follow `ingest/histograms.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pyarrow as pa

from aetia.ingest.files import (
    CsvTable,
    FileReader,
    csv_header,
    head,
    is_parquet,
    lost_lines,
    parquet_columns,
    read_csv,
    read_parquet,
)
from aetia.ingest.files import reading as reading_file
from aetia.ingest.histograms import Exponential, MetricRows, Point
from aetia.ingest.normalise import json_text, to_logs, to_metrics, to_spans
from aetia.ingest.reader import Match
from aetia.ingest.semconv import (
    CODE_KEYS,
    INSTANCE_KEYS,
    NODE_KEYS,
    PEER_KEYS,
    SERVICE_KEYS,
    TEMPORALITY_KEY,
    exception_line,
    first,
    series_labels,
)
from aetia.ingest.values import Column, as_column, category, chunked, decoded, parse_times, pc, span_kind, text
from aetia.model.errors import CorruptSource
from aetia.model.tables import Dropped, Telemetry
from aetia.plugins import plugin

_NEEDED: dict[str, frozenset[str]] = {
    "traces": frozenset({"timestamp", "traceid", "spanid", "spanname", "duration"}),
    "logs": frozenset({"timestamp", "body", "severitytext"}),
    "histogram": frozenset({"metricname", "timeunix", "bucketcounts", "explicitbounds"}),
    "exponential": frozenset({"metricname", "timeunix", "positivebucketcounts", "scale"}),
    "summary": frozenset({"metricname", "timeunix", "valueatquantiles.quantile"}),
    "values": frozenset({"metricname", "timeunix", "value"}),
}
_UNQUOTED = re.compile(r"^\s*\{\s*'")
_PAIR = re.compile(r"'((?:[^'\\]|\\.)*)'\s*[:=]\s*(?:'((?:[^'\\]|\\.)*)'|([^,'}]+))")
_MAP = re.compile(r"\{(?:'(?:[^'\\]|\\.)*'|[^'{}])*\}")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f"}
_encode = msgspec.json.Encoder(order="sorted", enc_hook=str).encode


@plugin("reader", summary="Parquet or CSV in the columns of the OpenTelemetry ClickHouse exporter")
class OtelClickHouseReader(FileReader):
    """Any of the exporter's tables, one per file, or a folder of such files."""

    def recognise_file(self, path: Path) -> Match | None:
        names = parquet_columns(path) if is_parquet(path) else _text_header(path)
        present = {_plain_name(name) for name in names}
        for kind, needed in _NEEDED.items():
            if needed <= present:
                missing = () if "servicename" in present else ("column ServiceName",)
                return Match(confidence=0.93, found=(f"otel {kind} in {path.name}",), missing=missing)
        near = [(len(needed & present) / len(needed), kind) for kind, needed in _NEEDED.items()]
        share, kind = max(near)
        if share < 0.6:
            return None
        lacks = tuple(f"column {name}" for name in sorted(_NEEDED[kind] - present))
        return Match(confidence=0.3 * share, found=(f"part of otel {kind} in {path.name}",), missing=lacks)

    def read_file(self, path: Path, *, full: bool) -> Telemetry:
        columns, csv = _read(path)
        with reading_file(path):
            telemetry = telemetry_of(columns, str(path), full=full)
        return telemetry if csv is None else telemetry.with_dropped(*lost_lines(_kind(columns), csv, path))


def telemetry_of(columns: Mapping[str, Column], source: str, *, full: bool) -> Telemetry:
    """The telemetry of one of the exporter's tables, whose columns may be called as the exporter calls them.

    Raises CorruptSource when the columns are of none of them.
    """
    columns = {_plain_name(name): column for name, column in columns.items()}
    kind = _kind(columns)
    if not kind:
        raise CorruptSource(f"{source} has none of the exporter's tables ({', '.join(columns)}); export all columns.")
    if kind == "traces":
        return _traces(columns, source, full)
    return _logs(columns, source, full) if kind == "logs" else _metrics(kind, columns, source)


def _kind(columns: Mapping[str, Column]) -> str:
    """Which table some columns are of; empty when of none."""
    return next((kind for kind, needed in _NEEDED.items() if needed <= columns.keys()), "")


def _text_header(path: Path) -> list[str]:
    return [] if head(path, 1)[:1] in (b"{", b"[") else csv_header(path)


def _plain_name(name: str) -> str:
    return name.strip().lower().replace("_", "")


def _read(path: Path) -> tuple[dict[str, Column], CsvTable | None]:
    if is_parquet(path):
        table = read_parquet(path)
        with reading_file(path):
            return {
                _plain_name(name): column for name, column in zip(table.column_names, table.columns, strict=True)
            }, None
    csv = read_csv(path)
    return {_plain_name(name): column for name, column in csv.columns.items()}, csv


# ---- maps -------------------------------------------------------------------------------------------------


def _decoded_text(value: str) -> Any:
    """JSON text, or ClickHouse's `{'key':'value'}` and `['a','b']`; None when it is neither."""
    stripped = value.strip()
    if not stripped:
        return None
    if not _UNQUOTED.match(stripped) and not stripped.startswith(("['", "[{'")):
        try:
            return msgspec.json.decode(stripped)
        except (msgspec.MsgspecError, RecursionError):
            return None
    if stripped.startswith("[{"):
        return [_decoded_text(part) for part in _MAP.findall(stripped)]
    if stripped.startswith("["):
        return [_unescaped(part) for part in re.findall(r"'((?:[^'\\]|\\.)*)'", stripped)]
    return {
        _unescaped(key): _unescaped(quoted) if bare == "" else _decoded_text(bare.strip())
        for key, quoted, bare in _PAIR.findall(stripped)
    }


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match.group(1), match.group(1)), value)


def _as_map(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = _decoded_text(value)
    if isinstance(value, list):
        pairs = cast(list[Any], value)
        whole = (cast("Sequence[Any]", pair) for pair in pairs if isinstance(pair, tuple | list))
        value = {str(pair[0]): pair[1] for pair in whole if len(pair) == 2}  # a map column inside of a list column
    return {str(key): item for key, item in cast(dict[Any, Any], value).items()} if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = _decoded_text(value)
    return cast(list[Any], value) if isinstance(value, list) else []


class _Maps:
    """A column of maps, decoded once per distinct value: resources repeat, and so do most span attributes."""

    def __init__(self, column: Column | None, rows: int) -> None:
        self.codes: Any = None
        self.maps: list[dict[str, Any]] = []
        if column is None:
            return
        encoded: Any = category(text(json_text(as_column(column, rows))))
        distinct = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
        self.maps = [_as_map(value) for value in distinct]
        self.codes = chunked([chunk.indices for chunk in encoded.chunks], pa.int32())

    def each(self, function: Callable[[Mapping[str, Any]], str | None], rows: int) -> Column:
        """The function of every row's map, computed once per distinct map."""
        if self.codes is None:
            return chunked([pa.nulls(rows, pa.string())], pa.string())
        values = pa.array([function(item) for item in self.maps], pa.string())
        return pc.take(values, self.codes) if len(values) else chunked([pa.nulls(rows, pa.string())], pa.string())

    def first(self, keys: Iterable[str], rows: int) -> Column:
        wanted = tuple(keys)
        return self.each(lambda item: first(item, wanted), rows)

    def json(self, rows: int) -> Column:
        return self.each(lambda item: _encode(item).decode(), rows)

    def rows(self, count: int) -> list[dict[str, Any]]:
        """One (shared) map per row."""
        if self.codes is None:
            return [{}] * count
        return [{} if code is None else self.maps[code] for code in self.codes.to_pylist()]


def _service(columns: Mapping[str, Column], resource: _Maps, rows: int) -> Column:
    fallback = resource.first(SERVICE_KEYS, rows)
    if "servicename" not in columns:
        return fallback
    given = text(columns["servicename"])
    return pc.coalesce(pc.if_else(pc.equal(given, ""), pa.scalar(None, pa.string()), given), fallback)


def _count(columns: Mapping[str, Column]) -> int:
    return len(next(iter(columns.values())))


# ---- tables -----------------------------------------------------------------------------------------------


def _traces(columns: dict[str, Column], source: str, full: bool) -> Telemetry:
    rows = _count(columns)
    resource = _Maps(columns.get("resourceattributes"), rows)
    attributes = _Maps(columns.get("spanattributes"), rows)
    work: dict[str, Any] = {
        "time": columns["timestamp"], "trace_id": columns["traceid"], "span_id": columns["spanid"],
        "parent_span_id": columns.get("parentspanid"), "service": _service(columns, resource, rows),
        "instance": resource.first(INSTANCE_KEYS, rows), "name": columns["spanname"],
        "kind": columns.get("spankind"), "duration_ns": columns["duration"], "status": columns.get("statuscode"),
        "status_code": attributes.first(CODE_KEYS, rows), "peer": _peers(columns, attributes, rows),
    }  # fmt: skip
    if full:
        work |= {
            "attributes": attributes.json(rows),
            "events": _nested(columns, "events", rows),
            "links": _nested(columns, "links", rows),
        }
    table, dropped = to_spans(work, source=source, full=full)
    logs, unused = to_logs(_exceptions(columns, work, rows), source=source, full=full)
    return Telemetry(spans=table, logs=logs).with_dropped(*dropped, *unused)


def _exceptions(columns: Mapping[str, Column], spans: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Log lines for the exceptions that spans recorded as events, with the time of the span."""
    if not {"events.name", "events.attributes"} <= columns.keys():
        return {}
    names = text(json_text(as_column(columns["events.name"], rows)))
    at = pc.indices_nonzero(pc.fill_null(pc.match_substring(names, "exception"), False))
    lists = json_text(pc.take(as_column(columns["events.attributes"], rows), at)).to_pylist()
    where: list[int] = []
    said: list[str] = []
    for row, value in zip(at.to_pylist(), lists, strict=True):
        for attributes in _as_list(value):
            line = exception_line(_as_map(attributes))
            if line is not None:
                where.append(row)
                said.append(line)
    lines: dict[str, Any] = {
        name: pc.take(as_column(spans[name], rows), pa.array(where, pa.int64()))
        for name in ("time", "trace_id", "span_id", "service", "instance")
    }
    return lines | {"severity": pa.array(["ERROR"] * len(said), pa.string()), "body": pa.array(said, pa.string())}


def _peers(columns: Mapping[str, Column], attributes: _Maps, rows: int) -> Column:
    """The remote end that a client or producer span names."""
    named = attributes.first(PEER_KEYS, rows)
    if "spankind" not in columns:
        return named
    kind = span_kind(columns["spankind"]).cast(pa.string())
    calling = pc.fill_null(pc.or_(pc.equal(kind, "client"), pc.equal(kind, "producer")), False)
    return pc.if_else(calling, named, pa.scalar(None, pa.string()))


def _nested(columns: Mapping[str, Column], prefix: str, rows: int) -> Column | None:
    """`Events.Timestamp`, `Events.Name`, … as one JSON list per row."""
    parts = {name.split(".", 1)[1]: name for name in columns if name.startswith(f"{prefix}.")}
    if not parts:
        return columns.get(prefix)
    lists = {part: [_as_list(value) for value in json_text(columns[name]).to_pylist()] for part, name in parts.items()}
    out: list[str] = []
    for row in range(rows):
        length = max(len(values[row]) for values in lists.values())
        items = [
            {part: values[row][index] for part, values in lists.items() if index < len(values[row])}
            for index in range(length)
        ]
        out.append(_encode(items).decode())
    return chunked([pa.array(out, pa.string())], pa.string())


def _logs(columns: dict[str, Column], source: str, full: bool) -> Telemetry:
    rows = _count(columns)
    resource = _Maps(columns.get("resourceattributes"), rows)
    severity: Column = columns["severitytext"]
    if "severitynumber" in columns:
        given = text(severity)
        given = pc.if_else(pc.equal(given, ""), pa.scalar(None, pa.string()), given)
        severity = pc.coalesce(given, text(columns["severitynumber"]))
    work: dict[str, Any] = {
        "time": columns["timestamp"], "trace_id": columns.get("traceid"), "span_id": columns.get("spanid"),
        "service": _service(columns, resource, rows), "instance": resource.first(INSTANCE_KEYS, rows),
        "severity": severity, "body": columns["body"],
    }  # fmt: skip
    if full:
        work["attributes"] = _Maps(columns.get("logattributes"), rows).json(rows)
    table, dropped = to_logs(work, source=source, full=full)
    return Telemetry(logs=table).with_dropped(*dropped)


def _is_true(column: Column) -> Column:
    return pc.fill_null(pc.is_in(pc.utf8_lower(text(column)), value_set=pa.array(["true", "1", "t"])), False)


def _is_delta(column: Column) -> Column:
    words = pa.array(["1", "delta", "aggregation_temporality_delta"])
    return pc.fill_null(pc.is_in(pc.utf8_lower(text(column)), value_set=words), False)


class _Series(NamedTuple):
    """What the points of a metric file share: places by column name, labels and temporality by row."""

    places: dict[str, Column]
    labels: list[dict[str, Any]]
    delta: Sequence[bool]


def _series(columns: Mapping[str, Column]) -> _Series:
    rows = _count(columns)
    resource = _Maps(columns.get("resourceattributes"), rows)
    attributes = _Maps(columns.get("attributes"), rows)
    places = {
        "service": _service(columns, resource, rows),
        "instance": resource.first(INSTANCE_KEYS, rows),
        "node": resource.first(NODE_KEYS, rows),
    }
    delta = [False] * rows
    if "aggregationtemporality" in columns:
        delta = cast(list[bool], _is_delta(columns["aggregationtemporality"]).to_pylist())
    return _Series(places, _labels(resource, attributes, rows), delta)


def _metrics(kind: str, columns: dict[str, Column], source: str) -> Telemetry:
    series = _series(columns)
    if kind != "values":
        return _distributions(kind, columns, series, source)
    work: dict[str, Any] = {
        "time": columns["timeunix"], "name": columns["metricname"], "value": columns["value"],
        "unit": columns.get("metricunit"), "attributes": _label_text(series), "type": "gauge", **series.places,
    }  # fmt: skip
    if "ismonotonic" in columns:
        work["type"] = pc.if_else(_is_true(columns["ismonotonic"]), "counter", "gauge")
    table, dropped = to_metrics(work, source=source)
    return Telemetry(metrics=table).with_dropped(*dropped)


def _labels(resource: _Maps, attributes: _Maps, rows: int) -> list[dict[str, Any]]:
    """Labels per row; equal pairs of resource and attributes share one object."""
    cache: dict[tuple[int, int], dict[str, Any]] = {}
    out: list[dict[str, Any]] = []
    for one, other in zip(resource.rows(rows), attributes.rows(rows), strict=True):
        key = (id(one), id(other))
        if key not in cache:
            cache[key] = {**series_labels(one), **other}
        out.append(cache[key])
    return out


def _label_text(series: _Series) -> Any:
    cache: dict[tuple[int, bool], str | None] = {}
    out: list[str | None] = []
    for item, increments in zip(series.labels, series.delta, strict=True):
        key = (id(item), increments)
        if key not in cache:
            full = {**item, TEMPORALITY_KEY: "delta"} if increments else item
            cache[key] = _encode(full).decode() if full else None
        out.append(cache[key])
    return pa.array(out, pa.string())


def _distributions(kind: str, columns: Mapping[str, Column], series: _Series, source: str) -> Telemetry:
    """Histograms and summaries: a loop over points, each of which becomes many rows."""
    places = [series.places[name].to_pylist() for name in ("service", "instance", "node")]
    times = parse_times(columns["timeunix"]).cast(pa.int64()).to_pylist()
    data = {name: decoded(column).to_pylist() for name, column in columns.items() if name not in ("timeunix",)}
    rows = MetricRows()
    bad = 0
    for row, time in enumerate(times):
        rows.at(*(place[row] for place in places))
        item = {name: values[row] for name, values in data.items()}
        point = Point(time, str(item["metricname"] or ""), item.get("metricunit"), series.labels[row])
        try:
            _add_point(rows, kind, point, item, series.delta[row])
        except (TypeError, ValueError):
            bad += 1
    work = {name: values for name, values in rows.columns.items() if values}
    if work:
        work["time"] = cast(Any, pa.array(work["time"], pa.int64()))
        work["value"] = cast(Any, pa.array(work["value"], pa.float64()))
    table, dropped = to_metrics(work, source=source, time_unit="ns")
    broken = Dropped(table="metrics", rows=bad, reason="histogram points whose counts are no numbers", source=source)
    return Telemetry(metrics=table).with_dropped(*dropped, broken)


def _add_point(rows: MetricRows, kind: str, point: Point, item: Mapping[str, Any], delta: bool) -> None:
    count, total = item.get("count") or 0, item.get("sum")
    if kind == "histogram":
        bounds, counts = _as_list(item["explicitbounds"]), _as_list(item["bucketcounts"])
        rows.add_histogram(point, count=count, total=total, bounds=bounds, counts=counts, delta=delta)
    elif kind == "exponential":
        buckets = Exponential(
            scale=int(item["scale"] or 0),
            zero_count=float(item.get("zerocount") or 0),
            zero_threshold=float(item.get("zerothreshold") or 0.0),
            positive=(int(item.get("positiveoffset") or 0), _as_list(item["positivebucketcounts"])),
            negative=(int(item.get("negativeoffset") or 0), _as_list(item.get("negativebucketcounts"))),
        )
        rows.add_exponential(point, buckets, count=count, total=total, delta=delta)
    else:
        shares, values = _as_list(item["valueatquantiles.quantile"]), _as_list(item.get("valueatquantiles.value"))
        quantiles = [(float(share), float(value)) for share, value in zip(shares, values, strict=False)]
        rows.add_summary(point, count=count, total=total, quantiles=quantiles)
