"""Figure 3 against the data: its bars, what its rolling mean is over, and the order of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from reproduce.results.plots.curves import PaperSearch
from reproduce.search.released_files import ReplayRow

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EpsilonMeans:
    """One ε: the published bar, and what the samples give.

    Attributes:
        published, published_samples: the bar's height, and its width in samples.
        samples: rows of that ε, duplicates included.
        best: the mean of each row's best accuracy, as the reward is; `last`: of the last epoch's.
        nets: nets sampled first at that ε; `best_unique` is their mean.
    """

    epsilon: float
    published: float
    published_samples: int
    samples: int
    best: float
    last: float
    nets: int
    best_unique: float


@dataclass(frozen=True)
class Bars:
    """The bars of the ε that the samples are of, and the exchange of two that fits best.

    Attributes:
        means: by falling ε.
        as_drawn: the largest difference of a bar from its mean, `best`, duplicates included.
        last, unique: the same from the means of the last epochs, and of each net once.
        exchanged: the two ε of which exchanging the bars lessens `as_drawn` most, None if no
            exchange does; `if_exchanged` is the largest difference then.
    """

    means: tuple[EpsilonMeans, ...]
    as_drawn: float
    last: float
    unique: float
    exchanged: tuple[float, float] | None
    if_exchanged: float


@dataclass(frozen=True)
class RollingWindow:
    """What the published line itself tells of its window.

    The differences of a rolling mean over w samples are (x[t] - x[t-w]) / w, so that their
    autocorrelation at lag w is near -1/2, and near 0 at all others if the x are independent.

    Attributes:
        starts_at: samples before the line begins, and the first of it: w for a mean of w.
        lag: the lag of least autocorrelation, which is the estimate; `autocorrelation` there.
        next_lag, next_autocorrelation: the same of the next least.
        largest_step: the line's largest change in one sample.
        most: the largest window that permits such a step: `spread`/largest_step.
        spread: the largest difference of two accuracies, as given.
    """

    starts_at: int
    lag: int
    autocorrelation: float
    next_lag: int
    next_autocorrelation: float
    largest_step: float
    most: float
    spread: float


@dataclass(frozen=True)
class FileOrder:
    """Whether the file's rows are in the order of the published line.

    Attributes:
        rms: for each window the root mean square difference of the line and the rolling mean of
            the rows in the file's order.
        shuffled: for each window the mean of that over random orders within each ε, and the least;
            rows in the line's order would be far below it for the right window.
        orders: how many random orders.
        distinct: rows at the file's beginning before the first duplicate.
        duplicates: rows of a net that has an earlier row.
        runs: stretches of consecutive rows that hold them all.
    """

    rms: dict[int, float]
    shuffled: dict[int, tuple[float, float]]
    orders: int
    distinct: int
    duplicates: int
    runs: int


def bars(samples: Sequence[ReplayRow], paper: PaperSearch) -> Bars:
    """Recompute the bars of every ε that all samples of the figure are there of.

    Raises:
        ValueError: if there is no such ε.
    """
    first: dict[str, ReplayRow] = {}
    for row in samples:
        first.setdefault(row.net, row)
    means = []
    for epsilon, bar in sorted(paper.means.items(), reverse=True):
        rows = [row for row in samples if row.epsilon == epsilon]
        count = round(bar.end - bar.start)
        if len(rows) == count:
            unique = [row.accuracy_best_val for row in first.values() if row.epsilon == epsilon]
            means.append(
                EpsilonMeans(
                    epsilon,
                    bar.height,
                    count,
                    len(rows),
                    _mean([row.accuracy_best_val for row in rows]),
                    _mean([row.accuracy_last_val for row in rows]),
                    len(unique),
                    _mean(unique),
                )
            )
    if not means:
        raise ValueError("no ε has as many samples as its bar")
    drawn = [x.published for x in means]
    best = [x.best for x in means]
    as_drawn, exchanged, if_exchanged = _largest(drawn, best), None, _largest(drawn, best)
    for i, j in combinations(range(len(means)), 2):
        other = list(drawn)
        other[i], other[j] = other[j], other[i]
        if _largest(other, best) < if_exchanged:
            if_exchanged = _largest(other, best)
            exchanged = means[i].epsilon, means[j].epsilon
    return Bars(
        tuple(means),
        as_drawn,
        _largest(drawn, [x.last for x in means]),
        _largest(drawn, [x.best_unique for x in means]),
        exchanged,
        if_exchanged,
    )


def rolling_window(paper: PaperSearch, spread: float, longest: int = 200) -> RollingWindow:
    """Estimate the window of the published line from the line alone.

    Args:
        paper: the figure; between points that it leaves out the line is straight.
        spread: the largest difference of two accuracies.
        longest: the longest lag that is tried.

    Raises:
        ValueError: if the line is not at least twice as long as that.
    """
    line = _line(paper)
    steps = np.diff(line)
    if len(steps) < 2 * longest:
        raise ValueError(f"{len(line)} points are too few for windows of up to {longest}")
    centred = steps - steps.mean()
    power = float(centred @ centred)
    correlations = [float(centred[k:] @ centred[:-k]) / power for k in range(1, longest + 1)]
    least, next_ = (int(i) for i in np.argsort(correlations)[:2])
    largest = float(np.abs(steps).max())
    return RollingWindow(
        paper.window,
        least + 1,
        correlations[least],
        next_ + 1,
        correlations[next_],
        largest,
        spread / largest,
        spread,
    )


def file_order(
    samples: Sequence[ReplayRow],
    paper: PaperSearch,
    rng: np.random.Generator,
    windows: Sequence[int] = (30, 100),
    orders: int = 200,
) -> FileOrder:
    """Compare the rolling mean of the rows, in the file's order, with the published line.

    Args:
        samples: rows from the beginning of the search.
        windows: in samples.
        orders: how many random orders within each ε to compare with.
    """
    accuracies = np.array([row.accuracy_best_val for row in samples])
    epsilons = np.array([row.epsilon for row in samples])
    line, begin = _line(paper), paper.window - 1

    def rms(values: Floats, window: int) -> float:
        rolling = np.convolve(values, np.full(window, 1 / window), "valid")
        first = max(window - 1, begin)
        end = min(len(values), begin + len(line))
        there = rolling[first - window + 1 : end - window + 1]
        return float(np.sqrt(np.mean((there - line[first - begin : end - begin]) ** 2)))

    found: dict[int, list[float]] = {window: [] for window in windows}
    for _ in range(orders):
        order = accuracies.copy()
        for epsilon in np.unique(epsilons):
            there = epsilons == epsilon
            order[there] = rng.permutation(order[there])
        for window in windows:
            found[window].append(rms(order, window))
    first: dict[str, int] = {}
    again = np.array([first.setdefault(row.net, i) != i for i, row in enumerate(samples)])
    return FileOrder(
        {window: rms(accuracies, window) for window in windows},
        {window: (float(np.mean(x)), min(x)) for window, x in found.items()},
        orders,
        int(np.argmax(again)) if again.any() else len(samples),
        int(again.sum()),
        int((again[1:] & ~again[:-1]).sum()),
    )


def _line(paper: PaperSearch) -> Floats:
    """The line at each sample from its first point to its last."""
    # CIFAR-10's points lie a constant fraction of a sample to the right of whole numbers.
    places = np.floor(np.asarray(paper.iterations))
    whole = np.arange(places[0], places[-1] + 1)
    return np.asarray(np.interp(whole, places, np.asarray(paper.rolling)), np.float64)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _largest(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.max(np.abs(np.subtract(one, other))))
