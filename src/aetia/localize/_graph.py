"""Reachability over the call graph: who can hurt whom, and by which path."""

from __future__ import annotations

from collections import deque

import numpy as np

from aetia.signals.frames import F64, I64, Bool
from aetia.signals.view import View

MAX_HOPS = 6
DEEPER_EXPLAINS = 0.8
WHISPER = 0.6


class CallGraph:
    """The service graph of a view with bounded reachability; candidates beyond the services (nodes) own services."""

    def __init__(self, view: View) -> None:
        topology = view.topology
        self.n = len(view.names.services)
        self.size = self.n + len(view.names.nodes)
        keep = topology.caller != topology.callee
        self.caller, self.callee = topology.caller[keep], topology.callee[keep]
        self.callees: list[list[int]] = [[] for _ in range(self.size)]
        self.callers: list[list[int]] = [[] for _ in range(self.size)]
        for a, b in zip(self.caller.tolist(), self.callee.tolist(), strict=True):
            self.callees[a].append(b)
            self.callers[b].append(a)
        self._host(view)

    def _host(self, view: View) -> None:
        """A node is below the services that run on it: they depend on it as on a callee."""
        service, node = view.topology.instance_service, view.topology.instance_node
        both = (service >= 0) & (node >= 0)
        for s, host in sorted(set(zip(service[both].tolist(), node[both].tolist(), strict=True))):
            self.callees[s].append(self.n + host)
            self.callers[self.n + host].append(s)

    def below(self, start: int) -> list[int]:
        """Everything that `start` depends on within MAX_HOPS, nearest first, itself left out."""
        return self._walk(start, self.callees)

    def above(self, start: int) -> list[int]:
        """Everything that depends on `start` within MAX_HOPS, nearest first, itself left out."""
        return self._walk(start, self.callers)

    def _walk(self, start: int, neighbours: list[list[int]]) -> list[int]:
        hops = {start: 0}
        queue, order = deque([start]), []
        while queue:
            at = queue.popleft()
            if hops[at] == MAX_HOPS:
                continue
            for other in sorted(neighbours[at]):
                if other not in hops:
                    hops[other] = hops[at] + 1
                    order.append(other)
                    queue.append(other)
        return order

    def explained_by_callees(self, alone: F64) -> F64:
        """Share of each candidate's symptoms that the strongest candidate below it explains, shape (candidates,)."""
        explained = np.zeros(len(alone))
        suspects = np.flatnonzero(alone > 0.05)
        for suspect in suspects.tolist():
            for victim in self.above(suspect):
                explained[victim] = max(explained[victim], float(alone[suspect]))
        return explained

    def explained_by_complaints(self, complaint: F64) -> F64:
        """Share of each candidate's symptoms that a complaining candidate below it explains although it has no own
        evidence, shape (candidates,): of two that complain, the deeper one is nearer to the cause, unless it merely
        whispers or each depends on the other."""
        explained = np.zeros(len(complaint))
        for suspect in np.flatnonzero(complaint > 0.05).tolist():
            mutual = set(self.below(suspect))
            for victim in self.above(suspect):
                if victim not in mutual and complaint[victim] > 0:
                    loud = float(complaint[suspect] / (WHISPER * complaint[victim]))
                    explained[victim] = max(explained[victim], DEEPER_EXPLAINS * min(1.0, loud))
        return explained

    def covers(self, entries: I64) -> F64:
        """Share of the broken entry points that depend on each candidate, shape (candidates,); 1 without entries."""
        if len(entries) == 0 or len(self.caller) == 0:
            return np.ones(self.size)
        reached = np.zeros(self.size)
        for entry in entries.tolist():
            hit: Bool = np.zeros(self.size, np.bool_)
            hit[[entry, *self._walk(entry, self.callees)]] = True
            reached += hit
        return reached / len(entries)

    def path(self, root: int, entries: list[int], suspicion: F64) -> list[int]:
        """Shortest caller path from a root to one of the entries, through the most suspicious services among equals."""
        targets = set(entries)
        if root in targets:
            return [root]
        previous: dict[int, int] = {root: root}
        queue = deque([root])
        while queue:
            at = queue.popleft()
            for other in sorted(self.callers[at], key=lambda c: (-suspicion[c], c)):
                if other in previous:
                    continue
                previous[other] = at
                if other in targets:
                    chain = [other]
                    while chain[-1] != root:
                        chain.append(previous[chain[-1]])
                    return chain[::-1]
                queue.append(other)
        return [root]
