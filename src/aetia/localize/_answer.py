"""From the board to the answer: hypotheses with evidence, the propagation path, and what was ruled out."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np

from aetia.evidence._presence import presence
from aetia.evidence.channel import Finding
from aetia.localize._board import Board, candidate_of, contributions, spoken
from aetia.localize._graph import CallGraph
from aetia.localize._verdict import verdict
from aetia.model import entity
from aetia.model.diagnosis import Evidence, Hop, Hypothesis, Incident, Query, make_evidence
from aetia.model.entity import Entity
from aetia.model.faults import FaultClass
from aetia.plugins import create
from aetia.signals.frames import F64, I64
from aetia.signals.view import View

PROVEN = 5
"""Hypotheses that carry evidence; the others are ranked only."""
PER_HYPOTHESIS = 4
MAX_RANKED = 20
MAX_REJECTED = 8
OF_LINKS: frozenset[FaultClass | None] = frozenset(("D", "E", None))
"""Classes that a link can have: it delays, loses or parts. Only what runs can die, starve, throw or pause."""


def make_hypotheses(
    view: View, board: Board, score: F64, order: I64, probability: F64
) -> tuple[tuple[Hypothesis, ...], tuple[Evidence, ...]]:
    """Ranked hypotheses, the first PROVEN with evidence."""
    hypotheses: list[Hypothesis] = []
    evidence: dict[str, Evidence] = {}
    for rank, candidate in enumerate(order[:MAX_RANKED].tolist()):
        parts = contributions(board, candidate)
        findings = [_best(board, row, candidate) for _, row in parts]
        proof = _prove(view, board, parts, candidate) if rank < PROVEN else []
        evidence.update({item.id: item for item in proof})
        fault_class, fault = verdict({board.channels[r]: f for (r, c), f in board.findings.items() if c == candidate})
        onsets = [f.onset_ns for f in findings if f.onset_ns is not None and f.onset_ns >= view.incident.start_ns]
        hypotheses.append(
            Hypothesis(
                entity=housed(view, finest(view, parts, findings, candidate, fault_class)),
                score=round(float(score[candidate]), 6),
                probability=int(float(probability[rank]) * 1e4) / 1e4, fault_class=fault_class, fault=fault,
                onset_ns=min(onsets) if onsets else view.incident.start_ns, evidence=tuple(item.id for item in proof),
                verdict="supported" if rank == 0 else "open", reason=findings[0].claim.text if findings else "",
            )
        )  # fmt: skip
    return tuple(hypotheses), tuple(evidence.values())


def _best(board: Board, row: int, candidate: int) -> Finding:
    return max(board.findings[row, candidate], key=lambda f: f.score)


def _prove(view: View, board: Board, parts: list[tuple[float, int]], candidate: int) -> list[Evidence]:
    """The strongest findings as evidence, each with the result of its query; a change on the candidate comes last."""
    rows = [(weight, row) for weight, row in parts[:PER_HYPOTHESIS]]
    rows += [(0.0, r) for (r, c) in board.findings if c == candidate and all(r != row for _, row in parts)]
    windows = {table: view.baseline_of(table) for table in ("spans", "logs", "metrics", "changes")}
    out: list[Evidence] = []
    for weight, row in rows[: PER_HYPOTHESIS + 1]:
        finding, name = _best(board, row, candidate), board.channels[row]
        result = create("channel", name).measure(view, **finding.args)
        out.append(
            make_evidence(
                about=finding.entity, claim=finding.claim, polarity="for", strength=weight or finding.score,
                query=Query(channel=name, args=finding.args, incident=view.incident, baselines=windows), result=result,
                fault_class=finding.fault_class, own=finding.own,
            )
        )  # fmt: skip
    return out


def finest(
    view: View, parts: list[tuple[float, int]], findings: list[Finding], candidate: int, fault_class: FaultClass | None
) -> Entity:
    """The entity of the strongest finding, or an instance that a nearly as strong one names; a link only where
    links can have that class of fault."""
    if not findings:
        return candidate_entity(view, candidate)
    first = findings[0].entity
    if first.level == "edge" and fault_class not in OF_LINKS:
        first = candidate_entity(view, candidate)
    if first.level in ("instance", "edge", "operation"):
        return first
    for (weight, _), finding in zip(parts, findings, strict=True):
        if weight >= 0.5 * parts[0][0] and finding.entity.level == "instance":
            return finding.entity
    return first


def housed(view: View, where: Entity) -> Entity:
    """The entity with its instance and node, where a single instance of its service was heard in the incident: what is
    wrong with the service is then wrong there."""
    if where.level not in ("service", "operation") or where.service is None:
        return where
    owner, host = view.topology.instance_service, view.topology.instance_node
    heard = np.flatnonzero((owner == view.names.service_code(where.service)) & (presence(view).incident > 0))
    if len(heard) != 1:
        return where
    only = int(heard[0])
    node = view.names.nodes[int(host[only])] if host[only] >= 0 else None
    return msgspec.structs.replace(where, instance=view.names.instances[only], node=node)


def candidate_entity(view: View, candidate: int) -> Entity:
    services = view.names.services
    if candidate >= len(services):
        return entity.node(view.names.nodes[candidate - len(services)])
    external = view.topology.external
    if candidate < len(external) and external[candidate]:
        return entity.external(services[candidate])
    return entity.service(services[candidate])


def propagation(
    view: View, incident: Incident, graph: CallGraph, board: Board, score: F64, root: int
) -> tuple[Hop, ...]:
    """The hops from the root to a broken entry point, root first."""
    entries = sorted({e for e in (candidate_of(view, b.entry) for b in incident.breaches) if e >= 0})
    if not entries:
        entries = np.flatnonzero(view.topology.entry).tolist()
    chain = graph.path(root, entries, score)
    onset = {candidate_of(view, b.entry): b.onset_ns for b in incident.breaches}
    hops: list[Hop] = []
    for source, target in itertools.pairwise(chain):
        relation = "hosts" if source >= graph.n else "called by"
        hops.append(
            Hop(
                source=board.candidates[source], target=board.candidates[target], relation=relation,
                onset_ns=onset.get(target),
            )
        )  # fmt: skip
    return tuple(hops)


def rejected(view: View, board: Board, score: F64, order: I64, graph: CallGraph) -> tuple[Hypothesis, ...]:
    """Candidates that show symptoms and are not the cause, with the reason."""
    root = int(order[0])
    upstream = set(graph.above(root))
    out: list[Hypothesis] = []
    ranked = order.tolist()
    quiet = [c for c in np.flatnonzero(spoken(board)).tolist() if c not in ranked]
    for candidate in [*ranked[1:], *quiet]:
        if candidate not in upstream or len(out) >= MAX_REJECTED:
            continue
        parts = contributions(board, candidate)
        text = _best(board, parts[0][1], candidate).claim.text if parts else "it shows symptoms only"
        out.append(
            Hypothesis(
                entity=candidate_entity(view, candidate), score=round(float(score[candidate]), 6), verdict="refuted",
                reason=f"depends on {board.candidates[root]}, whose own evidence is stronger; seen there: {text}",
            )
        )  # fmt: skip
    return tuple(out)
