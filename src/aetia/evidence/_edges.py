"""Calls between services with the time that neither end accounts for: the gap between client and server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aetia.evidence._memo import once, once_for_facts
from aetia.signals.frames import I32, I64, KIND_CLIENT, KIND_PRODUCER, Bool
from aetia.signals.keys import dense_rows, sorted_in_groups, stable_order
from aetia.signals.paths import deepest_error
from aetia.signals.red import edge_calls, service_entry_mask
from aetia.signals.view import Facts, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """c remote calls inside the windows, in order of caller, callee, operation and gap.

    Service codes of both ends, the operation called (of the server span, or of the client span when no server span
    exists), gap in ns (client duration minus server duration, or the whole client duration), whether the server side
    is missing, whether the call failed at the client, the client span's row."""

    caller: I32
    callee: I32
    operation: I32
    gap_ns: I64
    row: I64
    server: I64
    """Row of the server span; -1 where it is missing."""
    blind: Bool
    failed: Bool
    refused: Bool
    """Failed with a code that only the callee can have sent: an answer, and a bad one."""
    incident: Bool


def calls_of(view: View) -> Calls:
    """Remote calls of a view, computed once."""
    return once(view, "remote calls", _build)


def is_waiting(view: View) -> Bool:
    """Spans whose own time is spent waiting for another party: client and producer spans, and spans of unknown kind
    whose only child belongs to another service."""

    def build(facts: Facts) -> Bool:
        spans = facts.spans
        child = np.flatnonzero(spans.parent >= 0)
        above = spans.parent[child]
        children = np.bincount(above, minlength=len(spans))
        remote = np.zeros(len(spans), np.bool_)
        remote[above[np.flatnonzero(spans.service[child] != spans.service[above])]] = True
        told = (spans.kind == KIND_CLIENT) | (spans.kind == KIND_PRODUCER) | (spans.peer >= 0)
        return told | (remote & (children == 1))

    return once_for_facts(view, "waiting spans", build)


def errors_began(view: View) -> Bool:
    """Spans with an error and none below."""
    return once_for_facts(view, "deepest errors", lambda facts: deepest_error(facts.spans))


def service_entries(view: View) -> Bool:
    """Spans with which a service's part of a call begins."""
    return once_for_facts(view, "service entries", lambda facts: service_entry_mask(facts.spans))


def by_own_time(view: View, node: I32 | None = None) -> I64:
    """Spans that do not wait for another party, in order of operation, then `node` (per span, -1 unknown) where it is
    given, then exclusive time: groups of them need no further sort, whatever the windows."""

    def by_time(facts: Facts) -> I64:
        rows = np.flatnonzero(~is_waiting(view) & (facts.spans.operation >= 0))
        return rows[stable_order(facts.spans.exclusive_ns[rows])]

    def build(facts: Facts) -> I64:
        rows = once_for_facts(view, "spans in order of own time", by_time)
        group = facts.spans.operation[rows].astype(np.int64) + 1
        if node is not None:
            group = group * (int(node.max(initial=-1)) + 2) + node[rows] + 1
        return rows[stable_order(group)]

    return once_for_facts(view, "spans by own time" if node is None else "spans by node and own time", build)


def _every_call(facts: Facts) -> Calls:
    """All remote calls in order of caller, callee, operation and gap, none of them in an incident."""
    spans = facts.spans
    pairs = edge_calls(spans)
    # Without a client span the caller's own work is in between: only a call that fills its parent tells of the link.
    kept = np.flatnonzero(pairs.paired)
    child, parent = pairs.child[kept], pairs.parent[kept]
    blind = np.flatnonzero(spans.peer >= 0)
    row = np.concatenate([parent, blind]).astype(np.int64)
    caller = spans.service[row]
    callee = np.concatenate([spans.service[child], spans.peer[blind]]).astype(np.int32)
    operation = np.concatenate([spans.operation[child], spans.operation[blind]]).astype(np.int32)
    gap = np.concatenate([pairs.gap_ns[kept], spans.duration_ns[blind]])
    server = np.concatenate([child, np.full(len(blind), -1)]).astype(np.int64)
    named = np.flatnonzero((caller >= 0) & (callee >= 0) & (operation >= 0))
    order = named[sorted_in_groups(gap[named], dense_rows(caller[named], callee[named], operation[named])[1])]
    row, server = row[order], server[order]
    return Calls(
        caller=caller[order],
        callee=callee[order],
        operation=operation[order],
        gap_ns=gap[order],
        row=row,
        server=server,
        blind=server < 0,
        failed=spans.error[row],
        refused=spans.error[row] & _bad_answer(spans.status_code[row]),
        incident=np.zeros(len(row), np.bool_),
    )


def _build(view: View) -> Calls:
    base, incident = view.span_masks
    every = once_for_facts(view, "every remote call", _every_call)
    kept = np.flatnonzero((base | incident)[every.row])
    return Calls(
        caller=every.caller[kept],
        callee=every.callee[kept],
        operation=every.operation[kept],
        gap_ns=every.gap_ns[kept],
        row=every.row[kept],
        server=every.server[kept],
        blind=every.blind[kept],
        failed=every.failed[kept],
        refused=every.refused[kept],
        incident=incident[every.row[kept]],
    )


def _bad_answer(code: I32) -> Bool:
    """HTTP 4xx and 5xx except gateway time-outs; gRPC codes except cancelled, deadline exceeded and unavailable."""
    http = (code >= 400) & (code < 600) & (code != 408) & (code != 504) & (code != 503)
    grpc = (code > 0) & (code <= 16) & (code != 1) & (code != 4) & (code != 14)
    return http | grpc
