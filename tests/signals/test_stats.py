"""Vectorised statistics agree with plain or published references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from aetia.signals import stats

RNG = np.random.default_rng(7)


def test_row_quantiles_skip_missing_values_and_agree_with_numpy():
    values = RNG.normal(size=(20, 31))
    values[RNG.random(values.shape) < 0.3] = np.nan
    values[3] = np.nan
    for q in (0.0, 0.01, 0.5, 0.75, 1.0):
        expected = [np.quantile(row[~np.isnan(row)], q) if (~np.isnan(row)).any() else np.nan for row in values]
        np.testing.assert_allclose(stats.row_quantile(values, q), expected)
    assert stats.row_quantile(np.zeros((2, 0)), 0.5).shape == (2,)


def test_robust_z_is_the_distance_in_median_absolute_deviations():
    values = np.concatenate([RNG.normal(10, 1, (5, 200)), RNG.normal(14, 1, (5, 20))], axis=1)
    before, during = np.arange(220) < 200, np.arange(220) >= 200
    found = stats.robust_z(values, before, during, relative_floor=0.0)
    scale = np.maximum(
        reference.median_abs_deviation(values[:, :200], axis=1, scale="normal"),
        reference.iqr(values[:, :200], axis=1) * stats.IQR_TO_SIGMA,
    )
    expected = (np.median(values[:, 200:], axis=1) - np.median(values[:, :200], axis=1)) / scale
    np.testing.assert_allclose(found.z, expected, rtol=1e-3)
    assert (found.n_baseline == 200).all()
    assert (found.n_incident == 20).all()


def test_flat_series_do_not_explode_and_empty_sides_give_nan():
    values = np.array([[5.0] * 10 + [5.1] * 5, [0.0] * 10 + [0.0] * 5, [np.nan] * 10 + [1.0] * 5])
    before = np.arange(15) < 10
    found = stats.robust_z(values, before, ~before, relative_floor=0.05, absolute_floor=0.01)
    assert found.z[0] == pytest.approx(0.1 / 0.25)
    assert found.z[1] == 0.0
    assert np.isnan(found.z[2])


def test_grouped_auc_is_the_mann_whitney_test_of_every_group():
    n_groups, n = 12, 1500
    group = RNG.integers(0, n_groups, n)
    incident = RNG.random(n) < 0.4
    values = np.round(RNG.normal(size=n) + 0.3 * incident * (group % 3), 1)  # rounded: many ties
    found = stats.grouped_auc(values, group, incident, n_groups + 1)
    for g in range(n_groups):
        a, b = values[(group == g) & incident], values[(group == g) & ~incident]
        test = reference.mannwhitneyu(a, b, alternative="greater", method="asymptotic")
        assert found.auc[g] == pytest.approx(test.statistic / (len(a) * len(b)))
        assert found.p_greater[g] == pytest.approx(test.pvalue, rel=1e-9)
    assert np.isnan(found.auc[n_groups])  # the empty group


def test_grouped_auc_of_equal_values_is_one_half_and_not_significant():
    found = stats.grouped_auc(np.ones(10), np.zeros(10, np.int64), np.arange(10) < 5, 1)
    assert (found.auc[0], found.z[0], found.p_greater[0]) == (0.5, 0.0, 1.0)


def test_rank_auc_compares_the_windows_of_each_series():
    values = np.array([[1.0, 2.0, 3.0, 10.0, 11.0], [5.0, np.nan, 5.0, 1.0, np.nan]])
    before = np.array([True, True, True, False, False])
    assert stats.rank_auc(values, before, ~before).auc.tolist() == [1.0, 0.0]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 60), st.integers(1, 60))
def test_fisher_p_is_the_one_sided_exact_test(hits_a, n_a, hits_b, n_b):
    hits_a, hits_b = min(hits_a, n_a), min(hits_b, n_b)
    table = [[hits_b, n_b - hits_b], [hits_a, n_a - hits_a]]
    assert stats.fisher_p(hits_a, n_a, hits_b, n_b) == pytest.approx(
        reference.fisher_exact(table, "greater")[1], rel=1e-6
    )


def test_fisher_p_of_large_tables_broadcasts_and_empty_sides_say_nothing():
    found = stats.fisher_p([50, 50, 0], [100_000, 100_000, 0], [80, 50, 3], [100_000, 100_000, 5])
    expected = reference.hypergeom.sf(79, 200_000, 130, 100_000)
    assert found[0] == pytest.approx(expected, rel=1e-6)
    assert 0.4 < found[1] < 0.6
    assert found[2] == 1.0


def test_two_proportion_p_is_the_pooled_z_test():
    p = stats.two_proportion_p(10, 1000, 30, 1000)
    z = (0.03 - 0.01) / np.sqrt(0.02 * 0.98 * 2 / 1000)
    assert p == pytest.approx(reference.norm.sf(z))
    assert stats.two_proportion_p(0, 0, 5, 10) == 1.0
    assert stats.two_proportion_p(0, 10, 0, 10) == 1.0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.001, 0.999))
def test_binomial_p_is_the_upper_tail(hits, n, rate):
    assert stats.binomial_p(hits, n, rate) == pytest.approx(reference.binom.sf(hits - 1, n, rate), rel=1e-6, abs=1e-12)


def test_poisson_rate_p_is_the_conditional_test():
    assert stats.poisson_rate_p(10, 100, 30, 100) == pytest.approx(reference.binom.sf(29, 40, 0.5))
    assert stats.poisson_rate_p(0, 300, 4, 100) == pytest.approx(0.25**4)
    assert stats.poisson_rate_p(5, 0, 5, 10) == 1.0
    assert stats.poisson_rate_p(0, 10, 0, 10) == 1.0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 100), st.floats(0.01, 100))
def test_poisson_tails_agree_with_the_distribution(count, mean):
    assert stats.poisson_tail_p(count, mean) == pytest.approx(
        reference.poisson.sf(count - 1, mean), rel=1e-6, abs=1e-12
    )
    assert stats.poisson_tail_p(count, mean, lower=True) == pytest.approx(
        reference.poisson.cdf(count, mean), rel=1e-6, abs=1e-12
    )


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg():
    p = RNG.random(50) ** 2
    np.testing.assert_allclose(stats.adjust_p(p), reference.false_discovery_control(p))
    assert np.isnan(stats.adjust_p(np.array([0.1, np.nan]))[1])


def naive_crossing(row, limit, above, bins, start):
    run = []
    for place in range(start, len(row)):
        if np.isnan(row[place]):
            continue
        if (row[place] > limit) if above else (row[place] < limit):
            run.append(place)
            if len(run) == bins:
                return run[0]
        else:
            run = []
    return -1


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=9, max_size=9), min_size=1, max_size=4),
    st.booleans(), st.integers(1, 3), st.integers(0, 5),
)  # fmt: skip
def test_first_crossing_is_the_start_of_the_first_long_enough_run(rows, above, bins, start):
    values = np.array(rows)
    found = stats.first_crossing(values, 1.0, above=above, bins=bins, start=start)
    assert found.tolist() == [naive_crossing(row, 1.0, above, bins, start) for row in values]


def test_first_crossing_of_no_bins_is_never():
    assert stats.first_crossing(np.zeros((2, 0)), 1.0).tolist() == [-1, -1]


def test_quantile_thresholds_of_long_baselines_are_trusted_and_of_short_ones_not():
    rng = np.random.default_rng(3)  # of its own: eight values may agree by chance
    long, short = rng.uniform(size=(1, 2000)), np.full((1, 2000), np.nan)
    short[0, :8] = rng.uniform(size=8)
    found = stats.quantile_threshold(np.concatenate([long, short, np.full((1, 2000), 3.0)]), alpha=0.01)
    assert found.trusted.tolist() == [True, False, True]
    assert found.threshold[0] == pytest.approx(0.01, abs=0.01)
    assert stats.quantile_threshold(long, upper=True).threshold[0] == pytest.approx(0.99, abs=0.01)


def test_the_bootstrap_spread_is_that_of_a_plain_bootstrap():
    row = RNG.normal(size=300)
    found = stats.quantile_threshold(row[None], alpha=0.1, rounds=400)
    plain = [np.quantile(RNG.choice(row, 300), 0.1) for _ in range(400)]
    assert found.spread[0] == pytest.approx(np.std(plain), rel=0.25)


def test_tail_scores_grow_with_z_and_stay_in_bounds():
    null = RNG.standard_t(3, 2000)
    z = np.linspace(-5, 500, 2000)
    score = stats.tail_score(z, null)
    assert (np.diff(score) >= 0).all()
    assert score.min() >= 0.0
    assert score.max() <= 1.0
    assert score[-1] > stats.tail_score(null.max(), null) + 0.1  # beyond the worst fault-free value it still grows
    assert stats.tail_score(np.median(null), null) < 0.06


def test_tail_scores_without_a_null_claim_little_and_nan_scores_nothing():
    assert stats.tail_score(3.0, []) == pytest.approx(np.log(10) / np.log(1e6))
    assert stats.tail_score(np.nan, [1.0, 2.0]) == 0.0
    assert stats.tail_score(np.inf, [1.0, 2.0]) == 1.0


def test_fisher_p_of_a_proportion_that_fell_is_close_to_one_and_overflows_nothing():
    assert stats.fisher_p([4000], [4451], [5], [4451]) == pytest.approx(1.0)
    assert stats.fisher_p([5], [4451], [4000], [4451]) == pytest.approx(0.0)
