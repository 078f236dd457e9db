"""Compare: a component with itself before, with its peers, or its instances with each other.

What hits one of several like components is at that one; what hits all of them is at what they share. Source: tool list
of section 15.2 of the agents survey; peers as in comparative monitoring. Rows: one per component with requests,
failures and times in both windows, most troubled first, the component itself at the top. Cost: O(components).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from aetia.model.diagnosis import Claim
from aetia.model.quantities import number as words_of
from aetia.model.quantities import percent, quantity
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said
from aetia.reason.tools._parts import (
    ENOUGH,
    HEALTHY,
    Component,
    Health,
    Kind,
    component,
    entity_of,
    health,
    need,
    number,
    of_nodes,
    seconds_in,
    strongest_first,
    trouble_began,
)
from aetia.signals.view import View

TROUBLED = 0.15
FULL, CLEARED = 0.5, 0.3


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`component`: a service, instance or node.
    `against`: `baseline` compares it with itself before; `peers` with services of the same callers, other instances of
    its service, or other nodes; `instances` compares the instances of a service, or on a node, with each other.
    """

    component: str
    against: Literal["baseline", "peers", "instances"] = "baseline"


@plugin(
    "tool", needs=("spans",), summary="requests, failures and times of a component against itself before or its peers",
    source="agents survey, section 15.2", cost="O(components)",
)  # fmt: skip
class Compare(Tool[Args]):
    """Requests, failures and times of a component and of those like it."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        need(view, "spans")
        one = component(view, args.component)
        kind, codes = _others(view, one, args.against)
        found = health(view, kind)
        codes = codes[(found.counts[0] + found.counts[1])[codes] > 0]
        itself = [one.code] if kind == one.kind else []
        if not any(found.counts[0][code] + found.counts[1][code] for code in [*itself, *codes.tolist()]):
            raise NoAnswer("no_data", f"no requests of {said(one.name)} were recorded.",
                           "ask metric_anomalies", category="permanent")  # fmt: skip
        every = {"service": view.names.services, "instance": view.names.instances, "node": view.names.nodes}
        names: tuple[str, ...] = every[kind]
        first = strongest_first(found.trouble).tolist()
        order: list[int] = sorted(codes.tolist(), key=lambda code: (first[code], names[code]))
        rows = [_row(found, code, names[code]) for code in [*itself, *order]]
        if args.against == "baseline":
            began = trouble_began(view, one)
            rows[0]["trouble_since_s"] = seconds_in(view, began) if began is not None else None
            return _with_itself(found, one, rows, began)
        if not codes.size:
            raise NoAnswer("no_peers", f"{said(one.name)} has no {args.against} with requests in these windows.",
                           "compare it with its baseline", category="permanent")  # fmt: skip
        if args.against == "instances":
            return _among(view, one, kind, order, found, rows)
        return _with_peers(one, found, order, rows)


def _others(view: View, one: Component, against: str) -> tuple[Kind, np.ndarray]:
    """The kind and the codes of those it is compared with, itself excepted."""
    graph = view.topology
    if against == "baseline":
        return one.kind, np.zeros(0, np.int64)
    if against == "instances":
        if one.kind == "node":
            return "instance", of_nodes(view, one.code)
        if one.kind == "service":
            return "instance", np.flatnonzero(graph.instance_service == one.code)
        raise NoAnswer("bad_arguments", f"{said(one.name)} is an instance.", "use `peers`")
    if one.kind == "service":
        callers = graph.callers_of(one.code)
        codes = np.unique(graph.callee[np.isin(graph.caller, callers)])
    elif one.kind == "instance":
        codes = np.flatnonzero(graph.instance_service == graph.instance_service[one.code])
    else:
        codes = np.arange(len(view.names.nodes))
    return one.kind, codes[codes != one.code].astype(np.int64)


def _row(found: Health, code: int, name: str) -> dict[str, Any]:
    shift = found.shift
    failed = found.failed_shares()
    has = [bool(count[code]) for count in found.counts]
    return {
        "name": name,
        "baseline_requests": int(found.counts[0][code]),
        "incident_requests": int(found.counts[1][code]),
        "baseline_per_s": number(found.rates[0][code]),
        "incident_per_s": number(found.rates[1][code]),
        "baseline_failed": number(failed[0][code]),
        "incident_failed": number(failed[1][code]),
        "baseline_p50_ms": number(shift.base_median[code]) if has[0] else None,
        "incident_p50_ms": number(shift.incident_median[code]) if has[1] else None,
        "baseline_p90_ms": number(shift.base_p90[code]) if has[0] else None,
        "incident_p90_ms": number(shift.incident_p90[code]) if has[1] else None,
        "trouble": number(found.trouble[code]),
    }


def words_for(row: dict[str, Any], found: Health, code: int) -> tuple[str, str, float, str]:
    """(what, sentence without a subject, magnitude, unit) of the worst thing that happened to a component."""
    worst = max(("failing", "slower", "missing"), key=lambda what: float(getattr(found, what)[code]))
    if worst == "failing" and found.failing[code] > 0:
        before, after = row["baseline_failed"] or 0.0, row["incident_failed"] or 0.0
        return "failures", f"fails {percent(after)} of its requests, {percent(before)} before", after - before, "share"
    if worst == "missing" and found.missing[code] > 0:
        before, after = row["baseline_per_s"] or 0.0, row["incident_per_s"] or 0.0
        text = f"gets {words_of(after)} requests a second, {words_of(before)} before"
        return "requests", text, after - before, "1/s"
    before, after = row["baseline_p90_ms"], row["incident_p90_ms"]
    text = f"answers nine of ten requests within {quantity(after, 'ms')}, {quantity(before, 'ms')} before"
    return "latency", text, (after or 0.0) - (before or 0.0), "ms"


def _claim(what: str, text: str, size: float, unit: str, onset_ns: int | None = None) -> Claim:
    return Claim(what=what, direction="up" if size > 0 else "down", magnitude=round(size, 4), unit=unit,
                 onset_ns=onset_ns, text=text)  # fmt: skip


def _with_itself(found: Health, one: Component, rows: list[dict[str, Any]], began: int | None) -> Found:
    trouble = float(found.trouble[one.code])
    what, text, size, unit = words_for(rows[0], found, one.code)
    enough = min(int(count[one.code]) for count in found.counts) >= ENOUGH
    clear = trouble < HEALTHY and enough
    claim = _claim(what, f"{said(one.name)} {text}", size, unit, None if clear else began)
    strength = CLEARED if clear else FULL * trouble
    return Found(rows=tuple(rows), total=len(rows), about=one.entity, claim=claim, strength=strength,
                 polarity="against" if clear else "for")  # fmt: skip


def _with_peers(one: Component, found: Health, order: list[int], rows: list[dict[str, Any]]) -> Found:
    """Alone in trouble speaks for a component; peers that suffer as much, or its own health, speak against it."""
    mine, others = float(found.trouble[one.code]), found.trouble[np.array(order, np.int64)]
    usual = float(np.median(others))
    _, text, _, _ = words_for(rows[0], found, one.code)
    suffering = int((others >= TROUBLED).sum())
    whole = f"{said(one.name)} {text}; {suffering} of {len(order)} peers are in trouble too"
    if mine < HEALTHY:
        polarity, strength = "against", CLEARED if suffering else 0.0
    else:
        polarity = "for" if mine > usual else "against"
        strength = FULL * abs(mine - usual)
    claim = _claim("trouble against peers", whole, mine - usual, "trouble")
    return Found(rows=tuple(rows), total=len(rows), about=one.entity, claim=claim, strength=strength,
                 polarity="for" if polarity == "for" else "against")  # fmt: skip


def _among(
    view: View, one: Component, kind: Kind, order: list[int], found: Health, rows: list[dict[str, Any]]
) -> Found:
    """One bad instance among good ones speaks for that instance; equals say that it is not one of them."""
    trouble = found.trouble[np.array(order, np.int64)]
    worst = entity_of(view, kind, order[0])
    _, text, _, _ = words_for(rows[0], found, order[0])
    suffering = int((trouble >= TROUBLED).sum())
    whole = f"{said(worst.name)} {text}; {suffering} of {len(order)} instances of {said(one.name)} are in trouble"
    alone = len(order) > 1 and suffering >= 1 and float(trouble[0] - np.median(trouble[1:])) >= TROUBLED
    about = worst if alone else one.entity
    strength = FULL * float(trouble[0] - np.median(trouble[1:])) if alone else 0.0
    claim = _claim("trouble among instances", whole, float(trouble[0]), "trouble")
    return Found(rows=tuple(rows), total=len(rows), about=about, claim=claim, strength=strength)
