"""Rules and simulated searches, against tiny ones gone through by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from reproduce.audit.authors_data.files import LearningCurve
from reproduce.rivals.early_stopping.features import CurveTable, tabulate
from reproduce.rivals.early_stopping.stopping import (
    Kept,
    MedianRule,
    PerfectRule,
    ProbabilityRule,
    simulate,
)

SEARCH = [
    (0.2, 0.4, 0.6),  # trained in full
    (0.1, 0.3, 0.5),
    (0.2, 0.5, 0.9),
    (0.4, 0.6, 0.8),
]


def table(rows: list[tuple[float, ...]] = SEARCH) -> CurveTable:
    return tabulate([LearningCurve("[SM(10)]", 0.001, row, 1, 1) for row in rows])


def predicted(rows: list[tuple[float, float]]) -> NDArray[np.float64]:
    return np.array(rows).T


def kept(*finals: float) -> Kept:
    those = Kept()
    for net, final in enumerate(finals):
        those.add(net, final)
    return those


@given(
    st.floats(0.1, 0.9),
    st.floats(0.1, 0.9),
    st.floats(0.001, 0.3),
    st.floats(0.01, 0.99),
    st.floats(0, 0.1),
)
def test_a_net_is_stopped_if_and_only_if_the_gaussians_probability_reaches_the_threshold(
    best: float, guess: float, sigma: float, threshold: float, offset: float
) -> None:
    probability = norm.cdf(best - offset, loc=guess, scale=sigma)
    if abs(probability - threshold) < 1e-6:
        return
    rule = ProbabilityRule(np.array([[guess]]), np.array([sigma]), threshold, offset)
    assert rule.stop(0, kept(best)) == (1 if probability > threshold else None)


def test_a_net_is_stopped_after_the_first_epoch_that_says_so() -> None:
    rule = ProbabilityRule(predicted([(0.7, 0.4), (0.4, 0.7)]), np.array([0.1, 0.1]), 0.9)
    assert [rule.stop(net, kept(0.6)) for net in (0, 1)] == [2, 1]


def test_a_threshold_next_to_one_stops_nothing_that_a_lower_one_stops() -> None:
    for threshold, all_kept in ((0.9, False), (1 - 1e-15, True)):
        rule = ProbabilityRule(predicted([(0.1, 0.1)] * 4), np.array([0.2, 0.3]), threshold)
        assert simulate(table(), 1, rule).kept.all() == all_kept


@pytest.mark.parametrize(("threshold", "rank"), [(0.0, 1), (1.0, 1), (1.5, 1), (0.9, 0)])
def test_what_is_no_threshold_or_rank_is_refused(threshold: float, rank: int) -> None:
    with pytest.raises(ValueError, match=f"threshold {threshold} or rank {rank}"):
        ProbabilityRule(predicted([(0.1, 0.1)]), np.array([0.1, 0.1]), threshold, rank=rank)


def test_thresholds_nearer_to_one_stop_no_more_than_others_of_the_same_best() -> None:
    rng = np.random.default_rng(0)
    guesses = rng.uniform(0, 1, (5, 200))
    stopped = []
    for threshold in (0.5, 0.9, 0.99, 1 - 1e-12):
        rule = ProbabilityRule(guesses, np.full(5, 0.2), threshold)
        stopped.append({net for net in range(200) if rule.stop(net, kept(0.8))})
    assert all(a >= b for a, b in pairwise(stopped))
    assert len(stopped[0]) > len(stopped[-1]) == 0


def test_the_nth_best_is_what_is_to_be_reached_and_without_n_nets_nothing_is_stopped() -> None:
    rule = ProbabilityRule(predicted([(0.5, 0.5)]), np.array([1e-9, 1e-9]), 0.9, rank=2)
    assert rule.stop(0, kept(0.9)) is None
    assert rule.stop(0, kept(0.9, 0.4)) is None
    assert rule.stop(0, kept(0.4, 0.9, 0.6)) == 1


def test_epochs_saved_and_the_best_net_lost_counted_by_hand() -> None:
    guesses = [(0.0, 0.0), (0.3, 0.3), (0.7, 0.5), (0.9, 0.9)]
    rule = ProbabilityRule(predicted(guesses), np.array([1e-9, 1e-9]), 0.9)
    search = simulate(table(), 1, rule)
    assert search.spent.tolist() == [3, 1, 2, 3]
    assert search.saved == pytest.approx(3 / 12)
    assert search.speed_up == pytest.approx(12 / 9)
    assert search.kept.tolist() == [True, False, False, True]
    assert search.regret == pytest.approx(0.9 - 0.8)
    assert search.kept_of_top(1) == 0
    assert search.kept_of_top(2) == 0.5
    assert search.kept_of_top(3) == pytest.approx(2 / 3)


def test_a_net_kept_raises_what_the_next_ones_must_reach() -> None:
    guesses = [(0.0, 0.0), (0.3, 0.3), (0.9, 0.9), (0.85, 0.85)]
    rule = ProbabilityRule(predicted(guesses), np.array([1e-9, 1e-9]), 0.9)
    assert simulate(table(), 1, rule).spent.tolist() == [3, 1, 3, 1]
    assert simulate(table(), 2, rule).spent.tolist() == [3, 3, 3, 1]


def test_the_median_rule_compares_with_running_means_of_nets_trained_to_the_end() -> None:
    # Running means after two epochs of the first: 0.2, 0.3; of the first and third: 0.2, 0.325.
    rows = [*SEARCH, (0.2, 0.32, 0.9), (0.2, 0.33, 0.1)]
    rule = MedianRule(table(rows))
    assert simulate(table(rows), 1, rule).spent.tolist() == [3, 1, 3, 3, 2, 2]
    two = kept(0.6)
    two.add(2, 0.9)
    assert rule.stop(4, two) == 2
    assert rule.stop(5, two) is None


def test_the_median_rule_takes_a_nets_best_epoch_so_far() -> None:
    rows = [(0.3, 0.5, 0.6), (0.45, 0.1, 0.7)]  # running means 0.3, 0.4
    assert simulate(table(rows), 1, MedianRule(table(rows))).spent.tolist() == [3, 3]


def test_perfect_foresight_trains_one_epoch_of_each_net_that_does_not_exceed_the_best() -> None:
    search = simulate(table(), 1, PerfectRule(table().final))
    assert search.spent.tolist() == [3, 1, 3, 1]
    assert search.regret == 0


def test_a_search_without_a_net_trained_to_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one net"):
        simulate(table(), 0, PerfectRule(table().final))
