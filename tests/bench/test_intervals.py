"""Bootstrap over clusters, McNemar, Wilson."""

from __future__ import annotations

import numpy as np
import pytest

from aetia.bench.intervals import ClusterBootstrap, mcnemar, wilson
from aetia.bench.scoring import ClassCall, Score, class_counts


def test_the_interval_of_independent_cases_is_close_to_the_textbook() -> None:
    values = np.array([1.0, 0.0] * 50)
    estimate = ClusterBootstrap([str(k) for k in range(100)]).mean(values)
    assert estimate.value == 0.5
    assert estimate.low == pytest.approx(0.402, abs=0.02)
    assert estimate.high == pytest.approx(0.598, abs=0.02)


def test_repetitions_in_one_cluster_do_not_narrow_the_interval() -> None:
    values = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0, 1.0], 20)
    clusters = [str(k // 20) for k in range(120)]
    wide = ClusterBootstrap(clusters).mean(values)
    narrow = ClusterBootstrap([str(k) for k in range(120)]).mean(values)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_a_perfect_score_on_few_cases_has_a_wide_interval() -> None:
    estimate = ClusterBootstrap(["a", "b", "c", "d"]).mean(np.ones(4))
    assert estimate.value == estimate.high == 1.0
    assert estimate.low == pytest.approx(wilson(1.0, 4)[0])
    assert estimate.low < 0.6


def test_no_difference_on_few_cases_is_no_proof_of_equality() -> None:
    estimate = ClusterBootstrap(["a", "b", "c", "d"]).mean(np.zeros(4), share=False)
    assert estimate.low < -0.3 < 0.3 < estimate.high


def test_nothing_has_no_interval() -> None:
    assert ClusterBootstrap([]).mean(np.zeros(0)).value is None


def test_the_order_of_cases_does_not_move_the_interval() -> None:
    rng = np.random.default_rng(1)
    values, clusters = rng.random(40), np.array([f"c{k % 7}" for k in range(40)])
    order = rng.permutation(40)
    first = ClusterBootstrap(list(clusters)).mean(values)
    second = ClusterBootstrap(list(clusters[order])).mean(values[order])
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(9, 1) == pytest.approx(22 / 1024)


def test_the_f1_interval_holds_its_point() -> None:
    scores = [
        Score(kind="fault", outcome="answered", cluster=str(k), classes=(ClassCall("ABC"[k % 3], "A", k % 2 == 0),))
        for k in range(30)
    ]
    counts = np.array([class_counts(score) for score in scores])
    estimate = ClusterBootstrap([score.cluster for score in scores]).class_f1(counts)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
