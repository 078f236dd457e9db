"""Hop: how much of a service's trouble came to it from each service it calls, and how much began in it.

A request that failed, took too long, or came back without a part that good ones have may have got that from a call: one
that failed, came back hollow itself, or took most of the extra time. What coincides in the same requests more often
than in good ones is accounted to that callee. Where no spans tell, log lines that name the callee do. Source: hop
checks of OpenRCA 2.0 (PAVE), section 15.1 of the agents survey. Rows: the service itself first (`source` equal to
`target`, with the share that no call accounts for), then its callees, those that account for most first. Cost: one
pass over the spans, once.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np

from aetia.model.diagnosis import Claim
from aetia.model.entity import edge
from aetia.model.quantities import percent
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said, service_code
from aetia.reason.tools._hops import Complaint, Split, complaints, requests, split
from aetia.reason.tools._parts import BINS, begins, entity_of, number, seconds_in
from aetia.signals.view import View

CUT_OFF = re.compile(
    r"\bconnect|\bresolve|\brefused|\bunreachable|\bno route|\breset by|\b(unknown|no such) host",
    re.IGNORECASE,
)
"""Words of those who could not reach somebody; who got an error back, or waited too long for an answer, did."""
TOLD = 0.02
"""Share of the requests that has to go wrong beyond what is usual before anything is accounted to anybody."""
CARRIED = 0.5
CLEARED = 0.1
MANY = 20


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`target`: the service whose trouble is to be traced; who complains of whom in the logs when left out.
    `source`: the service or external dependency that it calls and that may have passed the trouble on; all that it
    calls when left out.
    """

    target: str = ""
    source: str = ""


@plugin(
    "tool", summary="how much of a service's trouble came from each service it calls, and how much began in it",
    source="hop checks of OpenRCA 2.0 (PAVE)", cost="O(spans) once",
)  # fmt: skip
class Hop(Tool[Args]):
    """Trouble of a service by where it came from."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        if not args.target:
            return _all_complaints(view)
        target = service_code(view, args.target)
        source = service_code(view, args.source) if args.source else None
        if source == target:
            raise NoAnswer("bad_arguments", f"{said(args.target)} is not a hop from itself.", "name two services")
        if len(view.spans) == 0 and len(view.logs) == 0:
            raise NoAnswer("no_data", "neither spans nor logs were recorded.", "ask metric_anomalies",
                           category="permanent")  # fmt: skip
        rows = _rows(view, target, source)
        return _judged(view, target, rows)


def _rows(view: View, target: int, source: int | None) -> list[dict[str, Any]]:
    found = split(view, target) if len(view.spans) else None
    said_of = {line.named: line for line in complaints(view) if line.speaker == target}  # the most frequent wins
    callees = {} if found is None else {int(code): at for at, code in enumerate(found.callee.tolist())}
    began = _began(view, target)
    rows = [_row(view, target, code, found, callees.get(code), said_of.get(code), began)
            for code in sorted({*callees, *said_of}) if source in (None, code)]  # fmt: skip
    rows.sort(key=lambda row: (-row["accounts"], -row["complaints"], row["source"]))
    name = view.names.services[target]
    wrong = 0 if found is None else found.went_wrong
    own = {
        "source": name, "target": name, "accounts": number(found.own) if found is not None else None,
        "requests": 0 if found is None else found.requests, "went_wrong": wrong,
        "usual_share": number(found.usual_share) if found is not None else None, "sick": _sick(found),
        "target_began_s": began,
    }  # fmt: skip
    return [own, *rows]


def _all_complaints(view: View) -> Found:
    names = view.names.services
    lines: dict[tuple[int, int], list[int]] = {}
    for item in complaints(view):
        count = lines.setdefault((item.speaker, item.named), [0, 0])
        count[0] += item.lines
        count[1] += item.lines if CUT_OFF.search(item.text) else 0
    found = sorted(lines.items(), key=lambda item: (-item[1][0], names[item[0][0]], names[item[0][1]]))
    rows: tuple[dict[str, Any], ...] = tuple(
        {"source": names[b], "target": names[a], "complaints": every, "unreached": cut}
        for (a, b), (every, cut) in found
    )
    if not rows:
        return Found(rows=(), total=0)
    first = rows[0]
    text = f"{len(rows)} pairs of services complain, most of all {said(first['target'])} of {said(first['source'])}"
    claim = Claim(what="hop", direction="up", magnitude=float(first["complaints"]), unit="lines", text=text)
    return Found(rows=rows, total=len(rows), about=edge(first["target"], first["source"]), claim=claim,
                 strength=CARRIED)  # fmt: skip


def _sick(found: Split | None) -> float:
    """How much more of the requests than usual went wrong, 0..1."""
    if found is None or not found.requests:
        return 0.0
    return number(max(found.went_wrong / found.requests - found.usual_share, 0.0)) or 0.0


def _row(
    view: View, target: int, source: int, found: Split | None, at: int | None, line: Complaint | None,
    began: float | None,
) -> dict[str, Any]:  # fmt: skip
    names = view.names.services
    shares = (0.0, 0.0, 0.0)
    if found is not None and at is not None:
        shares = (float(found.accounts[at]), float(found.held[at]), float(found.held_by_good[at]))
    return {
        "source": names[source], "target": names[target], "accounts": number(shares[0]) or 0.0,
        "held_by_wrong": number(shares[1]), "held_by_good": number(shares[2]),
        "complaints": line.lines if line is not None else 0,
        "complaints_before": line.before if line is not None else 0,
        "says": line.text if line is not None else None,
        "source_began_s": _began(view, source), "target_began_s": began,
        "step_s": number(view.incident.seconds / BINS),
    }  # fmt: skip


def _began(view: View, service: int) -> float | None:
    """When requests of a service began to go wrong, s from the start of the incident; None where they did not."""
    if len(view.spans) == 0:
        return None
    table = requests(view)
    mine = np.flatnonzero(table.service == service)
    bad = (table.bad | table.call_failed)[mine]
    before = ~table.during[mine]
    usual = float(bad[before].mean()) if before.any() else 0.0
    at = begins(view, table.start_ns[mine], bad, usual)
    return None if at is None else seconds_in(view, at)


def _judged(view: View, target: int, rows: list[dict[str, Any]]) -> Found:
    own, best = rows[0], rows[1] if len(rows) > 1 else None
    name, found = said(own["target"]), tuple(rows)
    sure = min(own["went_wrong"] / MANY, 1.0)
    if best is not None and own["sick"] >= TOLD and best["accounts"] >= CARRIED:
        text = (
            f"{percent(best['held_by_wrong'])} of the {own['went_wrong']} requests of {name} that went wrong held a "
            f"call to {said(best['source'])} that did, {percent(best['held_by_good'])} of the good ones"
        )
        claim = Claim(what="hop", direction="up", magnitude=best["accounts"], unit="share", text=text)
        return Found(rows=found, total=len(rows), about=edge(own["target"], best["source"]), claim=claim,
                     strength=CARRIED * best["accounts"] * sure)  # fmt: skip
    loud = max(rows[1:], key=lambda row: row["complaints"], default=None)
    if loud is not None and loud["complaints"]:
        text = (
            f"{name} prints “{said(loud['says'], 160)}” {loud['complaints']} times, {loud['complaints_before']} before"
        )
        claim = Claim(what="hop", direction="up", magnitude=float(loud["complaints"]), unit="lines", text=text)
        return Found(rows=found, total=len(rows), about=edge(own["target"], loud["source"]), claim=claim,
                     strength=CARRIED)  # fmt: skip
    about = entity_of(view, "service", target)
    if own["sick"] >= TOLD:
        wrong = f"{own['went_wrong']} requests of {name} that went wrong"
        text = f"{percent(own['accounts'])} of the {wrong} owe it to no call"
        claim = Claim(what="hop", direction="up", magnitude=own["accounts"], unit="share", text=text)
        return Found(rows=found, total=len(rows), about=about, claim=claim, strength=CARRIED * own["accounts"] * sure)
    if own["requests"] < MANY:
        return Found(rows=found, total=len(rows))
    claim = Claim(what="hop", direction="changed", magnitude=own["sick"], unit="share",
                  text=f"requests of {name} went as before")  # fmt: skip
    return Found(rows=found, total=len(rows), about=about, claim=claim, polarity="against", strength=CLEARED)
