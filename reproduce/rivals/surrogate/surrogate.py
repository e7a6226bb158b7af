"""From an architecture to the validation curve that its training would have given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prototxt_gen.notation import Architecture
from reproduce.audit.authors_data.figure_a2 import CHANCE
from reproduce.audit.authors_data.files import EPOCHS, architecture
from reproduce.rivals.surrogate.data import CIFAR10_FAILURE_SHARE, DataSet, TrainingData
from reproduce.rivals.surrogate.features import features
from reproduce.rivals.surrogate.learners import (
    AccuracyModel,
    FailureModel,
    Jitter,
    RestartModel,
    ShapeModel,
    expit,
    logit,
)
from reproduce.rivals.surrogate.quality import Quality, measure
from reproduce.rivals.surrogate.valid_range import ValidRange

Floats = NDArray[np.float64]

FIRST_RATE, RATE_FACTOR = 0.001, 0.4
_DECIMALS = 9
RATES = 5
"""Learning rates that the authors' runs tried, one epoch each, before they gave a net up."""


@dataclass(frozen=True)
class Curve:
    """One training as predicted.

    Attributes:
        accuracies: validation accuracy after each of the 20 epochs; of a net that does not
            learn, chance level.
        learned: whether it leaves chance level.
        in_range: whether the architecture is like those that the surrogate has learned from; a
            curve of another is no more than a guess.
        restarts: how often it began again at a lower learning rate before.
        problem: why it is not in range.
    """

    accuracies: tuple[float, ...]
    learned: bool
    in_range: bool
    restarts: int
    problem: str | None = None

    @property
    def best(self) -> float:
        """The highest accuracy, which is the reward."""
        return max(self.accuracies)

    @property
    def epochs(self) -> int:
        """Epochs trained, those of given-up learning rates included."""
        return self.restarts + EPOCHS if self.learned else RATES

    @property
    def learning_rate(self) -> float:
        """The first rate at which it learns; 0 if at none."""
        return FIRST_RATE * RATE_FACTOR**self.restarts if self.learned else 0.0


@dataclass(frozen=True)
class Prediction:
    """What is certain of an architecture's training, before any draw.

    Attributes:
        smooth: accuracy after each epoch without jitter, if it learns; its highest is the
            predicted best.
        failure: the probability that it does not learn.
        restarts: the expected number, not rounded.
        problem: why it is out of range; None if it is not.
    """

    smooth: Floats
    failure: float
    restarts: float
    problem: str | None


class Surrogate:
    """Predicts validation curves of nets on 3×32×32 images in 10 classes; made by `fit`."""

    def __init__(self, data: TrainingData, seed: int, failure_share: float | None) -> None:
        self.data, self.seed, self.failure_share = data, seed, failure_share
        learners = [c.net for c in data.curves]
        rest = [net for net, _ in data.learned]
        nets = [architecture(net) for net in [*learners, *rest, *data.failed]]
        table = np.array([features(net) for net in nets])
        self._range = ValidRange(nets, table)
        accuracies = np.array([c.accuracies for c in data.curves])
        best = np.array([*(c.best for c in data.curves), *(x for _, x in data.learned)])
        self._accuracy = AccuracyModel(seed).fit(table[: len(best)], best)
        with_curve = table[: len(learners)]
        self._shape = ShapeModel().fit(with_curve, accuracies)
        rates = np.array([c.learning_rate for c in data.curves])
        restarts = np.rint(np.log(rates / FIRST_RATE) / np.log(RATE_FACTOR)).astype(np.int64)
        self._restarts = RestartModel().fit(with_curve, restarts)
        self._jitter = Jitter(accuracies)
        self._least_first = float(accuracies[:, 0].min())
        self._failure: FailureModel | None = None
        if failure_share is None:
            index = {str(net): i for i, net in enumerate(nets)}
            drawn = [index[str(architecture(net))] for net, _ in data.draws]
            failed = np.array([x for _, x in data.draws])
            self._failure = FailureModel(seed).fit(table[drawn], failed)
        self._known: dict[str, Prediction] = {}

    @classmethod
    def fit(cls, data: TrainingData, seed: int, failure_share: float | None = None) -> Surrogate:
        """Learn from a data set's nets; the same data and seed give the same surrogate.

        Args:
            seed: of the fit, and of the curves that are drawn without a generator.
            failure_share: a constant probability of failing to learn, the same for all nets. None
                predicts it for each net where failures were published (SVHN), and else takes the
                share of Figure A2 (CIFAR-10).

        Raises:
            ValueError: if the share is no probability.
        """
        if failure_share is None and not data.draws:
            failure_share = CIFAR10_FAILURE_SHARE
        if failure_share is not None and not 0 <= failure_share <= 1:
            raise ValueError(f"a share of failures is in [0, 1], not {failure_share}")
        return cls(data, seed, failure_share)

    @property
    def data_set(self) -> DataSet:
        """Whose curves it predicts."""
        return self.data.data_set

    def predict(self, net: Architecture) -> Prediction:
        """What is certain of an architecture's training; kept, so that asking again is free.

        Raises:
            ShapeError: naming the first layer that does not fit.
        """
        return self.predict_all([net])[0]

    def predict_all(self, nets: Sequence[Architecture]) -> list[Prediction]:
        """The same of many, in a fraction of the time that one by one takes.

        Raises:
            ShapeError: naming the first layer that does not fit.
        """
        keys = [str(net.without_dropout()) for net in nets]
        new = {key: net for key, net in zip(keys, nets, strict=True) if key not in self._known}
        if new:
            predicted = self._predict(list(new.values()))
            self._known.update(zip(new, predicted, strict=True))
        return [self._known[key] for key in keys]

    def _predict(self, nets: Sequence[Architecture]) -> list[Prediction]:
        table = np.array([features(net) for net in nets])
        best = logit(self._accuracy.predict(table))
        smooth = expit(best[:, None] + self._shape.predict(table))
        failure = np.full(len(nets), self.failure_share or 0.0)
        if self._failure is not None:
            failure = self._failure.predict(table)
        restarts = self._restarts.predict(table)
        # Rounded, so that the last bits do not tell which nets were asked for together.
        return [
            Prediction(smooth, float(failure), float(restarts), problem)
            for smooth, failure, restarts, problem in zip(
                smooth.round(_DECIMALS),
                failure.round(_DECIMALS),
                restarts.round(_DECIMALS),
                self._range.problems(nets, table),
                strict=True,
            )
        ]

    def curve(self, net: Architecture, rng: np.random.Generator | None = None) -> Curve:
        """Draw a training's curve.

        The generator moves on by the same amount whatever the architecture. Without one, the curve
        is a function of the surrogate's seed and the architecture: a net trained twice in one
        study has one curve.

        Raises:
            ShapeError: naming the first layer that does not fit.
        """
        known = self.predict(net)
        rng = rng or self.generator(net)
        fate, normals = rng.random(), rng.standard_normal(EPOCHS + 1)
        in_range = known.problem is None
        if fate < known.failure:
            chance = (CHANCE,) * EPOCHS
            return Curve(chance, False, in_range, RATES - 1, known.problem)
        drawn = np.clip(known.smooth + self._jitter.draw(normals[1:]), CHANCE, 1.0)
        drawn[0] = max(drawn[0], self._least_first)  # or it would have been begun again
        restarts = self._restarts.draw(known.restarts, normals[0])
        return Curve(tuple(map(float, drawn)), True, in_range, restarts, known.problem)

    def generator(self, net: Architecture, seed: int | None = None) -> np.random.Generator:
        """The generator of an architecture's own curve, by another seed than the surrogate's."""
        seed = self.seed if seed is None else seed
        text = f"{self.data_set} {seed} {net.without_dropout()}"
        digest = hashlib.sha256(text.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))

    def quality(self, folds: int = 10, depths: Sequence[int] | None = None) -> Quality:
        """How good it is on nets that it has not seen; fits it again for each part held out."""
        return measure(self.data, self.seed, folds, depths)
