"""Metric points of any kind as the rows of the model: one convention for OTLP, ClickHouse and Prometheus.

* gauge, non-monotonic sum: one row of type `gauge`.
* monotonic sum: one row of type `counter`; its running total, or the increment since the last point when the
  attributes carry `"aetia.temporality": "delta"`.
* histogram and exponential histogram `NAME`: counters `NAME_count` and `NAME_sum` (in the metric's unit), and a
  row `NAME_bucket` of type `histogram` per bucket, whose attribute `le` is the bucket's upper bound as text
  (`"+Inf"` for the last) and whose value counts all observations up to that bound, as Prometheus does. Delta
  histograms carry the same temporality attribute on all of these rows.
* summary `NAME`: counters `NAME_count` and `NAME_sum`, and a gauge `NAME` per quantile with the attribute
  `quantile` (`"0.99"`).

Exponential buckets are merged to at most four per doubling, so that the bounds of a series stay the same when
the recorder changes its scale: a quantile is then within 9 % of the truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from aetia.ingest.semconv import TEMPORALITY_KEY

EXPONENTIAL_SCALE = 2
MAX_EXPONENTIAL_BUCKETS = 4096
_encode = msgspec.json.Encoder(order="sorted", enc_hook=str).encode


class Point(NamedTuple):
    """What every point has: its time (epoch ns), metric name, unit and labels."""

    time: Any
    name: str
    unit: str | None
    labels: Mapping[str, Any]

    def renamed(self, suffix: str, unit: str | None = None) -> Point:
        return self._replace(name=self.name + suffix, unit=unit)

    def labelled(self, **labels: str) -> Point:
        return self._replace(labels={**self.labels, **labels})


class Exponential(NamedTuple):
    """The buckets of an exponential histogram; `positive` and `negative` are (offset, counts)."""

    scale: int
    zero_count: float
    zero_threshold: float
    positive: tuple[int, Sequence[Any]]
    negative: tuple[int, Sequence[Any]]


class MetricRows:
    """Columns of metric rows under construction."""

    def __init__(self) -> None:
        names = ("time", "name", "value", "unit", "type", "service", "instance", "node", "attributes")
        self.columns: dict[str, list[Any]] = {name: [] for name in names}
        self._place: tuple[str | None, str | None, str | None] = (None, None, None)

    def at(self, service: str | None, instance: str | None, node: str | None) -> None:
        """The place of the rows that follow."""
        self._place = (service, instance, node)

    def add(self, point: Point, value: Any, kind: str) -> None:
        """One row."""
        # First, because a value that is no number must not leave a row half added.
        number = math.nan if value is None else float(value)
        columns = self.columns
        columns["time"].append(point.time)
        columns["name"].append(point.name)
        columns["value"].append(number)
        columns["unit"].append(point.unit or None)
        columns["type"].append(kind)
        columns["attributes"].append(_encode(point.labels).decode() if point.labels else None)
        for column, place in zip(("service", "instance", "node"), self._place, strict=True):
            columns[column].append(place)

    def add_sum(self, point: Point, value: Any, *, monotonic: bool, delta: bool) -> None:
        """A point of a sum."""
        self.add(_marked(point, delta), value, "counter" if monotonic else "gauge")

    def add_histogram(
        self, point: Point, *, count: Any, total: Any, bounds: Sequence[Any], counts: Sequence[Any], delta: bool
    ) -> None:
        """A point of a histogram with explicit bounds (one count more than bounds)."""
        point = _marked(point, delta)
        self._add_totals(point, count, total)
        if len(counts) != len(bounds) + 1:
            return
        buckets = point.renamed("_bucket", point.unit)
        running = 0.0
        for bound, observed in zip((*bounds, math.inf), counts, strict=True):
            running += float(observed)
            self.add(buckets.labelled(le=bound_text(float(bound))), running, "histogram")

    def add_exponential(self, point: Point, buckets: Exponential, *, count: Any, total: Any, delta: bool) -> None:
        """A point of an exponential histogram."""
        bounds, counts = explicit_buckets(buckets)
        self.add_histogram(point, count=count, total=total, bounds=bounds, counts=[*counts, 0.0], delta=delta)

    def add_summary(self, point: Point, *, count: Any, total: Any, quantiles: Iterable[tuple[float, float]]) -> None:
        """A point of a summary; `quantiles` are (share, value)."""
        self._add_totals(point, count, total)
        for share, value in quantiles:
            self.add(point.labelled(quantile=f"{share:g}"), value, "gauge")

    def _add_totals(self, point: Point, count: Any, total: Any) -> None:
        self.add(point.renamed("_count"), count, "counter")
        if total is not None:
            self.add(point.renamed("_sum", point.unit), total, "counter")


def _marked(point: Point, delta: bool) -> Point:
    """The point, labelled when its values are increments and not running totals."""
    return point._replace(labels={**point.labels, TEMPORALITY_KEY: "delta"}) if delta else point


def bound_text(bound: float) -> str:
    """A bucket bound as Prometheus writes it."""
    return "+Inf" if bound == math.inf else f"{bound:.6g}"


def explicit_buckets(buckets: Exponential) -> tuple[list[float], list[float]]:
    """Upper bounds, ascending, and counts of the buckets of an exponential histogram.

    Bucket i holds values in (base^i, base^(i+1)] with base = 2^(2^-scale) (OpenTelemetry metrics data model).
    """
    shift = max(0, buckets.scale - EXPONENTIAL_SCALE)
    scale = buckets.scale - shift
    above, below = _merged(buckets.positive, shift), _merged(buckets.negative, shift)
    bounds: list[float] = []
    counts: list[float] = []
    for index in sorted(below, reverse=True):
        bounds.append(-_power(scale, index))
        counts.append(below[index])
    bounds.append(max(buckets.zero_threshold, 0.0))
    counts.append(float(buckets.zero_count))
    for index in sorted(above):
        bounds.append(_power(scale, index + 1))
        counts.append(above[index])
    return bounds, counts


def _merged(buckets: tuple[int, Sequence[Any]], shift: int) -> dict[int, float]:
    offset, counts = buckets
    out: dict[int, float] = {}
    for position, count in enumerate(counts[:MAX_EXPONENTIAL_BUCKETS]):
        if count := float(count):
            index = (offset + position) >> shift
            out[index] = out.get(index, 0.0) + count
    return out


def _power(scale: int, index: int) -> float:
    try:
        return math.ldexp(1.0, index << -scale) if scale <= 0 else 2.0 ** (index / (1 << scale))
    except OverflowError:
        return math.inf if index > 0 else 0.0
