"""The surrogate's parts: each from features (nets × features) to one property of a training.

Accuracies are predicted as logits, so that they stay within (0, 1) and a gain from 0.93 to 0.94
weighs as much as one from 0.60 to 0.66. Each prediction is the mean of boosted trees and of a
kernel method, whose errors differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

Floats = NDArray[np.float64]

_TREES: dict[str, Any] = {
    "learning_rate": 0.04,
    "max_depth": 5,
    "subsample": 0.5,
    "max_features": 0.15,
    "min_samples_leaf": 5,
}
_WIDTH = 0.25  # of the kernels: exp(-width · mean squared difference of the scaled features)
_COMPONENTS = 600
_SHAPES = 4
RATE_EPOCHS = 5
"""Epochs between two falls of the learning rate (section 5)."""

_JITTER_BOUND = 2.0
_NORMAL_MAD = 0.6745  # median absolute deviation of a standard normal
_SECOND_DIFFERENCE = 6**0.5  # standard deviation of x - 2y + z, of independent unit x, y, z


def logit(share: Floats) -> Floats:
    """ln(p / (1 - p))."""
    kept = np.clip(share, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(kept / (1 - kept)), np.float64)


def expit(value: Floats) -> Floats:
    """The inverse of `logit`."""
    return np.asarray(1 / (1 + np.exp(-value)), np.float64)


class AccuracyModel:
    """The best validation accuracy of a net that learns."""

    def __init__(self, seed: int) -> None:
        self._trees = [
            GradientBoostingRegressor(n_estimators=400, random_state=2 * seed + i, **_TREES)
            for i in range(2)
        ]
        self._kernel: Any = None

    def fit(self, features: Floats, best: Floats) -> AccuracyModel:
        """Learn from nets and their best accuracies."""
        target = logit(best)
        self._kernel = make_pipeline(
            StandardScaler(), SVR(C=3.0, gamma=_WIDTH / features.shape[1], epsilon=0.05)
        )
        for model in (*self._trees, self._kernel):
            model.fit(features, target)
        return self

    def predict(self, features: Floats) -> Floats:
        """One accuracy for each net."""
        logits = [model.predict(features) for model in (*self._trees, self._kernel)]
        return expit(np.mean(logits, axis=0))


class FailureModel:
    """The probability that a net never leaves chance level."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._trees = GradientBoostingClassifier(n_estimators=300, random_state=seed, **_TREES)
        self._kernel: Any = None

    def fit(self, features: Floats, failed: NDArray[np.bool_]) -> FailureModel:
        """Learn from nets and whether each failed."""
        self._kernel = make_pipeline(
            StandardScaler(),
            Nystroem(
                gamma=_WIDTH / features.shape[1],
                n_components=min(_COMPONENTS, len(features)),
                random_state=self._seed,
            ),
            LogisticRegression(C=10.0, max_iter=1000),
        )
        self._trees.fit(features, failed)
        self._kernel.fit(features, failed)
        return self

    def predict(self, features: Floats) -> Floats:
        """One probability for each net."""
        both = [model.predict_proba(features)[:, 1] for model in (self._trees, self._kernel)]
        return np.asarray(np.mean(both, axis=0), np.float64)


class ShapeModel:
    """How a curve rises to its best: logits of each epoch less the best's, of rank 4."""

    def __init__(self) -> None:
        self._mean = self._shapes = np.empty(0)
        self._kernel: Any = None

    def fit(self, features: Floats, accuracies: Floats) -> ShapeModel:
        """Learn from nets and their curves (nets × epochs)."""
        below = logit(accuracies)
        below = below - below.max(axis=1, keepdims=True)
        self._mean = below.mean(axis=0)
        _, _, shapes = np.linalg.svd(below - self._mean, full_matrices=False)
        self._shapes = shapes[:_SHAPES]
        self._kernel = _ridge(features, 1.0)
        self._kernel.fit(features, (below - self._mean) @ self._shapes.T)
        return self

    def predict(self, features: Floats) -> Floats:
        """nets × epochs; the highest of each net is 0."""
        weights = np.asarray(self._kernel.predict(features)).reshape(len(features), -1)
        below = self._mean + weights @ self._shapes
        return np.asarray(below - below.max(axis=1, keepdims=True), np.float64)


class RestartModel:
    """How often a net that learns was begun again at a lower learning rate before it did."""

    def __init__(self) -> None:
        self._kernel: Any = None
        self._mean = 0.0
        self.deviation = 0.0
        self.most = 0

    def fit(self, features: Floats, restarts: NDArray[np.int64]) -> RestartModel:
        """Learn from nets and their restarts."""
        self._mean, self.most = float(restarts.mean()), int(restarts.max())
        self._kernel = _ridge(features, 1.0)
        self._kernel.fit(features, restarts - self._mean)
        residuals = restarts - self.predict(features)
        self.deviation = float(residuals.std())
        return self

    def predict(self, features: Floats) -> Floats:
        """The expected number for each net, not rounded."""
        return np.asarray(self._kernel.predict(features) + self._mean, np.float64)

    def draw(self, expected: float, normal: float) -> int:
        """A whole number of restarts from an expectation and a standard normal deviate."""
        return int(np.clip(round(expected + self.deviation * normal), 0, self.most))


class Jitter:
    """What an epoch's accuracy differs by from a smooth curve: an upper bound of the noise.

    One run per net was published, so that how runs of one net differ cannot be known; how
    neighbouring epochs of one run differ is all that there is.

    Attributes:
        deviation: of each epoch; the same where the learning rate is the same, from the second
            differences of the curves about their median where they bend least.
    """

    def __init__(self, accuracies: Floats) -> None:
        bends = np.diff(accuracies, n=2, axis=1)
        spread = np.median(np.abs(bends - np.median(bends, axis=0)), axis=0)
        spread = spread / _NORMAL_MAD / _SECOND_DIFFERENCE
        stages = range(0, accuracies.shape[1], RATE_EPOCHS)
        least = [float(spread[first : first + RATE_EPOCHS - 2].min()) for first in stages]
        self.deviation: Floats = np.repeat(least, RATE_EPOCHS)

    def draw(self, normals: Floats) -> Floats:
        """The jitter of each epoch, never beyond two standard deviations."""
        return self.deviation * np.clip(normals, -_JITTER_BOUND, _JITTER_BOUND)


def _ridge(features: Floats, penalty: float) -> Any:
    gamma = _WIDTH / features.shape[1]
    return make_pipeline(StandardScaler(), KernelRidge(alpha=penalty, kernel="rbf", gamma=gamma))
