"""Topology: who calls a service, whom it calls, and where it runs.

Source: the tools of section 15.2 of the agents survey. Answers with one row per neighbour: `relation` (`caller`,
`callee`, `host`), its name, and the calls that spans show. Where requests that no recorded call sends stayed away, and
one caller alone records none of its calls, the answer speaks for that caller, with the share that was lost. Cost:
O(edges), and O(spans) where a caller is silent.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from aetia.evidence._edges import service_entries
from aetia.evidence._load import span_seconds
from aetia.evidence._places import service_or_external
from aetia.model.diagnosis import Claim
from aetia.model.entity import service
from aetia.model.quantities import percent
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, Tool, said, service_code
from aetia.reason.tools._parts import SURE_P, number
from aetia.signals.stats import poisson_rate_p
from aetia.signals.view import View

FULL = 0.5
"""Strength where all requests stayed away: who records nothing may also have been asked for less."""


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`service`: whose neighbours are wanted."""

    service: str


@plugin(
    "tool", summary="callers, callees and hosts of a service", source="agents survey, section 15.2", cost="O(edges)"
)
class Topology(Tool[Args]):
    """Neighbours of one service."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        code = service_code(view, args.service)
        graph, names = view.topology, view.names
        rows: list[dict[str, Any]] = []
        for relation, mine, theirs in (("caller", graph.callee, graph.caller), ("callee", graph.caller, graph.callee)):
            for at in np.flatnonzero((mine == code) & (theirs != code)).tolist():
                rows.append({"relation": relation, "name": names.services[theirs[at]], "calls": int(graph.calls[at])})
        hosts = graph.instance_node[(graph.instance_service == code) & (graph.instance_node >= 0)]
        rows += [{"relation": "host", "name": names.nodes[node], "calls": 0} for node in np.unique(hosts).tolist()]
        rows.sort(key=lambda row: (row["relation"], -row["calls"], row["name"]))
        silent = [row for row in rows if row["relation"] == "caller" and not row["calls"]]
        if len(silent) == 1 and (lost := _lost(view, code)) > 0.0:
            return _silent(view, args.service, silent[0], lost, tuple(rows))
        text = f"{args.service} has {len(rows)} neighbours"
        claim = Claim(what="neighbours", direction="changed", magnitude=float(len(rows)), unit="services", text=text)
        return Found(rows=tuple(rows), total=len(rows), about=service(args.service), claim=claim)


def _silent(view: View, name: str, row: dict[str, Any], lost: float, rows: tuple[dict[str, Any], ...]) -> Found:
    """The finding about the one caller that records none of its calls; its row has the share that was lost."""
    row["lost"] = number(lost)
    text = f"{said(name)} lost {percent(lost)} of the requests that no recorded call sends, and {said(row['name'])}, "
    text += "which calls it, records no calls of its own"
    claim = Claim(what="requests of a silent caller", direction="down", magnitude=1.0 - lost, unit="ratio", text=text)
    about = service_or_external(view, view.names.service_code(row["name"]))
    return Found(rows=rows, total=len(rows), about=about, claim=claim, strength=FULL * lost)


def _lost(view: View, code: int) -> float:
    """Share of a service's requests without a recorded caller that the incident lost; 0 where that may be chance."""
    spans = view.spans
    if len(spans) == 0:
        return 0.0
    mine = service_entries(view) & (spans.service == code) & (spans.parent < 0)
    before, during = (int((mine & mask).sum()) for mask in view.span_masks)
    seconds = span_seconds(view)
    if before == 0 or min(seconds) <= 0 or poisson_rate_p(during, seconds[1], before, seconds[0]) >= SURE_P:
        return 0.0
    return max(1.0 - (during / seconds[1]) / (before / seconds[0]), 0.0)
