"""Points of metrics read many at once are the rows that one at a time gives, usual or not."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, MetricsData, NumberDataPoint

from aetia.ingest.otlp_columns import Limits, decode
from aetia.ingest.otlp_items import open_bodies
from aetia.ingest.otlp_metrics import metric_table
from aetia.ingest.otlp_points import scan_metrics
from aetia.ingest.wire import field_bytes, tag

T0 = 1_700_000_000_000_000_000
NAMES = ("requests", "requests", "latency", " padded ", "e\u0301", "", "  ", "日本")
VALUES = (0.0, -1.5, 1e300, float("nan"), float("inf"), 42.0)
BOUNDS = ((), (1.0,), (0.005, 0.01, 0.1, 1.0), (10.0, 1e6, float("inf")), (0.1, 0.1 + 1e-12))
RESOURCES = ({}, {"service.name": "cart", "k8s.pod.name": "cart-0"}, {"service.name": "cart", "device": "sda", "n": 3})


def value_of(item: Any) -> AnyValue:
    return AnyValue(int_value=item) if isinstance(item, int) else AnyValue(string_value=item)


def labels(rng: random.Random) -> list[KeyValue]:
    keys = rng.sample(("route", "code", "le", "\ue000", "a", "z" * 40), rng.randrange(4))
    return [
        KeyValue(key=key, value=rng.choice([value_of(200), value_of("/x"), value_of("é" * 90), AnyValue()]))
        for key in keys
    ]


def common(rng: random.Random) -> dict[str, Any]:
    times = (T0, T0 + 1, T0 + 2, 0) if rng.random() < 0.1 else (T0, T0 + 1)
    flags = int(rng.random() < 0.05)
    return {"time_unix_nano": rng.choice(times), "attributes": labels(rng), "flags": flags}


def number(rng: random.Random) -> NumberDataPoint:
    point = NumberDataPoint(**common(rng))
    kind = rng.randrange(20)
    if kind < 10:
        point.as_double = rng.choice(VALUES)
    elif kind < 19:
        point.as_int = rng.choice((0, 7, -(2**63), 2**62))
    if rng.random() < 0.2:
        point.exemplars.add(as_double=1.0, filtered_attributes=labels(rng))
    return point


def histogram(rng: random.Random) -> HistogramDataPoint:
    point = HistogramDataPoint(**common(rng))
    bounds = rng.choice(BOUNDS)
    point.explicit_bounds.extend(bounds)
    size = len(bounds) + (1 if rng.random() < 0.9 else rng.randrange(3))
    counts = [rng.choice((0, 1, 100, 2**60 if rng.random() < 0.2 else 3)) for _ in range(size)]
    point.bucket_counts.extend(counts)
    point.count = min(sum(counts), 2**63)
    if rng.random() < 0.8:
        point.sum = rng.choice(VALUES)
    return point


def a_metric(rng: random.Random) -> Metric:
    metric = Metric(name=rng.choice(NAMES), unit=rng.choice(("", "ms", " s ", "1")), description="what it is")
    kind, count = rng.randrange(12), rng.choice((0, 1, 1, 3, 40))
    temporality = rng.randrange(3)
    if kind < 4:
        metric.gauge.data_points.extend(number(rng) for _ in range(count))
    elif kind < 7:
        metric.sum.data_points.extend(number(rng) for _ in range(count))
        metric.sum.is_monotonic, metric.sum.aggregation_temporality = rng.random() < 0.5, temporality
    elif kind < 10:
        metric.histogram.data_points.extend(histogram(rng) for _ in range(count))
        metric.histogram.aggregation_temporality = temporality
    elif kind == 10:
        point = metric.exponential_histogram.data_points.add(time_unix_nano=T0, count=3, scale=rng.choice((0, 5)))
        point.positive.bucket_counts.extend((1, 2))
    else:
        point = metric.summary.data_points.add(time_unix_nano=T0, count=3, sum=1.0)
        point.quantile_values.add(quantile=0.5, value=2.0)
    return metric


def a_body(rng: random.Random) -> bytes:
    data = MetricsData()
    for _ in range(rng.randrange(4)):
        group = data.resource_metrics.add()
        for key, item in rng.choice(RESOURCES).items():
            group.resource.attributes.add(key=key, value=value_of(item))
        for _ in range(rng.randint(1, 2)):
            group.scope_metrics.add().metrics.extend(a_metric(rng) for _ in range(rng.choice((0, 1, 5, 30))))
    return data.SerializeToString()


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.set_column(0, "time", table["time"].cast(pa.int64())).to_pylist()


def both_ways(bodies: list[bytes], limits: Limits) -> tuple[Any, Any]:
    """(rows, rows per body, refusals) of the usual way and with every metric taken as unusual."""
    out: list[Any] = []
    for slow in (False, True):
        items = open_bodies(bodies, limits)
        found = scan_metrics(items, limits)
        if slow:
            found.slow[:] = True
        table, counts = metric_table(items, found, len(bodies), limits)
        table.validate(full=True)
        refused = {body: Counter({why: n for why, n in some.items() if n}) for body, some in items.refused.items()}
        out.append((rows(table), counts, {body: some for body, some in refused.items() if some}))
    return out[0], out[1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([Limits(), Limits(items=20), Limits(attributes=2, buckets=3)]))
def test_many_at_once_give_the_rows_of_one_at_a_time(seed: int, limits: Limits) -> None:
    rng = random.Random(seed)
    fast, slow = both_ways([a_body(rng) for _ in range(rng.randint(1, 3))], limits)
    assert fast == slow


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_damage_is_not_read_as_something_else(seed: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(a_body(rng))
    for _ in range(rng.randint(1, 3)):
        if raw:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    batch = decode("metrics", [bytes(raw), a_body(random.Random(1))])
    batch.table.validate(full=True)
    assert sum(batch.rows) == batch.table.num_rows
    alone = decode("metrics", [a_body(random.Random(1))])
    assert rows(batch.table)[batch.rows[0] :] == rows(alone.table)


def test_of_two_kinds_of_data_the_last_counts() -> None:
    points = {"data_points": [{"time_unix_nano": T0, "as_double": 1.0}]}
    both = Metric(name="m", sum=points).SerializeToString() + Metric(gauge=points).SerializeToString()
    assert [row["type"] for row in rows(decode("metrics", [in_scope(both)]).table)] == ["gauge"]


def in_scope(metric: bytes) -> bytes:
    """A request with one metric, whatever its bytes."""
    scope = field_bytes(tag(2), metric)
    return field_bytes(tag(1), field_bytes(tag(2), scope))


def test_usual_metrics_are_not_taken_one_by_one() -> None:
    data = MetricsData()
    some = data.resource_metrics.add().scope_metrics.add().metrics
    for name in ("a", "b"):
        points = some.add(name=name, unit="s").gauge.data_points
        points.add(time_unix_nano=T0, as_double=1.0, attributes=[KeyValue(key="k", value=value_of("v" * 200))])
        points = some.add(name=name).sum.data_points
        points.add(time_unix_nano=T0, as_int=1, flags=0)
        some.add(name=name).histogram.data_points.add(time_unix_nano=T0, bucket_counts=(1, 2), explicit_bounds=(0.5,))
    found = scan_metrics(open_bodies([data.SerializeToString()], Limits()), Limits())
    assert not found.slow.any()
    assert (len(found.numbers.item), len(found.histograms.item)) == (4, 2)


@pytest.mark.parametrize("count", [2, 30])
def test_lists_that_are_not_packed_are_read_too(count: int) -> None:
    """Proto2 encoders write each number as a field of its own."""
    one = b"\x19" + T0.to_bytes(8, "little") + b"".join(b"\x31" + n.to_bytes(8, "little") for n in range(count))
    one += b"".join(b"\x39" + np.float64(n).tobytes() for n in range(count - 1))
    raw = field_bytes(tag(1), b"h") + field_bytes(tag(9), field_bytes(tag(1), one))
    usual = decode("metrics", [in_scope(Metric.FromString(raw).SerializeToString())]).table
    assert rows(decode("metrics", [in_scope(raw)]).table) == rows(usual)
    assert usual.num_rows == count + 1
