"""Telemetry of Nezha's files: minute files of spans and logs, day files of metrics, as Arrow tables.

Pods are named `<service>-<replica set>-<pod>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from aetia.ingest.datasets._csvfile import read_csv
from aetia.ingest.datasets._wide import Series, is_numeric, melt
from aetia.ingest.normalise import as_column, concat, parse_times, to_logs, to_spans, to_topology
from aetia.ingest.values import Column, pc
from aetia.model.tables import SCHEMAS, Dropped
from aetia.model.window import Window

_SPAN_COLUMNS = {
    "TraceID": pa.string(), "SpanID": pa.string(), "ParentID": pa.string(), "PodName": pa.string(),
    "OperationName": pa.string(), "StartTimeUnixNano": pa.int64(), "EndTimeUnixNano": pa.int64(),
}  # fmt: skip
_LOG_COLUMNS = {
    "Timestamp": pa.string(), "TimeUnixNano": pa.int64(), "PodName": pa.string(), "TraceID": pa.string(),
    "SpanID": pa.string(), "Log": pa.string(),
}  # fmt: skip
# Some error lines carry Go's zero time (the year 1754) as nanoseconds; nothing here is older than 2000.
_EARLIEST_NS = 946_684_800_000_000_000
_CLOCK = r"^(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d[.,]\d+\s+"
_POD_FILE = "_metric.csv"
_EDGE_FILE = re.compile(r"(source|destination)_(\d+)\.csv")
_EDGE_SIDES = {"source": "client", "destination": "server"}
_UNIT = re.compile(r"\(([^()]*)\)$")
_NOT_SERIES = ("time", "timestamp", "podname", "servicename")
_ADDRESS = r"^\d{1,3}(\.\d{1,3}){3}$"


class _Wrapper(msgspec.Struct):
    log: str


def service_of_pod(pod: str) -> str:
    """The service that a pod belongs to: its name without the replica set's and the pod's suffix."""
    return pod.rsplit("-", 2)[0]


def _services(pods: Column) -> Column:
    return pc.replace_substring_regex(pods, r"-[^-]+-[^-]+$", "")


def read_spans(paths: Iterable[Path], *, full: bool = False) -> tuple[pa.Table, list[Dropped]]:
    """Spans of some minute files; a span that two files hold is kept once."""
    tables: list[pa.Table] = []
    dropped: list[Dropped] = []
    for path in paths:
        raw, bad = read_csv(path, "spans", _SPAN_COLUMNS)
        if not raw.num_rows:
            continue
        parent = raw["ParentID"]
        table, more = to_spans(
            {
                "time": raw["StartTimeUnixNano"], "end": raw["EndTimeUnixNano"], "trace_id": raw["TraceID"],
                "span_id": raw["SpanID"], "service": _services(raw["PodName"]), "instance": raw["PodName"],
                "parent_span_id": pc.if_else(pc.equal(parent, "root"), pa.scalar(None, pa.string()), parent),
                "name": raw["OperationName"], "status": "unset",
            },
            source=path.name, time_unit="ns", full=full,
        )  # fmt: skip
        tables.append(table)
        dropped += bad + more
    return _once("spans", tables, ["trace_id", "span_id"]), dropped


def read_logs(paths: Iterable[Path], *, full: bool = False) -> tuple[pa.Table, list[Dropped]]:
    """Log lines of some minute files, unwrapped from the container runtime's JSON, without the printed clock.

    The clock in the text is local time and would only mislead; the time columns are UTC.
    """
    tables: list[pa.Table] = []
    dropped: list[Dropped] = []
    for path in paths:
        raw, bad = read_csv(path, "logs", _LOG_COLUMNS)
        if not raw.num_rows:
            continue
        body = pc.replace_substring_regex(pc.utf8_rtrim(unwrap(raw["Log"]), "\r\n"), _CLOCK, "")
        table, more = to_logs(
            {
                "time": _log_times(raw), "trace_id": raw["TraceID"], "span_id": raw["SpanID"],
                "service": _services(raw["PodName"]), "instance": raw["PodName"], "body": body,
            },
            source=path.name, full=full,
        )  # fmt: skip
        tables.append(table)
        dropped += bad + more
    return _once("logs", tables, ["time", "instance", "body"]), dropped


def _log_times(raw: pa.Table) -> Column:
    """UTC times; where the nanosecond column is nonsense, the ISO text beside it (UTC as well)."""
    times = parse_times(raw["TimeUnixNano"], "ns")
    good = pc.fill_null(pc.greater(times.cast(pa.int64()), _EARLIEST_NS), False)
    if pc.all(good).as_py():
        return times
    return pc.if_else(good, times, parse_times(raw["Timestamp"]))


def unwrap(lines: Column) -> Column:
    """The `log` text of `{"log": …}` lines; other text stays as it is, a broken wrapper becomes null.

    All lines are decoded as one JSON array in one call, and line by line only where that fails.
    """
    wrapped = pc.fill_null(pc.starts_with(lines, '{"log":'), False)
    objects: list[str] = pc.if_else(wrapped, lines, '{"log":""}').to_pylist()
    try:
        texts: list[str | None] = [
            item.log for item in msgspec.json.decode(f"[{','.join(objects)}]", type=list[_Wrapper])
        ]
    except (msgspec.DecodeError, UnicodeError):
        texts = []
    if len(texts) != len(objects):
        texts = [_unwrap_one(line) for line in objects]
    return pc.if_else(wrapped, as_column(pa.array(texts, pa.string())), lines)


def _unwrap_one(line: str) -> str | None:
    try:
        return msgspec.json.decode(line, type=_Wrapper).log
    except (msgspec.DecodeError, UnicodeError):
        return None


def _once(name: str, tables: list[pa.Table], key: list[str]) -> pa.Table:
    """The tables as one in order of time, rows with the same key once.

    A trace can be written twice, in one file or in two that overlap.
    """
    table = concat(name, tables)
    if not table.num_rows:
        return table
    plain = [table[column].cast(pa.string()) if column != "time" else table[column] for column in key]
    keyed = pa.table([*plain, np.arange(table.num_rows)], names=[*key, "row"])
    first = keyed.group_by(key, use_threads=False).aggregate([("row", "min")])["row_min"]
    return (table.take(first) if len(first) < table.num_rows else table).sort_by("time")


def read_metrics(folder: Path, window: Window | None = None) -> tuple[pa.Table, pa.Table, list[Dropped]]:
    """(metrics, topology, dropped) of one day's metric folder; metrics of one window only if it is given.

    Every column of a pod's file becomes a series of that pod under the column's own name. `source_50.csv` and
    `destination_50.csv` hold each edge's median latency in seconds, as the caller and as the callee sees it.
    """
    files = sorted(folder.glob("*.csv"))
    services = frozenset(
        service_of_pod(path.name.removesuffix(_POD_FILE)) for path in files if path.name.endswith(_POD_FILE)
    )
    tables: list[pa.Table] = []
    topology = SCHEMAS["topology"].empty_table()
    dropped: list[Dropped] = []
    for path in files:
        raw, bad = read_csv(path, "metrics")
        dropped += bad
        if not raw.num_rows:
            continue
        if {"Source", "Target"} <= set(raw.column_names):
            topology, more = _topology(raw, path.name)
        else:
            clock = next((name for name in raw.column_names if name.lower() == "time"), raw.column_names[0])
            # Go prints a monotonic reading after the time; the epoch column beside it is wrong in places.
            times = pc.replace_substring_regex(raw[clock].cast(pa.string()), r" m=.*$", "")
            table, more = melt(raw, times, _series_of(path, raw, services), window=window, source=path.name)
            tables.append(table)
        dropped += more
    return concat("metrics", tables), topology, dropped


def _series_of(path: Path, raw: pa.Table, services: frozenset[str]) -> list[Series]:
    columns = [name for name in raw.column_names if name.lower() not in _NOT_SERIES and is_numeric(raw[name])]
    edge = _EDGE_FILE.fullmatch(path.name)
    if edge is not None:
        name = f"edge_{_EDGE_SIDES[edge[1]]}_latency_p{edge[2]}"
        return [_edge_series(column, name, services) for column in columns]
    if path.name.endswith(_POD_FILE):
        pod = path.name.removesuffix(_POD_FILE)
        return [_series(column, service_of_pod(pod), pod, None) for column in columns]
    named = str(raw["ServiceName"][0].as_py()) if "ServiceName" in raw.column_names else path.stem
    # A name that no pod answers to would be a service out of nowhere: it is kept as an attribute only.
    service = next((known for known in sorted(services) if known.lower() == named.lower()), None)
    attributes = None if service else _json({"service": named})
    return [_series(column, service, None, attributes) for column in columns]


def _series(column: str, service: str | None, instance: str | None, attributes: str | None) -> Series:
    unit = _UNIT.search(column)
    return Series(
        column, column, unit=unit[1] if unit else None, type="gauge", service=service, instance=instance,
        attributes=attributes,
    )  # fmt: skip


def _edge_series(column: str, name: str, services: frozenset[str]) -> Series:
    """The series of a column `<caller>_<callee>`, split where both sides are known services if it can be."""
    parts = column.split("_")
    splits = [("_".join(parts[:i]), "_".join(parts[i:])) for i in range(1, len(parts))] or [(column, column)]
    caller, callee = max(splits, key=lambda pair: sum(side in services for side in pair))
    attributes = _json({"caller": caller, "callee": callee})
    return Series(column, name, unit="s", type="gauge", service=callee, attributes=attributes)


def _json(value: dict[str, str]) -> str:
    return msgspec.json.encode(value).decode()


def _topology(raw: pa.Table, source: str) -> tuple[pa.Table, list[Dropped]]:
    """Declared calls; rows whose target is an address say where a service runs and are no calls."""
    target = raw["Target"].cast(pa.string())
    calls = raw.filter(pc.invert(pc.match_substring_regex(target, _ADDRESS)))
    return to_topology({"caller": calls["Source"], "callee": calls["Target"]}, source=source)
