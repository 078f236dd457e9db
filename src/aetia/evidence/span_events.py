"""What a request stopped doing or newly does, per span: missing and new log lines and calls, by in-service context.

Finds faults that change what a request does and not how long it takes: exceptions, early returns, wrong codes.
Source: event rules of the label-free study on Nezha (section 4.2), made rate tests. Score: share of violating units
not explained by a callee, times significance; higher = more suspicious. Cost: O(units x events).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aetia.evidence._memo import once_for_facts
from aetia.evidence._mentions import mentions_another
from aetia.evidence._places import service_or_external
from aetia.evidence._units import Units, column_args, column_chart, event_text, find_column, units_of
from aetia.evidence._victims import explained_rows, slow_answers, unanswered_calls
from aetia.evidence._violations import (
    BROKEN_PAIR,
    KIND_NAMES,
    MISSING,
    NOVEL,
    NOVEL_WEIGHT,
    SEVERE,
    Violations,
    broken_units,
    violating_rows,
    violating_units,
    violations_of,
)
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.entity import operation
from aetia.model.quantities import percent
from aetia.plugins import plugin
from aetia.signals.frames import I32, I64, Bool
from aetia.signals.keys import distinct
from aetia.signals.stats import fisher_p
from aetia.signals.view import Facts, View

FULL_LOG_P = 3.0
CALLEE_WEIGHT = 0.5
DISCOUNT = 0.3
UNHEALTHY_BASELINE = 0.5
HEALED = 0.15
SYMPTOM_LIFT = 0.3
PER_SERVICE = 3
MIN_SCORE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """One violation with its unexplained rate, score and the callee that shares the blame (-1 none)."""

    index: int
    service: int
    rate: float
    score: float
    callee: int
    first_ns: int


@plugin(
    "channel",
    needs=("spans",),
    summary="log lines and calls that a span's context expects and that are missing, or severe ones that are new",
    source="event rules of the label-free study on Nezha, section 4.2, as rate tests",
    cost="O(units x events per unit squared), units capped per context",
)
class SpanEvents:
    """Broken expectations per in-service context, after callees have explained what they can."""

    def observe(self, view: View) -> Reading:
        if len(view.spans) == 0:
            return Reading(silent="no spans")
        units = units_of(view)
        if not units.incident.any() or units.incident.all():
            return Reading(silent="no spans in the baseline or none in the incident")
        found = violations_of(view)
        if len(found) == 0:
            return Reading(silent="every context does what it did before")
        scored = _score(view, units, found)
        return _reading(view, units, found, scored)

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        units = units_of(view)
        column, given = find_column(view, units, args), -1
        if args.get("given") is not None:
            given = find_column(view, units, args, "given")
        context = units.column_context[column]
        if given >= 0:
            kind, base, now = BROKEN_PAIR, int(units.base_hits[given]), int(units.incident_hits[given])
        else:
            kind = KIND_NAMES.index(args["kind"])
            base, now = int(units.base_units[context]), int(units.incident_units[context])
        one = Violations(
            kind=np.array([kind], np.int8),
            column=np.array([column]),
            given=np.array([given]),
            base_hits=np.zeros(1, np.int64),
            base_units=np.array([base]),
            incident_hits=np.zeros(1, np.int64),
            incident_units=np.array([now]),
            p=np.ones(1),
        )
        hits = len(violating_units(units, one, 0))
        before = int(units.base_hits[column]) if given < 0 else base
        return {
            "baseline": _share(base - before if kind == MISSING else before, base),
            "incident": _share(hits, now),
            "baseline_units": base,
            "incident_units": now,
            "unit": "share of units",
            "series": column_chart(view, units, column, missing=kind in (MISSING, BROKEN_PAIR)),
        }


def _share(hits: int, units: int) -> float:
    return hits / units if units else 0.0


def _score(view: View, units: Units, found: Violations) -> list[_Scored]:
    """Scores of the strongest violations after explaining away, discounts and callee blame."""
    broken = broken_units(view)
    count = len(broken)
    explained = explained_rows(view, slow_answers(view) | violating_rows(view), unanswered_calls(view))
    novel_unit = np.zeros(len(units.row), np.bool_)
    for index in range(count):
        if found.kind[index] == NOVEL and units.column_event[found.column[index]] != units.no_child_event:
            novel_unit[broken[index]] = True
    health = _health(view, units)
    out: list[_Scored] = []
    for index in range(count):
        unit = broken[index]
        free = unit[~explained[units.row[unit]]]
        scored = _score_one(view, units, found, index, free, novel_unit, health)
        if scored is not None:
            out.append(scored)
    return _share_blame(out, len(view.names.services))


def _score_one(
    view: View,
    units: Units,
    found: Violations,
    index: int,
    free: I64,
    novel_unit: Bool,
    health: tuple[Bool, Bool],
) -> _Scored | None:
    if len(free) == 0:
        return None
    column, kind = int(found.column[index]), int(found.kind[index])
    context = int(units.column_context[column])
    base_rate = float(found.base_hits[index]) / max(int(found.base_units[index]), 1)
    rate = len(free) / int(found.incident_units[index])
    p = float(fisher_p(found.base_hits[index], found.base_units[index], len(free), found.incident_units[index]))
    if rate <= base_rate:
        return None
    weight = 1.0
    unhealthy, symptom = health
    if kind != SEVERE and symptom[column]:
        return None
    if kind == NOVEL:
        bare = units.column_event[column] == units.no_child_event
        weight = 1.0 if bare else 0.0 if unhealthy[context] else NOVEL_WEIGHT
    elif kind in (MISSING, BROKEN_PAIR):
        replaced = float(novel_unit[free].mean())
        weight = 1.0 - (1.0 - DISCOUNT) * replaced
    elif _names_another(view, units, column, int(units.context_service[context])):
        weight = DISCOUNT
    score = (rate - base_rate) * min(1.0, -float(np.log10(max(p, 1e-300))) / FULL_LOG_P) * weight
    callee = -1
    if kind in (MISSING, BROKEN_PAIR) and (
        units.is_child()[column] or units.column_event[column] == units.no_child_event
    ):
        callee = _majority(once_for_facts(view, "last callees", _last_callee)[units.row[free]])
    rows = units.row[free]
    return _Scored(
        index=index,
        service=int(units.context_service[context]),
        rate=rate,
        score=score,
        callee=callee,
        first_ns=int(view.spans.start_ns[rows].min()),
    )


def _majority(services: I32) -> int:
    """The service that most entries name; -1 when most name none."""
    values, count = np.unique(services, return_counts=True)
    best = int(count.argmax())
    return int(values[best]) if count[best] * 2 > len(services) else -1


def _share_blame(scored: list[_Scored], n_services: int) -> list[_Scored]:
    """A callee after which callers stop shares their blame; with two or more such callers it takes half of it."""
    callers: dict[int, set[int]] = {}
    for item in scored:
        if item.callee >= 0 and item.callee != item.service:
            callers.setdefault(item.callee, set()).add(item.service)
    shared = {callee for callee, who in callers.items() if len(who) > 1}
    out = list(scored)
    for callee, who in callers.items():
        best = {s: max((i.score for i in scored if i.service == s and i.callee == callee), default=0.0) for s in who}
        blame = (
            1.0 - float(np.prod([1.0 - v for v in best.values()]))
            if len(who) > 1
            else CALLEE_WEIGHT * max(best.values())
        )
        source = max((i for i in scored if i.callee == callee), key=lambda i: i.score)
        out.append(
            _Scored(
                index=source.index, service=callee, rate=source.rate, score=blame, callee=-1, first_ns=source.first_ns
            )
        )
    return [
        _Scored(
            index=i.index, service=i.service, rate=i.rate, score=0.5 * i.score, callee=i.callee, first_ns=i.first_ns
        )
        if i.callee in shared and i.service != i.callee
        else i
        for i in out
    ]


def _last_callee(facts: Facts) -> I32:
    """Per span, the service of its last finished child, followed through client spans; -1 when that is the own one."""
    spans = facts.spans
    end = spans.start_ns + spans.duration_ns
    child = np.flatnonzero(spans.parent >= 0)
    above = spans.parent[child]
    latest = np.full(len(spans), np.iinfo(np.int64).min)
    np.maximum.at(latest, above, end[child])
    finished = np.flatnonzero(end[child] == latest[above])
    last = np.full(len(spans), -1, np.int64)
    last[above[finished]] = child[finished]  # of children that end together the later row stays
    follow = last.copy()
    for _ in range(3):
        inner = (
            (follow >= 0) & (spans.service[np.maximum(follow, 0)] == spans.service) & (last[np.maximum(follow, 0)] >= 0)
        )
        if not inner.any():
            break
        follow = np.where(inner, last[np.maximum(follow, 0)], follow)
    service = np.where(follow >= 0, spans.service[np.maximum(follow, 0)], -1)
    return np.where(service == spans.service, -1, service).astype(np.int32)


def _health(view: View, units: Units) -> tuple[Bool, Bool]:
    """(contexts, columns). A context is unhealthy when most of its baseline units lie in traces in which their service
    logged something severe. A column is a symptom when its event came mostly with such units: that it is missing now
    is recovery, not failure."""
    spans, logs = view.spans, view.logs
    contexts, columns = len(units.base_units), len(units.column_event)
    if len(logs) == 0:
        return np.zeros(contexts, np.bool_), np.zeros(columns, np.bool_)
    severe_template = units.severe_event[: units.first_child_event]
    bad = logs.span[(logs.span >= 0) & severe_template[logs.template]]
    width = np.int64(len(view.names.services))
    key = distinct(spans.trace[bad].astype(np.int64) * width + spans.service[bad])
    # Few traces hold a severe line: only their units are looked up one by one.
    touched = np.zeros(int(spans.trace.max(initial=-1)) + 1, np.bool_)
    touched[spans.trace[bad]] = True
    trace = spans.trace[units.row]
    unit = np.flatnonzero(touched[trace])
    sick = np.zeros(len(units.row), np.bool_)
    sick[unit] = np.isin(trace[unit].astype(np.int64) * width + spans.service[units.row[unit]], key)
    sick_units = np.bincount(units.context[sick & ~units.incident], minlength=contexts)
    now_sick = np.bincount(units.context[sick & units.incident], minlength=contexts)
    with_sick = sick[units.pair_unit] & ~units.incident[units.pair_unit]
    hits = np.bincount(units.pair_column[with_sick], minlength=columns)
    context = units.column_context
    sick_rate = hits / np.maximum(sick_units[context], 1)
    sound = units.base_units[context] - sick_units[context]
    sound_rate = np.where(sound > 0, (units.base_hits - hits) / np.maximum(sound, 1), 0.0)
    before = sick_units / np.maximum(units.base_units, 1)
    after = now_sick / np.maximum(units.incident_units, 1)
    healing = (before - after > HEALED)[context]
    return before > UNHEALTHY_BASELINE, healing & (sick_rate - sound_rate > SYMPTOM_LIFT)


def _names_another(view: View, units: Units, column: int, own: int) -> bool:
    """Whether a log line speaks of another service: then that one is the cause, or discovery is."""
    event = int(units.column_event[column])
    return event < units.first_child_event and mentions_another(view, event, own)


def _reading(view: View, units: Units, found: Violations, scored: list[_Scored]) -> Reading:
    kept: dict[int, int] = {}
    findings: list[Finding] = []
    for item in sorted(scored, key=lambda i: (-i.score, i.service, i.index)):
        if item.score < MIN_SCORE or kept.get(item.service, 0) >= PER_SERVICE:
            continue
        kept[item.service] = kept.get(item.service, 0) + 1
        findings.append(_finding(view, units, found, item))
    return Reading(findings=tuple(findings), silent=None if findings else "all violations are explained by callees")


def _finding(view: View, units: Units, found: Violations, item: _Scored) -> Finding:
    column, given, kind = int(found.column[item.index]), int(found.given[item.index]), int(found.kind[item.index])
    args = column_args(view, units, column) | {"kind": KIND_NAMES[kind]}
    service, name, text = args["service"], args["operation"], args["event"]
    if given >= 0:
        args["given_kind"], args["given"] = event_text(view, units, given)
    own = view.names.services[item.service] == service
    where = operation(service, name) if own else service_or_external(view, item.service)
    words = {
        MISSING: f"“{text}” is missing in {percent(item.rate)} of the {name} requests of {service}",
        BROKEN_PAIR: f"“{text}” no longer follows “{args.get('given')}” in {percent(item.rate)} of {name} of {service}",
        SEVERE: f"“{text}” appears in {percent(item.rate)} of the {name} requests of {service}",
        NOVEL: f"“{text}” is new in {percent(item.rate)} of the {name} requests of {service}",
    }[kind]
    if not own:
        words += f", each time right after a call to {view.names.services[item.service]}"
    fault = "exception" if kind == SEVERE and args["event_kind"] == "log" else "early_return"
    return Finding(
        entity=where,
        score=min(item.score, 1.0),
        fault_class="C",
        fault=fault,
        onset_ns=item.first_ns,
        args=args,
        claim=Claim(
            what=KIND_NAMES[kind],
            direction="new" if kind in (SEVERE, NOVEL) else "gone",
            magnitude=round(item.rate, 4),
            unit="share of units",
            onset_ns=item.first_ns,
            text=words,
        ),
    )
