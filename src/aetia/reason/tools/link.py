"""Link: what two services saw of the calls between them, and whether trouble of the callee became the caller's.

Compares each end in both windows, when trouble began at either, and how often a request that went wrong at the caller
held a call that went wrong: time and direction of one hop of a propagation, by observation. Source: hop checks of
OpenRCA 2.0 (PAVE), section 15.1 of the agents survey. Rows: one per measure. Cost: O(calls of the pair).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from aetia.evidence._memo import once_for_facts
from aetia.model.diagnosis import Claim
from aetia.model.entity import edge
from aetia.model.quantities import percent
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said, service_code
from aetia.reason.tools._parts import (
    BINS,
    Component,
    bad_rows,
    begins,
    entity_of,
    health,
    need,
    number,
    seconds_in,
    slow_limit_ns,
    trouble_began,
)
from aetia.signals.frames import I32, I64, Bool
from aetia.signals.red import edge_calls
from aetia.signals.view import Facts, View

ENOUGH_BAD = 5
CARRIED, CLEARED = 0.5, 0.1
"""Share of the caller's bad requests with a bad call from which on the call explains them, and below which not."""


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`caller`: the service that calls.
    `callee`: the service or external dependency that is called.
    """

    caller: str
    callee: str


@plugin(
    "tool", needs=("spans",), summary="both ends of the calls between two services, and whether trouble passed along",
    source="hop checks of OpenRCA 2.0 (PAVE)", cost="O(calls of the pair)",
)  # fmt: skip
class Link(Tool[Args]):
    """Calls of one service to another, seen from both ends, in both windows."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        need(view, "spans")
        caller, callee = service_code(view, args.caller), service_code(view, args.callee)
        calls = _calls(view, caller, callee)
        if len(calls.top) == 0:
            raise NoAnswer(
                "no_data", f"no call of {said(args.caller)} to {said(args.callee)} was recorded in these windows.",
                "ask topology who calls whom", category="permanent",
            )  # fmt: skip
        ends = tuple(_service(view, code) for code in (caller, callee))
        began = tuple(trouble_began(view, end) for end in ends)
        share = _carried(view, calls, ends[0])
        rows = (*_measures(view, calls), *_hop(view, calls, began, share))
        return _judged(view, ends, share, began, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """c calls of one pair inside the windows: rows of the caller's span (`client`, -1 where only the callee's end
    tells), of the callee's (`server`, -1 where none was recorded), and of the one whose time counts (`top`)."""

    client: I64
    server: I64
    top: I64
    incident: Bool
    bad: Bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Every:
    """All calls of the telemetry between known services, in order of caller and callee."""

    key: I64
    client: I64
    server: I64


def _every(facts: Facts) -> _Every:
    spans = facts.spans
    pairs = edge_calls(spans)
    blind = np.flatnonzero((spans.peer >= 0) & (spans.service >= 0))
    caller = np.concatenate([pairs.caller, spans.service[blind]]).astype(np.int64)
    callee = np.concatenate([pairs.callee, spans.peer[blind]]).astype(np.int64)
    # Without a client span of its own the caller's span also holds its own work and says nothing of the call.
    client = np.concatenate([np.where(pairs.paired, pairs.parent, -1), blind]).astype(np.int64)
    server = np.concatenate([pairs.child, np.full(len(blind), -1)]).astype(np.int64)
    key = (caller << 32) | callee
    order = np.argsort(key, kind="stable")
    return _Every(key=key[order], client=client[order], server=server[order])


def _calls(view: View, caller: int, callee: int) -> _Calls:
    every = once_for_facts(view, "calls by pair", _every)
    wanted = (caller << 32) | callee
    first, last = np.searchsorted(every.key, [wanted, wanted + 1])
    client, server = every.client[first:last], every.server[first:last]
    top = np.where(client >= 0, client, server)
    base, incident = view.span_masks
    kept = np.flatnonzero((base | incident)[top])
    client, server, top = client[kept], server[kept], top[kept]
    during = incident[top]
    usual = view.spans.duration_ns[top[~during]]
    limit = float(np.quantile(usual, 0.9)) if len(usual) else np.inf
    bad = bad_rows(view, top, max(1.5 * limit, limit + 1e6))
    return _Calls(client=client, server=server, top=top, incident=during, bad=bad)


def _service(view: View, code: int) -> Component:
    return Component(kind="service", code=code, name=view.names.services[code], entity=entity_of(view, "service", code))


def _measures(view: View, calls: _Calls) -> list[dict[str, Any]]:
    """Calls, failures and times at either end in both windows."""
    spans = view.spans
    rows = [_measured("calls", "calls", *(int((calls.incident == side).sum()) for side in (False, True)))]
    both = (calls.client >= 0) & (calls.server >= 0)
    gap = spans.duration_ns[calls.client] - spans.duration_ns[calls.server]
    ends: tuple[tuple[str, Bool, I64 | I32], ...] = (
        ("caller", calls.client >= 0, calls.client), ("callee", calls.server >= 0, calls.server),
    )  # fmt: skip
    for end, known, row in ends:
        failed = [spans.error[row[known & (calls.incident == side)]] for side in (False, True)]
        rows.append(_measured(f"failed at the {end}", "share", *(_mean(side) for side in failed)))
        times = [spans.duration_ns[row[known & (calls.incident == side)]] / 1e6 for side in (False, True)]
        for name, q in (("p50", 0.5), ("p90", 0.9)):
            rows.append(_measured(f"{name} at the {end}", "ms", *(_quantile(side, q) for side in times)))
    between = [np.maximum(gap[both & (calls.incident == side)], 0) / 1e6 for side in (False, True)]
    rows.append(_measured("p90 between the ends", "ms", *(_quantile(side, 0.9) for side in between)))
    silent = [_mean(calls.server[calls.incident == side] < 0) for side in (False, True)]
    rows.append(_measured("calls without a span of the callee", "share", *silent))
    return rows


def _hop(
    view: View, calls: _Calls, began: tuple[int | None, ...], share: tuple[float, float, int]
) -> list[dict[str, Any]]:
    """Whether trouble came from the callee: when it began, and how often bad requests hold a bad call."""
    base = ~calls.incident
    usual = float(calls.bad[base].mean()) if base.any() else 0.0
    link = begins(view, view.spans.start_ns[calls.top], calls.bad, usual)
    since = [None if at is None else seconds_in(view, at) for at in (*began, link)]
    return [
        _measured("trouble at the caller since", "s", None, since[0]),
        _measured("trouble at the callee since", "s", None, since[1]),
        _measured("trouble of the calls since", "s", None, since[2]),
        _measured("bad requests of the caller", "requests", None, share[2]),
        _measured("of these, with a bad call", "share", None, share[0]),
        _measured("of the good ones, with a bad call", "share", None, share[1]),
    ]


def _measured(measure: str, unit: str, before: float | None, after: float | None) -> dict[str, Any]:
    return {"measure": measure, "unit": unit, "baseline": None if before is None else number(before),
            "incident": None if after is None else number(after)}  # fmt: skip


def _mean(values: Bool) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _quantile(values: Any, q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else float("nan")


def _carried(view: View, calls: _Calls, caller: Component) -> tuple[float, float, int]:
    """Share of the caller's bad requests, and of its good ones, whose trace holds a bad call to the callee; and how
    many requests were bad. Requests of the incident; NaN where there are none."""
    spans, found = view.spans, health(view, "service")
    rows = found.row[np.searchsorted(found.group, caller.code) : np.searchsorted(found.group, caller.code + 1)]
    rows = rows[view.span_masks[1][rows]]
    bad = bad_rows(view, rows, slow_limit_ns(found.shift, caller.code))
    hit = np.zeros(int(spans.trace.max(initial=-1)) + 2, np.bool_)
    hit[spans.trace[calls.top[calls.bad & calls.incident]]] = True
    with_bad = hit[spans.trace[rows]]
    return _mean(with_bad[bad]), _mean(with_bad[~bad]), int(bad.sum())


def _judged(
    view: View, ends: tuple[Component, ...], share: tuple[float, float, int], began: tuple[int | None, ...],
    rows: tuple[dict[str, Any], ...],
) -> Found:  # fmt: skip
    caller, callee = (said(end.name) for end in ends)
    carried, otherwise, bad = share
    about = edge(ends[0].name, ends[1].name)
    if bad < ENOUGH_BAD:
        claim = Claim(what="propagation", direction="changed", magnitude=0.0, unit="share",
                      text=f"hardly a request went wrong at {caller}, so nothing came to it from {callee}")  # fmt: skip
        return Found(rows=rows, total=len(rows), about=about, claim=claim, polarity="against", strength=0.2)
    # Where every request of the caller was bad there is no good one to compare with.
    less = 0.0 if np.isnan(otherwise) else otherwise
    text = f"{percent(carried)} of the requests that went wrong at {caller} held a call to {callee} that went wrong"
    text += "" if np.isnan(otherwise) else f", {percent(otherwise)} of the others"
    step = (view.incident.end_ns - view.incident.start_ns) / BINS
    late = began[0] is not None and began[1] is not None and began[1] > began[0] + 2 * step
    if late:
        text += f"; but trouble at {callee} began later"
    strength, against = max(carried - less, 0.0), False
    if late:
        strength, against = 0.3, True
    elif carried < CLEARED:
        strength, against = 0.5 * (1.0 - carried), True
    elif carried < CARRIED:
        strength *= 0.5
    claim = Claim(what="propagation", direction="up", magnitude=round(carried, 4), unit="share", text=text,
                  onset_ns=began[1])  # fmt: skip
    return Found(rows=rows, total=len(rows), about=about, claim=claim, polarity="against" if against else "for",
                 strength=strength)  # fmt: skip
