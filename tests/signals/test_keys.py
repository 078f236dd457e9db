"""Grouping and ordering by whole numbers, and rows found by hash, against plain numpy and Python."""

from __future__ import annotations

import numpy as np
import pytest

from aetia.signals.keys import distinct, sorted_in_groups, stable_order
from aetia.signals.red import grouped_quantiles
from aetia.signals.rows_by_key import KeyIndex

N = 20_000


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 1, np.int64), (0, 9, np.int32), (-5, 70_000, np.int64), (0, 1 << 31, np.int64), (0, 1 << 45, np.int64),
        (-(1 << 62), 1 << 62, np.int64), (-(1 << 31), (1 << 31) - 1, np.int32), (0, 1 << 63, np.uint64),
    ],
)  # fmt: skip
def test_rows_are_ordered_like_a_stable_sort(low: int, high: int, kind: type[np.integer]) -> None:
    key = np.random.default_rng(1).integers(low, high, N, dtype=kind)
    assert np.array_equal(stable_order(key), np.argsort(key, kind="stable"))
    assert np.array_equal(distinct(key), np.unique(key))
    assert distinct(key).dtype == key.dtype


def test_floats_and_short_keys_are_ordered_too() -> None:
    values = np.random.default_rng(2).normal(size=N)
    assert np.array_equal(stable_order(values), np.argsort(values, kind="stable"))
    assert stable_order(np.array([3, 1, 3, 1])).tolist() == [1, 3, 0, 2]
    assert stable_order(np.zeros(0, np.int32)).tolist() == []


def test_rows_of_a_group_are_in_order_of_value_then_row() -> None:
    rng = np.random.default_rng(3)
    values, group = rng.integers(0, 50, N), rng.integers(0, 7, N)
    assert np.array_equal(sorted_in_groups(values, group), np.lexsort((np.arange(N), values, group)))


def test_a_unit_divides_quantiles_exactly_as_dividing_first() -> None:
    rng = np.random.default_rng(4)
    nanoseconds, group = rng.integers(0, 10**10, N), rng.integers(-1, 40, N)
    first = grouped_quantiles(nanoseconds / 1e6, group, 40, (0.5, 0.9))
    assert np.array_equal(grouped_quantiles(nanoseconds, group, 40, (0.5, 0.9), unit=1e6), first)


def test_rows_are_found_by_their_key() -> None:
    rng = np.random.default_rng(5)
    key = rng.integers(1, 1 << 63, N).astype(np.uint64)
    wanted = np.concatenate([key[::-1], rng.integers(1, 1 << 63, N).astype(np.uint64), np.zeros(2, np.uint64)])
    place = {value: row for row, value in enumerate(key.tolist())}
    index = KeyIndex(key)
    assert not index.repeated
    assert index.find(wanted).tolist() == [place.get(value, -1) for value in wanted.tolist()]


def test_keys_that_differ_in_any_bit_alone_are_told_apart() -> None:
    key = np.concatenate(
        [np.uint64(1) << np.arange(64, dtype=np.uint64), [np.uint64(3), np.uint64(1) << np.uint64(63) | 1]]
    )
    index = KeyIndex(key)
    assert not index.repeated
    assert index.find(key).tolist() == list(range(len(key)))


def test_no_key_is_nobodys_and_a_repeated_key_is_noticed() -> None:
    key = np.random.default_rng(6).integers(1, 1 << 63, N).astype(np.uint64)
    assert KeyIndex(np.zeros(3, np.uint64)).find(np.zeros(2, np.uint64)).tolist() == [-1, -1]
    assert not KeyIndex(np.append(key, np.zeros(2, np.uint64))).repeated
    twice = KeyIndex(np.append(key, key[7]))
    assert twice.repeated
    assert int(twice.find(key[7:8])[0]) in (7, N)
