"""The scorer: every trap that was found in published scorers is a sentence here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.bench.scoring import Answer, Failure, Score, counted, metrics, rank, recall_at, score_answer
from aetia.model import entity
from aetia.model.case import Case, Truth
from aetia.model.diagnosis import Hypothesis


def guess(name: str, score: float, **more: object) -> Hypothesis:
    return Hypothesis(entity=entity.service(name), score=score, **more)  # type: ignore[arg-type]


def one(truth: str | None, *hypotheses: Hypothesis, roots: tuple[int, ...] = (0,), **more: object) -> Score:
    """Score of an answer to a case with one true service (None: no fault)."""
    known = (Truth(service=truth, fault="exception"),) if truth else ()
    case = Case(id="c", system="s", truth=known, **more)  # type: ignore[arg-type]
    return score_answer(Answer(hypotheses=hypotheses, roots=roots if hypotheses else ()), case)


def two(*hypotheses: Hypothesis, roots: tuple[int, ...]) -> Score:
    case = Case(id="c", truth=(Truth(service="a", fault="exception"), Truth(service="b", fault="cpu")))
    return score_answer(Answer(hypotheses=hypotheses, roots=roots), case)


def test_all_misses_have_an_mrr_of_zero() -> None:
    assert metrics([one("a", guess("b", 1.0)) for _ in range(5)])["mrr"] == 0.0


def test_one_hit_in_ten_cases_has_an_mrr_of_a_tenth() -> None:
    scores = [one("a", guess("a", 1.0))] + [one("a", guess("b", 1.0)) for _ in range(9)]
    assert metrics(scores)["mrr"] == pytest.approx(0.1)
    assert metrics(scores)["ac1"] == pytest.approx(0.1)


def test_a_service_named_twice_takes_one_place() -> None:
    score = one("a", guess("b", 3.0), guess("b", 2.0), guess("b", 1.5), guess("a", 1.0))
    assert score.ranks == (2,)
    assert score.top == ("b", "a")


def test_equal_scores_share_the_worst_rank() -> None:
    names = [guess(name, 1.0) for name in "abcde"]
    assert one("a", *names).ranks == (5,)
    assert one("a", *reversed(names)).ranks == (5,)
    assert one("a", guess("x", 2.0), *names).ranks == (6,)


def test_the_order_of_hypotheses_does_not_matter_where_their_scores_decide() -> None:
    assert one("a", guess("b", 0.1), guess("a", 0.9), roots=(1,)).ranks == (1,)


def test_a_score_that_is_not_a_number_ranks_last() -> None:
    assert one("a", guess("a", math.nan), guess("b", -5.0)).ranks == (2,)
    assert one("a", guess("a", math.nan), guess("b", math.nan)).ranks == (2,)


def test_half_of_two_roots_is_half_a_hit_and_not_the_exact_set() -> None:
    score = two(guess("a", 2.0), guess("x", 1.0), roots=(0,))
    assert [recall_at(score, k) for k in (1, 3, 5)] == [0.5, 0.5, 0.5]
    assert not score.exact


def test_both_roots_first_is_all_at_two_but_half_at_one() -> None:
    score = two(guess("b", 2.0), guess("a", 1.0), roots=(0, 1))
    assert recall_at(score, 1) == 0.5
    assert recall_at(score, 3) == 1.0
    assert score.exact


def test_a_superset_of_the_truth_is_not_the_exact_set() -> None:
    assert not one("a", guess("a", 2.0), guess("b", 1.0), roots=(0, 1)).exact
    assert not two(guess("a", 3.0), guess("b", 2.0), guess("c", 1.0), roots=(0, 1, 2)).exact


def test_a_ranking_without_declared_roots_is_not_the_exact_set() -> None:
    score = one("a", guess("a", 1.0), roots=())
    assert score.ranks == (1,)
    assert not score.exact


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(), "empty"),
        (Answer(abstained="thin"), "abstained"),
        (Answer(no_incident=True), "no_incident"),
        (Answer(failure=Failure(kind="exception", type="ValueError")), "failed"),
        (Answer(failure=Failure(kind="timeout", type="TimeLimit")), "failed"),
        (Answer(hypotheses=(guess("a", 1.0),), roots=(4,)), "failed"),
        (Answer(hypotheses=(guess("a", 1.0),), abstained="thin"), "abstained"),
    ],
)
def test_everything_but_an_answer_is_a_miss_in_the_denominator(answer: Answer, outcome: str) -> None:
    score = score_answer(answer, Case(id="c", truth=(Truth(service="a"),)))
    hit = one("a", guess("a", 1.0))
    assert score.outcome == outcome
    assert len(counted([score, hit])) == 2
    assert metrics([score, hit])["ac1"] == metrics([score, hit])["ac5"] == 0.5


def test_an_exception_counts_no_fallback_ranking() -> None:
    answer = Answer(hypotheses=(guess("a", 1.0),), failure=Failure(kind="exception", type="ValueError"))
    assert score_answer(answer, Case(id="c", truth=(Truth(service="a"),))).ranks == (None,)


def test_an_answer_to_a_fault_free_case_is_wrong_and_silence_is_not_a_hit() -> None:
    assert one(None, guess("a", 1.0, probability=0.9)).kind == "no_fault"
    assert not one(None, guess("a", 1.0)).correct
    assert counted([one(None, guess("a", 1.0))]) == []
    assert score_answer(Answer(abstained="calm"), Case(id="c", truth=())).outcome == "abstained"


@pytest.mark.parametrize("label", ["no_fault", "load_surge", "deploy"])
def test_labels_without_a_fault_are_fault_free_cases(label: str) -> None:
    assert score_answer(Answer(), Case(id="c", truth=None, label=label)).kind == "no_fault"


def test_a_case_of_unknown_truth_is_not_scored() -> None:
    assert score_answer(Answer(), Case(id="c")).kind == "unlabelled"
    assert score_answer(Answer(), Case(id="c", truth=(Truth(fault="cpu"),))).kind == "unlabelled"


def test_an_absorbed_fault_is_outside_the_hit_rate() -> None:
    named = one("a", guess("a", 1.0), label="absorbed")
    assert (named.kind, named.correct) == ("absorbed", True)
    assert counted([named]) == []


def test_a_wrong_place_counts_as_a_wrong_class() -> None:
    right = one("a", guess("a", 1.0, fault_class="C"))
    wrong = one("a", guess("b", 1.0, fault_class="C"))
    assert metrics([right])["fault_class_f1"] == 1.0
    assert metrics([wrong])["fault_class_f1"] == 0.0
    # One true positive, one false negative and one false positive of the same class.
    assert metrics([right, wrong])["fault_class_f1"] == pytest.approx(0.5)


def test_class_f1_is_a_mean_over_the_classes_of_the_truth() -> None:
    hit = one("a", guess("a", 1.0, fault_class="C"))
    missed = score_answer(Answer(), Case(id="d", truth=(Truth(service="a", fault="cpu"),)))
    assert metrics([hit, missed])["fault_class_f1"] == pytest.approx(0.5)


def test_a_node_an_external_and_an_edge_are_named_as_themselves() -> None:
    node_case = Case(id="n", truth=(Truth(node="n1", fault="node_pressure"),))
    answer = Answer(hypotheses=(Hypothesis(entity=entity.node("n1"), score=1.0),), roots=(0,))
    assert score_answer(answer, node_case).ranks == (1,)
    assert score_answer(Answer(hypotheses=(guess("n1", 1.0),)), node_case).ranks == (None,)
    database = Answer(hypotheses=(Hypothesis(entity=entity.external("db"), score=1.0),), roots=(0,))
    assert score_answer(database, Case(id="x", truth=(Truth(service="db"),))).exact
    link = Case(id="e", truth=(Truth(edge=("web", "cart"), fault="network_loss"),))
    blamed = Hypothesis(entity=entity.edge("web", "cart"), score=1.0)
    assert score_answer(Answer(hypotheses=(blamed,), roots=(0,)), link).ranks == (1,)


def test_an_edge_is_not_hit_the_wrong_way_round() -> None:
    case = Case(id="e", truth=(Truth(service="cart", edge=("web", "cart")),))
    right = Hypothesis(entity=entity.edge("web", "cart"), score=1.0)
    wrong = Hypothesis(entity=entity.edge("cart", "web", blamed="cart"), score=1.0)
    assert score_answer(Answer(hypotheses=(right,)), case).levels == {"edge": True}
    assert score_answer(Answer(hypotheses=(wrong,)), case).levels == {"edge": False}


def test_naming_every_instance_of_a_service_hits_no_instance() -> None:
    case = Case(id="i", truth=(Truth(service="a", instance="a-1"),))
    first = Hypothesis(entity=entity.instance("a-1", "a"), score=1.0)
    second = Hypothesis(entity=entity.instance("a-2", "a"), score=1.0)
    assert score_answer(Answer(hypotheses=(first,)), case).levels == {"instance": True}
    assert score_answer(Answer(hypotheses=(first, second)), case).levels == {"instance": False}
    assert score_answer(Answer(hypotheses=(guess("a", 1.0),)), case).levels == {"instance": False}


def test_one_root_labelled_on_two_instances_is_one_root() -> None:
    case = Case(id="i", truth=(Truth(service="a", instance="a-1"), Truth(service="a", instance="a-2")))
    assert score_answer(Answer(hypotheses=(guess("a", 1.0),), roots=(0,)), case).ranks == (1,)


names = st.sampled_from("abcdef")
scores = st.one_of(st.floats(-2, 2), st.sampled_from([0.0, 1.0, math.inf, -math.inf, math.nan]))
answers = st.lists(st.tuples(names, scores), max_size=8)
cases = st.lists(st.tuples(st.sets(names, min_size=1, max_size=3), answers), min_size=1, max_size=8)


def scored(drawn: list[tuple[set[str], list[tuple[str, float]]]]) -> list[Score]:
    return [
        score_answer(
            Answer(hypotheses=tuple(guess(n, s) for n, s in said), roots=(0,) if said else ()),
            Case(id=str(k), truth=tuple(Truth(service=name, fault="cpu") for name in sorted(roots))),
        )
        for k, (roots, said) in enumerate(drawn)
    ]


@settings(max_examples=150, deadline=None)
@given(cases, st.randoms(use_true_random=False))
def test_metrics_are_shares_that_rise_with_k_and_ignore_the_order_of_cases(drawn, random) -> None:
    result = scored(drawn)
    values = metrics(result)
    assert all(0.0 <= value <= 1.0 for value in values.values())
    assert values["ac1"] <= values["ac3"] <= values["ac5"]
    assert values["ac1"] <= values["avg5"] <= values["ac5"]
    shuffled = list(result)
    random.shuffle(shuffled)
    assert metrics(shuffled) == pytest.approx(values)


@settings(max_examples=150, deadline=None)
@given(answers, st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_hypotheses(said, random) -> None:
    first = {item.name: item.rank for item in rank(guess(n, s) for n, s in said)}
    random.shuffle(said)
    assert {item.name: item.rank for item in rank(guess(n, s) for n, s in said)} == first
    assert len(first) == len({n for n, _ in said})
    assert not first or np.max(list(first.values())) == len(first)
