"""Partial learning curves, architectures and learning rates as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reproduce.audit.authors_data.files import LearningCurve

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CurveTable:
    """Nets and their learning curves, a row each.

    Attributes:
        accuracies: validation accuracy after each epoch, (nets, epochs), in [0, 1].
        settings: number of weights, number of layers and initial learning rate, (nets, 3).
    """

    accuracies: Floats
    settings: Floats

    def __len__(self) -> int:
        return len(self.accuracies)

    @property
    def epochs(self) -> int:
        """Epochs of a training that is not stopped."""
        return int(self.accuracies.shape[1])

    @property
    def final(self) -> Floats:
        """Accuracy after the last epoch, which is to be predicted (section 4.1.1), (nets,)."""
        return self.accuracies[:, -1]

    def take(self, nets: NDArray[np.int64] | slice) -> CurveTable:
        """Some nets, in an order."""
        return CurveTable(self.accuracies[nets], self.settings[nets])

    def features(self, observed: int) -> Floats:
        """What is known of each net after some epochs, (nets, 3 · observed, at least 4).

        The accuracies, their first and second differences, the number of weights, the number of
        layers and the initial learning rate (section 4.2: "TS + AP + HP" of Table 4.1).

        Raises:
            ValueError: if it is not after at least one epoch and before the last.
        """
        if not 1 <= observed < self.epochs:
            raise ValueError(f"{observed} epochs are not within 1 to {self.epochs - 1}")
        seen = self.accuracies[:, :observed]
        differences = [np.diff(seen, n=n) for n in (1, 2) if n < observed]
        return np.hstack([seen, *differences, self.settings])


def tabulate(curves: Sequence[LearningCurve]) -> CurveTable:
    """Curves as a table; weights and layers are those that the authors' files state.

    Raises:
        ValueError: if they are of different lengths.
    """
    if len({len(curve.accuracies) for curve in curves}) != 1:
        raise ValueError("learning curves of one table must have the same number of epochs")
    settings = [[c.stated_parameters, c.stated_depth, c.learning_rate] for c in curves]
    return CurveTable(
        np.array([c.accuracies for c in curves], np.float64), np.array(settings, np.float64)
    )
