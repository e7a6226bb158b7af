"""Predictions of the final accuracy: near where it is knowable, and with the error foretold."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.svm import NuSVR

from reproduce.audit.authors_data.files import AuthorsData, LearningCurve
from reproduce.rivals.early_stopping import published
from reproduce.rivals.early_stopping.features import CurveTable, tabulate
from reproduce.rivals.early_stopping.predictor import (
    LastSeen,
    Predictor,
    fit_ridge,
    fit_svr,
    held_out_error,
)
from reproduce.rivals.surrogate.quality import rank_correlation
from tests.reproduce.rivals.early_stopping.conftest import MakeCurves


def test_a_linear_final_accuracy_is_foretold_by_ridge_once_all_it_depends_on_is_seen(
    linear_curves: MakeCurves,
) -> None:
    table = tabulate(linear_curves(80))
    train, rest = table.take(slice(40)), table.take(slice(40, None))
    ridge = fit_ridge(train)
    errors = np.abs(ridge.predict(rest) - rest.final).max(axis=1)
    assert errors.shape == (5,)
    assert (errors[:2] > 0.02).all()
    assert (errors[2:] < 1e-5).all()
    assert (ridge.sigma[2:] < 1e-5).all()


def test_ridges_error_is_that_of_ordinary_least_squares_left_one_out_where_noise_is_small(
    linear_curves: MakeCurves,
) -> None:
    table = tabulate(linear_curves(60, noise=0.003))
    x, y = table.features(3)[:, [0, 1, 2, 6]], table.final  # differences and constants add none
    off = cross_val_predict(LinearRegression(), x, y, cv=LeaveOneOut()) - y
    assert fit_ridge(table).sigma[2] == pytest.approx(np.sqrt((off**2).mean()), rel=0.05)


def test_svr_foretells_a_linear_final_accuracy_better_than_the_mean_does_by_far(
    linear_curves: MakeCurves,
) -> None:
    table = tabulate(linear_curves(160))
    train, rest = table.take(slice(80)), table.take(slice(80, None))
    predicted = fit_svr(train, np.random.default_rng(0), candidates=30).predict(rest)
    assert r2_score(rest.final, predicted[2]) > 0.9


def test_the_last_accuracy_seen_is_the_prediction_and_its_error_the_root_mean_square() -> None:
    rows = [(0.25, 0.5, 0.75), (0.5, 0.5, 0.5)]
    table = tabulate([LearningCurve("[SM(10)]", 0.001, row, 1, 1) for row in rows])
    last = LastSeen.fit(table)
    assert last.predict(table).tolist() == [[0.25, 0.5], [0.5, 0.5]]
    assert last.sigma == pytest.approx([(0.5**2 / 2) ** 0.5, (0.25**2 / 2) ** 0.5])


def test_a_held_out_error_is_scikit_learns_of_the_same_parts() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    model = NuSVR(C=0.7, nu=0.4, gamma=0.2)
    parts = [(np.flatnonzero(np.arange(30) % 5 != k), np.arange(k, 30, 5)) for k in range(5)]
    for folds, cv in ((5, parts), (30, LeaveOneOut())):
        off = cross_val_predict(model, x, y, cv=cv) - y
        assert held_out_error(model, x, y, folds) == pytest.approx(np.sqrt((off**2).mean()))


def test_the_same_seed_gives_the_same_svr_and_another_one_another(
    linear_curves: MakeCurves,
) -> None:
    table = tabulate(linear_curves(30, noise=0.05))
    first, again, other = (fit_svr(table, np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.predict(table), again.predict(table))
    np.testing.assert_array_equal(first.sigma, again.sigma)
    assert (first.predict(table) != other.predict(table)).any()


def test_a_feature_that_is_the_same_for_all_nets_learned_from_does_no_harm(
    linear_curves: MakeCurves,
) -> None:
    """Neither layers nor learning rate vary; the mean of the rates is not exactly their value."""
    table = tabulate(linear_curves(20))
    other = CurveTable(table.accuracies, table.settings * [1, 1, 2])
    for fitted in (fit_svr(table, np.random.default_rng(0)), fit_ridge(table)):
        np.testing.assert_allclose(fitted.predict(other), fitted.predict(table), atol=0.01)


@pytest.mark.parametrize("data_set", ["cifar10", "svhn"])
def test_the_last_accuracy_seen_is_as_good_as_the_thesis_says_of_the_same_nets(
    authors: AuthorsData, data_set: str
) -> None:
    """Nothing is fitted, so that agreement shows that the nets are the thesis's."""
    table = tabulate(getattr(authors, data_set)[: published.NETS])
    last = LastSeen.fit(table).predict(table)
    for seen, r2 in published.R2[data_set][published.LAST_SEEN].items():
        assert r2_score(table.final, last[seen - 1]) == pytest.approx(r2, abs=0.01)


@pytest.mark.parametrize("data_set", ["cifar10", "svhn"])
def test_of_authors_nets_held_out_both_regressions_beat_the_mean_and_the_last_seen(
    authors: AuthorsData, data_set: str
) -> None:
    table = tabulate(getattr(authors, data_set)[: published.NETS])
    search = table.take(np.random.default_rng(0).permutation(len(table)))
    train, rest = search.take(slice(100)), search.take(slice(100, None))
    fitted: list[Predictor] = [fit_svr(train, np.random.default_rng(0)), fit_ridge(train)]
    for predictor in fitted:
        after_5 = predictor.predict(rest)[4]
        last_seen = r2_score(rest.final, rest.accuracies[:, 4])
        assert r2_score(rest.final, after_5) > max(0, last_seen)  # 0 is the mean's
        assert rank_correlation(rest.final, after_5) > 0.85
