"""Metric rows as one dense array: series by time bins; counters as rates, histograms as rates and quantiles.

The long table is coded once (dictionary-encoded text, distinct attribute texts parsed once), sorted by series and
time, and reduced with `reduceat` and `bincount`; only distinct (name, attributes) pairs meet Python code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

from aetia.model.tables import Telemetry
from aetia.signals.frames import F64, I32, I64, Bool, MetricFrame, Names
from aetia.signals.keys import stable_order
from aetia.signals.metric_names import GAUGE, Plan, Streams, Texts, make_plans
from aetia.signals.metric_series import Cells, assemble
from aetia.signals.names import code_column, column_of, encode

pc: Any = _compute  # the stubs know kernels only in part
LARGEST_VALUE = 1e100
"""Larger values, NaN among them, are left out: their products and differences would leave the range of a float."""
_MAX_CELLS = 1 << 26
_MAX_GAP_BINS = 5
_PHASES = 64
_QUIET = 0.5


@dataclass(frozen=True, slots=True)
class _Rows:
    """Usable samples sorted by (stream, time). A stream is one recorded series: entity, name and attributes."""

    stream: I32
    time_ns: I64
    value: F64


def build_metrics(telemetry: Telemetry, names: Names) -> MetricFrame:
    """The metric table of some telemetry on one grid, series sorted by identity.

    The step is the sampling interval that most series share; bins begin just before the samples, and stretches of
    more than five empty bins are left out (`bin_start_ns` says when each bin begins). Several samples in a bin are
    averaged, missing ones are NaN. Labels with few values keep series apart, series that differ only in others are
    added up (averaged where the unit is a share, a time or a quantile). Samples without time or a finite value are
    left out.
    """
    table = telemetry.metrics
    coded = _coded(table, names)
    if coded is None:
        return MetricFrame()
    rows, streams, texts = coded
    previous = np.zeros(len(rows.stream), np.bool_)
    previous[1:] = rows.stream[1:] == rows.stream[:-1]
    plans, plan_of = make_plans(streams, texts, _moves(rows, previous, streams, len(texts.names)), names)
    step_ns = _sampling_step(rows, previous)
    rows = _as_rates(rows, previous, plans, plan_of, step_ns)
    if len(rows.stream) == 0:
        return MetricFrame()
    bins, start_ns, step_ns = _grid(rows, step_ns, len(streams.service))
    series, values = assemble(plans, plan_of, streams, _cells(rows, bins, len(start_ns)))
    return MetricFrame(series=series, values=values, bin_start_ns=start_ns, step_ns=step_ns)


def _coded(table: pa.Table, names: Names) -> tuple[_Rows, Streams, Texts] | None:
    """Sorted rows, streams and vocabularies; None when no sample can be used."""
    if table.num_rows == 0:
        return None
    time = cast("pa.ChunkedArray[Any]", column_of(table, "time").cast(pa.int64()))
    value = np.asarray(column_of(table, "value").to_numpy(), np.float64)
    name, name_texts = encode(column_of(table, "name"))
    usable = (np.abs(value) <= LARGEST_VALUE) & (name >= 0)
    if time.null_count:
        usable &= np.asarray(time.is_valid().to_numpy())
        time = pc.fill_null(time, 0)
    time_ns = np.asarray(time.to_numpy(), np.int64)
    attributes, attribute_texts = encode(_text(column_of(table, "attributes")))
    unit, unit_texts = encode(column_of(table, "unit"))
    type_, type_texts = encode(column_of(table, "type"))
    columns = [
        code_column(column_of(table, "service"), names.services),
        code_column(column_of(table, "instance"), names.instances),
        code_column(column_of(table, "node"), names.nodes),
        *(name, attributes, unit, type_),
    ]
    if not usable.all():
        time_ns, value = time_ns[usable], value[usable]
        columns = [column[usable] for column in columns]
    if len(value) == 0:
        return None
    stream, first = _combine(columns)
    order = _order(stream, time_ns)
    if order is not None:
        stream, time_ns, value = stream[order], time_ns[order], value[order]
    streams = Streams(*(column[first] for column in columns))
    return _Rows(stream, time_ns, value), streams, Texts(name_texts, attribute_texts, unit_texts, type_texts)


def _text(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Attributes as text; a column of another type carries none that we read."""
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(value_type) or pa.types.is_large_string(value_type):
        return column
    return cast("pa.ChunkedArray[Any]", pa.chunked_array([pa.nulls(len(column), pa.string())]))


def _combine(columns: list[I32]) -> tuple[I32, I64]:
    """One code per distinct row of the columns, sorted by them, and a row that holds each."""
    key = np.zeros(len(columns[0]), np.int64)
    bound = 1
    for column in columns:
        width = int(column.max(initial=-1)) + 2
        if bound * width >= 1 << 62:
            key, bound = _rank(key)
        key = key * width + (column + 1)
        bound *= width
    codes, _ = _rank(key)
    first = np.zeros(int(codes.max()) + 1, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes.astype(np.int32), first


def _rank(key: I64) -> tuple[I64, int]:
    """Dense ranks of the keys and how many there are; hashing the keys and sorting the distinct ones."""
    encoded = pa.array(key).dictionary_encode()
    distinct = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), np.int64)
    rank = np.empty(len(distinct), np.int64)
    rank[np.argsort(distinct)] = np.arange(len(distinct))
    return rank[encoded.indices.to_numpy(zero_copy_only=False)], len(distinct)


def _order(stream: I32, time_ns: I64) -> I64 | None:
    """Row order by (stream, time), None when the rows are in it."""
    if _in_order(stream, time_ns):
        return None
    order = stable_order(stream)
    if _in_order(stream[order], time_ns[order]):  # the usual case: each stream was recorded in order of time
        return order
    order = stable_order(time_ns)
    return order[stable_order(stream[order])]


def _in_order(stream: I32, time_ns: I64) -> bool:
    """Whether rows come in order of (stream, time)."""
    later = time_ns[1:] >= time_ns[:-1]
    return bool(np.all((stream[1:] > stream[:-1]) | ((stream[1:] == stream[:-1]) & later)))


def _moves(rows: _Rows, previous: Bool, streams: Streams, n_names: int) -> tuple[F64, F64]:
    """Share of steps that fall and that rise, per metric name."""
    change = np.diff(rows.value, prepend=rows.value[:1])
    name = streams.name[rows.stream]
    steps = np.maximum(np.bincount(name, previous, n_names), 1)
    falls = np.bincount(name, previous & (change < 0), n_names)
    return falls / steps, np.bincount(name, previous & (change > 0), n_names) / steps


def _sampling_step(rows: _Rows, previous: Bool) -> int:
    """The interval that most streams are sampled at (each stream has one vote), in ns; 1 s if none repeats."""
    gap = np.diff(rows.time_ns, prepend=rows.time_ns[:1])
    steps = np.flatnonzero(previous & (gap > 0))
    if len(steps) == 0:
        return 1_000_000_000
    vote = 1.0 / np.bincount(rows.stream[steps])[rows.stream[steps]]
    log_bin = np.rint(np.log(gap[steps].astype(np.float64)) * 10).astype(np.int64)
    weight = np.bincount(log_bin, vote)
    # Jitter may straddle two of the logarithmic bins (10 % wide).
    pair = weight + np.append(weight[1:], 0.0)
    mode = int(pair.argmax())
    chosen = np.abs(log_bin - mode - 0.5) < 1
    return _rounded(float(np.median(gap[steps][chosen])))


def _rounded(step: float) -> int:
    """A usual interval when one is within 3 %, else the step to three digits."""
    for seconds in (0.1, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600):
        if abs(step / (seconds * 1e9) - 1) < 0.03:
            return int(seconds * 1e9)
    digits = 10 ** max(int(np.floor(np.log10(step))) - 2, 0)
    return max(round(step / digits) * digits, 1)


def _as_rates(rows: _Rows, previous: Bool, plans: list[Plan], plan_of: I32, step_ns: int) -> _Rows:
    """Samples with counters turned into rates per second; a counter's first sample has none and is left out.

    A counter that falls was reset and has counted from zero since. Sums over an interval (delta temporality) are
    divided by the time since the previous sample, the first by the step.
    """
    roles = np.array([plan.role for plan in plans], np.int8)[plan_of][rows.stream]
    delta = np.array([plan.delta for plan in plans], np.bool_)[plan_of][rows.stream]
    counting = roles != GAUGE
    if not counting.any():
        return rows
    change = np.diff(rows.value, prepend=rows.value[:1])
    gap = np.diff(rows.time_ns, prepend=rows.time_ns[:1])
    gap_seconds = np.where(previous & (gap > 0), gap, step_ns) / 1e9
    increase = np.where(change < 0, rows.value, change)
    value = np.where(counting, np.where(delta, rows.value, increase) / gap_seconds, rows.value)
    keep = ~counting | delta | (previous & (gap > 0))
    return _Rows(rows.stream[keep], rows.time_ns[keep], value[keep])


def _grid(rows: _Rows, step_ns: int, n_streams: int) -> tuple[I64, I64, int]:
    """Bin per sample, start per bin and the step, coarser where the array would not fit in memory."""
    while True:
        offset = _boundary(rows, step_ns)
        number = (rows.time_ns - offset) // step_ns
        first = int(number.min())
        number -= first
        span = int(number.max()) + 1
        used = _used_bins(number, span)
        if len(used) * n_streams <= _MAX_CELLS:
            break
        step_ns *= 2
    if len(used) == span:
        return number, offset + (first + used) * step_ns, step_ns
    return np.searchsorted(used, number), offset + (first + used) * step_ns, step_ns


def _used_bins(number: I64, span: int) -> I64:
    """Bins with samples, and the empty ones in gaps of at most _MAX_GAP_BINS."""
    dense = span <= 1 << 24
    used = np.flatnonzero(np.bincount(number, minlength=span)) if dense else np.unique(number)
    gap = np.diff(used)
    fill = np.flatnonzero((gap > 1) & (gap <= _MAX_GAP_BINS + 1))
    if len(fill) == 0:
        return used
    extra = [np.arange(used[i] + 1, used[i + 1]) for i in fill]
    return np.sort(np.concatenate([used, *extra]))


def _boundary(rows: _Rows, step_ns: int) -> int:
    """Phase of the bin borders: the first samples behind the widest range of phases that is nearly without any.

    Samples of one scrape then share a bin despite jitter, and a bin begins with its samples, so that no bin that
    begins before an incident holds samples from inside it. Each stream has one vote.
    """
    rest = rows.time_ns % step_ns
    phase = rest * _PHASES // step_ns
    weight = np.bincount(phase, 1.0 / np.bincount(rows.stream)[rows.stream], _PHASES)
    quiet = weight <= _QUIET * weight.mean()
    if not quiet.any():
        return 0
    run = best = at = 0
    for place in range(2 * _PHASES):
        run = run + 1 if quiet[place % _PHASES] else 0
        if run > best:
            best, at = run, place + 1
    return int(rest[phase == at % _PHASES].min())


def _cells(rows: _Rows, bins: I64, n_bins: int) -> Cells:
    """The mean of each stream in each bin that has samples of it."""
    new = np.ones(len(bins), np.bool_)
    new[1:] = (bins[1:] != bins[:-1]) | (rows.stream[1:] != rows.stream[:-1])
    start = np.flatnonzero(new)
    if len(start) == len(bins):
        return Cells(rows.stream, bins, rows.value, n_bins)
    size = np.diff(np.append(start, len(bins)))
    return Cells(rows.stream[start], bins[start], np.add.reduceat(rows.value, start) / size, n_bins)
