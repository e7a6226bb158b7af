"""Searchers compared: budgets cut, pairs by seed, and statistics that scipy and hand agree on."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, wilcoxon

from reproduce.rivals.comparison import (
    FEWEST_SEEDS,
    Paired,
    best_at,
    best_so_far,
    common_budget,
    compare,
    cut,
    holm,
)
from reproduce.rivals.race import Checkpoint, Improvement, Race


def race(*found: tuple[int, float], models: int = 40, epochs_each: int = 20) -> Race:
    """A race that finds a net of an expected accuracy after some models."""
    return Race(
        models=models,
        epochs=epochs_each * models,
        flop=1e15 * models,
        improvements=[
            Improvement(m, epochs_each * m, 1e15 * m, value + 0.001, value, f"net {m}")
            for m, value in found
        ],
        checkpoints=[
            Checkpoint(m, epochs_each * m, 1e15 * m, 0.5) for m in range(10, models + 1, 10)
        ],
    )


def test_the_best_at_a_budget_is_the_last_that_it_paid_for() -> None:
    one = race((1, 0.3), (15, 0.5), (30, 0.6))
    for models, expected in ((1, 0.3), (14, 0.3), (15, 0.5), (40, 0.6)):
        found = best_at(one, "models", models)
        assert found is not None
        assert found.expected == expected
    assert best_at(one, "epochs", 19) is None
    table = best_so_far([one, race((2, 0.4))], "models", [1, 20, 40])
    np.testing.assert_allclose(table, [[0.301, 0.501, 0.601], [np.nan, 0.401, 0.401]])


def test_a_race_is_cut_at_its_last_checkpoint_within_a_budget() -> None:
    whole = race((1, 0.3), (15, 0.5), (30, 0.6))
    part = cut(whole, "models", 20)
    assert (part.models, part.epochs, part.flop) == (20, 400, 2e16)
    assert [one.models for one in part.improvements] == [1, 15]
    assert cut(whole, "epochs", 399).models == 10
    assert cut(whole, "models", 40) is whole
    with pytest.raises(ValueError, match="no checkpoint of the race is within 9 models"):
        cut(whole, "models", 9)


def test_all_are_compared_where_the_one_that_spent_least_ended() -> None:
    """The second trains half the epochs, so that the first is judged by its first half."""
    slow = {seed: race((1, 0.3), (30, 0.9)) for seed in range(5)}
    fast = {seed: race((1, 0.4), (39, 0.5), epochs_each=10) for seed in range(5)}
    rng = np.random.default_rng(0)
    assert common_budget([slow[0], fast[0]], "epochs") == 400
    equal = compare({"slow": slow, "fast": fast}, "epochs", "slow", 0.9, rng)
    assert [(one.searcher, round(one.regret, 6), one.rank) for one in equal.standings] == [
        ("fast", 0.4, 1.0),
        ("slow", 0.6, 2.0),
    ]
    models = compare({"slow": slow, "fast": fast}, "models", "slow", 0.9, rng)
    assert [(one.searcher, round(one.regret, 6)) for one in models.standings] == [
        ("slow", 0.0),
        ("fast", 0.4),
    ]
    assert models.friedman is None


def test_pairs_and_ranks_are_scipys() -> None:
    rng = np.random.default_rng(1)
    values = {
        name: 0.5 + 0.1 * rng.random(12) + shift
        for name, shift in (("a", 0.03), ("b", 0.0), ("c", 0.02))
    }
    races = {
        name: {seed: race((1, float(x))) for seed, x in enumerate(column)}
        for name, column in values.items()
    }
    found = compare(races, "models", "a", 0.7, np.random.default_rng(0))
    for pair in found.pairs:
        difference = values["a"] - values[pair.second]
        assert pair.difference == pytest.approx(difference.mean())
        assert pair.p == pytest.approx(wilcoxon(difference).pvalue)
        assert pair.standardized == pytest.approx(difference.mean() / difference.std(ddof=1))
        assert pair.low < pair.difference < pair.high
        assert (pair.wins, pair.losses) == ((difference > 0).sum(), (difference < 0).sum())
    assert found.friedman == pytest.approx(friedmanchisquare(*values.values()).pvalue)
    assert sum(one.rank for one in found.standings) == pytest.approx(1 + 2 + 3)
    for one in found.standings:
        assert one.regret == pytest.approx((0.7 - values[one.searcher]).mean())
        assert one.low < one.regret < one.high


def test_pairs_are_of_the_seeds_and_the_budget_that_both_have() -> None:
    """The third has three seeds and half the models; the first two are paired without it."""
    first = {seed: race((1, 0.3), (30, 0.9)) for seed in range(8)}
    second = {seed: race((1, 0.4), (35, 0.5)) for seed in range(8)}
    short = {seed: race((1, 0.35), models=20) for seed in range(3)}
    races = {"first": first, "second": second, "short": short}
    found = compare(races, "models", "first", 0.9, np.random.default_rng(0))
    assert {one.searcher: one.seeds for one in found.standings} == dict.fromkeys(races, 3)
    assert [one.searcher for one in found.standings] == ["second", "short", "first"]
    pairs = {one.second: one for one in found.pairs}
    assert (pairs["second"].seeds, pairs["short"].seeds) == (8, 3)
    assert pairs["second"].difference == pytest.approx(0.9 - 0.5)
    assert pairs["short"].difference == pytest.approx(0.3 - 0.35)


def test_searchers_without_seeds_in_common_or_without_a_net_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    some = {seed: race((1, 0.5)) for seed in range(4)}
    with pytest.raises(ValueError, match="a, b: 2 seeds in common are too few"):
        compare({"a": some, "b": {0: some[0], 3: some[3]}}, "models", "a", 1.0, rng)
    late = {seed: race((35, 0.5), models=40) for seed in range(4)}
    short = {seed: race((1, 0.5), models=20) for seed in range(4)}
    with pytest.raises(ValueError, match="late with seed 0 found no net within 20 models"):
        compare({"short": short, "late": late}, "models", "short", 1.0, rng)


def test_so_few_seeds_that_no_p_could_be_small_are_said_to_be_too_few() -> None:
    """Of n pairs the least two-sided p of Wilcoxon's test is 2 in 2 to the power of n."""
    for seeds in (FEWEST_SEEDS - 1, FEWEST_SEEDS):
        p = float(wilcoxon(np.arange(1.0, seeds + 1)).pvalue)
        assert p == pytest.approx(2 / 2**seeds)
        pair = Paired("a", "b", seeds, 0.1, 0, 0, 0, seeds, 0, p, p)
        assert pair.verdict == ("better" if p < 0.05 else "too few seeds")


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_correction_lowers_no_p_and_keeps_their_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(a <= b <= 1 for a, b in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert all(corrected[a] <= corrected[b] for a, b in pairwise(order))
    if p:
        assert min(corrected) == pytest.approx(min(1.0, len(p) * min(p)))


@pytest.mark.parametrize(
    ("difference", "corrected", "verdict"),
    [(0.01, 0.049, "better"), (-0.01, 0.049, "worse"), (0.01, 0.05, "not told apart")],
)
def test_a_verdict_needs_a_corrected_p_below_5_percent(
    difference: float, corrected: float, verdict: str
) -> None:
    pair = Paired("a", "b", FEWEST_SEEDS, difference, 0, 0, 0, 0, 0, 0.01, corrected)
    assert pair.verdict == verdict
