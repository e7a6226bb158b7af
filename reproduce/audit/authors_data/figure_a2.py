"""Figure A2 against the data: what its axis measures, of which samples, and chance level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reproduce.results.plots.curves import Bar, PaperData, PaperSearch, paper_distributions
from reproduce.search.released_files import ReplayRow

CHANCE = 0.1
"""The accuracy that a net which never left chance level is given: 1/classes."""

BINS = 100
"""Bins of each ε, between its least and its highest accuracy: so the samples give the bars."""


@dataclass(frozen=True)
class Panel:
    """The bars of one ε.

    Attributes:
        sum: of the heights; 100 if they were percent of the models.
        integral: of height times width; 1 if they are densities per unit of accuracy.
        samples: how many there are, see `samples_of_bars`.
        remainder: the largest distance of a bar's samples from a whole number then.
        figure_3_samples: the width of Figure 3's bar in samples, duplicates included. The last is
            drawn one sample short, up to the index of the last.
        chance: samples in the bar that begins at chance level, 0 without one.
        learned_mean: mean accuracy of the others, from the height of Figure 3's bar.
    """

    epsilon: float
    sum: float
    integral: float
    samples: int
    remainder: float
    figure_3_samples: int
    chance: int
    learned_mean: float

    @property
    def chance_share(self) -> float:
        """Share of the samples at chance level."""
        return self.chance / self.samples


@dataclass(frozen=True)
class HistogramFit:
    """The bars of one ε against the histograms of its samples.

    Each number is the largest difference of a bar's height from the histogram's bin of the same
    rank, infinite if other bins are filled. A fit is within 0.0005, the precision of the bars.

    Attributes:
        density: of all samples, per unit of accuracy.
        percent: of all samples, in percent of them.
        unique: density of the nets first sampled at that ε.
        best_epsilon: the ε whose bars the density of these samples fits best: this one, unless the
            legend is mistaken.
        chance: share of the samples at exactly chance level; `chance_unique` of the nets.
    """

    epsilon: float
    density: float
    percent: float
    unique: float
    best_epsilon: float
    chance: float
    chance_unique: float


def panels(data: PaperData, paper: PaperSearch) -> tuple[Panel, ...]:
    """What the bars of each ε tell by themselves, by falling ε."""
    found = []
    for epsilon, drawn in sorted(paper_distributions(data).items(), reverse=True):
        bar = paper.means[epsilon]
        width = round(bar.end - bar.start)
        count, remainder = samples_of_bars(drawn, width)
        total = sum(x.height for x in drawn)
        lost = sum(number for x, number in _numbers(drawn, count).items() if _at_chance(x))
        learned = (bar.height * count - CHANCE * lost) / (count - lost)
        integral = total * bin_width(drawn)
        found.append(Panel(epsilon, total, integral, count, remainder, width, lost, learned))
    return tuple(found)


def histogram_fits(samples: Sequence[ReplayRow], data: PaperData) -> tuple[HistogramFit, ...]:
    """The fit of every ε that there are samples of, by falling ε."""
    drawn = paper_distributions(data)
    first: dict[str, ReplayRow] = {}
    for row in samples:
        first.setdefault(row.net, row)
    found = []
    for epsilon in sorted({row.epsilon for row in samples} & set(drawn), reverse=True):
        every = _accuracies(row for row in samples if row.epsilon == epsilon)
        unique = _accuracies(row for row in first.values() if row.epsilon == epsilon)
        fits = {other: _misfit(every, drawn[other]) for other in drawn}
        found.append(
            HistogramFit(
                epsilon,
                fits[epsilon],
                _misfit(every, drawn[epsilon], percent=True),
                _misfit(unique, drawn[epsilon]) if unique else float("inf"),
                min(fits, key=lambda other: fits[other]),
                _share(every),
                _share(unique),
            )
        )
    return tuple(found)


def bin_width(drawn: Sequence[Bar]) -> float:
    """The width of every bin: there are `BINS` from the first bar's beginning to the last's end."""
    return (max(bar.end for bar in drawn) - min(bar.start for bar in drawn)) / BINS


def samples_of_bars(drawn: Sequence[Bar], near: int) -> tuple[int, float]:
    """How many samples a density is of, and the largest distance of a bar from whole samples.

    Each bar holds height x width x n of n samples, which is a whole number for the right n: of
    those that differ from `near` by up to 1 % and 6, the one that comes closest to that.
    """
    shares = np.array([bar.height for bar in drawn]) * bin_width(drawn)
    reach = 6 + near // 100

    def remainder(count: int) -> float:
        return float(np.abs(shares * count - np.round(shares * count)).max())

    count = min(range(max(1, near - reach), near + reach + 1), key=remainder)
    return count, remainder(count)


def accuracies_of_bars(drawn: Sequence[Bar], count: int, mean: float) -> list[float]:
    """One accuracy for each of `count` samples, as the bars of a density place them.

    Those of the bin that begins at chance level are at that. The others lie in the middles of
    their bins, all moved by what makes the mean of all samples `mean`.

    Raises:
        ValueError: if the bars, rounded to samples, do not hold as many, or the accuracies would
            have to be moved out of their bins.
    """
    numbers = _numbers(drawn, count)
    if sum(numbers.values()) != count:
        raise ValueError(f"the bars hold {sum(numbers.values())} samples, not {count}")
    lost = sum(number for bar, number in numbers.items() if _at_chance(bar))
    middles = [
        (bar.start + bar.end) / 2
        for bar, number in numbers.items()
        if not _at_chance(bar)
        for _ in range(number)
    ]
    move = (mean * count - CHANCE * lost - sum(middles)) / max(1, len(middles))
    if abs(move) > bin_width(drawn) / 2:
        raise ValueError(f"a mean of {mean} does not fit the bars")
    return [CHANCE] * lost + [middle + move for middle in middles]


def _numbers(drawn: Sequence[Bar], count: int) -> dict[Bar, int]:
    """The samples in each bar."""
    width = bin_width(drawn)
    return {bar: round(bar.height * width * count) for bar in drawn}


def _at_chance(bar: Bar) -> bool:
    return round(bar.start, 3) == CHANCE


def _accuracies(rows: Iterable[ReplayRow]) -> list[float]:
    return [row.accuracy_best_val for row in rows]


def _share(values: Sequence[float]) -> float:
    return sum(x == CHANCE for x in values) / len(values) if values else float("nan")


def _misfit(values: Sequence[float], drawn: Sequence[Bar], *, percent: bool = False) -> float:
    heights, _ = np.histogram(values, BINS, density=not percent)
    filled = heights[heights > 0] * (100 / len(values) if percent else 1)
    bars = [bar.height for bar in sorted(drawn, key=lambda bar: bar.start)]
    return float(np.abs(filled - bars).max()) if len(filled) == len(bars) else float("inf")
