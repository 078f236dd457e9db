"""Units of work and what happened in them: per span, the log lines it printed and the calls it made.

A unit is one span; its context is the operation path inside its service down to it. Conditioning on the context
makes the request mix irrelevant: a callee that is called less often has no unit in which anything is missing.
Source: section 4.2 of the label-free study on Nezha, as rate tests in place of its zero tolerance.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from aetia.evidence._memo import once, once_for_facts
from aetia.evidence._timeline import share_over_time
from aetia.model.errors import SignalError
from aetia.signals.frames import F64, I32, I64, SEVERITY_ERROR, Bool
from aetia.signals.ids import mix
from aetia.signals.keys import dense_groups, run_starts, stable_order
from aetia.signals.paths import path_signatures
from aetia.signals.view import Facts, View

MAX_UNITS = 600
"""Units per context and window that are looked at: 600 tell 1 % from 4 % at p < 0.001."""


ERROR_HANDLER = re.compile(r"error|exception", re.IGNORECASE)
"""Operations that handle failures by their own name: their disappearance is no loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """u units, e events, c contexts, k columns (one per context and event that occurs in it).

    `row` (u,) span row, ascending; `context` (u,); `incident` (u,) False: baseline unit. Pairs (unit, column) are
    unique and sorted by column: `pair_unit`, `pair_column`. Per column: `column_context`, `column_event`,
    `base_hits`, `incident_hits`. Per context: `base_units`, `incident_units`, `context_service`. Events are template
    codes, then child operation codes (+ `first_child_event`), then one marker for units without any child.
    """

    row: I64
    context: I32
    incident: Bool
    pair_unit: I64
    pair_column: I64
    column_context: I32
    column_event: I64
    base_hits: I64
    incident_hits: I64
    base_units: I64
    incident_units: I64
    context_service: I32
    first_child_event: int
    no_child_event: int
    severe_event: Bool
    everywhere: float
    """Traces with a `trace_share` below this have all their units here."""

    @property
    def base_rate(self) -> F64:
        return self.base_hits / np.maximum(self.base_units[self.column_context], 1)

    @property
    def incident_rate(self) -> F64:
        return self.incident_hits / np.maximum(self.incident_units[self.column_context], 1)

    def is_child(self) -> Bool:
        return (self.column_event >= self.first_child_event) & (self.column_event < self.no_child_event)

    def is_severe(self) -> Bool:
        return self.severe_event[self.column_event]


def units_of(view: View) -> Units:
    """The units of a view, computed once."""
    return once(view, "units", _build)


def trace_share(view: View) -> F64:
    """A number in [0, 1) per span, the same for all spans of a trace and whatever the order of rows, shape (n,)."""

    def draw(facts: Facts) -> F64:
        start = facts.spans.start_ns[facts.spans.root].view(np.uint64)
        return (mix(start) >> np.uint64(11)).astype(np.float64) / 2.0**53

    return once_for_facts(view, "trace share", draw)


def _thin(share: F64, context: I32, incident: Bool) -> tuple[Bool, float]:
    """About MAX_UNITS units per context and window, drawn by trace: a trace that is kept in a large context is kept in
    all smaller ones. Also the share of traces that are kept everywhere."""
    side = context * 2 + incident
    size = np.bincount(side)
    limit = MAX_UNITS / np.maximum(size, 1)
    return share < limit[side], float(limit[size > 0].min(initial=1.0))


def _paths(view: View) -> I32:
    """Path signature of each span."""
    return once_for_facts(view, "paths in a service", lambda facts: path_signatures(facts.spans))


def _happened(facts: Facts) -> tuple[I32, I32]:
    """(span row, event) of everything that spans printed and called; what happened in one event is in order of span
    rows, and a pair may come more than once."""
    spans, logs = facts.spans, facts.logs
    first_child = len(logs.templates)
    no_child = first_child + len(facts.names.operations)
    logged = np.flatnonzero(logs.span >= 0)
    logged = logged[stable_order(logs.span[logged])]
    child = np.flatnonzero((spans.parent >= 0) & (spans.operation >= 0))
    childless = np.ones(len(spans), np.bool_)
    childless[spans.parent[child]] = False
    child = child[stable_order(spans.parent[child])]
    bare = np.flatnonzero(childless)
    row = np.concatenate([logs.span[logged], spans.parent[child], bare], dtype=np.int32)
    event = [logs.template[logged], spans.operation[child] + first_child, np.full(len(bare), no_child)]
    return row, np.concatenate(event, dtype=np.int32)


def _build(view: View) -> Units:
    spans, logs = view.spans, view.logs
    base, incident = view.span_masks
    raw_context = _paths(view)
    used = np.flatnonzero((base | incident) & (spans.operation >= 0))
    contexts, context = dense_groups(raw_context[used])
    context = context.astype(np.int32)
    keep, everywhere = _thin(trace_share(view)[used], context, incident[used])
    keep = np.flatnonzero(keep)
    row, context = used[keep], context[keep]
    in_incident = incident[row]
    unit_of_row = np.full(len(spans), -1, np.int32)
    unit_of_row[row] = np.arange(len(row), dtype=np.int32)

    templates, operations = len(logs.templates), len(view.names.operations)
    first_child, no_child = templates, templates + operations
    events = no_child + 1
    happened = once_for_facts(view, "what happened in spans", _happened)
    pair_unit = unit_of_row[happened[0]]
    kept = np.flatnonzero(pair_unit >= 0)
    pair_unit = pair_unit[kept]
    column_key, pair_column = dense_groups(context[pair_unit] * np.int64(events) + happened[1][kept])
    order = stable_order(pair_column)  # a column has one event, so its units stay in order
    pair_unit, pair_column = pair_unit[order].astype(np.int64), pair_column[order]
    new = np.flatnonzero(run_starts(pair_unit) | run_starts(pair_column))
    pair_unit, pair_column = pair_unit[new], pair_column[new]
    columns = len(column_key)
    hit_incident = in_incident[pair_unit]
    severe = np.zeros(events, np.bool_)
    severe[:templates] = [t.severity >= SEVERITY_ERROR or t.exception is not None for t in logs.templates]
    severe[templates:no_child] = [ERROR_HANDLER.search(name) is not None for _, name in view.names.operations]
    context_service = np.zeros(len(contexts), np.int32)
    context_service[context] = spans.service[row]
    return Units(
        row=row, context=context, incident=in_incident, pair_unit=pair_unit, pair_column=pair_column,
        column_context=(column_key // events).astype(np.int32), column_event=column_key % events,
        base_hits=np.bincount(pair_column[~hit_incident], minlength=columns),
        incident_hits=np.bincount(pair_column[hit_incident], minlength=columns),
        base_units=np.bincount(context[~in_incident], minlength=len(contexts)),
        incident_units=np.bincount(context[in_incident], minlength=len(contexts)),
        context_service=context_service, first_child_event=first_child, no_child_event=no_child, severe_event=severe,
        everywhere=everywhere,
    )  # fmt: skip


def members(units: Units, column: int) -> I64:
    """Units in which the column's event happened, ascending."""
    left, right = np.searchsorted(units.pair_column, [column, column + 1])
    return units.pair_unit[left:right]


def lacking(units: Units, column: int) -> I64:
    """Incident units of the column's context in which its event did not happen, ascending."""
    candidates = np.flatnonzero((units.context == units.column_context[column]) & units.incident)
    return np.setdiff1d(candidates, members(units, column), assume_unique=True)


def event_text(view: View, units: Units, column: int) -> tuple[str, str]:
    """(kind, text) of a column's event: a log line, a call, or that there was no call."""
    event = int(units.column_event[column])
    if event < units.first_child_event:
        return "log", view.logs.templates[event].text
    if event < units.no_child_event:
        service, name = view.names.operations[event - units.first_child_event]
        return "call", f"{view.names.services[service]} {name}"
    return "none", "no call at all"


def context_labels(view: View) -> list[tuple[str, str, int]]:
    """(service, operation, number among the contexts of that operation) per context, stable for the same telemetry."""

    def label(v: View) -> list[tuple[str, str, int]]:
        units, names = units_of(v), v.names
        operation = np.zeros(len(units.base_units), np.int64)
        operation[units.context] = v.spans.operation[units.row]
        seen: dict[int, int] = {}
        out: list[tuple[str, str, int]] = []
        for code in operation.tolist():
            number = seen.get(code, 0)
            seen[code] = number + 1
            service, name = names.operations[code]
            out.append((names.services[service], name, number))
        return out

    return once(view, "context labels", label)


def column_args(view: View, units: Units, column: int) -> dict[str, Any]:
    """Arguments that find a column again: names instead of codes."""
    service, name, number = context_labels(view)[int(units.column_context[column])]
    kind, text = event_text(view, units, column)
    return {"service": service, "operation": name, "context": number, "event_kind": kind, "event": text}


def find_column(view: View, units: Units, args: dict[str, Any], key: str = "event") -> int:
    """The column that `column_args` described; raises SignalError when the telemetry has no such unit."""
    wanted = (args["service"], args["operation"], args["context"])
    contexts = np.array([label == wanted for label in context_labels(view)], dtype=bool)
    for column in np.flatnonzero(contexts[units.column_context]).tolist():
        if event_text(view, units, column) == (args[f"{key}_kind"], args[key]):
            return column
    raise SignalError(f"no {args['operation']} request of {args['service']} with “{args[key]}” in this telemetry.")


def column_chart(view: View, units: Units, column: int, *, missing: bool = False) -> dict[str, Any]:
    """Share of the context's units in which the column's event happened (or did not), over time."""
    unit = np.flatnonzero(units.context == units.column_context[column])
    hit = np.isin(unit, members(units, column)) != missing
    return share_over_time(view, view.spans.start_ns[units.row[unit]], hit, "share of units")
