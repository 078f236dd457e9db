"""The pure functions behind the SLIs: tolerances, tests, change points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aetia.detect._scan import densest, scan_share, sharpened
from aetia.detect.latency import limit_ms, tolerance, unsteadiness
from aetia.detect.success import harmful_share, share_p
from aetia.detect.throughput import dispersion, is_loss, loss_p, usual_rate


def test_fast_and_unsteady_baselines_tolerate_more() -> None:
    by_speed = tolerance(np.array([5.0, 50.0, 200.0, 2000.0]), 0.0)
    assert (np.diff(by_speed) < 0).all() and by_speed[-1] == 1.2
    assert tolerance(200.0, 0.3) > tolerance(200.0, 0.05) > 1.25


@given(st.floats(0.01, 1e5), st.floats(0, 10))
def test_a_limit_is_above_its_baseline_and_rises_with_unsteadiness(base: float, cv: float) -> None:
    assert limit_ms(base, cv) > base
    assert limit_ms(base, cv) <= limit_ms(base, cv + 1)


def test_a_steady_baseline_does_not_look_unsteady_for_being_short() -> None:
    rng = np.random.default_rng(0)
    values = 100 * np.exp(rng.normal(0, 0.5, (20, 12, 9)))
    spread = np.full(20, 50.0)
    counts = np.full((20, 12), 9.0)
    assert np.median(unsteadiness(np.median(values, axis=2), spread, counts)) < 0.02
    swaying = np.median(values, axis=2) * np.array([1, 2] * 6)
    assert np.median(unsteadiness(swaying, spread, counts)) > 0.2


def test_one_failure_in_five_requests_proves_nothing_and_half_of_forty_does() -> None:
    assert share_p(0, 1000, 1, 5) > 1e-3
    assert share_p(0, 1000, 20, 40) < 1e-12
    assert share_p(5, 100, 5, 100) > 0.4
    assert share_p(0, 0, 5, 5) == 1 and share_p(1, 10, 0, 0) == 1


def test_three_points_harm_and_one_where_almost_nothing_fails() -> None:
    assert harmful_share(0.0001) == pytest.approx(0.0101)
    assert harmful_share(0.005) == pytest.approx(0.035)
    assert harmful_share(0.4) == pytest.approx(0.46)


def test_the_usual_rate_follows_slow_load_and_ignores_a_short_loss() -> None:
    count = np.linspace(100, 40, 120)[None, :].copy()
    count[0, 80:86] = 3
    usual = usual_rate(count)
    assert is_loss(count, usual)[0].nonzero()[0].tolist() == list(range(80, 86))


def test_a_loss_in_bursty_traffic_needs_to_be_larger() -> None:
    rng = np.random.default_rng(0)
    calm, bursty = rng.poisson(20, (1, 200)).astype(float), rng.negative_binomial(2, 2 / 22, (1, 200)).astype(float)
    level = np.full((1, 200), 20.0)
    assert dispersion(calm, level)[0] < 2 < 4 * dispersion(calm, level)[0] < dispersion(bursty, level)[0]
    assert loss_p(30, 60, 1.0) < 1e-4 < loss_p(30, 60, 10.0)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_the_densest_slice_has_the_largest_sum_of_all(values: list[float]) -> None:
    excess = np.array(values)
    low, high = densest(excess)
    best = max(excess[i:j].sum() for i in range(len(excess)) for j in range(i, len(excess) + 1))
    assert excess[low:high].sum() == pytest.approx(best, abs=1e-9)


def test_a_burst_is_cut_out_of_a_long_stretch() -> None:
    bad = np.zeros(2000)
    bad[[40, 300, 700, 1500]] = 1
    bad[1000:1100] = 1
    assert sharpened(bad, 0.002) == (1000, 1100)


@given(st.integers(0, 10_000))
def test_windows_of_any_length_stay_silent_without_bad_requests_and_on_one_bad_bin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.poisson(30, (2, 60)).astype(float)
    bad = np.zeros_like(count)
    usual, least = np.full(2, 0.002), np.full(2, 0.03)
    assert scan_share(bad, count, usual, least, 1e-3) == []
    bad[0, rng.integers(0, 60)] = 30
    assert scan_share(bad, count, usual, least, 1e-3) == []


def test_a_stretch_covers_its_bad_bins() -> None:
    count, bad = np.full((3, 60), 20.0), np.zeros((3, 60))
    bad[1, 30:40] = 8
    (found,) = scan_share(bad, count, np.full(3, 0.002), np.full(3, 0.03), 1e-3)
    assert found.group == 1 and found.low <= 30 and found.high >= 40 and found.p < 1e-9
