"""The final accuracy of nets from their first epochs, by sequential regression models.

A separate model is fitted for each number of epochs observed (section 4.1.1). Each has one σ, the
deviation of its error on nets that it was not fitted on (section 4.1.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.linear_model import RidgeCV
from sklearn.svm import NuSVR

from reproduce.rivals.early_stopping.features import CurveTable

Floats = NDArray[np.float64]

CANDIDATES = 8
"""Hyperparameters drawn for each model; the thesis draws 1,000 (section 4.2)."""
SEARCH_FOLDS = 3
"""Parts of the cross-validation that chooses among them (section 4.2.2)."""
ERROR_FOLDS = 10
"""Parts of the one that σ is from; the thesis leaves out one net at a time (section 4.1.2)."""

_PENALTIES = np.logspace(-6, 3, 19)


class Regressor(Protocol):
    """What scikit-learn's regressors can do."""

    def fit(self, x: Floats, y: Floats) -> object: ...

    def predict(self, x: Floats) -> Floats: ...


class Predictor(Protocol):
    """Predicts final accuracies after each epoch but the last."""

    @property
    def sigma(self) -> Floats:
        """Standard deviation of the error after each of these epochs, (epochs - 1,)."""
        ...

    def predict(self, nets: CurveTable) -> Floats:
        """Final accuracies as foretold after each epoch, (epochs - 1, nets)."""
        ...


@dataclass(frozen=True)
class LastSeen:
    """The last accuracy observed as the prediction (section 4.2.2); it learns its σ alone.

    Attributes:
        sigma: see `Predictor`.
    """

    sigma: Floats

    @classmethod
    def fit(cls, train: CurveTable) -> LastSeen:
        """Learn σ; the root mean square, since the prediction is nearly always too low."""
        errors = train.accuracies[:, :-1] - train.final[:, None]
        return cls(np.sqrt((errors**2).mean(axis=0)))

    def predict(self, nets: CurveTable) -> Floats:
        """See `Predictor`."""
        return nets.accuracies[:, :-1].T


@dataclass(frozen=True)
class _Model:
    """One model with the scale of its features."""

    regressor: Regressor
    mean: Floats
    deviation: Floats

    def predict(self, features: Floats) -> Floats:
        return self.regressor.predict((features - self.mean) / self.deviation)


@dataclass(frozen=True)
class SequentialRegression:
    """A model for each number of epochs observed; made by `fit_svr` or `fit_ridge`.

    Attributes:
        models: by epochs observed, from 1.
        sigma: see `Predictor`.
    """

    models: tuple[_Model, ...]
    sigma: Floats

    def predict(self, nets: CurveTable) -> Floats:
        """See `Predictor`."""
        return np.array(
            [m.predict(nets.features(seen)) for seen, m in enumerate(self.models, start=1)]
        )


def fit_svr(
    train: CurveTable,
    rng: np.random.Generator,
    candidates: int = CANDIDATES,
    error_folds: int = ERROR_FOLDS,
) -> SequentialRegression:
    """Fit ν-support vector regression with a Gaussian kernel.

    C and γ are drawn log-uniformly from 10⁻⁵ to 10, and ν uniformly from 0 to 1; the least mean
    squared error in cross-validation on the training nets decides (sections 4.2, 4.2.2). Choices
    where the thesis is silent or thorough: features are divided by their standard deviation, σ is
    a root mean square, and few candidates are drawn, but the choice for one number of epochs is a
    candidate for the next.

    Args:
        candidates: drawn for each number of epochs.
        error_folds: parts of the cross-validation that σ is from; the number of nets leaves out
            one at a time.
    """
    chosen: list[NuSVR] = []

    def fit(x: Floats, y: Floats) -> tuple[Regressor, float]:
        drawn = [*chosen[-1:], *(_draw(rng) for _ in range(candidates))]
        errors = [held_out_error(model, x, y, SEARCH_FOLDS) for model in drawn]
        model = drawn[int(np.argmin(errors))]
        error = held_out_error(model, x, y, error_folds)
        chosen.append(model)
        return _svr(model.C, model.nu, model.gamma).fit(x, y), error

    with config_context(assume_finite=True, skip_parameter_validation=True):  # a third faster
        return _fit(train, fit)


def fit_ridge(train: CurveTable) -> SequentialRegression:
    """Fit linear models, whose penalty and σ are from leaving out one net at a time."""

    def fit(x: Floats, y: Floats) -> tuple[Regressor, float]:
        model = RidgeCV(_PENALTIES).fit(x, y)
        return model, float(np.sqrt(-model.best_score_))

    return _fit(train, fit)


def held_out_error(model: Regressor, x: Floats, y: Floats, folds: int) -> float:
    """Root mean squared error of each part of the nets, fitted on the others; refits `model`."""
    part = np.arange(len(y)) % folds
    squares = 0.0
    for fold in range(folds):
        test = part == fold
        model.fit(x[~test], y[~test])
        squares += float(((model.predict(x[test]) - y[test]) ** 2).sum())
    return float(np.sqrt(squares / len(y)))


def _fit(
    train: CurveTable, fit: Callable[[Floats, Floats], tuple[Regressor, float]]
) -> SequentialRegression:
    models, sigma = [], []
    for seen in range(1, train.epochs):
        features = train.features(seen)
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        deviation[np.ptp(features, axis=0) == 0] = 1
        regressor, error = fit((features - mean) / deviation, train.final)
        models.append(_Model(regressor, mean, deviation))
        sigma.append(error)
    return SequentialRegression(tuple(models), np.array(sigma))


def _draw(rng: np.random.Generator) -> NuSVR:
    cost, width = 10 ** rng.uniform(-5, 1, 2)
    return _svr(cost, 1 - rng.uniform(), width)  # ν in (0, 1]


def _svr(cost: float, nu: float, gamma: float) -> NuSVR:
    return NuSVR(C=cost, nu=nu, gamma=gamma, kernel="rbf")
