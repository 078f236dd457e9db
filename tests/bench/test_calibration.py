"""Calibration error, risk-coverage, utility."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.bench.calibration import reliability, risk_coverage, utility
from aetia.bench.scoring import Score


def said(confidence: float | None, correct: bool, kind: str = "fault", outcome: str = "answered") -> Score:
    return Score(
        kind=kind, outcome=outcome, cluster="x", ranks=(1 if correct else None,), confidence=confidence, correct=correct
    )  # type: ignore[arg-type]


def test_stated_ninety_percent_that_is_right_in_nine_of_ten_has_no_error() -> None:
    result = reliability([said(0.9, k > 0) for k in range(10)])
    assert result is not None
    assert result.ece == pytest.approx(0.0)
    assert sum(bin_.n for bin_ in result.bins) == 10


def test_certainty_that_is_always_wrong_has_an_error_of_one() -> None:
    result = reliability([said(1.0, False) for _ in range(20)])
    assert result is not None and result.ece == pytest.approx(1.0)


def test_bins_hold_equal_mass() -> None:
    result = reliability([said(k / 100, k % 2 == 0) for k in range(100)])
    assert result is not None
    assert [bin_.n for bin_ in result.bins] == [10] * 10


def test_without_probabilities_there_is_no_calibration() -> None:
    assert reliability([said(None, True)]) is None
    assert risk_coverage([said(None, True)]) is None


def test_risk_grows_when_the_unsure_answers_are_wrong() -> None:
    curve = risk_coverage([said(0.9, True), said(0.8, True), said(0.2, False), said(None, False, outcome="abstained")])
    assert curve is not None
    assert curve.coverage == 0.75
    assert curve.coverage_at_5pct == 0.5
    assert curve.curve[-1] == pytest.approx((0.75, 1 / 3))
    assert curve.aurc == pytest.approx((0 + 0 + 1 / 3) / 3)


def test_an_answer_to_a_fault_free_case_is_a_wrong_answer() -> None:
    curve = risk_coverage([said(0.9, False, kind="no_fault"), said(0.8, True)])
    assert curve is not None and curve.curve[0][1] == 1.0


def test_silence_costs_nothing_and_a_wrong_answer_costs_what_it_costs() -> None:
    silent, right, wrong = said(None, False, outcome="abstained"), said(0.9, True), said(0.9, False)
    crashed = said(None, False, outcome="failed")
    assert utility([silent], 4) == 0.0
    assert utility([right, wrong], 1) == 0.0
    assert utility([right, wrong], 4) == -1.5
    assert utility([crashed], 1) == -1.0
    assert utility([], 1) is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40),
    st.integers(0, 999),
)
def test_calibration_is_a_share_and_ignores_the_order_of_cases(pairs: list[tuple[float, bool]], seed: int) -> None:
    scores = [said(confidence, correct) for confidence, correct in pairs]
    order = np.random.default_rng(seed).permutation(len(scores))
    first, second = reliability(scores), reliability([scores[k] for k in order])
    assert first is not None and second is not None
    assert 0.0 <= first.ece <= 1.0
    assert first.ece == pytest.approx(second.ece)
    left, right = risk_coverage(scores), risk_coverage([scores[k] for k in order])
    assert left is not None and right is not None
    assert left.aurc == pytest.approx(right.aurc)
    assert 0.0 <= left.aurc <= 1.0
