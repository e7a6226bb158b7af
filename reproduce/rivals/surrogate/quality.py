"""How good the surrogate is on nets that it has not seen, against a baseline on the same nets.

The baseline is scikit-learn's gradient boosting with its own defaults on the same features and
the same nets. Intervals are 95 % of a bootstrap over the nets held out; of a difference both
predictors are resampled together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from reproduce.audit.authors_data.files import architecture
from reproduce.rivals.surrogate.data import TrainingData
from reproduce.rivals.surrogate.features import DEPTH, features
from reproduce.rivals.surrogate.learners import (
    AccuracyModel,
    FailureModel,
    ShapeModel,
    expit,
    logit,
)

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats], float]

RESAMPLES = 2000
_BINS = 10
_FEWEST = 5  # nets of a depth that a rank correlation is told of


@dataclass(frozen=True)
class Estimate:
    """A number and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Compared:
    """A score of the surrogate, of the baseline, and of the first less the second."""

    surrogate: Estimate
    baseline: Estimate
    difference: Estimate

    @property
    def is_better(self) -> bool:
        """Whether the difference of a score that shall be high has its interval above zero."""
        return self.difference.low > 0


@dataclass(frozen=True)
class HeldOutDepth:
    """Nets of one depth, predicted from those of all others.

    Attributes:
        error: mean absolute error of the best accuracy; `bias` the mean of predicted less true.
        rank_correlation: Spearman's; None of fewer than five nets.
    """

    depth: int
    nets: int
    error: float
    bias: float
    rank_correlation: float | None


@dataclass(frozen=True)
class CalibrationBin:
    """Nets of similar predicted probability of failure: their mean, and the share that failed."""

    nets: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class FailureQuality:
    """How well failures to learn are told; of nets drawn nearly at random (SVHN, ε ≥ 0.8).

    Attributes:
        area: under the receiver operating characteristic.
        brier: mean squared error of the probability; `brier_of_share` if the share of failures
            were predicted for every net.
        bins: by tenths of the nets, the least probable first.
        calibration_error: mean difference of `predicted` and `observed`, by nets.
    """

    nets: int
    failed: int
    area: Compared
    brier: float
    brier_of_share: float
    bins: tuple[CalibrationBin, ...]
    calibration_error: float


@dataclass(frozen=True)
class Quality:
    """The surrogate of one data set, measured on nets held out.

    Attributes:
        nets: with a curve; they are held out in `folds` parts.
        also_learned_from: nets without a curve, which are never held out.
        rank_correlation: Spearman's of predicted and true best accuracy.
        error: mean absolute error of the best accuracy.
        curve_error: mean absolute error over all 20 epochs.
        spread: standard deviation of the predicted best accuracies over that of the true ones;
            below 1, since what cannot be predicted is left out.
        depths: leave-one-depth-out.
        failure: None where no failure can be seen.
    """

    data_set: str
    nets: int
    also_learned_from: int
    folds: int
    rank_correlation: Compared
    error: Compared
    curve_error: float
    spread: float
    depths: tuple[HeldOutDepth, ...]
    failure: FailureQuality | None


def measure(
    data: TrainingData, seed: int, folds: int = 10, depths: Sequence[int] | None = None
) -> Quality:
    """Measure by cross-validation, and by leaving out one depth at a time.

    Args:
        seed: of the fits, the folds and the bootstrap.
        depths: which to leave out; None for all that there are.
    """
    rng = np.random.default_rng(seed)
    table = _table([curve.net for curve in data.curves])
    accuracies = np.array([curve.accuracies for curve in data.curves])
    best = accuracies.max(axis=1)
    more = _table([net for net, _ in data.learned]), np.array([x for _, x in data.learned])
    predicted, plain = np.empty_like(best), np.empty_like(best)
    curves = np.empty_like(accuracies)
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(table):
        known, target = _with(table[train], best[train], more)
        predicted[test] = AccuracyModel(seed).fit(known, target).predict(table[test])
        plain[test] = (
            GradientBoostingRegressor(random_state=seed).fit(known, target).predict(table[test])
        )
        shape = ShapeModel().fit(table[train], accuracies[train]).predict(table[test])
        curves[test] = expit(logit(predicted[test])[:, None] + shape)
    return Quality(
        data.data_set,
        len(best),
        len(data.learned),
        folds,
        compare(best, predicted, plain, rank_correlation, rng),
        compare(best, predicted, plain, mean_error, rng),
        mean_error(accuracies, curves),
        float(predicted.std() / best.std()),
        tuple(_depths(table, best, more, seed, depths)),
        _failure(data, seed, folds, rng) if data.draws else None,
    )


def _table(nets: Sequence[str]) -> Floats:
    return np.array([features(architecture(net)) for net in nets])


def _with(table: Floats, best: Floats, more: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    if not len(more[1]):
        return table, best
    return np.concatenate([table, more[0]]), np.concatenate([best, more[1]])


def _depths(
    table: Floats,
    best: Floats,
    more: tuple[Floats, Floats],
    seed: int,
    depths: Sequence[int] | None,
) -> list[HeldOutDepth]:
    found = []
    known, target = _with(table, best, more)
    all_depths = sorted({int(depth) for depth in table[:, DEPTH]})
    for depth in all_depths if depths is None else depths:
        there = table[:, DEPTH] == depth
        rest = known[:, DEPTH] != depth
        model = AccuracyModel(seed).fit(known[rest], target[rest])
        predicted = model.predict(table[there])
        count = int(there.sum())
        found.append(
            HeldOutDepth(
                depth,
                count,
                mean_error(best[there], predicted),
                float((predicted - best[there]).mean()),
                rank_correlation(best[there], predicted) if count >= _FEWEST else None,
            )
        )
    return found


def _failure(data: TrainingData, seed: int, folds: int, rng: np.random.Generator) -> FailureQuality:
    table = _table([net for net, _ in data.draws])
    failed = np.array([x for _, x in data.draws])
    predicted, plain = np.empty(len(failed)), np.empty(len(failed))
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(table):
        model = FailureModel(seed).fit(table[train], failed[train])
        predicted[test] = model.predict(table[test])
        other = GradientBoostingClassifier(random_state=seed).fit(table[train], failed[train])
        plain[test] = other.predict_proba(table[test])[:, 1]
    truth = failed.astype(np.float64)
    bins = tuple(
        CalibrationBin(len(part), float(predicted[part].mean()), float(truth[part].mean()))
        for part in np.array_split(np.argsort(predicted, kind="stable"), _BINS)
    )
    off = sum(x.nets * abs(x.predicted - x.observed) for x in bins) / len(truth)
    return FailureQuality(
        len(truth),
        int(failed.sum()),
        compare(truth, predicted, plain, area_under_curve, rng),
        float(((predicted - truth) ** 2).mean()),
        float(truth.var()),
        bins,
        float(off),
    )


def rank_correlation(true: Floats, predicted: Floats) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(true, predicted).statistic)


def mean_error(true: Floats, predicted: Floats) -> float:
    """Mean absolute error."""
    return float(np.abs(true - predicted).mean())


def area_under_curve(true: Floats, predicted: Floats) -> float:
    """Area under the receiver operating characteristic; `true` is 0 or 1."""
    return float(roc_auc_score(true, predicted))


def compare(
    true: Floats, predicted: Floats, plain: Floats, score: Score, rng: np.random.Generator
) -> Compared:
    """The scores of two predictors of the same nets, with the interval of their difference."""
    drawn = rng.integers(0, len(true), (RESAMPLES, len(true)))
    own = [score(true[i], predicted[i]) for i in drawn]
    other = [score(true[i], plain[i]) for i in drawn]
    first, second = score(true, predicted), score(true, plain)
    return Compared(
        _estimate(first, own),
        _estimate(second, other),
        _estimate(first - second, [a - b for a, b in zip(own, other, strict=True)]),
    )


def _estimate(value: float, drawn: Sequence[float]) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
