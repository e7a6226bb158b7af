"""The bootstrap of a mean, against the exact distribution of its resamples."""

from itertools import product

import numpy as np
import pytest

from reproduce.results.intervals import bootstrap_interval


def exact(values: list[float]) -> tuple[float, float]:
    """The interval's ends over all equally likely resamples with replacement."""
    means = sorted(sum(drawn) / len(values) for drawn in product(values, repeat=len(values)))
    low, high = (np.quantile(means, q, method="inverted_cdf") for q in (0.025, 0.975))
    return float(low), float(high)


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0, 8.0, 16.0], [0.5, 0.48, 0.55, 0.61]])
def test_it_is_near_the_exact_quantiles(values: list[float]) -> None:
    found = bootstrap_interval(values, np.random.default_rng(0), resamples=50_000)
    spread = max(values) - min(values)
    assert found == pytest.approx(exact(values), abs=0.02 * spread)


def test_of_three_values_it_is_their_range() -> None:
    """One in 27 resamples is three times the same: more than a tail of 2.5 %."""
    assert exact([1.0, 2.0, 5.0]) == (1.0, 5.0)
    assert bootstrap_interval([2.0, 5.0, 1.0], np.random.default_rng(7)) == (1.0, 5.0)


def test_of_many_values_it_is_the_normal_interval_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    low, high = bootstrap_interval(list(values), np.random.default_rng(2))
    half = 1.96 * values.std() / np.sqrt(1000)
    assert low == pytest.approx(values.mean() - half, abs=0.004)
    assert high == pytest.approx(values.mean() + half, abs=0.004)


def test_the_same_generator_gives_the_same_interval() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    assert bootstrap_interval(values, np.random.default_rng(3)) == bootstrap_interval(
        values, np.random.default_rng(3)
    )


def test_two_values_are_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        bootstrap_interval([1.0, 2.0], np.random.default_rng(0))
