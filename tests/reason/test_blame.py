"""Blame by recursion: what holds for every graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.reason.blame import Source, Symptom, explain

ROOT = Symptom("n0", "slow")


@dataclass
class Drawn:
    """A graph by hand: own evidence and (child, weight, bad) per node, all for one symptom."""

    evidence: dict[str, float] = field(default_factory=dict[str, float])
    edges: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict[str, list[tuple[str, float, float]]])
    asked: list[str] = field(default_factory=list[str])

    def own(self, symptom: Symptom) -> float:
        self.asked.append(symptom.node)
        return self.evidence.get(symptom.node, 0.0)

    def sources(self, symptom: Symptom) -> list[Source]:
        found = self.edges.get(symptom.node, [])
        return [Source(Symptom(child, symptom.what), weight, bad) for child, weight, bad in found]


SHARE = st.floats(0.0, 1.0, allow_nan=False)


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool = False) -> Drawn:
    size = draw(st.integers(1, 9))
    names = [f"n{i}" for i in range(size)]
    evidence = {name: draw(SHARE) for name in names}
    edges: dict[str, list[tuple[str, float, float]]] = {}
    for at, name in enumerate(names):
        below = names[at + 1 :] if acyclic else names
        chosen = draw(st.lists(st.sampled_from(below), max_size=4)) if below else []
        edges[name] = [(child, draw(SHARE), draw(SHARE)) for child in chosen]
    return Drawn(evidence, edges)


@given(graphs())
def test_mass_is_conserved(graph: Drawn) -> None:
    blame = explain(graph, ROOT)
    assert math.isclose(sum(blame.shares.values()), 1.0, rel_tol=1e-9)
    assert all(share >= 0 for share in blame.shares.values())


@given(graphs(), st.integers(1, 3))
def test_mass_is_conserved_when_the_budget_ends(graph: Drawn, budget: int) -> None:
    blame = explain(graph, ROOT, budget=budget)
    assert math.isclose(sum(blame.shares.values()), 1.0, rel_tol=1e-9)
    assert blame.opened <= budget
    assert len(graph.asked) == len(set(graph.asked)) == blame.opened


@given(graphs())
def test_the_order_of_siblings_changes_nothing(graph: Drawn) -> None:
    turned = {name: list(reversed(edges)) for name, edges in graph.edges.items()}
    assert explain(graph, ROOT).shares == explain(Drawn(graph.evidence, turned), ROOT).shares


@given(graphs())
def test_an_unrelated_healthy_subtree_changes_nothing(graph: Drawn) -> None:
    grown = {name: [("well", 0.7, 0.0), *edges] for name, edges in graph.edges.items()}
    grown["well"] = [("also well", 1.0, 0.0)]
    evidence = {**graph.evidence, "also well": 1.0}
    assert explain(graph, ROOT).shares == explain(Drawn(evidence, grown), ROOT).shares


@given(graphs(acyclic=True), st.integers(0, 8), st.floats(0.01, 2.0))
def test_more_evidence_never_means_less_blame(graph: Drawn, at: int, more: float) -> None:
    name = f"n{at % len(graph.evidence)}"
    stronger = Drawn({**graph.evidence, name: graph.evidence[name] + more}, graph.edges)
    assert explain(stronger, ROOT).shares.get(name, 0.0) >= explain(graph, ROOT).shares.get(name, 0.0) - 1e-9


def test_more_evidence_never_means_less_blame_in_a_cycle() -> None:
    edges = {"n0": [("n1", 1.0, 1.0)], "n1": [("n0", 1.0, 1.0), ("n2", 0.5, 1.0)]}
    blamed = [explain(Drawn({"n0": 0.1, "n1": own, "n2": 0.3}, edges), ROOT).shares["n1"] for own in (0.0, 0.1, 0.5, 2)]
    assert blamed == sorted(blamed)
    assert blamed[0] < 1e-6


def test_a_healthy_child_gets_nothing_and_a_sick_one_its_part() -> None:
    graph = Drawn({"n0": 0.2}, {"n0": [("well", 1.0, 0.0), ("sick", 1.0, 0.8)]})
    blame = explain(graph, ROOT)
    assert blame.shares.get("well", 0.0) == 0.0
    assert blame.shares["sick"] == pytest.approx(0.8)
    assert blame.ranked()[0][0] == "sick"


@given(st.floats(0.001, 1.0))
def test_a_leaf_with_its_own_error_keeps_everything(own: float) -> None:
    assert explain(Drawn({"n0": own}), ROOT).shares == {"n0": 1.0}


def test_what_nothing_explains_stays_where_it_was_seen() -> None:
    assert explain(Drawn({}, {"n0": [("n1", 0.0, 1.0)]}), ROOT).shares == {"n0": 1.0}


def test_a_chain_of_a_hundred_thousand_ends_at_its_end() -> None:
    depth = 100_000
    edges = {f"n{i}": [(f"n{i + 1}", 1.0, 1.0)] for i in range(depth)}
    blame = explain(Drawn({f"n{depth}": 1.0}, edges), ROOT, budget=2 * depth)
    assert blame.ranked()[0] == (f"n{depth}", pytest.approx(1.0))


def test_a_cycle_without_evidence_shares_the_blame() -> None:
    graph = Drawn({}, {"n0": [("n1", 1.0, 1.0)], "n1": [("n2", 1.0, 1.0)], "n2": [("n0", 1.0, 1.0)]})
    shares = explain(graph, ROOT).shares
    assert all(share == pytest.approx(1 / 3, abs=0.01) for share in shares.values())


def test_what_goes_round_comes_to_rest_where_evidence_is() -> None:
    graph = Drawn({"n1": 0.01}, {"n0": [("n1", 1.0, 1.0)], "n1": [("n0", 1.0, 1.0)]})
    assert explain(graph, ROOT).shares["n1"] == pytest.approx(1.0, abs=1e-4)


@settings(max_examples=20)
@given(st.sampled_from([-1.0, float("nan"), float("inf")]))
def test_evidence_that_is_no_strength_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        explain(Drawn({"n0": value}), ROOT)


def test_the_heaviest_branch_is_opened_first() -> None:
    graph = Drawn({"heavy": 1.0, "light": 1.0}, {"n0": [("light", 0.1, 1.0), ("heavy", 0.9, 1.0)]})
    blame = explain(graph, ROOT, budget=2)
    assert graph.asked == ["n0", "heavy"]
    assert blame.unopened == (Symptom("light", "slow"),)


def test_shares_too_small_to_multiply_are_kept_too() -> None:
    graph = Drawn({"n0": 1.0}, {"n0": [("n2", 1.0, 1.0)], "n2": [("n0", 1.0, 1.0), ("n1", 1.0, 5e-324)]})
    assert math.isclose(sum(explain(graph, ROOT).shares.values()), 1.0)
