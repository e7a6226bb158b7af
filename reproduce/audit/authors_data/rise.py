"""What the rise of the mean accuracy is made of: fewer nets at chance level, or better others.

The mean of samples of which a share f is at chance level c and the others have mean m is
f c + (1 - f) m. From f₀, m₀ to f₁, m₁ it rises by the sum of two parts, which depend on which of
the two changes first:

* failures first: (f₀ - f₁) (m₀ - c) by fewer at chance level, (1 - f₁) (m₁ - m₀) by better nets;
* quality first: (f₀ - f₁) (m₁ - c) by fewer at chance level, (1 - f₀) (m₁ - m₀) by better nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reproduce.audit.authors_data.figure_a2 import CHANCE, accuracies_of_bars, samples_of_bars
from reproduce.results.plots.curves import PaperData, paper_distributions, paper_search

Interval = tuple[float, float]
Floats = NDArray[np.float64]

_AT_ONCE = 500  # bootstrap samples in memory


@dataclass(frozen=True)
class Group:
    """The samples of one ε: how many, their mean, the share at chance level, the others' mean."""

    samples: int
    mean: float
    chance: float
    learned: float


@dataclass(frozen=True)
class Rise:
    """The rise of the mean from one group of samples to another, and its parts.

    Attributes:
        first, last: the groups.
        rise: the difference of their means; `rise_interval` its interval.
        failures_first, quality_first: the share of the rise that is fewer nets at chance level,
            in either order; the rest is better nets. May leave [0, 1] where parts have other signs.
        failures_first_interval, quality_first_interval: their intervals.
        better: rise of the mean of the nets that learned, `better_interval` its interval.
        confidence, resamples: of the intervals: percentiles of bootstrap samples, drawn from each
            group by itself. Duplicates count as samples of their own, so that the intervals are
            somewhat too narrow.
    """

    first: Group
    last: Group
    rise: float
    rise_interval: Interval
    failures_first: float
    failures_first_interval: Interval
    quality_first: float
    quality_first_interval: Interval
    better: float
    better_interval: Interval
    confidence: float
    resamples: int


def decompose(
    first: Sequence[float],
    last: Sequence[float],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Rise:
    """Decompose the rise of the mean between two groups of accuracies.

    Raises:
        ValueError: if a group has no net that learned, or the means are equal.
    """
    for name, values in (("first", first), ("last", last)):
        if not any(x != CHANCE for x in values):
            raise ValueError(f"no net of the {name} group has learned")
    one, two = _group(first), _group(last)
    if one.mean == two.mean:
        raise ValueError("the means are equal, so that shares of a rise mean nothing")
    drawn = np.stack([_resampled(first, rng, resamples), _resampled(last, rng, resamples)])
    points = _parts(
        *(np.array([g.chance]) for g in (one, two)), *(np.array([g.learned]) for g in (one, two))
    )
    spread = _parts(drawn[0, 0], drawn[1, 0], drawn[0, 1], drawn[1, 1])
    tail = (1 - confidence) / 2
    low, high = (np.nanquantile(spread, q, axis=1) for q in (tail, 1 - tail))
    value = [float(x) for x in points[:, 0]]
    interval = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Rise(
        one,
        two,
        value[0],
        interval[0],
        value[1],
        interval[1],
        value[2],
        interval[2],
        value[3],
        interval[3],
        confidence,
        resamples,
    )


def published_rise(
    data: PaperData,
    rng: np.random.Generator,
    first: Sequence[float] | None = None,
    *,
    epsilons: tuple[float, float] = (1.0, 0.1),
    resamples: int = 10_000,
) -> Rise:
    """Decompose the rise of Figure 3 with the samples that Figure A2 shows.

    Args:
        first: the accuracies at the first ε, from the replay database; None takes those that
            Figure A2's bars tell, each exact to half a bin, their mean to that of Figure 3's bar
            (which for SVHN is that of ε 0.9).
        epsilons: the first and the last ε.
    """
    paper, drawn = paper_search(data), paper_distributions(data)

    def read(epsilon: float) -> list[float]:
        bar = paper.means[epsilon]
        count, _ = samples_of_bars(drawn[epsilon], round(bar.end - bar.start))
        return accuracies_of_bars(drawn[epsilon], count, bar.height)

    begin = read(epsilons[0]) if first is None else first
    return decompose(begin, read(epsilons[1]), rng, resamples=resamples)


def _group(values: Sequence[float]) -> Group:
    every = np.asarray(values, dtype=np.float64)
    lost = every == CHANCE
    return Group(len(every), float(every.mean()), float(lost.mean()), float(every[~lost].mean()))


def _resampled(values: Sequence[float], rng: np.random.Generator, resamples: int) -> Floats:
    """(2, resamples): of each bootstrap sample the share at chance level and the others' mean."""
    every = np.asarray(values, dtype=np.float64)
    found = []
    for begin in range(0, resamples, _AT_ONCE):
        drawn = rng.choice(every, (min(_AT_ONCE, resamples - begin), len(every)))
        learned = drawn != CHANCE
        number = learned.sum(axis=1)
        with np.errstate(invalid="ignore"):  # a resample without a net that learned
            mean = np.where(learned, drawn, 0.0).sum(axis=1) / number
        found.append(np.stack([1 - number / len(every), mean]))
    return np.concatenate(found, axis=1)


def _parts(f0: Floats, f1: Floats, m0: Floats, m1: Floats) -> Floats:
    """(4, n): the rise, fewer failures' share with failures and with quality first, the better."""
    rise = (f1 * CHANCE + (1 - f1) * m1) - (f0 * CHANCE + (1 - f0) * m0)
    fewer = f0 - f1
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without a rise
        shares = [fewer * (m0 - CHANCE) / rise, fewer * (m1 - CHANCE) / rise]
    return np.stack([rise, *shares, m1 - m0])
