"""The layered layout keeps callers left of callees and nodes apart, for any graph."""

from __future__ import annotations

from itertools import combinations

import hypothesis.strategies as st
from hypothesis import given, settings

from aetia.report.layout import layered


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    nodes = draw(st.integers(1, 14))
    node = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(node, node), max_size=30))


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_nodes_never_overlap_and_routes_join_their_ends(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, edges = graph
    drawn = layered(nodes, edges)
    for a, b in combinations(drawn.place, 2):
        assert a[0] != b[0] or abs(a[1] - b[1]) >= 1 - 1e-9
    for (tail, head), route in zip(edges, drawn.routes, strict=True):
        assert (route[0], route[-1]) == (drawn.place[tail], drawn.place[head])
    assert all(0 <= layer < drawn.layers and -1e-9 <= row <= drawn.height - 1 + 1e-9 for layer, row in drawn.place)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_without_cycles_every_edge_points_right(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, edges = graph
    acyclic = [(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]]
    drawn = layered(nodes, acyclic)
    assert all(drawn.place[tail][0] < drawn.place[head][0] for tail, head in acyclic)


def test_a_tree_is_drawn_without_crossings() -> None:
    drawn = layered(7, [(0, 1), (0, 2), (1, 5), (1, 6), (2, 3), (2, 4)])
    rows = [place[1] for place in drawn.place]
    left, right = (1, 2) if rows[1] < rows[2] else (2, 1)
    children = {1: (5, 6), 2: (3, 4)}
    assert max(rows[i] for i in children[left]) < min(rows[i] for i in children[right])


def test_no_nodes_give_an_empty_drawing() -> None:
    assert layered(0, []).place == ()
