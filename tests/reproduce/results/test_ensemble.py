"""Ensembles against sums by hand, SciPy's binomial test, and enumerated resamples."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from reproduce.results.ensemble import (
    Member,
    compare,
    evaluate,
    majority_vote,
    mcnemar_p,
    mean_of,
    ranking,
)
from reproduce.results.summary import wilson_interval

# Three nets, two images, three classes.
BY_HAND = np.array(
    [
        [[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]],
        [[0.5, 0.4, 0.1], [0.1, 0.8, 0.1]],
        [[0.0, 0.9, 0.1], [0.1, 0.2, 0.7]],
    ],
    np.float32,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_the_mean_follows_confidence_and_the_vote_follows_numbers() -> None:
    """Image 0: two nets say 0 by 0.5, one says 1 by 0.9; the means are 1/3 and 0.567."""
    assert mean_of(BY_HAND)[0] == 1
    assert majority_vote(BY_HAND)[0] == 0


def test_a_tied_vote_goes_to_the_class_of_the_highest_mean_probability() -> None:
    """Image 1: a vote for each class; the means are 0.267, 0.433 and 0.3."""
    assert majority_vote(BY_HAND)[1] == 1


def test_a_tied_vote_is_not_won_by_a_class_without_votes() -> None:
    """Class 1 has the highest mean (0.4) and no vote."""
    probabilities = np.array([[[0.51, 0.4, 0.09]], [[0.09, 0.4, 0.51]]])
    assert mean_of(probabilities)[0] == 1
    assert majority_vote(probabilities)[0] == 0  # 0 and 2 tie in votes and in means


@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_both_ways_agree_with_counting(nets: int, images: int, classes: int, seed: int) -> None:
    """Probabilities of few values, so that ties are frequent."""
    values = np.random.default_rng(seed).integers(0, 3, (nets, images, classes)) / 2
    for image in range(images):
        rows = values[:, image].tolist()
        sums = [sum(row[c] for row in rows) for c in range(classes)]
        votes = [0] * classes
        for row in rows:
            votes[row.index(max(row))] += 1
        assert mean_of(values)[image] == sums.index(max(sums))
        best = max(range(classes), key=lambda c: (votes[c], sums[c], -c))
        assert majority_vote(values)[image] == best


def test_one_net_is_its_own_ensemble() -> None:
    for net in BY_HAND:
        assert np.array_equal(mean_of(net[np.newaxis]), net.argmax(axis=1))
        assert np.array_equal(majority_vote(net[np.newaxis]), net.argmax(axis=1))


def test_the_ranking_takes_the_earlier_of_equals_first() -> None:
    assert ranking([0.5, 0.9, 0.5, 0.9]) == [1, 3, 0, 2]


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_s_p_value_is_the_binomial_test_s(a: int, b: int) -> None:
    expected = stats.binomtest(a, a + b).pvalue if a + b else 1.0
    assert mcnemar_p(a, b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_s_p_value_takes_counts_of_a_large_test_set() -> None:
    expected = stats.binomtest(5100, 10_100).pvalue
    assert mcnemar_p(5000, 5100) == pytest.approx(expected, rel=1e-9)


def test_the_bootstrap_is_that_of_resampled_images() -> None:
    """Its interval's ends are quantiles of all 6⁶ resamples of six images, enumerated."""
    a = np.array([1, 1, 1, 0, 0, 1], bool)
    b = np.array([0, 0, 1, 1, 0, 1], bool)
    difference = a.astype(int) - b
    drawn = [sum(resample) / 6 for resample in itertools.product(difference.tolist(), repeat=6)]
    found = compare(("a", a), ("b", b), rng(), resamples=200_000)
    # Of a discrete distribution: the mass outside is at most 2.5 % on each side, 95 % is not less.
    low, high = found.interval
    tail = 0.025 + 0.002  # of 200,000 draws
    assert np.mean(np.array(drawn) < low - 1e-9) <= tail <= np.mean(np.array(drawn) <= low + 1e-9)
    assert np.mean(np.array(drawn) > high + 1e-9) <= tail <= np.mean(np.array(drawn) >= high - 1e-9)
    assert (found.only_first, found.only_second) == (2, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    wrong = np.arange(100) % 7 == 0
    other = np.arange(100) % 5 == 0
    first, second = (compare(("a", wrong), ("b", other), rng()) for _ in range(2))
    assert first == second


def flags(wrong: int, total: int = 1000, start: int = 0) -> NDArray[np.bool_]:
    out = np.zeros(total, bool)
    out[start : start + wrong] = True
    return out


def test_the_verdict_says_whether_a_difference_may_be_chance() -> None:
    clear = compare(("A", flags(10)), ("B", flags(40)), rng())
    assert clear.beats
    assert "A beats B: 10 errors against 40 of B, of 1000 images" in clear.verdict
    assert "chance" not in clear.verdict
    assert clear.interval[1] < 0
    doubtful = compare(("A", flags(10)), ("B", flags(12, start=5)), rng())
    assert not doubtful.beats
    assert "A beats B" in doubtful.verdict
    assert "may be chance" in doubtful.verdict
    worse = compare(("A", flags(40)), ("B", flags(10)), rng())
    assert not worse.beats
    assert "A is worse than B" in worse.verdict
    same = compare(("A", flags(10)), ("B", flags(10, start=500)), rng())
    assert not same.beats
    assert "does as well as" in same.verdict


def one_hot(labels: list[int], classes: int = 3) -> NDArray[np.float64]:
    return np.eye(classes)[labels]


def test_an_evaluation_chooses_by_validation_and_measures_on_the_test_set() -> None:
    """Six nets on four images; the last on validation is the best on test, and not reported."""
    labels = np.array([0, 1, 2, 0])
    guesses = {  # name: (validation accuracy, guessed classes)
        "c": (0.7, [0, 1, 0, 1]),  # 2 wrong
        "a": (0.9, [0, 2, 2, 1]),  # 2 wrong
        "b": (0.8, [1, 1, 2, 1]),  # 2 wrong
        "f": (0.1, [0, 1, 2, 0]),  # none wrong
    }
    members = [Member(name, accuracy, one_hot(g)) for name, (accuracy, g) in guesses.items()]
    found = evaluate(members, labels, rng(), sizes=(1, 3, 5))
    assert [(score.what, score.errors) for score in found.members] == [
        ("a", 2),
        ("b", 2),
        ("c", 2),
        ("f", 0),
    ]
    assert found.reported.what == "a"
    assert found.reported.error == 0.5
    assert found.reported.interval == wilson_interval(2, 4)
    assert [(e.size, e.method) for e in found.ensembles] == [
        (1, "mean"),
        (1, "vote"),
        (3, "mean"),
        (3, "vote"),
    ]
    single, three = found.ensembles[0], found.ensembles[2]
    assert single.score.errors == 2
    assert three.members == ("a", "b", "c")
    # Two of three are right on images 0, 1 and 2; all three are wrong on image 3.
    assert three.score.errors == 1
    assert three.against_best_member.second.what == "a"
    assert (three.against_reported.only_first, three.against_reported.only_second) == (0, 1)
    assert not three.against_best_member.beats  # one image is no proof


def test_the_best_member_is_the_one_with_the_fewest_test_errors() -> None:
    labels = np.array([0, 1, 2, 0])
    members = [
        Member("first on validation", 0.9, one_hot([1, 2, 0, 0])),
        Member("first on test", 0.8, one_hot([0, 1, 2, 0])),
    ]
    (found, _) = evaluate(members, labels, rng(), sizes=(2,)).ensembles
    assert found.against_best_member.second.what == "first on test"
    assert found.against_reported.second.what == "first on validation"


def test_independent_weak_nets_beat_their_best_member_together() -> None:
    """Ten nets, each right on 70 % of 2000 images by chance: the majority is right on 96 %."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 2000)
    members = []
    for number in range(10):
        right = generator.random(2000) < 0.7
        guessed = np.where(right, labels, 1 - labels)
        values = np.where(one_hot(guessed.tolist(), 2) == 1, 0.6, 0.4)
        members.append(Member(str(number), float(generator.random()), values))
    five, _, ten, _ = evaluate(members, labels, rng()).ensembles
    for ensemble in (five, ten):
        n = ensemble.size
        expected = stats.binom.sf(n // 2, n, 0.7) + (n % 2 == 0) * 0.5 * stats.binom.pmf(
            n // 2, n, 0.7
        )
        assert 1 - ensemble.score.error == pytest.approx(expected, abs=0.03)
        assert ensemble.against_best_member.beats
        assert ensemble.against_reported.interval[1] < 0


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "no trained net"),
        ([Member("a", 0.5, one_hot([0, 1]))], r"a: probabilities are \(2, 3\)"),
        (
            [Member("a", 0.5, one_hot([0, 1, 2])), Member("b", 0.5, one_hot([0, 1, 2], 4))],
            r"b: probabilities are \(3, 4\)",
        ),
        ([Member("a", float("nan"), one_hot([0, 1, 2]))], "a: .* not finite"),
        ([Member("a", 0.5, np.full((3, 3), np.nan))], "a: .* not finite"),
    ],
)
def test_members_that_do_not_fit_are_refused(members: list[Member], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(members, np.array([0, 1, 2]), rng())
