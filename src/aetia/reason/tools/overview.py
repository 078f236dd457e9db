"""Overview: every component, the most troubled first, with what each kind of telemetry says of it. Where to begin.

Source: the statistical view that survey section 15.1 puts before any question. Rows: one per service (or per node,
where metrics are all there is of it) with requests in both windows, the strangest metric and the worst log template.
Cost: O(components + series + templates) once they are computed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from aetia.evidence._places import service_or_external
from aetia.model.diagnosis import Claim
from aetia.plugins import plugin
from aetia.reason.toolbox import MOST_ROWS, Found, NoAnswer, Tool, said
from aetia.reason.tools._parts import entity_of, health, number, strongest_first
from aetia.reason.tools.log_templates import rising_by_service
from aetia.reason.tools.metric_anomalies import strongest
from aetia.signals.frames import F64
from aetia.signals.view import View

OF_METRIC, UNFELT, OF_LOG = 0.8, 0.4, 0.5
"""How far the strangest metric counts, against trouble with requests, where there are no spans and where requests tell;
and how far the worst log template does."""
CHANGED = 0.2


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`of`: services, or nodes."""

    of: Literal["services", "nodes"] = "services"


@plugin(
    "tool", summary="all services or nodes, the most troubled first: where to begin",
    source="agents survey, section 15.1", cost="O(components)",
)  # fmt: skip
class Overview(Tool[Args]):
    """Requests, failures, times, strangest metric and worst log template of every component."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        nodes = args.of == "nodes"
        names = view.names.nodes if nodes else view.names.services
        if not names:
            raise NoAnswer("no_data", f"the telemetry names no {args.of}.",
                           "ask for the other kind" if nodes else "", category="permanent")  # fmt: skip
        found = health(view, "node" if nodes else "service")
        metric = _strangest(view, nodes=nodes)
        logs = np.zeros(len(names)) if nodes else rising_by_service(view)
        felt = UNFELT if len(view.spans) else OF_METRIC
        order = strongest_first(np.maximum(found.trouble, np.maximum(felt * metric, OF_LOG * logs)))
        failed, shift, graph = found.failed_shares(), found.shift, view.topology
        rows: list[dict[str, Any]] = [
            {
                "name": names[code],
                "external": bool(not nodes and graph.external[code]),
                "entry": bool(not nodes and graph.entry[code]),
                "baseline_per_s": number(found.rates[0][code]),
                "incident_per_s": number(found.rates[1][code]),
                "baseline_failed": number(failed[0][code]),
                "incident_failed": number(failed[1][code]),
                "baseline_p90_ms": number(shift.base_p90[code]) if shift.base_count[code] else None,
                "incident_p90_ms": number(shift.incident_p90[code]) if shift.incident_count[code] else None,
                "trouble": number(found.trouble[code]),
                "strangest_metric": number(metric[code]),
                "worst_log": number(logs[code]),
            }
            for code in sorted(range(len(names)), key=lambda code: (order[code], names[code]))[:MOST_ROWS]
        ]
        return _judged(view, rows, total=len(names), nodes=nodes, troubled=int((order <= -CHANGED).sum()))


def _strangest(view: View, *, nodes: bool) -> F64:
    """How surely the most telling metric of each service (or node) moved, 0..1."""
    if len(view.metrics) == 0:
        return np.zeros(len(view.names.nodes if nodes else view.names.services))
    return np.maximum(strongest(view, "node" if nodes else "service"), 0.0)


def _judged(view: View, rows: list[dict[str, Any]], *, total: int, nodes: bool, troubled: int) -> Found:
    best = rows[0]["name"]
    about = entity_of(view, "node", view.names.nodes.index(best)) if nodes else service_or_external(
        view, view.names.service_code(best)
    )  # fmt: skip
    what = "nodes" if nodes else "services"
    text = f"{troubled} of {total} {what} changed, {said(best)} most" if troubled else f"none of {total} {what} changed"
    claim = Claim(what=f"troubled {what}", direction="changed", magnitude=float(troubled), unit=what, text=text)
    return Found(rows=tuple(rows), total=total, about=about, claim=claim)
