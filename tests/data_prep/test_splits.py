"""Stratified splits: proportions, partition, determinism."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.splits import (
    generator,
    largest_remainder,
    permutation,
    stratified_split,
    stratified_subset,
)

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(np.array)


@given(st.lists(st.integers(0, 50), min_size=1).filter(any), st.data())
def test_shares_follow_the_quota_rule(weights: list[int], data: st.DataObject) -> None:
    """They add up, and each is its exact quota rounded down or up (largest remainder)."""
    total = data.draw(st.integers(0, sum(weights)))
    shares = largest_remainder(np.array(weights), total)
    assert shares.sum() == total
    for share, weight in zip(shares, weights, strict=True):
        assert (weight * total) // sum(weights) <= share <= -(-weight * total // sum(weights))
        assert share <= weight


def test_the_largest_remainders_get_the_rest() -> None:
    # Quotas of 10 seats: 4.7, 1.6, 1.58, 1.2, 0.61, 0.31 (a textbook election)
    votes = np.array([47000, 16000, 15800, 12000, 6100, 3100])
    assert largest_remainder(votes, 10).tolist() == [5, 2, 1, 1, 1, 0]


@given(LABELS, st.integers(0, 2**63), st.data())
def test_a_split_is_a_stratified_partition(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    held_out = data.draw(st.integers(0, len(labels)))
    rest, chosen = stratified_split(labels, held_out, generator(seed))
    assert len(chosen) == held_out
    assert sorted([*rest, *chosen]) == list(range(len(labels)))
    for value in np.unique(labels):
        exact = held_out * np.mean(labels == value)
        assert abs(np.sum(labels[chosen] == value) - exact) < 1


@given(LABELS, st.integers(0, 99))
def test_a_seed_fixes_the_subset(labels: NDArray[np.int64], seed: int) -> None:
    size = len(labels) // 2
    first = stratified_subset(labels, size, generator(seed))
    assert np.array_equal(first, stratified_subset(labels, size, generator(seed)))
    assert len(set(first.tolist())) == size


@pytest.mark.parametrize("size", [-1, 4])
def test_more_than_there_is_cannot_be_set_aside(size: int) -> None:
    with pytest.raises(DataError, match="of 3 examples aside; choose"):
        stratified_split(np.array([0, 1, 1]), size, generator(0))


def test_every_member_of_a_class_is_equally_likely() -> None:
    """4,000 draws of 2 out of 8: each is held out 1,000 ± 5 standard deviations (27.4) times."""
    rng = generator(3)
    counts = np.zeros(8)
    for _ in range(4000):
        counts[stratified_split(np.zeros(8, int), 2, rng)[1]] += 1
    assert np.abs(counts - 1000).max() < 5 * 27.4


def test_permutations_use_the_guaranteed_raw_stream() -> None:
    """The order of PCG64's raw values, whose stream NumPy promises to keep."""
    raw = np.random.PCG64(0).random_raw(5)
    assert permutation(5, generator(0)).tolist() == sorted(range(5), key=lambda i: raw[i])
