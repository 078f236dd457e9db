"""Puts streams of samples together to series: sums, histogram quantiles, means, error shares."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aetia.signals.frames import F64, I32, I64, Bool, Series
from aetia.signals.histograms import QUANTILES, quantiles_from_cumulative
from aetia.signals.kinds import Kind, words_of
from aetia.signals.metric_names import BUCKET, COUNT, GAUGE, SUM, Plan, Streams

Entity = tuple[int, int, int, int, int]
_PAIR_WORDS = frozenset(
    {
        "request", "requests", "req", "reqs", "rq", "rps", "qps", "error", "errors", "err", "fail", "failed",
        "failures",
        "failure", "total", "count", "rate", "workload",
    }
)  # fmt: skip


class Cells(NamedTuple):
    """The samples of streams on the grid: stream, bin and value per cell, and the number of bins."""

    stream: I32
    bin: I64
    value: F64
    n_bins: int


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What streams stand for: plan and entity of each."""

    plans: list[Plan]
    plan_of: I32
    entity_of: list[Entity]

    def role(self) -> I32:
        return np.array([plan.role for plan in self.plans], np.int32)[self.plan_of]


@dataclass(frozen=True, slots=True)
class _Block:
    """Dense rows of one role: `entity[i]`, `plan[i]` (one that stands for the row) and values (rows, bins)."""

    entity: list[Entity]
    plan: list[Plan]
    values: F64


def assemble(plans: list[Plan], plan_of: I32, streams: Streams, cells: Cells) -> tuple[tuple[Series, ...], F64]:
    """Series and their values (s, bins) from cells; series are sorted by identity."""
    meaning = _Meaning(plans, plan_of, _entities(plans, plan_of, streams))
    role = meaning.role()
    plain = _block(meaning, (role != BUCKET) & (role != SUM), cells)
    found = _plain_series(plain)
    found += _means(_block(meaning, role == SUM, cells), plain)
    found += _quantiles(meaning, cells)
    found += _error_shares(found)
    found.sort(key=lambda item: item[0])
    if not found:
        return (), np.zeros((0, cells.n_bins))
    return tuple(item[0] for item in found), np.stack([item[1] for item in found])


def _entities(plans: list[Plan], plan_of: I32, streams: Streams) -> list[Entity]:
    """Who each stream is about; what describes the machine is the node's, not that of whoever reports it."""
    machine = np.array([plan.kind.scope == "node" for plan in plans], np.bool_)[plan_of] & (streams.node >= 0)
    caller = np.array([plan.caller for plan in plans])[plan_of]
    callee = np.array([plan.callee for plan in plans])[plan_of]
    service, instance = np.where(machine, -1, streams.service), np.where(machine, -1, streams.instance)
    table = np.stack([service, instance, streams.node, caller, callee], axis=1)
    return [(a, b, c, d, e) for a, b, c, d, e in table.tolist()]


def _block(meaning: _Meaning, chosen: Bool, cells: Cells) -> _Block:
    """Streams of one entity and meaning in one row each: added up, or averaged where adding has no sense."""
    plan_of, entity_of = meaning.plan_of, meaning.entity_of
    rows: dict[tuple[Entity, str, int, str, bool | None], int] = {}
    entity: list[Entity] = []
    plan_at: list[Plan] = []
    row_of = np.full(len(plan_of), -1, np.int64)
    for stream in np.flatnonzero(chosen).tolist():
        plan = meaning.plans[plan_of[stream]]
        key = (entity_of[stream], plan.raw, plan.role, plan.kind.statistic, plan.failed)
        row = rows.setdefault(key, len(rows))
        if row == len(entity):
            entity.append(entity_of[stream])
            plan_at.append(plan)
        row_of[stream] = row
    n_bins = cells.n_bins
    row, bins, value = row_of[cells.stream], cells.bin, cells.value
    if not chosen.all():
        use = np.flatnonzero(row >= 0)
        row, bins, value = row[use], bins[use], value[use]
    place = row * n_bins + bins
    size = len(entity) * n_bins
    total = np.bincount(place, value, size).reshape(len(entity), n_bins)
    count = np.bincount(place, minlength=size).reshape(len(entity), n_bins)
    add = np.array([plan.add for plan in plan_at], np.bool_)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(count > 0, np.where(add, total, total / count), np.nan)
    return _Block(entity, plan_at, values)


def _series(entity: Entity, raw: str, kind: Kind, unit: str, statistic: str) -> Series:
    return Series(*entity, raw, kind.what, kind.bad, unit, statistic)


def _plain_series(block: _Block) -> list[tuple[Series, F64]]:
    """Gauges and rates; requests that are told apart by outcome become their total and the share that failed."""
    out: list[tuple[Series, F64]] = []
    outcomes: defaultdict[tuple[Entity, str], dict[bool, int]] = defaultdict(dict)
    scale = np.array([1.0 if plan.role == COUNT else _counted_kind(plan).scale for plan in block.plan])
    scaled = block.values * scale[:, None]
    for row, (entity, plan) in enumerate(zip(block.entity, block.plan, strict=True)):
        if plan.failed is not None:
            outcomes[entity, plan.raw][plan.failed] = row
            continue
        kind = _counted_kind(plan)
        unit, statistic = _rate_unit(plan, kind)
        out.append((_series(entity, _shown(plan), kind, unit, statistic), scaled[row]))
    for (entity, _), rows in outcomes.items():
        plan = block.plan[next(iter(rows.values()))]
        parts = [block.values[row] for row in rows.values()]
        known = np.isfinite(parts).any(axis=0)
        total = np.where(known, np.nansum(parts, axis=0), np.nan)
        failed = np.where(known, np.nan_to_num(block.values[rows[True]]) if True in rows else 0.0, np.nan)
        kind = _counted_kind(plan)
        unit, statistic = _rate_unit(plan, kind)
        out.append((_series(entity, _shown(plan), kind, unit, statistic), total))
        if {True, False} <= outcomes[entity, plan.raw].keys() or len(outcomes) > 1 or True in rows:
            out.append((_error_series(entity, f"failed share of {_shown(plan)}"), _share(failed, total)))
    return out


def _shown(plan: Plan) -> str:
    return f"{plan.raw}_count" if plan.role == COUNT else plan.raw


def _counted_kind(plan: Plan) -> Kind:
    """The number of observations of a latency is traffic."""
    if plan.role == COUNT and plan.kind.what in ("latency", "other"):
        return plan.kind._replace(what="traffic", bad=0, scale=1.0)
    return plan.kind


def _rate_unit(plan: Plan, kind: Kind) -> tuple[str, str]:
    if plan.role == GAUGE:
        return kind.unit, kind.statistic
    if plan.role == COUNT or kind.unit in ("", "count"):
        return "1/s", "rate"
    return (kind.unit if kind.unit in ("cores", "share") else f"{kind.unit}/s"), "rate"


def _means(sums: _Block, plain: _Block) -> list[tuple[Series, F64]]:
    """Mean per observation from `_sum` and `_count`; of collections also the time spent per second."""
    counts: dict[tuple[Entity, str], F64] = {}
    for row, (entity, plan) in enumerate(zip(plain.entity, plain.plan, strict=True)):
        if plan.role == COUNT:
            key = (entity, plan.raw)
            counts[key] = np.nansum([counts[key], plain.values[row]], axis=0) if key in counts else plain.values[row]
    out: list[tuple[Series, F64]] = []
    for row, (entity, plan) in enumerate(zip(sums.entity, sums.plan, strict=True)):
        count = counts.get((entity, plan.raw))
        scaled = sums.values[row] * plan.kind.scale
        if count is not None:
            out.append((_series(entity, plan.raw, plan.kind, plan.kind.unit, "mean"), _share(scaled, count)))
        if plan.kind.what == "gc" or count is None:
            unit = f"{plan.kind.unit}/s" if plan.kind.unit else "1/s"
            out.append((_series(entity, f"{plan.raw}_sum", plan.kind, unit, "rate"), scaled))
    return out


def _quantiles(meaning: _Meaning, cells: Cells) -> list[tuple[Series, F64]]:
    """Quantile series of cumulative buckets; histograms with the same bounds are computed together."""
    members: defaultdict[tuple[Entity, str], dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    plan_at: dict[tuple[Entity, str], Plan] = {}
    for stream in np.flatnonzero(meaning.role() == BUCKET).tolist():
        plan = meaning.plans[meaning.plan_of[stream]]
        key = (meaning.entity_of[stream], plan.raw)
        members[key][plan.le].append(stream)
        plan_at[key] = plan
    same: defaultdict[tuple[float, ...], list[tuple[Entity, str]]] = defaultdict(list)
    for key, by_bound in members.items():
        same[tuple(sorted(by_bound))].append(key)
    out: list[tuple[Series, F64]] = []
    for bounds, keys in same.items():
        place = np.full(len(meaning.plan_of), -1, np.int64)
        for h, key in enumerate(keys):
            for k, bound in enumerate(bounds):
                place[members[key][bound]] = k * len(keys) + h
        at = place[cells.stream]
        use = at >= 0
        size = len(bounds) * len(keys) * cells.n_bins
        total = np.bincount(at[use] * cells.n_bins + cells.bin[use], cells.value[use], size).astype(np.float64)
        cumulative = total.reshape(len(bounds), len(keys), cells.n_bins)
        values = quantiles_from_cumulative(np.array(bounds), cumulative)
        for h, key in enumerate(keys):
            kind = plan_at[key].kind
            for q, share in enumerate(QUANTILES):
                series = _series(key[0], key[1], kind, kind.unit, f"p{share * 100:g}")
                out.append((series, values[q, h] * kind.scale))
    return out


def _error_series(entity: Entity, raw: str) -> Series:
    return Series(*entity, raw, "errors", 1, "share", "value")


def _share(part: F64, whole: F64) -> F64:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _error_shares(found: list[tuple[Series, F64]]) -> list[tuple[Series, F64]]:
    """Share of requests that failed, where one entity has a series of requests and one of errors that belong
    together: their names agree but for the words for requests and errors, or there is only one of each."""
    requests: defaultdict[Entity, list[int]] = defaultdict(list)
    errors: defaultdict[Entity, list[int]] = defaultdict(list)
    for index, (series, _) in enumerate(found):
        entity = (series.service, series.instance, series.node, series.caller, series.callee)
        if series.what == "traffic" and series.statistic in ("rate", "value", "mean"):
            requests[entity].append(index)
        elif series.what == "errors" and series.unit != "share":
            errors[entity].append(index)
    out: list[tuple[Series, F64]] = []
    for entity, failing in errors.items():
        asked = requests.get(entity, [])
        for index in failing:
            stem = _stem(found[index][0].raw)
            mates = [other for other in asked if _stem(found[other][0].raw) == stem]
            mates = mates or (asked if len(asked) == 1 and len(failing) == 1 else [])
            if len(mates) == 1 and found[mates[0]][0].unit == found[index][0].unit:
                share = _share(found[index][1], found[mates[0]][1])
                out.append(
                    (
                        _error_series(entity, f"{found[index][0].raw} of {found[mates[0]][0].raw}"),
                        np.clip(share, 0.0, 1.0),
                    )
                )
    return out


def _stem(raw: str) -> tuple[str, ...]:
    return tuple(word for word in words_of(raw) if word not in _PAIR_WORDS)
