"""Rows of the points that `otlp_points.py` found, by the convention of `ingest/histograms.py`, without a loop.

A series says the same labels in every export, so their JSON is kept by the bytes that said them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from aetia.ingest.histograms import bound_text
from aetia.ingest.normalise import LARGEST_VALUE
from aetia.ingest.otlp_attributes import Known, Limits, plain, trim
from aetia.ingest.otlp_items import EARLIEST_NS, LATEST_NS, Items, coded
from aetia.ingest.otlp_points import HISTOGRAM_LABELS, INT, Metrics, Points
from aetia.ingest.semconv import TEMPORALITY_KEY, series_labels
from aetia.ingest.values import pc
from aetia.ingest.wire import Bytes, Flags, Offsets, Slot, fixed64, numbers, slices
from aetia.model.tables import METRIC_TYPES, METRICS, TIME

NOT_RECORDED = 1
"""Bit of a point's flags: the series ended, there is no value."""
DEEPEST = 100
_EXACT = np.uint64(1 << 50)
_SERIES, _LONGEST_LABELS = 32_768, 2048
_GAUGE, _COUNTER, _BUCKET = (METRIC_TYPES.index(one) for one in ("gauge", "counter", "histogram"))
_NAME_ENDS = ("", "_count", "_sum", "_bucket")
_arrow: Any = pa
_encode = msgspec.json.Encoder(order="sorted", enc_hook=str).encode
Floats = npt.NDArray[np.float64]


class Labels(NamedTuple):
    """Labels of a series as JSON (None: it has none), and what stands before and after the bound of a bucket."""

    text: str | None
    head: str = ""
    tail: str = ""


class _Rows(NamedTuple):
    """Rows in order: the metric of each, its name's ending, and its labels as codes into some texts."""

    item: Offsets
    time: Offsets
    value: Floats
    ending: Offsets
    kind: Offsets
    labels: Offsets

    def at(self, index: Any) -> _Rows:
        made: Any = (column[index] for column in self)
        return _Rows(*made)

    def before(self, other: _Rows) -> _Rows:
        made: Any = (np.concatenate(pair) for pair in zip(self, other, strict=True))
        return _Rows(*made)


_NONE = np.empty(0, np.int64)
_NO_ROWS = _Rows(_NONE, _NONE, np.empty(0), _NONE, _NONE, _NONE)


def fast_rows(items: Items, found: Metrics, limits: Limits) -> tuple[pa.Table, Offsets]:
    """The rows of all points that a scan found, and the metric of each; `items.refused` gets what is left out.

    Metrics whose points turn out to be unusual are marked as slow in `found`, and have no rows.
    """
    number_codes, number_labels = _labels(items, found, found.numbers, limits)
    bucket_codes, bucket_labels = _labels(items, found, found.histograms, limits)
    counts = _bucket_counts(items.buffer, found)
    fast = ~found.slow
    texts: dict[str, int] = {}
    of_numbers, of_buckets = (_text_codes(some, texts) for some in (number_labels, bucket_labels))
    here = fast[found.numbers.item]
    rows = _number_rows(items, found, here, of_numbers.take(number_codes))
    here = fast[found.histograms.item]
    more, combined = _histogram_rows(
        items, found, here, counts, (of_buckets, bucket_codes, bucket_labels, len(texts)), limits
    )
    if len(more.item):
        rows = rows.before(more) if len(rows.item) else more
    usable = np.abs(rows.value) <= LARGEST_VALUE
    if not usable.all():
        rows = rows.at(usable)
    if (rows.item[1:] < rows.item[:-1]).any():
        rows = rows.at(np.argsort(rows.item, kind="stable"))
    return _table(items, found, rows, list(texts), combined), rows.item


def _text_codes(labels: Sequence[Labels | None], texts: dict[str, int]) -> Offsets:
    """Which text each of some labels is, -1 for none; texts that are new are numbered."""
    said = (None if one is None else one.text for one in labels)
    return np.array([-1 if text is None else texts.setdefault(text, len(texts)) for text in said] or [-1], np.int64)


def _table(items: Items, found: Metrics, rows: _Rows, texts: list[str], combined: Any) -> pa.Table:
    code, words = found.name
    name, used = _dense(rows.ending * max(len(words), 1) + code[rows.item], len(_NAME_ENDS) * len(words))
    names = [words[one % len(words)] + _NAME_ENDS[one // len(words)] for one in used.tolist()]
    unit_code, units = found.unit
    # The number of observations has no unit.
    unit = np.where(rows.ending == 1, len(units), unit_code[rows.item])
    place = items.place[rows.item]
    said = {
        what: coded(place, [getattr(one, what) for one in items.places]) for what in ("service", "instance", "node")
    }
    columns = {
        "time": pa.array(rows.time).view(TIME), "name": coded(name, names), "value": pa.array(rows.value),
        "unit": coded(unit, [*units, None]), "type": coded(rows.kind, METRIC_TYPES),
        "attributes": _attributes(rows.labels, texts, combined), **said,
    }  # fmt: skip
    return pa.table({name: columns[name] for name in METRICS.names})


def _attributes(labels: Offsets, texts: list[str], combined: Any) -> pa.Array[Any]:
    indices: Any = pa.array(labels.astype(np.int32), mask=labels < 0)
    words = pa.array(texts, pa.string())
    if not len(combined):
        return pa.DictionaryArray.from_arrays(indices, words)
    both: Any = pa.concat_arrays([words, combined]).dictionary_encode()
    if len(both.dictionary) < len(both):
        # A gauge may have the label `le` too.
        indices = both.indices.take(indices)
    return pa.DictionaryArray.from_arrays(indices, both.dictionary)


def _dense(codes: Offsets, count: int) -> tuple[Offsets, Offsets]:
    """Codes below `count` numbered anew without gaps, and those that occur."""
    if count > 4 * len(codes) + 4096:
        used, again = np.unique(codes, return_inverse=True)
        return again, used
    seen = np.zeros(count, np.bool_)
    seen[codes] = True
    used = seen.nonzero()[0]
    number = np.zeros(count, np.int64)
    number[used] = np.arange(len(used))
    return number[codes], used


# ---- labels -----------------------------------------------------------------------------------------------


def _labels(items: Items, found: Metrics, points: Points, limits: Limits) -> tuple[Offsets, list[Labels | None]]:
    """Labels of each point as codes into distinct ones; metrics of which some cannot be read are slow."""
    if not len(points.item):
        return points.item, []
    raw = points.said
    of_place = [_of_resource(head, limits) for head in items.heads]
    prefixes = list(dict.fromkeys(of_place))
    # Whether they are increments, the resource's labels, the point's.
    whose = np.array([prefixes.index(one) for one in of_place], np.int64)[items.place[points.item]]
    whole = (found.delta[points.item] * len(prefixes) + whose) * len(raw) + points.labels
    code, used = _dense(whole, 2 * len(prefixes) * len(raw))
    keys: list[bytes] = []
    buckets = len(points.buckets.owner) > 0
    for one in used.tolist():
        rest, own = divmod(one, len(raw))
        delta, prefix = divmod(rest, len(prefixes))
        keys.append(b"%d%d%b\0%b" % (buckets, delta, prefixes[prefix], raw[own]))
    said = _known_labels(limits)(keys)
    unreadable = np.array([one is None for one in said], np.bool_)
    if unreadable.any():
        found.slow[points.item[unreadable[code]]] = True
    return code, said


@lru_cache(4096)
def _of_resource(head: bytes, limits: Limits) -> bytes:
    """The labels that a resource gives its series, as JSON."""
    pairs = Resource.FromString(head).attributes
    trim_labels(pairs, limits)
    return _encode(series_labels({pair.key: plain(pair.value, DEEPEST) for pair in pairs}))


@lru_cache(16)
def _known_labels(limits: Limits) -> Known[Labels | None]:
    """Labels by what was said: whether of buckets, whether increments, the resource's JSON, the attribute fields."""

    def read(keys: list[bytes]) -> Iterable[Labels | None]:
        return [_read_labels(key, limits) for key in keys]

    return Known(read, most=_SERIES, longest=_LONGEST_LABELS)


def _read_labels(key: bytes, limits: Limits) -> Labels | None:
    head, raw = key.split(b"\0", 1)
    try:
        pairs = label_pairs(raw)
    except DecodeError:
        return None
    trim_labels(pairs, limits)
    labels = msgspec.json.decode(head[2:]) | {pair.key: plain(pair.value, DEEPEST) for pair in pairs}
    if head[1:2] == b"1":
        labels[TEMPORALITY_KEY] = "delta"
    text = _encode(labels).decode() if labels else None
    if head[:1] == b"0":
        return Labels(text)
    mark = "\ue000"
    while mark in (text or ""):
        mark += "\ue000"
    before, after = _encode(labels | {"le": mark}).decode().split(mark)
    return Labels(text, before, after)


def label_pairs(raw: bytes) -> Any:
    """The KeyValue messages in the attribute fields of a point. Raises DecodeError."""
    kind: Any = HistogramDataPoint if raw[:1] == bytes((HISTOGRAM_LABELS,)) else NumberDataPoint
    return kind.FromString(raw).attributes


def trim_labels(pairs: Any, limits: Limits) -> None:
    """Labels of a point within the limits."""
    trim(pairs, limits)
    for place in reversed(range(len(pairs))):
        if pairs[place].value.ByteSize() > limits.value_bytes:
            del pairs[place]


# ---- numbers ----------------------------------------------------------------------------------------------


class _Refusals:
    """Points that are left out, each for the first reason."""

    def __init__(self, items: Items, points: Points, here: Flags) -> None:
        self._items, self._item, self.left = items, points.item, here.copy()
        recorded = numbers(items.buffer, points.flags.start) & np.uint64(NOT_RECORDED) == 0
        self.left &= recorded | ~points.flags.present
        time = fixed64(items.buffer, points.time.start)
        self.refuse(~points.time.present | (time < EARLIEST_NS) | (time > LATEST_NS), "no time, or one before 2000")
        self.time = time.astype(np.int64)

    def refuse(self, bad: Flags, reason: str) -> None:
        bad = bad & self.left
        if bad.any():
            self.left &= ~bad
            bodies, times = np.unique(self._items.body[self._item[bad]], return_counts=True)
            for body, many in zip(bodies.tolist(), times.tolist(), strict=True):
                self._items.refused.setdefault(body, Counter())[reason] += many


def _number_rows(items: Items, found: Metrics, here: Flags, labels: Offsets) -> _Rows:
    points = found.numbers
    if not len(points.item):
        return _NO_ROWS
    value = points.values[0]
    some = _Refusals(items, points, here)
    some.refuse(~value.present, "a point without a value")
    raw = fixed64(items.buffer, value.start)
    told = np.where(value.tag == INT, raw.view(np.int64).astype(np.float64), raw.view(np.float64))
    some.refuse(~(np.abs(told) <= LARGEST_VALUE), "a value that is NaN or infinite")
    kept = some.left.nonzero()[0]
    item = points.item[kept]
    kind = np.where(found.monotonic[item], _COUNTER, _GAUGE)
    return _Rows(item, some.time[kept], told[kept], np.zeros(len(kept), np.int64), kind, labels[kept])


# ---- histograms -------------------------------------------------------------------------------------------


def _bucket_counts(buffer: Bytes, found: Metrics) -> tuple[Floats, Offsets]:
    """How many observations each bucket and those before it have, and where each point's begin; metrics with counts
    that floats cannot add exactly are slow."""
    _, start, end = found.histograms.buckets
    size = (end - start) >> 3
    ends = np.cumsum(size)
    begins = ends - size
    if not len(size) or not ends[-1]:
        return np.zeros(0), begins
    place = np.arange(ends[-1])
    place -= np.repeat(begins, size)
    raw = fixed64(buffer, np.repeat(start, size) + 8 * place)
    total = np.cumsum(raw)
    some = (size > 0).nonzero()[0]
    before = np.zeros(len(size), np.uint64)
    before[some] = total[begins[some]] - raw[begins[some]]
    large = raw >= _EXACT
    if large.any():
        found.slow[found.histograms.item[np.repeat(np.arange(len(size)), size)[large]]] = True
    return (total - np.repeat(before, size)).astype(np.float64), begins


@lru_cache(1)
def _known_bounds() -> Known[tuple[str, ...]]:
    def read(raw: list[bytes]) -> Iterable[tuple[str, ...]]:
        return [tuple(map(bound_text, (*np.frombuffer(one, "<f8").tolist(), math.inf))) for one in raw]

    return Known(read)


def _histogram_rows(
    items: Items, found: Metrics, here: Flags, counts: tuple[Floats, Offsets],
    labels: tuple[Offsets, Offsets, Sequence[Labels | None], int], limits: Limits,
) -> tuple[_Rows, Any]:  # fmt: skip
    """Rows, and the texts of buckets' labels, which are numbered from the last of `labels` on."""
    points = found.histograms
    nothing: Any = pa.array([], pa.string())
    if not len(points.item):
        return _NO_ROWS, nothing
    text_of, codes, said, first_text = labels
    some = _Refusals(items, points, here)
    given = (points.buckets.end - points.buckets.start) >> 3
    some.refuse(given > limits.buckets, f"more than {limits.buckets} buckets")
    kept = some.left.nonzero()[0]
    if not len(kept):
        return _NO_ROWS, nothing
    item, time, code = points.item[kept], some.time[kept], codes[kept]
    count, total = (one.at(kept) for one in points.values)
    bounds = ((points.bounds.end - points.bounds.start) >> 3)[kept]
    size = np.where(given[kept] == bounds + 1, given[kept], 0)
    summed = total.present.astype(np.int64)
    ends = np.cumsum(1 + summed + size)
    at = ends - (1 + summed + size)
    rows = int(ends[-1])
    value, label = np.empty(rows), np.repeat(text_of[code], 1 + summed + size)
    ending, kind = np.full(rows, 3), np.full(rows, _BUCKET)
    value[at] = _count_of(items.buffer, count)
    ending[at], kind[at] = 1, _COUNTER
    with_sum = summed.nonzero()[0]
    place = at[with_sum] + 1
    value[place] = fixed64(items.buffer, total.start[with_sum]).view(np.float64)
    ending[place], kind[place] = 2, _COUNTER
    of_bucket = np.repeat(np.arange(len(kept)), size)
    step = np.arange(len(of_bucket)) - np.repeat(np.cumsum(size) - size, size)
    place = (at + 1 + summed)[of_bucket] + step
    value[place] = counts[0][counts[1][kept][of_bucket] + step]
    combined = nothing
    if len(of_bucket):
        bound, bound_texts = _bound_codes(items.buffer, points, kept, of_bucket, step)
        again, used = _dense(code[of_bucket] * len(bound_texts) + bound, len(said) * len(bound_texts))
        label[place] = first_text + again
        combined = _combined(said, bound_texts, used)
    item, time = (np.repeat(one, 1 + summed + size) for one in (item, time))
    return _Rows(item, time, value, ending, kind, label), combined


def _count_of(buffer: Bytes, count: Slot) -> Floats:
    return np.where(count.present, fixed64(buffer, count.start), np.uint64(0)).astype(np.float64)


def _bound_codes(
    buffer: Bytes, points: Points, kept: Offsets, of_bucket: Offsets, step: Offsets
) -> tuple[Offsets, list[str]]:
    """The upper bound of each bucket as a code into texts; most points have the same bounds."""
    encoded: Any = slices(buffer, points.bounds.start[kept], points.bounds.end[kept]).dictionary_encode()
    lists = _known_bounds()(encoded.dictionary.to_pylist())
    number = {text: code for code, text in enumerate(dict.fromkeys(text for some in lists for text in some))}
    flat = np.array([number[text] for some in lists for text in some], np.int64)
    begins = np.cumsum([0, *map(len, lists)])[:-1]
    return flat[begins[np.asarray(encoded.indices)][of_bucket] + step], list(number)


def _combined(said: Sequence[Labels | None], bounds: Sequence[str], used: Offsets) -> Any:
    """The JSON of labels with a bound each."""
    whose, bound = (_arrow.array(one) for one in np.divmod(used, len(bounds)))
    heads = pa.array([one.head if one else "" for one in said], pa.string())
    tails = pa.array([one.tail if one else "" for one in said], pa.string())
    parts = (heads.take(whose), pa.array(bounds, pa.string()).take(bound), tails.take(whose))
    return pc.binary_join_element_wise(*parts, "")
