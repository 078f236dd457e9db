"""Reader of plain metric CSV (also TSV, compressed): long, wide by series, or wide by entity.

* long: a time, a metric name and a value per line, and columns that say where (service, instance, node, labels);
* wide by series: a time, and one column per series whose name carries service and metric (`series_names.py`);
* wide by entity: a time, columns that name the entity, and one column per metric.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from aetia.ingest.files import FileReader, csv_header, head, is_parquet, lost_lines, read_csv, reading
from aetia.ingest.normalise import concat, to_metrics
from aetia.ingest.reader import Match
from aetia.ingest.series_names import SeriesName, parse_labels, split_series
from aetia.ingest.values import Column, as_column, decoded, is_text, parse_times, pc, text
from aetia.model.errors import CorruptSource
from aetia.model.tables import Dropped, Telemetry
from aetia.plugins import plugin

_TIME = (
    "time", "timestamp", "ts", "datetime", "date", "timeunix", "timeunixnano", "epoch", "unixtime", "timestampms",
    "timestampns", "starttime", "timems", "collecttime", "clock",
)  # fmt: skip
_ROLES: dict[str, tuple[str, ...]] = {
    "name": ("metricname", "metric", "name", "kpiname", "kpi", "measurement", "field"),
    "value": ("value", "metricvalue", "val", "v", "kpivalue", "reading"),
    "service": ("service", "servicename", "app", "application", "appname", "svc", "component", "cmdbid", "job"),
    "instance": ("instance", "pod", "podname", "instanceid", "instancename", "container", "containername", "replica"),
    "node": ("node", "nodename", "host", "hostname", "machine", "vm"),
    "unit": ("unit", "metricunit", "units"),
    "type": ("type", "metrictype"),
}
_PLACES = ("service", "instance", "node")
# A file with such columns holds traces or logs.
_FOREIGN = frozenset(
    {"traceid", "spanid", "parentspanid", "parentid", "body", "message", "log", "logmessage", "severity"}
)
_NUMBER_TEXT = r"-?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|(?i:nan|[+-]?inf(?:inity)?))"
_NUMBER = re.compile(rf"^\s*(?:{_NUMBER_TEXT})?\s*$")
_NO_HEADER = "a first line that names the columns, parted by commas, tabs or semicolons, with a time (timestamp, …)"
_encode = msgspec.json.Encoder(order="sorted").encode


@plugin("reader", summary="plain metric CSV, long or wide", needs=("metrics",))
class MetricsCsvReader(FileReader):
    """One file, or a folder of such files (a file per service is named after its service)."""

    def recognise_file(self, path: Path) -> Match | None:
        if is_parquet(path) or head(path, 1)[:1] in (b"{", b"["):
            return None
        names = csv_header(path)
        roles = _roles(names)
        if _FOREIGN & {_plain(name) for name in names}:
            return None
        if "time" not in roles and {".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes}:
            return Match(confidence=0.1, found=(path.name,), missing=(_NO_HEADER,))
        if len(names) < 2:
            return None
        if "time" not in roles:
            numeric = _numeric_share(path, names)
            if {"name", "value"} <= roles.keys() or numeric > 0.5:
                return Match(confidence=0.3, found=(path.name,), missing=("a time column (time, timestamp, …)",))
            return None
        if {"name", "value"} <= roles.keys():
            return Match(confidence=0.75, found=(f"long metrics in {path.name}",))
        if not _numeric_share(path, names):
            return None
        return Match(confidence=0.6, found=(f"wide metrics in {path.name}",))

    def read_file(self, path: Path, *, full: bool) -> Telemetry:
        del full
        csv = read_csv(path)
        with reading(path):
            table, dropped = _read(csv.columns, path)
        return Telemetry(metrics=table).with_dropped(*dropped, *lost_lines("metrics", csv, path))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _roles(names: Sequence[str]) -> dict[str, str]:
    """Column by role; the first column that fits a role has it."""
    roles: dict[str, str] = {}
    for role, words in {"time": _TIME, **_ROLES}.items():
        for name in names:
            plain = _plain(name)
            if plain in words and name not in roles.values():
                roles.setdefault(role, name)
    return roles


def _numeric_share(path: Path, names: Sequence[str]) -> float:
    """Share of the columns whose first value is a number or missing, judged by the first full line."""
    import csv

    lines = head(path).split(b"\n")
    if len(lines) < 2:
        return 0.0
    line = lines[1].decode("utf-8", "replace").rstrip("\r")
    try:
        fields = next(csv.reader([line], delimiter=max(",\t;", key=line.count)), [])
    except csv.Error:
        return 0.0
    if len(fields) != len(names):
        return 0.0
    numbers = [bool(_NUMBER.match(field)) for name, field in zip(names, fields, strict=True) if not _is_time(name)]
    return sum(numbers) / len(numbers) if numbers else 0.0


def _is_time(name: str) -> bool:
    return _plain(name) in _TIME


def _read(columns: Mapping[str, Column], path: Path) -> tuple[pa.Table, list[Dropped]]:
    roles = _roles(list(columns))
    if "time" not in roles:
        raise CorruptSource(f"{path} has no time column; name it time or timestamp ({', '.join(columns)}).")
    if {"name", "value"} <= roles.keys():
        return _long(columns, roles, path)
    return _wide(columns, roles, path)


def _times(columns: Mapping[str, Column]) -> Column:
    """The time column with the most readable times, the first of equals."""
    parsed = [parse_times(column) for name, column in columns.items() if _is_time(name)]
    return min(parsed, key=lambda column: column.null_count)


# ---- long -------------------------------------------------------------------------------------------------


def _long(columns: Mapping[str, Column], roles: Mapping[str, str], path: Path) -> tuple[pa.Table, list[Dropped]]:
    work: dict[str, Any] = {role: columns[name] for role, name in roles.items()} | {"time": _times(columns)}
    others = [name for name in columns if name not in roles.values() and not _is_time(name)]
    labels = [name for name in others if is_text(decoded(columns[name]).type)]
    work["attributes"] = _label_text({name: columns[name] for name in labels})
    names = text(work["name"])
    if pc.any(pc.match_substring(names, "{")).as_py():
        work |= _from_braces(names, work)
    return to_metrics(work, source=str(path))


def _label_text(columns: Mapping[str, Column]) -> Any:
    """Label columns as one JSON text per row, null where none has a value; distinct combinations only once."""
    if not columns:
        return None
    table = pa.table({name: text(column) for name, column in columns.items()})
    cache: dict[tuple[Any, ...], str | None] = {}
    out: list[str | None] = []
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if row not in cache:
            item = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
            cache[row] = _encode(item).decode() if item else None
        out.append(cache[row])
    return pa.array(out, pa.string())


def _from_braces(names: Column, work: Mapping[str, Any]) -> dict[str, Any]:
    """Names such as `cpu{service="a"}`: what is in the braces fills the columns that the file does not have."""
    encoded: Any = names.combine_chunks().dictionary_encode()
    parsed = [SeriesName(name, None, labels) for name, labels in map(parse_labels, encoded.dictionary.to_pylist())]
    out: dict[str, Any] = {}
    for role, values in _series_columns(parsed).items():
        column = pa.array(values, pa.string()).take(encoded.indices)
        given = work.get(role)
        out[role] = (
            column if given is None or role == "name" else pc.coalesce(text(as_column(given)), as_column(column))
        )
    return out


def _series_columns(series: Sequence[SeriesName]) -> dict[str, list[str | None]]:
    """Name, place and remaining labels of every series."""
    out: dict[str, list[str | None]] = {role: [] for role in ("name", "service", "instance", "node", "attributes")}
    for one in series:
        labels = dict(one.labels)
        out["name"].append(one.metric)
        for role in _PLACES:
            keys = [key for word in _ROLES[role] for key in labels if _plain(key) == word]
            out[role].append(labels.pop(keys[0]) if keys else None)
        if one.service is not None:
            out["service"][-1] = one.service
        out["attributes"].append(_encode(labels).decode() if labels else None)
    return out


# ---- wide -------------------------------------------------------------------------------------------------


def _wide(columns: Mapping[str, Column], roles: Mapping[str, str], path: Path) -> tuple[pa.Table, list[Dropped]]:
    """One row per line and metric column."""
    places = {role: roles[role] for role in _PLACES if role in roles and _is_naming(columns[roles[role]])}
    taken = {roles["time"], *places.values()}
    numeric = [name for name in columns if name not in taken and not _is_time(name) and not _is_naming(columns[name])]
    if not numeric:
        raise CorruptSource(f"{path} has no column of numbers; a wide file has one per metric ({', '.join(columns)}).")
    if places:
        series = [SeriesName(name, None, {}) for name in numeric]
    else:
        split = split_series(numeric)
        series = [split[name] for name in numeric]
    identity = _series_columns(series)
    time = _times(columns)
    tables: list[pa.Table] = []
    dropped: dict[str, int] = {}
    for index, name in enumerate(numeric):
        work: dict[str, Any] = {role: values[index] for role, values in identity.items() if values[index] is not None}
        work |= {"time": time, "value": columns[name], **{role: columns[column] for role, column in places.items()}}
        table, records = to_metrics(_without_blanks(work), source=str(path))
        tables.append(table)
        for record in records:
            dropped[record.reason] = dropped.get(record.reason, 0) + record.rows
    if all(values is None for values in identity["service"]) and not places:
        tables = [_with_service(table, path) for table in tables]
    records = [Dropped(table="metrics", rows=rows, reason=reason, source=str(path)) for reason, rows in dropped.items()]
    return concat("metrics", tables), records


def _without_blanks(work: Mapping[str, Any]) -> dict[str, Any]:
    """The rows with a value: an empty cell of a wide table is no point, so it is not counted as dropped."""
    if work["value"].null_count == 0:
        return dict(work)
    keep = pc.is_valid(work["value"])
    return {
        role: pc.filter(value, keep) if isinstance(value, pa.ChunkedArray) else value for role, value in work.items()
    }


def _is_naming(column: Column) -> bool:
    """Whether a column holds names: text that is not numbers throughout."""
    kind = decoded(column).type
    if not is_text(kind):
        return pa.types.is_temporal(kind) or pa.types.is_boolean(kind)
    words = text(column).drop_null()
    numbers = pc.match_substring_regex(
        words, r"^\s*-?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|(?i:nan|[+-]?inf(?:inity)?))\s*$"
    )
    return len(words) > 0 and 2 * (pc.sum(numbers).as_py() or 0) < len(words)


def _with_service(table: pa.Table, path: Path) -> pa.Table:
    """A file whose columns name no service is that of the service after which it is called (`cart_metrics.csv`)."""
    stem = re.sub(r"[_.\-](?:metrics?|kpis?)$", "", path.name.split(".", 1)[0], flags=re.IGNORECASE)
    if _plain(stem) in ("", "metric", "metrics", "data", "kpi", "kpis", "wide", "long", "series"):
        return table
    named, _ = to_metrics({**{name: table[name] for name in table.column_names}, "service": stem})
    return named
