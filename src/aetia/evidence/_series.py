"""How far each metric series moved between the baseline and the incident, for all series at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aetia.evidence._memo import once, once_for_facts
from aetia.model.errors import SignalError
from aetia.signals.frames import F64, I64, Bool, MetricFrame
from aetia.signals.keys import sorted_in_groups
from aetia.signals.view import View

ENOUGH_BINS = 6
"""Baseline bins from which their own spread is trusted; below, the relative floor is larger."""
ABSOLUTE_FLOOR = {"share": 0.01, "ms": 1.0, "count": 1.0, "1/s": 0.5, "ms/s": 5.0, "cores": 0.005}
"""Movements that are nothing whatever the baseline, per unit."""
RELATIVE_FLOOR = 0.1
SHORT_FLOOR = 0.2
COUNT_FLOOR_IN_SCALE = 0.3
"""One blocked thread is no movement, but from a steady zero three are no noise either."""
FEW_BLOCKS = 6
"""Blocks into which a baseline is cut that is not twice as long as the incident."""
FAILURE_FLOOR = 0.01
"""Share of failures below which a success rate is as good as full."""
USUAL = 0.9
PEER_FLOOR = 0.1
"""Share of the typical level of a metric over all entities below which a movement is nothing: an idle service that
goes from 0.1 % to 0.5 % of a core has not changed, although it has quintupled."""


MAX_HALF_Z = 50.0
"""A baseline with earlier incidents in it must not talk everything down."""
HALF_Z = 10.0
"""z of a movement that is believed by half where the baseline is calm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifts:
    """Per series of the metric frame, each of shape (s,).

    `base` and `level` are the typical baseline value and the mean of the more extreme half of the incident's
    bins in `direction` (+1 up, -1 down); `z` is their distance in robust standard deviations of equally long
    baseline blocks, floored; `effect` = |ln((level+f)/(base+f))| with the floor f; `onset_ns` the first
    incident bin beyond 3 deviations (-1 none); `usable` marks series with enough baseline.
    """

    base: F64
    level: F64
    z: F64
    effect: F64
    direction: F64
    onset_ns: I64
    usable: Bool
    usual_z: F64
    """Largest z of baseline blocks that is usual (90 % quantile) among series of the same meaning: 0 where the
    baseline has too few blocks to say."""
    gone: Bool
    """Series that reported throughout the baseline and stopped in the incident."""


def believed(z: F64 | float, usual_z: F64 | float) -> F64:
    """z as a score 0..1: half of it where z is HALF_Z or twice what the baseline itself shows now and then."""
    distance = np.asarray(z, np.float64)
    half = np.clip(2.0 * np.asarray(usual_z), HALF_Z, MAX_HALF_Z)
    return distance / (distance + half)


def shifts(view: View) -> Shifts:
    """Shifts of all series of the view, computed once."""
    return once(view, "metric shifts", _compute)


def _extreme_half(values: F64, sign: float) -> F64:
    """Mean of the more extreme half (at least 1, at most all) of each row's finite values; NaN for empty rows."""
    ordered = np.sort(-sign * values, axis=1)  # NaN last, most extreme first
    count = np.isfinite(values).sum(axis=1)
    half = np.maximum((count + 1) // 2, 1)
    keep = np.arange(values.shape[1])[None, :] < half[:, None]
    total = np.where(keep & np.isfinite(ordered), ordered, 0.0).sum(axis=1)
    return np.where(count > 0, -sign * total / half, np.nan)


def _block_width(base_bins: int, incident_bins: int) -> int:
    """Bins per block: the incident's length, or a share of a baseline that is too short to hold several of it."""
    return incident_bins if base_bins >= 2 * incident_bins else max(1, min(incident_bins, base_bins // FEW_BLOCKS))


def _blocks(values: F64, width: int, sign: float) -> F64:
    """The extreme-half statistic over sliding blocks of the baseline, shape (s, blocks)."""
    bins = values.shape[1]
    if bins < 2 * width:
        return values
    starts = range(0, bins - width + 1, max(1, width // 2))
    return np.stack([_extreme_half(values[:, start : start + width], sign) for start in starts], axis=1)


def metric_codes(frame: MetricFrame) -> I64:
    """A code per series, the same for all entities with the same metric, shape (s,)."""
    codes: dict[tuple[str, str], int] = {}
    return np.array([codes.setdefault((s.raw, s.statistic), len(codes)) for s in frame.series], dtype=np.int64)


def _peer_floor(group: I64, base: F64) -> F64:
    """A tenth of the median level over all entities with the same metric, shape (s,)."""
    known = np.flatnonzero(np.isfinite(base))
    if len(known) == 0:
        return np.zeros(len(group))
    levels = np.abs(base[known])
    levels = levels[sorted_in_groups(levels, group[known])]
    count = np.bincount(group[known], minlength=int(group.max()) + 1)
    first, last = np.cumsum(count) - count, len(levels) - 1
    low, high = first + np.maximum(count - 1, 0) // 2, first + count // 2
    median = 0.5 * (levels[np.minimum(low, last)] + levels[np.minimum(high, last)])
    return PEER_FLOOR * np.where(count > 0, median, 0.0)[group]


def _compute(view: View) -> Shifts:
    frame = view.metrics
    count = len(frame)
    in_base, in_incident = view.bin_masks
    baseline, incident = frame.values[:, in_base], frame.values[:, in_incident]
    if count == 0 or incident.shape[1] == 0 or baseline.shape[1] == 0:
        empty, off = np.zeros(count), np.zeros(count, np.bool_)
        return Shifts(
            base=empty,
            level=empty,
            z=empty,
            effect=empty,
            direction=empty,
            onset_ns=np.full(count, -1, np.int64),
            usable=off,
            gone=off,
            usual_z=empty,
        )
    seen, now = np.isfinite(baseline).sum(axis=1), np.isfinite(incident).sum(axis=1)
    usable = (seen > 0) & (now > 0)
    gone = (seen >= max(ENOUGH_BINS, 0.5 * baseline.shape[1])) & (now < 0.5 * incident.shape[1])
    floor_of_kind = np.array([ABSOLUTE_FLOOR.get(s.unit, 0.0) for s in frame.series])
    best: dict[str, F64] = {}
    for sign in (1.0, -1.0):
        side = _one_side(view, baseline, incident, floor_of_kind, sign)
        if not best:
            best = side
            continue
        swap = np.nan_to_num(side["z"]) > np.nan_to_num(best["z"])
        best = {key: np.where(swap, side[key], best[key]) for key in best}
    usual = _usual_z(frame, best["worst_null"])
    onset = _onset(frame, in_incident, incident, best)
    for key in ("z", "effect"):
        best[key] = np.where(usable, np.nan_to_num(best[key]), 0.0)
    return Shifts(
        base=best["base"],
        level=best["level"],
        z=best["z"],
        effect=best["effect"],
        direction=best["direction"],
        onset_ns=np.where(usable, onset, -1),
        usable=usable,
        gone=gone,
        usual_z=usual,
    )


def _one_side(view: View, baseline: F64, incident: F64, floor_of_kind: F64, sign: float) -> dict[str, F64]:
    frame = view.metrics
    group = once_for_facts(view, "metric codes", lambda facts: metric_codes(facts.metrics))
    with np.errstate(all="ignore"):
        width = _block_width(baseline.shape[1], incident.shape[1])
        null = _blocks(baseline, width, sign)
        base = row_medians(null)
        spread = 1.4826 * row_medians(np.abs(null - base[:, None]))
        level = _extreme_half(incident if width == incident.shape[1] else _blocks(incident, width, sign), sign)
        top = _full_success(frame, baseline)
        size = np.where(top > 0, np.abs(top - base), np.abs(base))
        now = np.where(top > 0, np.abs(top - level), np.abs(level))
        floor = np.where(top > 0, FAILURE_FLOOR * top, np.maximum(floor_of_kind, _peer_floor(group, base)))
        certainty = np.where([s.unit == "count" for s in frame.series], COUNT_FLOOR_IN_SCALE, 1.0)
        short = np.clip(1.0 - np.isfinite(baseline).sum(axis=1) / ENOUGH_BINS, 0.0, 1.0)
        scale = spread + (RELATIVE_FLOOR + SHORT_FLOOR * short) * size + floor * certainty + 1e-12
        z = np.maximum(sign * (level - base) / scale, 0.0)
        effect = np.abs(np.log((now + floor + 1e-12) / (size + floor + 1e-12)))
        worst = np.nanmax(np.where(np.isfinite(null), sign * (null - base[:, None]) / scale[:, None], 0.0), axis=1)
    return {
        "base": base,
        "level": level,
        "z": z,
        "effect": effect,
        "direction": np.full(len(z), sign),
        "scale": scale,
        "worst_null": worst,
    }


def _full_success(frame: MetricFrame, baseline: F64) -> F64:
    """What each success series shows when nothing fails, 1 or 100, shape (s,); 0 for all other series.

    From 100 % to 90 % is a tenfold of what users feel, not a tenth: success is judged by what is missing of it.
    """
    success = np.array([s.what == "success" for s in frame.series], dtype=bool)
    highest = np.max(np.where(np.isfinite(baseline), baseline, 0.0), axis=1, initial=0.0)
    top = np.where(highest > 1.5, 100.0, 1.0)
    return np.where(success & (highest <= 1.001 * top), top, 0.0)


def _usual_z(frame: MetricFrame, worst_null: F64) -> F64:
    """The 90 % quantile of the largest baseline z over the series of each meaning, shape (s,)."""
    what = np.array([s.what for s in frame.series], dtype=np.str_)
    usual = np.zeros(len(what))
    for kind in np.unique(what):
        rows = what == kind
        usual[rows] = float(np.quantile(worst_null[rows], USUAL))
    return usual


def row_medians(values: F64) -> F64:
    """Row medians of (r, c) values that skip NaN, shape (r,); NaN for rows without a value."""
    if values.shape[1] == 0:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(ordered))
    low, high = np.maximum((count - 1) // 2, 0), np.maximum(count // 2, 0)
    high = np.minimum(high, ordered.shape[1] - 1)
    return np.where(count > 0, 0.5 * (ordered[rows, low] + ordered[rows, high]), np.nan)


def _onset(frame: MetricFrame, in_incident: Bool, incident: F64, side: dict[str, F64]) -> I64:
    with np.errstate(all="ignore"):
        beyond = side["direction"][:, None] * (incident - side["base"][:, None]) > 3 * side["scale"][:, None]
    first = beyond.argmax(axis=1)
    starts = frame.bin_start_ns[in_incident]
    return np.where(beyond.any(axis=1), starts[first], -1)


def series_name(view: View, row: int) -> dict[str, Any]:
    """The arguments that find a series again: names instead of codes."""
    series, names = view.metrics.series[row], view.names
    place = {
        "service": names.services[series.service] if series.service >= 0 else None,
        "instance": names.instances[series.instance] if series.instance >= 0 else None,
        "node": names.nodes[series.node] if series.node >= 0 else None,
        "caller": names.services[series.caller] if series.caller >= 0 else None,
        "callee": names.services[series.callee] if series.callee >= 0 else None,
    }
    return {"metric": series.raw, "statistic": series.statistic} | {k: v for k, v in place.items() if v is not None}


def find_series(view: View, args: dict[str, Any]) -> int:
    """Row of the series that `series_name` described; raises SignalError when it is not there."""
    for row, series in enumerate(view.metrics.series):
        named = series.raw == args.get("metric") and series.statistic == args.get("statistic")
        if named and series_name(view, row) == args:
            return row
    raise SignalError(f"no metric series {args} in this telemetry; re-check against the telemetry of the diagnosis.")


def measure_series(view: View, args: dict[str, Any]) -> dict[str, Any]:
    """Baseline and incident level of one series, with the series itself for a chart."""
    row = find_series(view, args)
    moved, series = shifts(view), view.metrics.series[row]
    return {
        "baseline": float(moved.base[row]),
        "incident": float(moved.level[row]),
        "z": float(moved.z[row]),
        "unit": series.unit,
        "series": chart(view, row),
    }


def chart(view: View, row: int, points: int = 64) -> dict[str, Any]:
    """The end of the baseline and the incident of one series, averaged to at most `points` points."""
    frame = view.metrics
    in_base, in_incident = view.bin_masks
    rows = np.flatnonzero(in_base | in_incident)
    incident_bins = int(in_incident.sum())
    rows = rows[-max(4 * incident_bins, 16) :]
    if len(rows) == 0:
        return {"start_ns": 0, "step_ns": frame.step_ns, "unit": frame.series[row].unit, "values": []}
    first, last = rows[0], rows[-1] + 1
    values = frame.values[row, first:last]
    fold = -(-len(values) // points)
    padded = np.full(fold * -(-len(values) // fold), np.nan)
    padded[: len(values)] = values
    cells = padded.reshape(-1, fold)
    count = np.isfinite(cells).sum(axis=1)
    mean = np.divide(np.nansum(cells, axis=1), count, out=np.full(len(cells), np.nan), where=count > 0)
    return {
        "start_ns": int(frame.bin_start_ns[first]),
        "step_ns": int(frame.step_ns * fold),
        "unit": frame.series[row].unit,
        "values": [float(v) if np.isfinite(v) else None for v in mean],
    }
