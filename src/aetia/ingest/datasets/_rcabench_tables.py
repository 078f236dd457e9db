"""Telemetry of a datapack's parquet files as Arrow tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from aetia.ingest.normalise import category, concat, to_logs, to_metrics, to_spans
from aetia.ingest.values import ArrayLike, Column, pc
from aetia.model.tables import Dropped

TABLES: dict[str, tuple[str, ...]] = {
    "spans": ("traces",), "logs": ("logs",), "metrics": ("metrics", "metrics_sum", "metrics_histogram"),
}  # fmt: skip
"""Kinds of files (`normal_<kind>.parquet`) behind each table."""
_STANDARD = frozenset(
    {"time", "trace_id", "span_id", "parent_span_id", "service_name", "span_name", "duration", "level", "message",
     "metric", "value", "attr.span_kind", "attr.status_code", "attr.k8s.pod.name", "attr.k8s.node.name"}
)  # fmt: skip
# Attributes that tell where a series comes from are columns of their own and would make every series unique.
_METRIC_NOISE = ("attr.k8s.namespace.name", "attr.k8s.replicaset.name")
_SERVICE_FALLBACKS = (
    "service_name", "attr.k8s.service.name", "attr.k8s.container.name", "attr.k8s.deployment.name",
    "attr.k8s.statefulset.name",
)  # fmt: skip


def read_table(name: str, files: list[Path], full: bool) -> tuple[pa.Table, list[Dropped]]:
    """The table of that name from some parquet files; a file that cannot be read is counted."""
    makers: dict[str, Callable[[pa.Table, str, bool], list[tuple[pa.Table, list[Dropped]]]]] = {
        "spans": _spans, "logs": _logs, "metrics": _metrics,
    }  # fmt: skip
    tables: list[pa.Table] = []
    dropped: list[Dropped] = []
    for path in files:
        try:
            raw: pa.Table = pq.read_table(path, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            reason = f"the file cannot be read as parquet ({str(error).splitlines()[0]}); restore it"
            dropped.append(Dropped(table=name, rows=1, reason=reason, source=path.name))
            continue
        for table, more in makers[name](raw, path.name, full):
            tables.append(table)
            dropped += more
    return concat(name, tables), dropped


def _column(raw: pa.Table, name: str) -> ArrayLike:
    """A column, all null where the file has no such column."""
    return raw[name] if name in raw.column_names else pa.nulls(raw.num_rows, pa.string())


def _coalesced(raw: pa.Table, names: tuple[str, ...]) -> Column:
    """The first of the columns that has a value, empty text counting as none."""
    found: Column = pa.chunked_array([pa.nulls(raw.num_rows, pa.string())])
    for name in names:
        if name in raw.column_names:
            text = raw[name].cast(pa.string())
            found = pc.coalesce(found, pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text))
    return found


def _attributes(raw: pa.Table, skip: frozenset[str]) -> ArrayLike:
    """The remaining `attr.` columns as one JSON object per row without its nulls; None without any."""
    pairs: list[Column] = []
    for name in raw.column_names:
        if name.startswith("attr.") and name not in skip and raw[name].null_count < raw.num_rows:
            key = msgspec.json.encode(name.removeprefix("attr.")).decode()
            value = category(raw[name].cast(pa.string()), _quoted).cast(pa.string())
            pairs.append(pc.fill_null(pc.binary_join_element_wise(f",{key}:", value, ""), ""))
    if not pairs:
        return None
    inside = pc.binary_join_element_wise(*pairs, "")
    whole = pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(inside, 1), "}", "")
    return pc.if_else(pc.equal(inside, ""), pa.scalar(None, pa.string()), whole)


def _quoted(values: Column) -> Column:
    """Distinct values as JSON strings."""
    quoted = [None if value is None else msgspec.json.encode(value).decode() for value in values.to_pylist()]
    return pa.chunked_array([pa.array(quoted, pa.string())])


def _spans(raw: pa.Table, source: str, full: bool) -> list[tuple[pa.Table, list[Dropped]]]:
    columns = {
        "time": _column(raw, "time"), "trace_id": _column(raw, "trace_id"), "span_id": _column(raw, "span_id"),
        "parent_span_id": _column(raw, "parent_span_id"), "service": _column(raw, "service_name"),
        "instance": _column(raw, "attr.k8s.pod.name"), "name": _column(raw, "span_name"),
        "kind": _column(raw, "attr.span_kind"), "status": _column(raw, "attr.status_code"),
        "status_code": _column(raw, "attr.http.response.status_code"), "duration": _column(raw, "duration"),
        "attributes": _attributes(raw, _STANDARD) if full else None,
    }  # fmt: skip
    return [to_spans(columns, source=source, full=full)]


def _logs(raw: pa.Table, source: str, full: bool) -> list[tuple[pa.Table, list[Dropped]]]:
    columns = {
        "time": _column(raw, "time"), "trace_id": _column(raw, "trace_id"), "span_id": _column(raw, "span_id"),
        "service": _coalesced(raw, _SERVICE_FALLBACKS), "instance": _column(raw, "attr.k8s.pod.name"),
        "severity": _column(raw, "level"), "body": _column(raw, "message"),
        "attributes": _attributes(raw, _STANDARD) if full else None,
    }  # fmt: skip
    return [to_logs(columns, source=source, full=full)]


def _metrics(raw: pa.Table, source: str, full: bool) -> list[tuple[pa.Table, list[Dropped]]]:
    """Gauges, sums and histograms. A histogram gives `<metric>_count`, `_sum`, `_min` and `_max` series."""
    del full
    skip = _STANDARD | frozenset(_METRIC_NOISE) | frozenset(_SERVICE_FALLBACKS)
    shared: dict[str, Any] = {
        "time": _column(raw, "time"), "service": _coalesced(raw, _SERVICE_FALLBACKS),
        "instance": _column(raw, "attr.k8s.pod.name"), "node": _column(raw, "attr.k8s.node.name"),
        "attributes": _attributes(raw, skip),
    }  # fmt: skip
    name = _column(raw, "metric").cast(pa.string())
    if "value" in raw.column_names:
        kind = "counter" if "_sum." in source else "gauge"
        return [to_metrics({**shared, "name": name, "value": raw["value"], "type": kind}, source=source)]
    made: list[tuple[pa.Table, list[Dropped]]] = []
    for part in ("count", "sum", "min", "max"):
        if part in raw.column_names:
            named = pc.binary_join_element_wise(name, part, "_")
            kind = "counter" if part in ("count", "sum") else "gauge"
            made.append(to_metrics({**shared, "name": named, "value": raw[part], "type": kind}, source=source))
    return made
