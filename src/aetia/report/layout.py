"""Layered layout of a small directed graph, left to right, for the drawing of a call graph.

The steps are those of Sugiyama, Tagawa and Toda (1981): cut cycles, assign layers by longest path, split long
edges at invisible nodes, order each layer by barycentres, place nodes near their neighbours.
Quadratic in the number of nodes at worst; meant for up to about 60.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Edge = tuple[int, int]
SWEEPS = 12
BEND = 0.35
"""Room that an edge takes where it passes between nodes, in rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`place[i]` is the (layer, position) of node i, in units of one row; `routes[k]` are the points of edge
    k in the direction of the edge, its two ends included; `layers` and `height` bound the drawing."""

    place: tuple[tuple[int, float], ...]
    routes: tuple[tuple[tuple[int, float], ...], ...]
    layers: int
    height: float


def layered(nodes: int, edges: Sequence[Edge]) -> Layout:
    """Positions for `nodes` nodes; loops and repeated edges get a route of their own but no influence."""
    if nodes == 0:
        return Layout(place=(), routes=(), layers=0, height=0.0)
    forward = _acyclic(nodes, sorted({edge for edge in edges if edge[0] != edge[1]}))
    layer = _layers(nodes, forward)
    chains, layer = _split(forward, layer)
    links = [link for chain in chains.values() for link in pairwise(chain)]
    order = _ordered(layer, links)
    rows = _rows(order, links, [1.0] * nodes + [BEND] * (len(layer) - nodes))
    routes = tuple(_route(edge, chains, layer, rows) for edge in edges)
    return Layout(
        place=tuple((layer[i], rows[i]) for i in range(nodes)),
        routes=routes,
        layers=max(layer) + 1,
        height=max(rows) + 1,
    )


def _acyclic(nodes: int, edges: list[Edge]) -> list[Edge]:
    """The edges with those that close a cycle turned round; an iterative depth-first search finds them."""
    after: list[list[int]] = [[] for _ in range(nodes)]
    indegree = [0] * nodes
    for tail, head in edges:
        after[tail].append(head)
        indegree[head] += 1
    state = [0] * nodes
    turned: set[Edge] = set()
    for start in sorted(range(nodes), key=lambda i: (indegree[i] > 0, i)):
        if state[start]:
            continue
        state[start] = 1
        stack = [(start, iter(after[start]))]
        while stack:
            tail, heads = stack[-1]
            head = next(heads, None)
            if head is None:
                state[tail] = 2
                stack.pop()
            elif state[head] == 1:
                turned.add((tail, head))
            elif state[head] == 0:
                state[head] = 1
                stack.append((head, iter(after[head])))
    return sorted({(b, a) if (a, b) in turned else (a, b) for a, b in edges})


def _layers(nodes: int, edges: list[Edge]) -> list[int]:
    """Longest distance from a source, in topological order."""
    after: list[list[int]] = [[] for _ in range(nodes)]
    waiting = [0] * nodes
    for tail, head in edges:
        after[tail].append(head)
        waiting[head] += 1
    layer = [0] * nodes
    ready = [i for i in range(nodes) if waiting[i] == 0]
    while ready:
        tail = ready.pop()
        for head in after[tail]:
            layer[head] = max(layer[head], layer[tail] + 1)
            waiting[head] -= 1
            if waiting[head] == 0:
                ready.append(head)
    return layer


def _split(edges: list[Edge], layer: list[int]) -> tuple[dict[Edge, list[int]], list[int]]:
    """Chains of nodes per edge, with an invisible node on each layer that the edge crosses."""
    layer = list(layer)
    chains: dict[Edge, list[int]] = {}
    for tail, head in edges:
        chain = [tail]
        for between in range(layer[tail] + 1, layer[head]):
            chain.append(len(layer))
            layer.append(between)
        chains[tail, head] = [*chain, head]
    return chains, layer


def _ordered(layer: list[int], links: list[Edge]) -> list[list[int]]:
    """Nodes per layer, ordered to cross few edges: barycentre sweeps, the best order seen is kept."""
    before: list[list[int]] = [[] for _ in layer]
    after: list[list[int]] = [[] for _ in layer]
    for tail, head in links:
        after[tail].append(head)
        before[head].append(tail)
    order: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for node, depth in enumerate(layer):
        order[depth].append(node)
    best, fewest = [list(row) for row in order], _crossings(order, links)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in order if down else reversed(order):
            _sort_row(row, order, before if down else after)
        crossed = _crossings(order, links)
        if crossed < fewest:
            best, fewest = [list(row) for row in order], crossed
    return best


def _sort_row(row: list[int], order: list[list[int]], neighbours: list[list[int]]) -> None:
    place = {node: position for line in order for position, node in enumerate(line)}
    centre = {
        node: sum(place[n] for n in neighbours[node]) / len(neighbours[node]) if neighbours[node] else place[node]
        for node in row
    }
    row.sort(key=lambda node: centre[node])


def _crossings(order: list[list[int]], links: list[Edge]) -> int:
    place = {node: (depth, position) for depth, row in enumerate(order) for position, node in enumerate(row)}
    by_layer: dict[int, list[tuple[int, int]]] = {}
    for tail, head in links:
        by_layer.setdefault(place[tail][0], []).append((place[tail][1], place[head][1]))
    return sum(
        (a[0] - b[0]) * (a[1] - b[1]) < 0
        for lines in by_layer.values()
        for index, a in enumerate(lines)
        for b in lines[:index]
    )


def _rows(order: list[list[int]], links: list[Edge], sizes: list[float]) -> list[float]:
    """Vertical position of each node: near its neighbours, no overlap, order kept."""
    neighbours: list[list[int]] = [[] for _ in sizes]
    for tail, head in links:
        neighbours[tail].append(head)
        neighbours[head].append(tail)
    offsets = {node: at for row in order for node, at in zip(row, _stacked(row, sizes), strict=True)}
    tallest = max(offsets.values())
    rows = [0.0] * len(sizes)
    for row in order:
        for node in row:
            rows[node] = offsets[node] + (tallest - offsets[row[-1]]) / 2
    for _ in range(SWEEPS):
        for row in order:
            wanted = [
                sum(rows[n] for n in neighbours[node]) / len(neighbours[node]) if neighbours[node] else rows[node]
                for node in row
            ]
            for node, at in zip(row, _apart(wanted, _stacked(row, sizes)), strict=True):
                rows[node] = at
    lowest = min(rows)
    return [at - lowest for at in rows]


def _stacked(row: list[int], sizes: list[float]) -> list[float]:
    """Positions of the nodes of one layer when they touch."""
    places = [0.0]
    for above, below in pairwise(row):
        places.append(places[-1] + (sizes[above] + sizes[below]) / 2)
    return places


def _apart(wanted: list[float], stacked: list[float]) -> list[float]:
    """The positions nearest to the wanted ones (least squares) that do not overlap: pool adjacent violators
    after the room of the nodes is taken out."""
    blocks: list[tuple[float, int]] = []
    for at, offset in zip(wanted, stacked, strict=True):
        total, count = at - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            held, size = blocks.pop()
            total, count = total + held, count + size
        blocks.append((total, count))
    flat = [total / count for total, count in blocks for _ in range(count)]
    return [at + offset for at, offset in zip(flat, stacked, strict=True)]


def _route(
    edge: Edge, chains: dict[Edge, list[int]], layer: list[int], rows: list[float]
) -> tuple[tuple[int, float], ...]:
    tail, head = edge
    if edge in chains:
        chain = chains[edge]
    elif (head, tail) in chains:
        chain = chains[head, tail][::-1]
    else:
        chain = [tail, head]
    return tuple((layer[node], rows[node]) for node in chain)
