"""Rules that stop a training, and searches simulated with them from curves already there."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from reproduce.rivals.early_stopping.features import CurveTable

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass
class Kept:
    """The nets of a search so far whose training was not stopped.

    Attributes:
        nets: their places in the search.
        finals: their final accuracies, ascending.
    """

    nets: list[int] = field(default_factory=list)
    finals: list[float] = field(default_factory=list)

    def add(self, net: int, final: float) -> None:
        """Add one that was trained to the end."""
        self.nets.append(net)
        insort(self.finals, final)


class Rule(Protocol):
    """Decides when a training is stopped; it looks at no epoch after the one it stops at."""

    def stop(self, net: int, kept: Kept) -> int | None:
        """The epoch after which a net is stopped; None if it is trained to the end.

        Args:
            net: its place in the search.
            kept: the nets before it.
        """
        ...


class ProbabilityRule:
    """Stops a net as soon as it is improbable enough that it will be among the best.

    The thesis's rule is P(ŷ ≤ y_best - δ) ≥ Δ, or the same with the n-th best, where the
    probability is of a Gaussian about the prediction (section 4.1.2). It is asked after every
    epoch but the last.
    """

    def __init__(
        self,
        predicted: Floats,
        sigma: Floats,
        threshold: float,
        offset: float = 0.0,
        rank: int = 1,
    ) -> None:
        """Make the rule of one search.

        Args:
            predicted: final accuracies of all its nets after each epoch, (epochs - 1, nets).
            sigma: standard deviation of their errors, (epochs - 1,).
            threshold: Δ.
            offset: δ, accuracy below the best that is still worth the training.
            rank: n.

        Raises:
            ValueError: if Δ is not between 0 and 1, or n not a rank.
        """
        if not 0 < threshold < 1 or rank < 1:
            raise ValueError(f"threshold {threshold} or rank {rank} is not within (0, 1) or from 1")
        self._rank = rank
        # The least y_best at which the net's probability is Δ.
        self._bars = predicted + ndtri(threshold) * sigma[:, None] + offset

    def stop(self, net: int, kept: Kept) -> int | None:
        """See `Rule`."""
        if len(kept.finals) < self._rank:
            return None
        return _first(self._bars[:, net] <= kept.finals[-self._rank])


class MedianRule:
    """Stops a net whose best accuracy so far is below the median of others' running means.

    The median stopping rule of Google Vizier (Golovin et al. 2017, section 3.2.2); the others are
    those kept.
    """

    def __init__(self, search: CurveTable) -> None:
        epochs = np.arange(1, search.epochs + 1)
        self._best = np.maximum.accumulate(search.accuracies, axis=1)[:, :-1]
        self._means = (np.cumsum(search.accuracies, axis=1) / epochs)[:, :-1]
        self._medians = np.empty(0)
        self._of = 0

    def stop(self, net: int, kept: Kept) -> int | None:
        """See `Rule`."""
        if not kept.nets:
            return None
        if self._of != len(kept.nets):
            self._of = len(kept.nets)
            self._medians = np.median(self._means[kept.nets], axis=0)
        return _first(self._best[net] < self._medians)


@dataclass(frozen=True)
class PerfectRule:
    """Stops a net after its first epoch if it will not exceed the best: the most to be saved."""

    final: Floats

    def stop(self, net: int, kept: Kept) -> int | None:
        """See `Rule`."""
        return 1 if kept.finals and self.final[net] <= kept.finals[-1] else None


def _first(true: NDArray[np.bool_]) -> int | None:
    """Number, from 1, of the first epoch at which it is true."""
    return int(np.argmax(true)) + 1 if true.any() else None


@dataclass(frozen=True)
class SimulatedSearch:
    """What a search with early stopping spent and found.

    Attributes:
        spent: epochs that each net was trained, (nets,), in the search's order.
        final: accuracy of each after all epochs, (nets,).
        epochs: of a training that is not stopped.
    """

    spent: Integers
    final: Floats
    epochs: int

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which nets were trained to the end, (nets,)."""
        kept: NDArray[np.bool_] = self.spent == self.epochs
        return kept

    @property
    def saved(self) -> float:
        """Share of epochs not trained, of those of all nets."""
        return 1 - 1 / self.speed_up

    @property
    def speed_up(self) -> float:
        """Epochs without early stopping over epochs with it."""
        return len(self.spent) * self.epochs / int(self.spent.sum())

    @property
    def regret(self) -> float:
        """Final accuracy of the best net of all less that of the best net kept."""
        return float(self.final.max() - self.final[self.kept].max())

    def kept_of_top(self, count: int) -> float:
        """Share of the best nets of all that were kept."""
        top = np.argsort(-self.final, kind="stable")[:count]
        return float(self.kept[top].mean())


def simulate(search: CurveTable, train: int, rule: Rule) -> SimulatedSearch:
    """Go through nets in their order, the first `train` of which are never stopped.

    Raises:
        ValueError: if there is none such, since what is kept would have no best.
    """
    if train < 1:
        raise ValueError("at least one net must be trained to the end before others are stopped")
    spent = np.full(len(search), search.epochs, np.int64)
    final, kept = search.final, Kept()
    for net in range(len(search)):
        stopped = rule.stop(net, kept) if net >= train else None
        if stopped is None:
            kept.add(net, float(final[net]))
        else:
            spent[net] = stopped
    return SimulatedSearch(spent, final, search.epochs)
