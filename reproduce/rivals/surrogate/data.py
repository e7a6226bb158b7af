"""What the surrogate learns from: the authors' curves, and which of their nets never learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reproduce.audit.authors_data.figure_a2 import CHANCE
from reproduce.audit.authors_data.files import AuthorsData, LearningCurve

DataSet = Literal["cifar10", "svhn"]
DATA_SETS: tuple[DataSet, ...] = ("cifar10", "svhn")

CIFAR10_FAILURE_SHARE = 0.019
"""Share of CIFAR-10's samples at chance level at ε = 1 (Figure A2); 0 to 0.023 over all ε."""


@dataclass(frozen=True)
class TrainingData:
    """What is known of one data set's nets; a net is in one of the three parts.

    Attributes:
        data_set: `cifar10` or `svhn`.
        curves: nets that learned, with their 20 epochs.
        learned: further nets that learned, with the best accuracy alone.
        failed: nets that never left chance level.
        draws: nets sampled at random or nearly so (SVHN, ε ≥ 0.8), of which the share that failed
            can be seen, and whether each did; empty where no failure was published.
    """

    data_set: DataSet
    curves: tuple[LearningCurve, ...]
    learned: tuple[tuple[str, float], ...] = ()
    failed: tuple[str, ...] = ()
    draws: tuple[tuple[str, bool], ...] = ()


def training_data(authors: AuthorsData, data_set: DataSet) -> TrainingData:
    """The nets of a data set, each once, in the files' order.

    CIFAR-10's are its curves. SVHN's are its curves, and the replay database's nets, whose
    failures are known.
    """
    if data_set == "cifar10":
        return TrainingData("cifar10", authors.cifar10)
    with_curve = {curve.net for curve in authors.svhn}
    best = {row.net: row.accuracy_best_val for row in reversed(authors.samples)}
    nets = dict.fromkeys(row.net for row in authors.samples)
    return TrainingData(
        "svhn",
        authors.svhn,
        tuple((net, best[net]) for net in nets if best[net] > CHANCE and net not in with_curve),
        tuple(net for net in nets if best[net] <= CHANCE),
        tuple((net, best[net] <= CHANCE) for net in nets),
    )
