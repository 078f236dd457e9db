"""What each distinct pair of metric name and attributes stands for: its role, labels, ends of a call, meaning."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import cast

import msgspec
import numpy as np

from aetia.ingest.semconv import TEMPORALITY_KEY
from aetia.signals.frames import F64, I32, Names
from aetia.signals.kinds import OUTCOME_KEYS, Kind, failed_outcome, recognise, words_of
from aetia.signals.names import attribute_edges

GAUGE, COUNTER, BUCKET, SUM, COUNT = range(5)

_PART = re.compile(r"(.+)([_.-])(bucket|sum|count)")
_COUNTED = frozenset({"counter", "histogram"})
_MAX_LABEL_VALUES = 8
_MAX_LABEL_SETS = 32
_FALLS_OF_A_DELTA = 0.3
_FALLS_OF_A_COUNTER = 0.02
_RISES_OF_A_COUNTER = 0.3
_TEMPORALITY = (TEMPORALITY_KEY, "temporality", "aggregation_temporality", "aggregationTemporality")
_TECHNICAL = frozenset({"le", "__name__", "job", *_TEMPORALITY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How samples of one (name, attributes, unit, type) are used.

    `raw` is the metric's own name with the labels that keep series apart; for parts of a histogram the base name.
    `failed` tells outcomes of requests apart, None where no label does. `add`: streams that fall into one series
    are added up, otherwise averaged. `le` is a bucket's upper bound.
    """

    role: int
    delta: bool
    raw: str
    kind: Kind
    caller: int = -1
    callee: int = -1
    failed: bool | None = None
    add: bool = False
    le: float = math.nan


@dataclass(slots=True)
class _Pair:
    """One distinct (name, attributes, unit, type) before its labels are thinned out."""

    name: str
    unit: str | None
    type: str | None
    labels: dict[str, str]
    caller: int = -1
    callee: int = -1
    le: float = math.nan
    delta: bool = False
    kept: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Streams:
    """What identifies each recorded series (stream), shape (m,): codes, -1 for null."""

    service: I32
    instance: I32
    node: I32
    name: I32
    attributes: I32
    unit: I32
    type: I32


@dataclass(frozen=True, slots=True)
class Texts:
    """What the codes of names, attributes, units and types stand for."""

    names: Sequence[str | None]
    attributes: Sequence[str | None]
    units: Sequence[str | None]
    types: Sequence[str | None]


def make_plans(streams: Streams, texts: Texts, moves: tuple[F64, F64], names: Names) -> tuple[list[Plan], I32]:
    """The plans, and the plan of each stream, shape (m,); `moves` are the shares of steps that fall and that rise,
    per metric name."""
    key = streams.name.astype(np.int64)
    for codes, values in (
        (streams.attributes, texts.attributes),
        (streams.unit, texts.units),
        (streams.type, texts.types),
    ):
        key = key * (len(values) + 1) + codes + 1
    _, first, plan_of = np.unique(key, return_index=True, return_inverse=True)
    service_of = {text: code for code, text in enumerate(names.services)}
    parsed: dict[str | None, _Pair] = {}
    pairs: list[_Pair] = []
    for row in first.tolist():
        text = _at(texts.attributes, int(streams.attributes[row]))
        if text not in parsed:
            parsed[text] = _parse(text, service_of)
        name, unit = _at(texts.names, int(streams.name[row])) or "", _at(texts.units, int(streams.unit[row]))
        pairs.append(replace(parsed[text], name=name, unit=unit, type=_at(texts.types, int(streams.type[row]))))
    by_name: defaultdict[str, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        by_name[pair.name].append(pair)
    for group in by_name.values():
        _thin_out(group)
    falls, rises = moves
    moved = {text: (float(falls[code]), float(rises[code])) for code, text in enumerate(texts.names) if text}
    plans = [_plan(pair, moved.get(pair.name, (0.0, 0.0)), by_name.keys()) for pair in pairs]
    return plans, plan_of.astype(np.int32)


def _at(values: Sequence[str | None], code: int) -> str | None:
    return values[code] if code >= 0 else None


def _parse(text: str | None, service_of: dict[str, int]) -> _Pair:
    """Labels of one attribute text; the two ends of a call and a bucket bound are taken out of them."""
    pair = _Pair("", None, None, {})
    if not text:
        return pair
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return pair
    if not isinstance(decoded, dict):
        return pair
    values = cast("dict[str, object]", decoded)
    for caller, callee in attribute_edges(text):
        pair.caller, pair.callee = service_of.get(caller, -1), service_of.get(callee, -1)
        ends = {caller, callee}
        values = {key: value for key, value in values.items() if value not in ends}
        break
    pair.le = _bound(values.get("le"))
    pair.delta = any("delta" in str(values.get(key, "")).lower() or values.get(key) == 1 for key in _TEMPORALITY)
    pair.labels = {
        key: _label(value)
        for key, value in values.items()
        if key not in _TECHNICAL and not isinstance(value, list | dict)
    }
    return pair


def _label(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _bound(value: object) -> float:
    if value is None:
        return math.nan
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _thin_out(pairs: list[_Pair]) -> None:
    """Keeps the labels of one metric that split it into few series; the others are aggregated over."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        for key, value in pair.labels.items():
            values[key].add(value)
    some = {key for key in values if any(key not in pair.labels for pair in pairs)}
    kept = sorted(
        (key for key, seen in values.items() if (len(seen) > 1 or key in some) and len(seen) <= _MAX_LABEL_VALUES),
        key=lambda key: (len(values[key]), key),
    )
    quantile = ["quantile"] if "quantile" in values and "quantile" not in kept else []
    while kept and len({tuple(pair.labels.get(key) for key in kept) for pair in pairs}) > _MAX_LABEL_SETS:
        kept.pop()
    for pair in pairs:
        pair.kept = {key: pair.labels[key] for key in sorted([*kept, *quantile]) if key in pair.labels}


def _plan(pair: _Pair, moves: tuple[float, float], names: Set[str]) -> Plan:
    role, base = _role(pair, moves, names)
    plain = recognise(base, pair.unit, pair.type if role in (GAUGE, COUNTER) else "histogram")
    failed = failed_outcome(pair.labels) if plain.what == "traffic" or role not in (GAUGE, COUNTER) else None
    if role in (BUCKET, SUM):
        failed = None
    labels = pair.kept
    if failed is not None or role in (BUCKET, SUM, COUNT):
        labels = {key: value for key, value in labels.items() if key not in OUTCOME_KEYS}
    kind = recognise(base, pair.unit, pair.type if role in (GAUGE, COUNTER) else "histogram", labels)
    shown = ",".join(f"{key}={value}" for key, value in labels.items() if key != "quantile")
    averaged = kind.unit in ("share", "ms") or kind.statistic != "value" or kind.what in ("success", "latency")
    return Plan(
        role=role, delta=role != GAUGE and (pair.delta or (role == COUNTER and moves[0] >= _FALLS_OF_A_DELTA)),
        raw=f"{base}{{{shown}}}" if shown else base, kind=kind, caller=pair.caller, callee=pair.callee, failed=failed,
        add=role != GAUGE or not averaged, le=pair.le,
    )  # fmt: skip


def _role(pair: _Pair, moves: tuple[float, float], names: Set[str]) -> tuple[int, str]:
    """Role and base name. What is not declared a counter must be named like one and move like one."""
    name = pair.name
    falls, rises = moves
    found = _PART.fullmatch(name)
    base, mark, part = found.groups() if found else (name, "", "")
    if not math.isnan(pair.le) and (part == "bucket" or pair.type == "histogram"):
        return BUCKET, base
    counted = pair.type in _COUNTED or falls <= _FALLS_OF_A_COUNTER
    paired = {f"{base}{mark}sum", f"{base}{mark}count"} <= names or pair.type == "histogram"
    if part in ("sum", "count") and paired and counted:
        return (SUM if part == "sum" else COUNT), base
    if pair.type == "counter":
        return COUNTER, name
    if pair.type == "histogram" or falls > _FALLS_OF_A_COUNTER or rises <= 0:
        return GAUGE, name
    if words_of(name)[-1:] == ("total",) or (part in ("sum", "count") and rises >= _RISES_OF_A_COUNTER):
        return COUNTER, name
    return GAUGE, name
