"""Curves of nets: the same by seed, like those of nets held out, and none outside the range."""

from pathlib import Path

import numpy as np
import pytest

from prototxt_gen.notation import parse
from prototxt_gen.shapes import ShapeError
from reproduce.audit.authors_data.figure_a2 import panels
from reproduce.audit.authors_data.files import EPOCHS, AuthorsData, architecture
from reproduce.results.plots.curves import paper_search
from reproduce.rivals.surrogate import quality as quality_module
from reproduce.rivals.surrogate.data import CIFAR10_FAILURE_SHARE, TrainingData, training_data
from reproduce.rivals.surrogate.quality import area_under_curve, measure, rank_correlation
from reproduce.rivals.surrogate.surrogate import Surrogate

NET = "[C(128,3,1), C(64,5,1), P(2,2), C(256,3,1), P(3,2), C(128,3,1), SM(10)]"


def test_two_fits_with_one_seed_give_the_same_curves(
    surrogate: Surrogate, cifar10: TrainingData
) -> None:
    other = Surrogate.fit(cifar10, seed=0, failure_share=0.0)
    assert surrogate.curve(parse(NET)) == other.curve(parse(NET))


def test_a_nets_own_curve_depends_on_neither_the_nets_asked_before_nor_its_dropout(
    surrogate: Surrogate,
) -> None:
    first = surrogate.curve(parse(NET))
    surrogate.curve(parse("[C(64,3,1), SM(10)]"))
    with_dropout = NET.replace("P(2,2)", "D(1,2), P(2,2)")
    assert surrogate.curve(parse(NET)) == surrogate.curve(parse(with_dropout)) == first


def test_a_generator_passed_in_draws_another_curve_each_time_and_the_same_again(
    surrogate: Surrogate,
) -> None:
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    drawn = [surrogate.curve(parse(NET), rng) for _ in range(2)]
    assert drawn[0].accuracies != drawn[1].accuracies
    assert [surrogate.curve(parse(NET), again) for _ in range(2)] == drawn


def test_a_curve_has_20_epochs_about_the_smooth_one_and_its_jitter_is_bounded(
    surrogate: Surrogate,
) -> None:
    smooth = surrogate.predict(parse(NET)).smooth
    rng = np.random.default_rng(0)
    drawn = np.array([surrogate.curve(parse(NET), rng).accuracies for _ in range(300)])
    assert drawn.shape == (300, EPOCHS)
    off = drawn[:, 1:] - smooth[1:]
    assert np.abs(off.mean(axis=0)).max() < 0.002
    # Epochs of one learning rate have one bound, which falls with the rate.
    bounds = [np.abs(off[:, epochs]).max() for epochs in (slice(0, 4), slice(14, 19))]
    assert 0.0005 < bounds[1] < bounds[0] < 0.05


def test_nets_held_out_are_ranked_and_their_curves_foretold(
    surrogate: Surrogate, authors: AuthorsData, cifar10: TrainingData
) -> None:
    held_out = authors.cifar10[len(cifar10.curves) : len(cifar10.curves) + 200]
    assert not {c.net for c in held_out} & {c.net for c in cifar10.curves}
    curves = np.array([c.accuracies for c in held_out])
    predicted = np.array([surrogate.curve(architecture(c.net)).accuracies for c in held_out])
    assert rank_correlation(curves.max(axis=1), predicted.max(axis=1)) > 0.65
    mean = np.mean([c.accuracies for c in cifar10.curves], axis=0)
    assert np.abs(predicted - curves).mean() < 0.7 * np.abs(mean - curves).mean()


def test_failures_of_nets_held_out_are_told_from_the_others(
    failing: Surrogate, authors: AuthorsData, svhn: TrainingData
) -> None:
    known = {net for net, _ in svhn.draws} | {c.net for c in svhn.curves}
    draws = [x for x in training_data(authors, "svhn").draws if x[0] not in known][:300]
    failed = np.array([x for _, x in draws], np.float64)
    predicted = np.array([failing.predict(architecture(net)).failure for net, _ in draws])
    assert area_under_curve(failed, predicted) > 0.85
    assert predicted.mean() == pytest.approx(failed.mean(), abs=0.08)


def test_a_net_that_fails_stays_at_chance_level_in_the_share_of_draws_foretold(
    failing: Surrogate,
) -> None:
    net = parse("[C(64,1,1), C(64,1,1), C(64,3,1), SM(10)]")
    share, rng = failing.predict(net).failure, np.random.default_rng(1)
    drawn = [failing.curve(net, rng) for _ in range(1000)]
    failed = [x for x in drawn if not x.learned]
    assert all(x.accuracies == (0.1,) * EPOCHS and x.epochs == 5 for x in failed)
    assert all(x.best > 0.27 and x.epochs == EPOCHS + x.restarts for x in drawn if x.learned)
    assert len(failed) / 1000 == pytest.approx(share, abs=4 * (share * (1 - share) / 1000) ** 0.5)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_constant_share_fails_whatever_the_net(cifar10: TrainingData, share: float) -> None:
    constant = Surrogate.fit(cifar10, seed=0, failure_share=share)
    learned = np.array([constant.curve(architecture(c.net)).learned for c in cifar10.curves])
    deviation = (share * (1 - share) / len(learned)) ** 0.5
    assert 1 - learned.mean() == pytest.approx(share, abs=4 * deviation)


def test_cifar10s_own_share_is_that_of_figure_a2_at_epsilon_1(cifar10: TrainingData) -> None:
    drawn = panels("CIFAR10", paper_search("CIFAR10"))
    (at_random,) = (x for x in drawn if x.epsilon == 1.0)
    assert at_random.chance_share == pytest.approx(CIFAR10_FAILURE_SHARE, abs=0.0005)
    assert Surrogate.fit(cifar10, seed=0).failure_share == CIFAR10_FAILURE_SHARE


def test_a_share_that_is_no_probability_is_refused(cifar10: TrainingData) -> None:
    with pytest.raises(ValueError, match=r"not 1\.5"):
        Surrogate.fit(cifar10, seed=0, failure_share=1.5)


@pytest.mark.parametrize(
    ("net", "problem"),
    [
        (f"[{', '.join(['C(64,3,1)'] * 25)}, SM(10)]", "depth 25 is not within "),
        (f"[{', '.join(['C(512,5,1)'] * 12)}, SM(10)]", "parameters"),
        ("[C(100,3,1), C(64,3,1), SM(10)]", "has C(100,3,1)"),
        ("[C(64,3,2), C(64,3,1), SM(10)]", "has C(64,3,2)"),
        ("[C(64,3,1), C(64,3,1), SM(7)]", "has SM(7)"),
        ("[P(2,2), C(64,3,1), SM(10)]", "P follows the image"),
        ("[C(64,3,1), P(2,2), P(2,2), C(64,3,1), SM(10)]", "P follows P"),
        ("[C(64,1,1), P(2,2)" + ", C(64,1,1)" * 8 + ", P(5,3)" + ", C(512,3,1)" * 6 + ", SM(10)]",
         "nearest trained net"),
    ],
)  # fmt: skip
def test_an_architecture_outside_the_range_is_flagged_with_the_reason(
    surrogate: Surrogate, net: str, problem: str
) -> None:
    curve = surrogate.curve(parse(net))
    assert not curve.in_range
    assert problem in str(curve.problem)


def test_nets_like_those_learned_from_are_in_range(
    surrogate: Surrogate, authors: AuthorsData, cifar10: TrainingData
) -> None:
    assert all(surrogate.curve(architecture(c.net)).in_range for c in cifar10.curves)
    others = authors.cifar10[len(cifar10.curves) :]
    share = np.mean([surrogate.curve(architecture(c.net)).in_range for c in others])
    assert share > 0.9


def test_a_net_whose_layers_do_not_fit_has_no_curve(surrogate: Surrogate) -> None:
    with pytest.raises(ShapeError, match=r"P\(5,3\)"):
        surrogate.curve(parse("[C(64,3,1), P(5,3), C(64,3,1), P(5,3), P(5,3), SM(10)]"))


def test_quality_compares_with_the_baseline_on_the_same_nets(
    svhn: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality_module, "RESAMPLES", 100)
    quality = measure(svhn, seed=0, folds=3, depths=[8])
    ranks = quality.rank_correlation
    for score in (ranks.surrogate, ranks.baseline, ranks.difference, quality.error.surrogate):
        assert score.low <= score.value <= score.high
    assert ranks.difference.value == pytest.approx(ranks.surrogate.value - ranks.baseline.value)
    assert ranks.surrogate.value > 0.55
    assert ranks.is_better == (ranks.difference.low > 0)
    assert quality.error.surrogate.value < 0.05
    assert 0 < quality.spread < 1.1
    (depth,) = quality.depths
    assert depth.nets == sum(len(architecture(c.net).without_dropout()) == 9 for c in svhn.curves)
    assert quality.failure is not None
    assert quality.failure.area.surrogate.value > 0.8
    assert quality.failure.brier < quality.failure.brier_of_share
    assert sum(x.nets for x in quality.failure.bins) == quality.failure.nets


def test_training_data_has_each_net_once(authors: AuthorsData, reference: Path) -> None:
    data = training_data(authors, "svhn")
    nets = [c.net for c in data.curves] + [net for net, _ in data.learned] + list(data.failed)
    assert len(nets) == len(set(nets)) == 1300 + 443 + 779
    assert sum(failed for _, failed in data.draws) == 779
