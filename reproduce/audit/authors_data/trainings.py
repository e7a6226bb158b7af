"""What the learning curves tell of the exploration's learning rates, restarts and schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reproduce.audit.authors_data.files import LearningCurve


@dataclass(frozen=True)
class LearningRates:
    """The rates that nets which learned began with; those that never learned have no curve.

    Attributes:
        nets: how many.
        counts: nets by rate, the highest rate first.
        worked: by rate the share of the nets tried at it, those with it or a lower one, that it
            was the rate for.
        on_ladder: nets whose rate is the first, 0.4 times it, 0.4² times it ..., to six decimals
            as the released solver prints it.
        restarts: the most of any net; `mean_restarts` over all. Each costs an epoch.
    """

    nets: int
    counts: dict[float, int]
    worked: dict[float, float]
    on_ladder: int
    restarts: int
    mean_restarts: float

    def share(self, rate: float) -> float:
        """Share of the nets that began with a rate."""
        return self.counts.get(rate, 0) / self.nets


@dataclass(frozen=True)
class Thresholds:
    """What was kept after the first epoch.

    Attributes:
        least_first: least accuracy after the first epoch, so that the restart rule's threshold
            is at most that.
        just_above: for each threshold asked for, nets within 0.02 above it; `below` those at or
            below it, none if it was the rule's.
        least_best, least_last: least accuracy of a best and of a last epoch.
        least_ever: least of any epoch; nets may fall back under the threshold later.
    """

    least_first: float
    just_above: dict[float, int]
    below: dict[float, int]
    least_best: float
    least_last: float
    least_ever: float


@dataclass(frozen=True)
class Schedule:
    """How the accuracy moves from epoch to epoch.

    Attributes:
        gains: mean change of the accuracy from epoch k to k + 1, k from 1 to 19.
        moves: median absolute change.
        falls: the three k, in order, for which the change from epoch k + 1 to k + 2 is smallest
            relative to that from k to k + 1. Where the rate falls after epoch k, the next epoch
            still gains much, and those after it little. The first three epochs are left out.
    """

    gains: tuple[float, ...]
    moves: tuple[float, ...]
    falls: tuple[int, ...]


def learning_rates(
    curves: Sequence[LearningCurve], first: float = 0.001, factor: float = 0.4
) -> LearningRates:
    """Count the rates.

    Args:
        first, factor: of the paper's rule (section 5).
    """
    counts = Counter(curve.learning_rate for curve in curves)
    rates = sorted(counts, reverse=True)
    worked = {
        rate: counts[rate] / sum(counts[lower] for lower in rates if lower <= rate)
        for rate in rates
    }
    steps = {rate: round(float(np.log(rate / first) / np.log(factor))) for rate in rates}
    on_ladder = [
        rate for rate, k in steps.items() if k >= 0 and round(first * factor**k, 6) == rate
    ]
    restarts = sum(steps[rate] * counts[rate] for rate in rates)
    return LearningRates(
        len(curves),
        {rate: counts[rate] for rate in rates},
        worked,
        sum(counts[rate] for rate in on_ladder),
        max(steps.values(), default=0),
        restarts / max(1, len(curves)),
    )


def thresholds(
    curves: Sequence[LearningCurve], candidates: Sequence[float] = (0.1, 0.15, 0.27)
) -> Thresholds:
    """Compare the accuracies after the first epoch with candidates for the rule's threshold.

    Raises:
        ValueError: without curves.
    """
    if not curves:
        raise ValueError("there are no learning curves")
    firsts = np.array([curve.accuracies[0] for curve in curves])
    return Thresholds(
        float(firsts.min()),
        {x: int(((firsts > x) & (firsts <= x + 0.02)).sum()) for x in candidates},
        {x: int((firsts <= x).sum()) for x in candidates},
        min(curve.best for curve in curves),
        min(curve.accuracies[-1] for curve in curves),
        min(min(curve.accuracies) for curve in curves),
    )


def schedule(curves: Sequence[LearningCurve]) -> Schedule:
    """Where the curves change their pace.

    Raises:
        ValueError: without curves.
    """
    if not curves:
        raise ValueError("there are no learning curves")
    changes = np.diff(np.array([curve.accuracies for curve in curves]), axis=1)
    moves = np.median(np.abs(changes), axis=0)
    ratios = {k: moves[k] / moves[k - 1] for k in range(4, len(moves))}
    falls = sorted(sorted(ratios, key=lambda k: ratios[k])[:3])
    return Schedule(tuple(map(float, changes.mean(axis=0))), tuple(map(float, moves)), tuple(falls))
