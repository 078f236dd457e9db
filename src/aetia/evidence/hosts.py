"""Hosts: whatever runs on one node got slower or fails, whatever service it is, and the same services elsewhere do not.

Source: observation class B at node level of PAVE (RCABench), as a contrast between hosts. Score: mean rise of own time
and errors of the services on the node less that on the other nodes, times their number; higher = more suspicious.
Cost: O(spans log spans).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aetia.evidence._edges import by_own_time
from aetia.evidence._memo import once, once_for_facts
from aetia.evidence._samples import group_shift
from aetia.evidence.channel import Finding, Reading
from aetia.evidence.resources import Resources
from aetia.model import entity
from aetia.model.diagnosis import Claim
from aetia.model.errors import SignalError
from aetia.plugins import plugin
from aetia.signals.frames import F64, I64, Bool
from aetia.signals.keys import dense_groups
from aetia.signals.view import View

MIN_SPANS = 8
ABNORMAL = 0.15
MIN_SERVICES = 2
MIN_SCORE = 0.05
ERROR_RISE = 0.05
SEEN_IN = ("requests", "resources")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Per node: mean abnormality 0..1 of the services on it, of the same services elsewhere and of everything
    elsewhere, and how many of its services are abnormal out of how many that were seen."""

    here: F64
    elsewhere: F64
    abnormal: I64
    seen: I64


@plugin(
    "channel",
    summary="the services of one node all got worse, and those of other nodes did not",
    source="node level of PAVE (RCABench), as a contrast between hosts",
    cost="O(spans log spans)",
)
class Hosts:
    """Contrast between nodes."""

    def observe(self, view: View) -> Reading:
        hosts = view.topology.instance_node
        if len(hosts) == 0 or len(np.unique(hosts[hosts >= 0])) < 2:
            return Reading(silent="no instances on two or more known nodes")
        findings: list[Finding] = []
        for seen_in in SEEN_IN:
            contrast = contrast_of(view, seen_in)
            share = contrast.abnormal / np.maximum(contrast.seen, 1)
            score = np.maximum(contrast.here - contrast.elsewhere, 0.0) * np.sqrt(share)
            score = np.where(contrast.abnormal >= MIN_SERVICES, np.minimum(1.0, 2.0 * score), 0.0)
            chosen = np.flatnonzero(score >= MIN_SCORE).tolist()
            findings += [_finding(view, contrast, node, float(score[node]), seen_in) for node in chosen]
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(findings=tuple(findings), silent=None if findings else "no node stands out by what runs on it")

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        if args["node"] not in view.names.nodes:
            raise SignalError(f"no node {args['node']} in this telemetry.")
        node, contrast = view.names.nodes.index(args["node"]), contrast_of(view, args["seen_in"])
        return {
            "baseline": float(contrast.elsewhere[node]),
            "incident": float(contrast.here[node]),
            "abnormal_services": int(contrast.abnormal[node]),
            "services": int(contrast.seen[node]),
            "unit": "mean abnormality, elsewhere against here",
        }


def contrast_of(view: View, seen_in: str) -> Contrast:
    """Contrast of all nodes in requests (own time and errors) or in resources (pressure on instances)."""
    return once(view, f"hosts by {seen_in}", _by_requests if seen_in == "requests" else _by_resources)


def _by_resources(view: View) -> Contrast:
    n_nodes, n_services = len(view.names.nodes), len(view.names.services)
    series = view.metrics.series
    instance = np.array([s.instance for s in series], dtype=np.int64)
    known = np.flatnonzero(instance >= 0)
    pressure = np.full(len(view.names.instances), np.nan)
    np.fmax.at(pressure, instance[known], Resources().scores(view)[known])
    owner, node = view.topology.instance_service, view.topology.instance_node
    usable = np.flatnonzero((owner >= 0) & (node >= 0) & np.isfinite(pressure))
    cell = owner[usable].astype(np.int64) * n_nodes + node[usable]
    count = np.bincount(cell, minlength=n_services * n_nodes)
    level = np.bincount(cell, pressure[usable], n_services * n_nodes) / np.maximum(count, 1)
    shape = (n_services, n_nodes)
    return _compare(level.reshape(shape), count.reshape(shape) > 0)


def _by_requests(view: View) -> Contrast:
    if len(view.spans) == 0:
        nothing = np.zeros((len(view.names.services), len(view.names.nodes)))
        return _compare(nothing, nothing > 0)
    spans, hosts = view.spans, view.topology.instance_node
    base, incident = view.span_masks
    node = once_for_facts(view, "node of each span", lambda facts: np.append(hosts, np.int32(-1))[facts.spans.instance])
    rows = by_own_time(view, node)
    rows = rows[((base | incident) & (node >= 0))[rows]]
    n_nodes, n_services = len(view.names.nodes), len(view.names.services)
    key = spans.operation[rows].astype(np.int64) * n_nodes + node[rows]
    distinct, group = dense_groups(key)
    shift = group_shift(spans.exclusive_ns[rows], group, incident[rows], len(distinct))
    failed = _error_rise(spans.error[rows], group, incident[rows], len(distinct))
    bad = np.maximum(shift.bounded, failed)
    enough = (shift.base_count >= MIN_SPANS) & (shift.incident_count >= MIN_SPANS)
    service = np.array([view.names.operations[k // n_nodes][0] for k in distinct.tolist()], dtype=np.int64)
    cell = service * n_nodes + distinct % n_nodes
    weight = np.where(enough, np.sqrt(shift.incident_count), 0.0)
    total = np.bincount(cell, weight, n_services * n_nodes)
    level = np.bincount(cell, weight * bad, n_services * n_nodes)
    level = np.divide(level, total, out=np.zeros(len(level)), where=total > 0).reshape(n_services, n_nodes)
    return _compare(level, total.reshape(n_services, n_nodes) > 0)


def _error_rise(error: Bool, group: I64, incident: Bool, n: int) -> F64:
    """Rise of the error share per group as 0..1: full at a fifth of the calls."""

    def share(side: Bool) -> F64:
        count = np.bincount(group[side], minlength=n)
        return np.bincount(group[side & error], minlength=n) / np.maximum(count, 1)

    rise = share(incident) - share(~incident)
    return np.where(rise > ERROR_RISE, np.minimum(1.0, rise / 0.2), 0.0)


def _compare(level: F64, seen: Bool) -> Contrast:
    """Services x nodes: this node's mean against the worst other node and, for services on several nodes, their
    own mean elsewhere. A service that is bad wherever it runs is not the node's fault."""
    n_nodes = level.shape[1]
    here, elsewhere = np.zeros(n_nodes), np.zeros(n_nodes)
    abnormal, count = np.zeros(n_nodes, np.int64), np.zeros(n_nodes, np.int64)
    mean = [float(level[seen[:, node], node].mean()) if seen[:, node].any() else -1.0 for node in range(n_nodes)]
    for node in range(n_nodes):
        on = seen[:, node]
        others = seen.copy()
        others[:, node] = False
        count[node] = int(on.sum())
        if not on.any() or not others.any():
            continue
        own_elsewhere = np.divide(
            (level * others).sum(axis=1), others.sum(axis=1), out=np.zeros(len(level)), where=others.any(axis=1)
        )
        excess = np.maximum(level[on, node] - own_elsewhere[on], 0.0)
        here[node] = mean[node]
        abnormal[node] = int((excess > ABNORMAL).sum())
        elsewhere[node] = max(float(own_elsewhere[on].mean()), *mean[:node], *mean[node + 1 :])
    return Contrast(here=here, elsewhere=elsewhere, abnormal=abnormal, seen=count)


def _finding(view: View, contrast: Contrast, node: int, score: float, seen_in: str) -> Finding:
    name = view.names.nodes[node]
    return Finding(
        entity=entity.node(name),
        score=score,
        fault_class="B",
        fault="node_pressure",
        args={"node": name, "seen_in": seen_in},
        claim=Claim(
            what="host contrast",
            direction="up",
            unit="mean abnormality",
            magnitude=round(float(contrast.here[node] - contrast.elsewhere[node]), 4),
            text=f"{contrast.abnormal[node]} of {contrast.seen[node]} services got worse in their {seen_in} on {name} "
            "and not elsewhere",
        ),
    )
