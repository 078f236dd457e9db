"""Metrics of OTLP requests as rows of the model, by the convention of `ingest/histograms.py`.

Gauges, sums and histograms in their usual form are read many at once (`otlp_points.py`, `otlp_series.py`); the rest
goes through the same code as the files' points.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from aetia.ingest.normalise import LARGEST_VALUE, to_metrics
from aetia.ingest.otlp import OtlpRows
from aetia.ingest.otlp_attributes import Limits
from aetia.ingest.otlp_items import EARLIEST_NS, LATEST_NS, NAMES, Items
from aetia.ingest.otlp_points import Metrics
from aetia.ingest.otlp_series import NOT_RECORDED, fast_rows, trim_labels
from aetia.ingest.wire import Flags, Offsets
from aetia.model.tables import METRICS

_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
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


def metric_table(items: Items, found: Metrics, bodies: int, limits: Limits) -> tuple[pa.Table, list[int]]:
    """The rows of all points, and how many there are per body; `items.refused` gets what is left out."""
    table, item = fast_rows(items, found, limits)
    slow = found.slow.nonzero()[0]
    if len(slow):
        other, owner = _slow_rows(items, slow, limits)
        table = pa.concat_tables([table, other]).unify_dictionaries()
        item = np.concatenate((item, owner))
        order = np.argsort(item, kind="stable")
        table, item = table.take(cast(Any, pa.array(order))), item[order]
    return table, np.bincount(items.body[item], minlength=bodies).tolist()


def _slow_rows(items: Items, slow: Offsets, limits: Limits) -> tuple[pa.Table, Offsets]:
    """The rows of some metrics, and the metric of each."""
    resources: dict[int, Any] = {}
    points = Counter[int]()
    made = OtlpRows(full=False)
    owners: list[int] = []
    for index in slow.tolist():
        body, place = int(items.body[index]), int(items.place[index])
        refused = items.refused.setdefault(body, Counter())
        metric = _metric(items.raw[index], refused, limits, limits.items - points[body])
        if metric is None:
            continue
        points[body] += _count(metric)
        if place not in resources:
            resources[place] = _resource(items.heads[place], limits)
        made.add_document(_Document([_Group(resources[place], [_Scope([metric])])]))
        if made.lost["metrics"]:
            refused["values that are no numbers"] += made.lost.pop("metrics")
        owners += [index] * (len(made.metrics.columns["time"]) - len(owners))
    table, kept = _table(made)
    return table, np.array(owners, np.int64)[kept]


def _resource(head: bytes, limits: Limits) -> Any:
    resource = Resource.FromString(head)
    trim_labels(resource.attributes, limits)
    return resource


def _table(made: OtlpRows) -> tuple[pa.Table, Flags]:
    """The table, and which rows are in it."""
    columns: dict[str, Any] = dict(made.metrics.columns)
    columns["time"] = pa.array(columns["time"], pa.int64())
    columns["value"] = pa.array(columns["value"], pa.float64())
    for name in METRICS.names:
        if name not in ("time", "value"):
            columns[name] = pa.array(columns[name], pa.string())
    value = np.asarray(columns["value"])
    table = to_metrics(columns, time_unit="ns")[0]
    return pa.table({name: table[name] for name in METRICS.names}), np.abs(value) <= LARGEST_VALUE


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
    if NAMES([metric.name.encode()])[0] is None:
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
        if len(point.attributes) > limits.attributes or point.ByteSize() > limits.key_bytes:
            trim_labels(point.attributes, limits)
    return metric if len(points) else None


def _data(metric: Any) -> tuple[Any, str]:
    which = metric.WhichOneof("data")
    return (getattr(metric, which), which) if which in _KINDS else (None, "")


def _count(metric: Any) -> int:
    return len(_data(metric)[0].data_points)


def _complaint(point: Any, kind: str, limits: Limits) -> str | None:
    """Why a point cannot be used; empty when there is nothing to store and nothing wrong."""
    if point.flags & NOT_RECORDED:
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
