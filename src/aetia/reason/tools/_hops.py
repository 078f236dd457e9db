"""Requests of every service with the calls they made, and what went wrong with both: what the tool `hop` reads.

A request of a service is the part of a trace that begins where the service is entered. Calls of it are the requests of
other services right below, and calls to a remote end that no span shows. All of it is one pass over the spans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.evidence._edges import service_entries
from aetia.evidence._load import covered_seconds, span_seconds
from aetia.evidence._memo import once, once_for_facts
from aetia.evidence._mentions import mentioned
from aetia.evidence._samples import group_shift
from aetia.reason.tools._parts import SURE_P
from aetia.signals.frames import F64, I64, KIND_CLIENT, KIND_PRODUCER, SEVERITY_WARN, Bool
from aetia.signals.keys import dense_groups, distinct, sorted_in_groups
from aetia.signals.logs import template_changes, template_counts
from aetia.signals.view import Facts, View

USUAL = 0.75
"""Share of good requests from which a part of them is always there."""
ENOUGH = 10
SLOWER = 1.5
LEAST_SLOW_NS = 1_000_000
HALF = 0.5
"""Share of a request's extra time that a call has to take to account for it."""
CHANGED = float(np.log(3.0))
LEAST_LINES = 3
LOST = 0.1
"""Share of the wrong requests with a lost call from which on a link is in trouble."""
STILL = 0.3
"""Share of a service's usual requests below which it has fallen silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """r requests, arrays (r,), of services (`service`) at a time (`start_ns`), those of both windows only.

    `recorded` ones have spans of their own, the others are known by their callers alone. `owner` is the request that
    made the call, -1 where none is known. `failed`, `slow` and `hollow` tell of the request
    itself: hollow ones are good by their status and lack a part that good ones nearly always have. `call_failed` and
    `call_extra_ns` are the same as the caller met it, the way there and back included.
    """

    service: I64
    recorded: Bool
    owner: I64
    start_ns: I64
    during: Bool
    failed: Bool
    slow: Bool
    hollow: Bool
    extra_ns: I64
    call_failed: Bool
    call_extra_ns: I64

    @property
    def bad(self) -> Bool:
        return self.failed | self.slow | self.hollow


def requests(view: View) -> Requests:
    """The requests of a view, computed once."""
    return once(view, "requests and the calls they made", _requests)


def _requests(view: View) -> Requests:
    spans = view.spans
    entry = service_entries(view) & (spans.service >= 0)
    base, incident = view.span_masks
    calling = (spans.kind == KIND_CLIENT) | (spans.kind == KIND_PRODUCER)
    inside = base | incident
    own = np.flatnonzero(entry & inside)
    remote = np.flatnonzero((spans.peer >= 0) & calling & (spans.service >= 0) & inside)
    within = request_of(view)
    number = np.full(len(spans) + 1, -1, np.int64)
    number[own] = np.arange(len(own))
    parent = spans.parent[own]
    owner = np.concatenate([np.where(parent >= 0, number[within[parent]], -1), number[within[remote]]])
    row = np.concatenate([own, remote])
    group = spans.operation[row].astype(np.int64)
    group[len(own) :] += len(view.names.operations)
    during = incident[row]
    median, limit = _usual_ns(spans.duration_ns[row], group, during, 2 * len(view.names.operations))
    extra = spans.duration_ns[row] - median[group]
    by_client = np.concatenate([(parent >= 0) & calling[parent], np.zeros(len(remote), np.bool_)])
    above = np.where(by_client, np.concatenate([np.maximum(parent, 0), np.zeros(len(remote), np.int64)]), row)
    client_median, _ = _usual_ns(spans.duration_ns[above], group, during, 2 * len(view.names.operations))
    failed = spans.error[row]
    hollow = np.zeros(len(row), np.bool_)
    hollow[: len(own)] = _hollow(view, own, number[within], group[: len(own)], during[: len(own)])
    return Requests(
        service=np.concatenate([spans.service[own], spans.peer[remote]]).astype(np.int64),
        recorded=np.arange(len(row)) < len(own), owner=owner,
        start_ns=spans.start_ns[row], during=during, failed=failed, slow=spans.duration_ns[row] > limit[group],
        hollow=hollow & ~failed, extra_ns=extra, call_failed=failed | spans.error[above],
        call_extra_ns=spans.duration_ns[above] - client_median[group],
    )  # fmt: skip


def request_of(view: View) -> I64:
    """Row of the span with which the request of each span begins at its service, or its trace where that is missing; by
    doubling steps: any depth in a few rounds."""

    def build(facts: Facts) -> I64:
        spans = facts.spans
        parent = spans.parent.astype(np.int64)
        entry = service_entries(view) & (spans.service >= 0)
        at = np.where(entry | (parent < 0), np.arange(len(entry)), parent)
        while True:
            further = at[at]
            if np.array_equal(further, at):
                return at
            at = further

    return once_for_facts(view, "request of every span", build)


def _usual_ns(duration: I64, group: I64, during: Bool, n: int) -> tuple[I64, F64]:
    """(median, limit) per group in the baseline, ns; what was hardly seen before is not slow."""
    order = sorted_in_groups(duration, group)
    shift = group_shift(duration[order], group[order], during[order], n)
    median, p90 = (values * 1e6 for values in (shift.base_median, shift.base_p90))
    never = shift.base_count < ENOUGH
    median = np.where(never, shift.incident_median * 1e6, median)
    limit = np.where(never, np.inf, np.maximum(SLOWER * p90, p90 + LEAST_SLOW_NS))
    return np.nan_to_num(median).astype(np.int64), limit


def _hollow(view: View, own: I64, request: I64, group: I64, during: Bool) -> Bool:
    """Which requests lack an operation that good requests of the baseline nearly always hold; (own,)."""
    spans, n = view.spans, len(view.names.operations)
    good = ~spans.error[own]
    parent = spans.parent
    starts = np.zeros(len(spans), np.bool_)
    starts[own] = True
    holder = np.where(starts, np.where(parent >= 0, request[parent], -1), request)
    part = np.flatnonzero((holder >= 0) & (spans.operation >= 0))
    pair = distinct(holder[part] * n + spans.operation[part])
    who, what = pair // n, pair % n
    kind = group[who] * n + what
    kinds, index = dense_groups(kind)
    counted = good & ~during
    whole = np.bincount(group[counted], minlength=n + 1)
    seen = np.bincount(index[counted[who]], minlength=len(kinds))
    total = whole[kinds // n]
    always = (total >= ENOUGH) & (seen >= USUAL * total)
    wanted = np.bincount((kinds // n)[always], minlength=n + 1)
    has = np.bincount(who[always[index]], minlength=len(own))
    return has < wanted[group]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How requests of one service that went wrong divide over what they called.

    `went_wrong`, `requests` and `usual_share` tell of the service in the incident and of the share that always goes
    wrong. `accounts` is, per callee, the share of the wrong requests that its calls account for beyond the share at
    which they go wrong in good requests, 0..1; `own` the share that no call accounts for.
    """

    requests: int
    went_wrong: int
    usual_share: float
    callee: I64
    held: F64
    held_by_good: F64
    accounts: F64
    own: float


def split(view: View, service: int) -> Split:
    """Who accounts for the requests of a service that went wrong in the incident."""
    table = requests(view)
    mine = np.flatnonzero((table.service == service) & table.during)
    before = (table.service == service) & ~table.during
    bad = table.bad[mine]
    usual = float(table.bad[before].mean()) if before.any() else 0.0
    position = np.full(len(table.service), -1, np.int64)
    position[mine] = np.arange(len(mine))
    calls = np.flatnonzero((table.owner >= 0) & (position[np.maximum(table.owner, 0)] >= 0))
    owner = position[table.owner[calls]]
    callees, which = np.unique(table.service[calls], return_inverse=True)
    inside, outside = _blamed(table, calls, mine[owner])
    grid = np.zeros((len(mine), len(callees)), np.bool_)
    np.logical_or.at(grid, (owner, which), inside)
    way = grid.copy()
    np.logical_or.at(way, (owner, which), outside)
    grid = np.where(_own_end(view, callees, way, grid, bad)[None, :], way, grid)
    n_bad, n_good = int(bad.sum()), int((~bad).sum())
    held = grid[bad].mean(axis=0) if n_bad else np.zeros(len(callees))
    good = grid[~bad].mean(axis=0) if n_good else np.zeros(len(callees))
    any_bad = float(grid[bad].any(axis=1).mean()) if n_bad and len(callees) else 0.0
    any_good = float(grid[~bad].any(axis=1).mean()) if n_good and len(callees) else 0.0
    return Split(
        requests=len(mine), went_wrong=n_bad, usual_share=usual, callee=callees, held=held, held_by_good=good,
        accounts=_beyond(held, good), own=1.0 - float(_beyond(np.array([any_bad]), np.array([any_good]))[0]),
    )  # fmt: skip


def _beyond(held: F64, by_good: F64) -> F64:
    """The attributable share: what is left of a coincidence when chance is taken off."""
    rest = 1.0 - by_good
    return np.clip(np.divide(held - by_good, rest, out=np.zeros(len(held)), where=rest > 0), 0.0, 1.0)


def _blamed(table: Requests, calls: I64, owner: I64) -> tuple[Bool, Bool]:
    """Which calls can have made their request go wrong, by what the callee shows itself, and by what only the caller
    met: they failed or came back hollow, or took most of its extra time where it was slow."""
    slow, need = table.slow[owner], HALF * table.extra_ns[owner]
    recorded = table.recorded[calls]
    inside = table.failed[calls] | table.hollow[calls] | table.slow[calls] & ~slow
    inside |= slow & (table.extra_ns[calls] > need)
    outside = table.call_failed[calls] | slow & (table.call_extra_ns[calls] > need)
    return inside & recorded, outside | inside


def _own_end(view: View, callees: I64, way: Bool, inside: Bool, bad: Bool) -> Bool:
    """Callees to which trouble that only the caller met may be laid: those that tell (nearly) nothing of themselves any
    more, unless calls to others are lost too; then the caller's end is what they share."""
    n_bad = int(bad.sum())
    if not n_bad or not len(callees):
        return np.zeros(len(callees), np.bool_)
    good = way[~bad].mean(axis=0) if n_bad < len(bad) else np.zeros(len(callees))
    met = _beyond((way & ~inside)[bad].mean(axis=0), good) >= LOST
    return _quiet(view)[callees] & (int(met.sum()) < 2)


def _quiet(view: View) -> Bool:
    """Services whose own requests are not recorded, or hardly any more, shape (services,)."""
    table, n = requests(view), len(view.names.services)
    own = table.recorded
    seconds = span_seconds(view)
    before, now = (np.bincount(table.service[own & side], minlength=n) for side in (~table.during, table.during))
    return now * seconds[0] <= STILL * before * seconds[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """A log template by which a service (`speaker`) complains of another one (`named`), with its lines in both windows
    and the first of the incident."""

    speaker: int
    named: int
    text: str
    before: int
    lines: int
    first_ns: int


def complaints(view: View) -> list[Complaint]:
    """Warnings and errors of a service that name another one and came up far more often than before, the least frequent
    first; computed once."""
    return once(view, "services that others complain of", _complaints)


def _complaints(view: View) -> list[Complaint]:
    logs = view.logs
    if len(logs) == 0:
        return []
    base, incident = view.log_masks
    counts = template_counts(logs, base, incident)
    seconds = covered_seconds(logs.time_ns, base), covered_seconds(logs.time_ns, incident)
    if min(seconds) <= 0:
        return []
    changes = template_changes(counts, *seconds)
    more = (changes.p_up < SURE_P) & (changes.log_ratio > CHANGED) & (counts.incident >= LEAST_LINES)
    out: list[Complaint] = []
    for at in np.flatnonzero(more).tolist():
        speaker, template = int(counts.entity[at]), int(counts.template[at])
        named = [code for code in mentioned(view, template) if code != speaker]
        if not named or logs.templates[template].severity < SEVERITY_WARN:
            continue
        lines = (logs.service == speaker) & (logs.template == template) & incident
        first = int(logs.time_ns[np.flatnonzero(lines)[0]])
        text, before = logs.templates[template].text, int(counts.baseline[at])
        out += [Complaint(speaker=speaker, named=code, text=text, before=before, lines=int(counts.incident[at]),
                          first_ns=first) for code in named]  # fmt: skip
    return sorted(out, key=lambda item: (item.lines, item.text))
