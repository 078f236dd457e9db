"""Metric points of OTLP requests as rows of the model, by the convention of `ingest/histograms.py`.

Points are few beside spans, and one becomes many rows: they go through the same code as the files' points.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from aetia.ingest.normalise import LARGEST_VALUE, concat, to_metrics
from aetia.ingest.otlp import OtlpRows
from aetia.ingest.otlp_attributes import Limits, trim
from aetia.ingest.otlp_items import EARLIEST_NS, LATEST_NS, Items
from aetia.model.tables import METRICS

_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_NOT_RECORDED = 1
"""Bit of a point's flags: the series ended, there is no value."""
_SCALES = range(-10, 21)
"""Of exponential histograms, as the data model allows them."""


@dataclass(slots=True)
class _Scope:
    metrics: list[Any]


@dataclass(slots=True)
class _Group:
    """What `OtlpRows` reads of ResourceMetrics."""

    resource: Any
    scope_metrics: list[_Scope]


@dataclass(slots=True)
class _Document:
    resource_metrics: list[_Group]


def metric_table(items: Items, bodies: int, limits: Limits) -> tuple[pa.Table, list[int]]:
    """The rows of all points, and how many there are per body; `items.refused` gets what is left out."""
    groups: list[dict[int, _Group]] = [{} for _ in range(bodies)]
    resources = [_resource(head, limits) for head in items.heads]
    points = Counter[int]()
    for raw, body, place in zip(items.raw, items.body.tolist(), items.place.tolist(), strict=True):
        refused = items.refused.setdefault(body, Counter())
        metric = _metric(raw, refused, limits, limits.items - points[body])
        if metric is not None:
            points[body] += _count(metric)
            group = groups[body].setdefault(place, _Group(resources[place], [_Scope([])]))
            group.scope_metrics[0].metrics.append(metric)
    tables: list[pa.Table] = []
    rows: list[int] = []
    for body, some in enumerate(groups):
        made = OtlpRows(full=False)
        made.add_document(_Document(list(some.values())))
        if made.lost["metrics"]:
            items.refused.setdefault(body, Counter())["values that are no numbers"] += made.lost["metrics"]
        tables.append(_table(made))
        rows.append(tables[-1].num_rows)
    return concat("metrics", tables) if tables else METRICS.empty_table(), rows


def _resource(head: bytes, limits: Limits) -> Any:
    resource = Resource.FromString(head)
    _trim(resource.attributes, limits)
    return resource


def _table(made: OtlpRows) -> pa.Table:
    columns: dict[str, Any] = dict(made.metrics.columns)
    columns["time"] = pa.array(columns["time"], pa.int64())
    columns["value"] = pa.array(columns["value"], pa.float64())
    for name in METRICS.names:
        if name not in ("time", "value"):
            columns[name] = pa.array(columns[name], pa.string())
    return concat("metrics", [to_metrics(columns, time_unit="ns")[0]])


def _metric(raw: bytes, refused: Counter[str], limits: Limits, room: int) -> Any:
    """A metric whose points are all usable, None when nothing of it is left."""
    try:
        metric = Metric.FromString(raw)
    except DecodeError:
        refused["malformed"] += 1
        return None
    data, kind = _data(metric)
    if data is None:
        refused["a metric without data"] += 1
        return None
    points = data.data_points
    if not metric.name.strip():
        refused["no metric name"] += len(points)
        return None
    if len(points) > room:
        refused[f"more than {limits.items} points in one request"] += len(points) - max(room, 0)
        del points[max(room, 0) :]
    complaints = [_complaint(point, kind, limits) for point in points]
    if any(reason is not None for reason in complaints):
        kept = [point for point, reason in zip(points, complaints, strict=True) if reason is None]
        del points[:]
        points.extend(kept)
        refused.update(reason for reason in complaints if reason)
    for point in points:
        if point.ByteSize() > limits.key_bytes:
            _trim(point.attributes, limits)
    return metric if len(points) else None


def _data(metric: Any) -> tuple[Any, str]:
    which = metric.WhichOneof("data")
    return (getattr(metric, which), which) if which in _KINDS else (None, "")


def _count(metric: Any) -> int:
    return len(_data(metric)[0].data_points)


def _complaint(point: Any, kind: str, limits: Limits) -> str | None:
    """Why a point cannot be used; empty when there is nothing to store and nothing wrong."""
    if point.flags & _NOT_RECORDED:
        return ""
    if not EARLIEST_NS <= point.time_unix_nano <= LATEST_NS:
        return "no time, or one before 2000"
    if kind in ("gauge", "sum"):
        which = point.WhichOneof("value")
        if which is None:
            return "a point without a value"
        return None if _finite(getattr(point, which)) else "a value that is NaN or infinite"
    if kind == "histogram" and len(point.bucket_counts) > limits.buckets:
        return f"more than {limits.buckets} buckets"
    if kind == "exponential_histogram":
        if point.scale not in _SCALES:
            return "a scale that no exponential histogram has"
        if max(len(point.positive.bucket_counts), len(point.negative.bucket_counts)) > limits.buckets:
            return f"more than {limits.buckets} buckets"
    if kind == "summary" and len(point.quantile_values) > limits.buckets:
        return f"more than {limits.buckets} quantiles"
    return None


def _finite(value: float) -> bool:
    return abs(value) <= LARGEST_VALUE


def _trim(pairs: Any, limits: Limits) -> None:
    """Labels of a point within the limits."""
    trim(pairs, limits)
    for place in reversed(range(len(pairs))):
        if pairs[place].value.ByteSize() > limits.value_bytes:
            del pairs[place]
