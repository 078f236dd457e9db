"""Points of OTLP metrics where they are: a scan of gauges, sums and histograms, without a loop over points.

Metrics in any other form (exponential histograms, summaries, fields twice or in another order, damage) are `slow`:
they are left to the code that reads the files' points (`otlp_metrics.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aetia.ingest.otlp_attributes import Limits
from aetia.ingest.otlp_items import NAMES, Items
from aetia.ingest.wire import (
    FIXED64,
    VARINT,
    Bytes,
    Flags,
    Offsets,
    Pieces,
    Slot,
    field_sizes,
    headers,
    numbers,
    scan,
    slices,
    tag,
)

GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = tag(5), tag(7), tag(9), tag(10), tag(11)
NUMBER_LABELS, HISTOGRAM_LABELS = tag(7), tag(9)
DOUBLE, INT = tag(4, FIXED64), tag(6, FIXED64)
_NAME, _UNIT = tag(1), tag(3)
_POINT, _TEMPORALITY, _MONOTONIC = tag(1), tag(2, VARINT), tag(3, VARINT)
_TIME, _FLAGS, _HISTOGRAM_FLAGS = tag(3, FIXED64), tag(8, VARINT), tag(10, VARINT)
_NUMBER_EXEMPLARS, _HISTOGRAM_EXEMPLARS = tag(5), tag(8)
_COUNT, _SUM_OF = tag(4, FIXED64), tag(5, FIXED64)
_BUCKETS, _BOUNDS, _ONE_BUCKET, _ONE_BOUND = tag(6), tag(7), tag(6, FIXED64), tag(7, FIXED64)
_DELTA = 1
_METRIC_FIELDS = 64
_REPLACEMENT = "\ufffd"


class Points(NamedTuple):
    """Points of one kind, in order. `item` is the metric of each."""

    item: Offsets
    time: Slot
    flags: Slot
    labels: Offsets
    """Codes into `said`."""
    said: list[bytes]
    """What the fields of all attributes of a point are, distinct."""
    exemplars: Pieces
    values: tuple[Slot, ...]
    """Of numbers the value, of histograms count and sum."""
    buckets: Pieces
    bounds: Pieces

    def chosen(self, flags: Flags) -> Points:
        """Some of the points."""
        here = flags.nonzero()[0]
        if len(here) == len(flags):
            return self
        buckets, bounds = (some if not len(some.owner) else _at(some, here) for some in (self.buckets, self.bounds))
        return Points(
            self.item[here], self.time.at(here), self.flags.at(here), self.labels[here], self.said, self.exemplars,
            tuple(one.at(here) for one in self.values), buckets, bounds,
        )  # fmt: skip


_NONE = np.empty(0, np.int64)
_NO_SLOT, _NO_PIECES = Slot(_NONE, _NONE, _NONE), Pieces(_NONE, _NONE, _NONE)
_NO_POINTS = Points(_NONE, _NO_SLOT, _NO_SLOT, _NONE, [], _NO_PIECES, (_NO_SLOT, _NO_SLOT), _NO_PIECES, _NO_PIECES)


class Metrics(NamedTuple):
    """What a scan of metrics found."""

    name: tuple[Offsets, list[str]]
    """Codes per metric, and words."""
    unit: tuple[Offsets, list[str | None]]
    delta: Flags
    monotonic: Flags
    slow: Flags
    """Metrics that are left to other code."""
    numbers: Points
    histograms: Points


def _at(some: Pieces, here: Offsets) -> Pieces:
    return Pieces(*(column[here] for column in some))


def scan_metrics(items: Items, limits: Limits) -> Metrics:
    """Find the points of all metrics."""
    count, buffer = len(items), items.buffer
    found = scan(
        buffer, items.start, items.end, single=((_NAME,), (_UNIT,)),
        repeated=(GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY), most=_METRIC_FIELDS,
    )  # fmt: skip
    slow = found.bad | found.long
    data, kinds = _data(found.pieces)
    slow |= np.bincount(data.owner, minlength=count) != 1
    inner = scan(
        buffer, data.start, data.end, single=((_TEMPORALITY,), (_MONOTONIC,)), repeated=(_POINT,),
        most=limits.items + _METRIC_FIELDS,
    )  # fmt: skip
    slow[data.owner[inner.bad | inner.long | (kinds > HISTOGRAM)]] = True
    (points,) = inner.pieces
    whose = data.owner[points.owner]
    # What is beyond the limit is cut in order, so nothing of such a request is taken out of order.
    if len(points.owner) > limits.items:
        slow |= (np.bincount(items.body[whose], minlength=int(items.body.max()) + 1) > limits.items)[items.body]
    temporality, monotonic = inner.slots
    delta, rising = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    delta[data.owner] = temporality.present & (numbers(buffer, temporality.start) == _DELTA) & (kinds != GAUGE)
    rising[data.owner] = monotonic.present & (numbers(buffer, monotonic.start) != 0) & (kinds == SUM)
    name, unit = _names(buffer, found.slots[0], slow), _units(buffer, found.slots[1], slow)
    of_numbers = (kinds[points.owner] <= SUM).nonzero()[0]
    of_histograms = (kinds[points.owner] == HISTOGRAM).nonzero()[0]
    values = _numbers(buffer, _of(points, whose, of_numbers), limits, slow)
    histograms = _histograms(buffer, _of(points, whose, of_histograms), limits, slow)
    values, histograms = (some.chosen(~slow[some.item]) for some in (values, histograms))
    return Metrics(name, unit, delta, rising, slow, values, histograms)


def _of(points: Pieces, whose: Offsets, here: Offsets) -> Pieces:
    return Pieces(whose[here], points.start[here], points.end[here])


def _data(found: tuple[Pieces, ...]) -> tuple[Pieces, Offsets]:
    """The data of all metrics in order, and their tags."""
    kinds = np.repeat(np.array((GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY)), [len(some.owner) for some in found])
    owner, start, end = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.argsort(start, kind="stable")
    return Pieces(owner[order], start[order], end[order]), kinds[order]


def _names(buffer: Bytes, slot: Slot, slow: Flags) -> tuple[Offsets, list[str]]:
    code, raw, words = _coded(buffer, slot)
    # An ending comes before white space is cut off.
    odd = [word is None or word.encode() != one for word, one in zip(words, raw, strict=True)]
    slow |= np.array(odd or [False], np.bool_).take(code)
    return code, [word or "" for word in words]


def _units(buffer: Bytes, slot: Slot, slow: Flags) -> tuple[Offsets, list[str | None]]:
    code, _, words = _coded(buffer, slot)
    slow |= np.array([word is not None and _REPLACEMENT in word for word in words] or [False], np.bool_).take(code)
    return code, words


def _coded(buffer: Bytes, slot: Slot) -> tuple[Offsets, list[bytes], list[str | None]]:
    encoded: Any = slices(buffer, slot.start, slot.end).dictionary_encode()
    raw: list[bytes] = encoded.dictionary.to_pylist()
    return np.asarray(encoded.indices).astype(np.int64), raw, NAMES(raw)


def _numbers(buffer: Bytes, points: Pieces, limits: Limits, slow: Flags) -> Points:
    if not len(points.owner):
        return _NO_POINTS
    found = scan(
        buffer, points.start, points.end, single=((_TIME,), (DOUBLE, INT), (_FLAGS,)),
        repeated=(NUMBER_LABELS, _NUMBER_EXEMPLARS), most=limits.fields,
    )  # fmt: skip
    time, value, flags = found.slots
    labels, odd = _labels(buffer, points, found.pieces[0], NUMBER_LABELS)
    slow[points.owner[found.bad | found.long | odd]] = True
    exemplars = _owned(points, found.pieces[1])
    return Points(points.owner, time, flags, *_said(buffer, labels), exemplars, (value,), _NO_PIECES, _NO_PIECES)


def _histograms(buffer: Bytes, points: Pieces, limits: Limits, slow: Flags) -> Points:
    if not len(points.owner):
        return _NO_POINTS
    lists = (_BUCKETS, _BOUNDS, _ONE_BUCKET, _ONE_BOUND)
    found = scan(
        buffer, points.start, points.end, single=((_TIME,), (_HISTOGRAM_FLAGS,), (_COUNT,), (_SUM_OF,)),
        repeated=(HISTOGRAM_LABELS, _HISTOGRAM_EXEMPLARS, *lists), most=limits.fields,
    )  # fmt: skip
    time, flags, count, total = found.slots
    labels, odd = _labels(buffer, points, found.pieces[0], HISTOGRAM_LABELS)
    odd |= found.bad | found.long
    for unpacked in found.pieces[4:]:
        odd[unpacked.owner] = True
    buckets, bounds = (_only(points, some, odd) for some in found.pieces[2:4])
    slow[points.owner[odd]] = True
    exemplars = _owned(points, found.pieces[1])
    return Points(points.owner, time, flags, *_said(buffer, labels), exemplars, (count, total), buckets, bounds)


def _said(buffer: Bytes, labels: Pieces) -> tuple[Offsets, list[bytes]]:
    encoded: Any = slices(buffer, labels.start, labels.end).dictionary_encode()
    return np.asarray(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist()


def _owned(points: Pieces, some: Pieces) -> Pieces:
    """Parts of points as parts of metrics."""
    return Pieces(points.owner[some.owner], some.start, some.end)


def _only(points: Pieces, some: Pieces, odd: Flags) -> Pieces:
    """A list of numbers of each point, empty where it has none."""
    start = points.start.copy()
    end = start.copy()
    start[some.owner], end[some.owner] = some.start, some.end
    odd |= np.bincount(some.owner, minlength=len(odd)) > 1
    odd |= (end - start) % 8 != 0
    return Pieces(points.owner, start, end)


def _labels(buffer: Bytes, points: Pieces, pairs: Pieces, field: int) -> tuple[Pieces, Flags]:
    """The bytes of each point that hold all its labels, and points whose labels are not side by side."""
    count = len(points.owner)
    start, end = points.start.copy(), points.start.copy()
    owner = pairs.owner
    if not len(owner):
        return Pieces(points.owner, start, end), np.zeros(count, np.bool_)
    new = owner[1:] != owner[:-1]
    first, last = np.concatenate(([True], new)).nonzero()[0], np.concatenate((new, [True])).nonzero()[0]
    begins, usual = headers(buffer, pairs.start[first], pairs.end[first], field)
    some = owner[first]
    start[some], end[some] = begins, pairs.end[last]
    sizes = np.add.reduceat(field_sizes(pairs.end - pairs.start), first)
    odd = np.zeros(count, np.bool_)
    odd[some] = ~usual | (sizes != end[some] - start[some])
    return Pieces(points.owner, start, end), odd
