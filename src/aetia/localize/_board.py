"""The board: what every channel says of every candidate, fused into one score per candidate."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from aetia.evidence.channel import Channel, Finding, Reading
from aetia.localize._graph import CallGraph
from aetia.model.entity import Entity
from aetia.parallel import side_by_side
from aetia.plugins import Plugin, all_plugins
from aetia.signals.frames import F64, Bool
from aetia.signals.view import View

TRUST: dict[str, float] = {
    "resources": 1.0,
    "runtime": 0.9,
    "pools": 0.7,
    "network": 0.6,
    "edge_gap": 1.0,
    "span_events": 1.0,
    "errors": 0.9,
    "silence": 0.8,
    "restarts": 0.9,
    "hosts": 0.9,
    "latency": 0.7,
    "branch_mix": 0.5,
    "call_mix": 0.6,
    "log_novelty": 0.5,
    "metric_shift": 0.5,
    "alerts": 0.6,
    "stray": 0.1,
}
"""How far a channel is believed when its evidence is complete; a channel that is not listed has OTHER_TRUST."""
OTHER_TRUST = 0.5
AMPLIFIERS = ("changes",)
"""Channels that prove nothing alone: they raise what else speaks against a candidate."""
AMPLIFY = 0.3
DOWNWARD = "call_mix"
"""What travels from callers to callees: who is asked for other things asks others for other things."""
NO_COMPLAINT = ("alerts", DOWNWARD)
"""Channels that say nothing of which of two services is nearer to the cause: alerts have thresholds of their own."""
INTERNAL = ("resources", "runtime", "pools", "network", "metric_shift", "stray")
"""Channels that look inside a component; requests tell whether anybody felt it."""
UNSEEN = 0.4
FELT = 0.15
WATCHED_SPANS = 15
MIX_FROM_ABOVE = 0.7
SICK_HOST = 0.4
HOST_EXPLAINS = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """c channels x n candidates (services first, in code order, then nodes).

    `own` and `symptom` hold the strongest finding's score per cell, weighted by the channel's trust and its
    confidence in this incident; `symptom` after callees have explained it. `score` (n,) is their noisy-or.
    """

    channels: tuple[str, ...]
    candidates: tuple[str, ...]
    own: F64
    symptom: F64
    amplifier: F64
    score: F64
    findings: dict[tuple[int, int], tuple[Finding, ...]]
    silent: dict[str, str]


def read_channels(view: View) -> dict[str, Reading]:
    """Every registered channel's reading of the view; a channel that cannot be loaded is silent and says why."""
    infos = list(all_plugins("channel"))
    _ = view.span_masks, view.log_masks, view.bin_masks  # shared by all channels: built before they start
    tasks = [functools.partial(_reading, info, view) for info in infos]
    found = side_by_side(tasks) if view.facts.large else [task() for task in tasks]
    return {info.name: reading for info, reading in zip(infos, found, strict=True)}


def _reading(info: Plugin, view: View) -> Reading:
    if info.unavailable is not None or info.factory is None:
        return Reading(silent=f"cannot be loaded: {info.unavailable}")
    channel: Channel = info.factory()
    return channel.observe(view)


def candidate_names(view: View) -> tuple[str, ...]:
    return view.names.services + tuple(f"node {n}" for n in view.names.nodes)


def candidate_of(view: View, where: Entity) -> int:
    """Column of the candidate that answers for an entity, -1 when there is none."""
    if where.service is not None:
        return view.names.service_code(where.service)
    if where.node is not None and where.node in view.names.nodes:
        return len(view.names.services) + view.names.nodes.index(where.node)
    return -1


def build_board(view: View, readings: dict[str, Reading], graph: CallGraph) -> Board:
    """Fuse the readings."""
    channels, columns = tuple(sorted(readings)), candidate_names(view)
    own, symptom = np.zeros((len(channels), len(columns))), np.zeros((len(channels), len(columns)))
    cells: dict[tuple[int, int], list[Finding]] = {}
    for row, name in enumerate(channels):
        for finding in readings[name].findings:
            column = candidate_of(view, finding.entity)
            if column < 0:
                continue
            cells.setdefault((row, column), []).append(finding)
            side = own if finding.own else symptom
            side[row, column] = max(side[row, column], finding.score)
    own, symptom = _corroborated(view, channels, own, symptom)
    amplifying = np.array([name in AMPLIFIERS for name in channels])
    trust = np.array([TRUST.get(name, OTHER_TRUST) for name in channels])
    weight = trust * _confidence(np.maximum(own, symptom))
    amplifier = own[amplifying].max(axis=0) if amplifying.any() else np.zeros(len(columns))
    weight = np.where(amplifying, 0.0, weight)[:, None]
    own, symptom = own * weight, symptom * weight
    own = own * (1.0 - _hosted(view, own[:, len(view.names.services) :], len(columns)))[None, :]
    own = _mix_from_above(channels, own, graph)
    alone = 1.0 - np.prod(1.0 - own, axis=0)
    symptom = symptom * (1.0 - graph.explained_by_callees(alone))[None, :]
    symptom = _asked_otherwise(channels, symptom, graph)
    said = np.array([name not in NO_COMPLAINT for name in channels])
    deeper = graph.explained_by_complaints(symptom[said].max(axis=0, initial=0.0))
    symptom = np.where(said[:, None], symptom * (1.0 - deeper)[None, :], symptom)
    fused = 1.0 - np.prod(1.0 - np.maximum(own, symptom), axis=0)
    fused = 1.0 - (1.0 - fused) * (1.0 - AMPLIFY * amplifier * np.sqrt(fused))
    return Board(
        channels=channels, candidates=columns, own=own, symptom=symptom, amplifier=amplifier, score=fused,
        findings={key: tuple(value) for key, value in cells.items()},
        silent={name: reading.silent for name, reading in readings.items() if reading.silent is not None},
    )  # fmt: skip


def _corroborated(view: View, channels: tuple[str, ...], own: F64, symptom: F64) -> tuple[F64, F64]:
    """Metrics of a service whose requests are all recorded and all went as before explain no user's pain: what they
    show is a coincidence (a backup, a scrape, a neighbour) and keeps UNSEEN of its score."""
    inner = np.array([c in INTERNAL for c in channels])
    spans, n = view.spans, len(view.names.services)
    if len(spans) == 0 or not inner.any():
        return own, symptom
    counts = [np.bincount(spans.service[m & (spans.service >= 0)], minlength=n) for m in view.span_masks]
    watched = np.zeros(own.shape[1])
    seen = np.minimum(counts[0], counts[1])
    watched[:n] = seen / (seen + WATCHED_SPANS)
    felt = np.maximum(own, symptom)[~inner].max(axis=0, initial=0.0)
    factor = 1.0 - watched * (1.0 - UNSEEN) * (1.0 - np.minimum(1.0, felt / FELT))
    factor = np.where(inner[:, None], factor[None, :], 1.0)
    return own * factor, symptom * factor


def _mix_from_above(channels: tuple[str, ...], own: F64, graph: CallGraph) -> F64:
    """A callee takes other branches because its callers send it other requests: its shift of branches counts less
    the more a direct caller changed what it does."""
    if "branch_mix" not in channels:
        return own
    row = channels.index("branch_mix")
    logic = [channels.index(c) for c in ("branch_mix", "span_events") if c in channels]
    changed = own[logic].max(axis=0)
    above = np.zeros(own.shape[1])
    np.maximum.at(above, graph.callee, changed[graph.caller])
    out = own.copy()
    out[row] *= 1.0 - MIX_FROM_ABOVE * np.minimum(1.0, above)
    return out


def _asked_otherwise(channels: tuple[str, ...], symptom: F64, graph: CallGraph) -> F64:
    """The same for calls per request: a callee's loss counts less the more a direct caller lost too."""
    if DOWNWARD not in channels:
        return symptom
    out, row = symptom.copy(), channels.index(DOWNWARD)
    above = np.zeros(symptom.shape[1])
    np.maximum.at(above, graph.callee, symptom[row, graph.caller])
    loud = np.divide(above, symptom[row], out=np.zeros(len(above)), where=symptom[row] > 0)
    out[row] *= 1.0 - MIX_FROM_ABOVE * np.minimum(1.0, loud)
    return out


def _hosted(view: View, of_nodes: F64, n: int) -> F64:
    """Share of each candidate's own evidence that its node explains, shape (n,): a sick host makes everything on it
    look sick by itself."""
    explained = np.zeros(n)
    service, host = view.topology.instance_service, view.topology.instance_node
    both = (service >= 0) & (host >= 0)
    if both.any() and of_nodes.shape[1]:
        strength = 1.0 - np.prod(1.0 - of_nodes, axis=0)
        np.maximum.at(
            explained, service[both], np.where(strength >= SICK_HOST, HOST_EXPLAINS * strength, 0.0)[host[both]]
        )
    return explained


def _confidence(scores: F64) -> F64:
    """Half plus half the margin between a channel's best and second-best candidate, shape (c,): a channel that
    accuses everybody says little."""
    if scores.shape[1] < 2:
        return np.ones(len(scores))
    top = np.sort(scores, axis=1)[:, -2:]
    margin = np.divide(top[:, 1] - top[:, 0], top[:, 1], out=np.zeros(len(top)), where=top[:, 1] > 0)
    return 0.5 + 0.5 * margin


def contributions(board: Board, candidate: int) -> list[tuple[float, int]]:
    """(weighted score, channel row) of one candidate, strongest first, silent channels left out."""
    cell = np.maximum(board.own[:, candidate], board.symptom[:, candidate])
    rows = np.flatnonzero(cell > 0)
    return sorted(((float(cell[r]), int(r)) for r in rows), key=lambda item: (-item[0], item[1]))


def spoken(board: Board) -> Bool:
    """Candidates that any channel has spoken of, shape (n,)."""
    spoke: Bool = np.any(np.maximum(board.own, board.symptom) > 0, axis=0, keepdims=False)
    return spoke
