"""Quantiles of cumulative buckets."""

import numpy as np
import pytest

from aetia.signals.histograms import quantiles_from_cumulative


def test_quantiles_lie_between_the_bounds_of_their_bucket():
    bounds = np.array([10.0, 20.0, 50.0, np.inf])
    counts = np.array([0.0, 50.0, 100.0, 100.0])
    p50, p75, p100 = quantiles_from_cumulative(bounds, counts, (0.5, 0.75, 1.0))
    assert (p50, p75, p100) == (20.0, 35.0, 50.0)


def test_fine_buckets_give_the_quantiles_of_the_sample():
    sample = np.random.default_rng(1).exponential(100, 5000)
    bounds = np.append(np.linspace(1, 1000, 400), np.inf)
    cumulative = (sample[:, None] <= bounds).sum(axis=0).astype(float)
    found = quantiles_from_cumulative(bounds, cumulative)
    np.testing.assert_allclose(found, np.quantile(sample, [0.5, 0.95, 0.99]), rtol=0.02)


def test_many_histograms_are_computed_at_once_and_empty_ones_are_nan():
    bounds = np.array([1.0, 2.0, np.inf])
    cumulative = np.zeros((3, 2, 4))
    cumulative[:, 0, :] = [[1], [1], [1]]
    found = quantiles_from_cumulative(bounds, cumulative, (0.5,))
    assert found.shape == (1, 2, 4)
    assert (found[0, 0] == 0.5).all()
    assert np.isnan(found[0, 1]).all()


def test_the_open_bucket_counts_as_its_lower_bound_and_races_are_mended():
    bounds = np.array([1.0, 2.0, np.inf])
    assert quantiles_from_cumulative(bounds, np.array([0.0, 0.0, 10.0]), (0.9,))[0] == 2.0
    raced = quantiles_from_cumulative(bounds, np.array([10.0, 8.0, 10.0]), (0.5,))[0]
    assert raced == pytest.approx(0.5)
    assert np.isnan(quantiles_from_cumulative(np.array([np.inf]), np.array([3.0]), (0.5,))[0])
