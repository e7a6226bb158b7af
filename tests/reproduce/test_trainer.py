"""Training seeds: which trials share one, and which do not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reproduce.experiments.schema import LARGEST_SEED
from reproduce.trainer import training_seed

ATTEMPTS = 100  # of a trial, each with the next seed
SEEDS, TRIALS = st.integers(0, LARGEST_SEED), st.integers(1, 1_000_000)


@given(SEEDS, TRIALS)
def test_caffe_takes_every_seed(seed: int, trial: int) -> None:
    assert 0 <= training_seed(seed, trial) <= training_seed(seed, trial) + ATTEMPTS <= 2**31


def test_no_two_attempts_of_neighbouring_runs_share_a_seed() -> None:
    """Six attempts of the 2,700 models that the paper trains on CIFAR-10."""
    first = [training_seed(seed, n) for seed in (1, 2, 3, 23, 24) for n in range(1, 2701)]
    seeds = np.array(first)[:, None] + np.arange(6)
    assert len(np.unique(seeds)) == seeds.size


@given(SEEDS, st.integers(1, 999), st.integers(1, 9000), st.integers(1, 9000))
def test_runs_whose_seeds_are_close_share_no_training_seed(
    seed: int, further: int, trial: int, other: int
) -> None:
    one, another = training_seed(seed, trial), training_seed(seed + further, other)
    assert abs(one - another) >= ATTEMPTS
