"""Topology: who calls a service, whom it calls, and where it runs.

Source: the tools of section 15.2 of the agents survey. Answers with one row per neighbour: `relation` (`caller`,
`callee`, `host`), its name, and calls in each window. Cost: O(edges).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from aetia.model.diagnosis import Claim
from aetia.model.entity import service
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, Tool, service_code
from aetia.signals.view import View


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
        text = f"{args.service} has {len(rows)} neighbours"
        claim = Claim(what="neighbours", direction="changed", magnitude=float(len(rows)), unit="services", text=text)
        return Found(rows=tuple(rows), total=len(rows), about=service(args.service), claim=claim)
