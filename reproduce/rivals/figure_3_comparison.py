"""Searches on the surrogate against the paper's Figure 3.

A run has other numbers of samples at each ε than the paper's, as nets sampled again count again.
To lay its rolling mean on the paper's, each of its stages is stretched to the paper's iterations
at that ε.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reproduce.results.intervals import bootstrap_interval
from reproduce.results.plots.curves import Bar, PaperData, PaperSearch, paper_search
from reproduce.rivals.figure_3_runs import SPACING, LearningRun
from reproduce.rivals.surrogate.data import DataSet

Floats = NDArray[np.float64]
Interval = tuple[float, float]

PAPER_DATA: dict[DataSet, PaperData] = {"cifar10": "CIFAR10", "svhn": "SVHN"}
FEWEST_SEEDS = 3
_SWAPPED = 1.0, 0.9  # SVHN's bars, as the authors' replay database tells
_BAND = 0.05, 0.95


def published(data_set: DataSet) -> PaperSearch:
    """Figure 3 of a data set, SVHN's bars of ε 1.0 and 0.9 put right."""
    paper = paper_search(PAPER_DATA[data_set])
    if data_set != "svhn":
        return paper
    means, (one, other) = dict(paper.means), _SWAPPED
    first, second = means[one], means[other]
    means[one] = Bar(first.start, first.end, second.height)
    means[other] = Bar(second.start, second.end, first.height)
    return PaperSearch(means, paper.iterations, paper.rolling)


@dataclass(frozen=True)
class MeanAt:
    """The mean accuracy at one ε: the paper's, and that of some seeds with its interval.

    Attributes:
        published: the paper's bar.
        mean: over seeds, of the seeds' means.
        interval: 95 % bootstrap interval of it.
        seeds: the lowest and the highest seed.
    """

    epsilon: float
    published: float
    mean: float
    interval: Interval
    seeds: Interval


@dataclass(frozen=True)
class Comparison:
    """Searches of one preset against the paper's Figure 3; accuracies in [0, 1].

    A distance of bars is the mean absolute difference over ε, one of lines the root mean square
    difference over iterations. What a single search may differ by is told by the seeds: each
    against the mean of the others.

    Attributes:
        runs: as many seeds.
        at: by ε, falling.
        bars, seed_bars: distance of the paper's bars from the mean over seeds, and the mean
            distance of a seed's from that of the others.
        line, seed_line: the same of the rolling means.
        rise, rise_interval: from the first to the last ε, mean over seeds, 95 % interval.
        published_rise: the paper's.
        rising: seeds whose means rise with every step of ε.
        failed: share of samples that did not learn, at the first and at the last ε.
        outside: the same of samples outside the surrogate's range, whose rewards are guesses.
        best, best_interval: the highest reward within that range, mean over seeds.
        iterations, rolling, low, high: the rolling mean laid on the paper's iterations: mean over
            seeds, and their quantiles of 5 and 95 %.
    """

    data_set: DataSet
    preset: str
    failure_share: float | None
    runs: int
    at: tuple[MeanAt, ...]
    bars: float
    seed_bars: float
    line: float
    seed_line: float
    rise: float
    rise_interval: Interval
    published_rise: float
    rising: int
    failed: Interval
    outside: Interval
    best: float
    best_interval: Interval
    iterations: tuple[float, ...]
    rolling: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def within(self) -> int:
        """At how many ε the paper's bar is between the lowest and the highest seed."""
        return sum(one.seeds[0] <= one.published <= one.seeds[1] for one in self.at)


def compare(runs: Sequence[LearningRun], paper: PaperSearch) -> Comparison:
    """Lay searches of one data set, preset and failure share on the paper's figure.

    Args:
        paper: `published` of the data set.

    Raises:
        ValueError: of fewer than three seeds, of runs of several kinds, or of other ε.
    """
    if len({run.seed for run in runs}) < max(FEWEST_SEEDS, len(runs)):
        raise ValueError(f"{len(runs)} runs: a comparison wants at least {FEWEST_SEEDS} seeds")
    if len({_kind(run) for run in runs}) > 1:
        raise ValueError("runs of several data sets, presets or failure shares are no one sample")
    epsilons = sorted(paper.means, reverse=True)
    for run in runs:
        if list(run.means) != epsilons:
            raise ValueError(f"seed {run.seed} has other ε than the paper, or in another order")
    bars = np.array([[run.means[e] for e in epsilons] for run in runs])
    own = np.array([paper.means[e].height for e in epsilons])
    grid = np.arange(paper.window - 1, paper.iterations[-1] + 1, SPACING, dtype=np.float64)
    lines = np.array([_on_paper(run, paper, grid) for run in runs])
    seen = ~np.isnan(lines).any(axis=0)
    grid, lines = grid[seen], lines[:, seen]
    drawn = np.interp(grid, paper.iterations, paper.rolling)
    rises = bars[:, -1] - bars[:, 0]
    low, high = np.quantile(lines, _BAND, axis=0)
    first = runs[0]
    return Comparison(
        data_set=first.data_set,
        preset=first.preset,
        failure_share=first.failure_share,
        runs=len(runs),
        at=tuple(
            MeanAt(
                e,
                float(height),
                float(column.mean()),
                _interval(column),
                (float(column.min()), float(column.max())),
            )
            for e, height, column in zip(epsilons, own, bars.T, strict=True)
        ),
        bars=_absolute(bars.mean(axis=0), own),
        seed_bars=float(np.mean([_absolute(*one) for one in _against_others(bars)])),
        line=_root_mean_square(lines.mean(axis=0), drawn),
        seed_line=float(np.mean([_root_mean_square(*one) for one in _against_others(lines)])),
        rise=float(rises.mean()),
        rise_interval=_interval(rises),
        published_rise=float(own[-1] - own[0]),
        rising=sum(all(b > a for a, b in pairwise(row)) for row in bars),
        failed=_ends([[stage.failed for stage in run.stages] for run in runs]),
        outside=_ends([[stage.outside for stage in run.stages] for run in runs]),
        best=float(np.mean([run.best for run in runs])),
        best_interval=_interval(np.array([run.best for run in runs])),
        iterations=tuple(map(float, grid)),
        rolling=tuple(map(float, lines.mean(axis=0))),
        low=tuple(map(float, low)),
        high=tuple(map(float, high)),
    )


def comparisons(runs: Iterable[LearningRun]) -> list[Comparison]:
    """One comparison for each data set, preset and failure share, in the order of the runs.

    Raises:
        ValueError: see `compare`.
    """
    groups: dict[tuple[DataSet, str, float | None], list[LearningRun]] = {}
    for run in runs:
        groups.setdefault(_kind(run), []).append(run)
    return [compare(group, published(group[0].data_set)) for group in groups.values()]


def _kind(run: LearningRun) -> tuple[DataSet, str, float | None]:
    return run.data_set, run.preset, run.failure_share


def _on_paper(run: LearningRun, paper: PaperSearch, grid: Floats) -> Floats:
    """The run's rolling mean at the paper's iterations; NaN before its first and after its last."""
    bars = [paper.means[stage.epsilon] for stage in run.stages]
    ends = np.cumsum([0, *(stage.samples for stage in run.stages)])
    knots = [bars[0].start, *(bar.end for bar in bars)]
    # A window's mean stands at its last sample; iterations count from 0, samples from 1.
    places = np.interp(np.array(run.places), ends, knots) - 1
    return np.interp(grid, places, run.rolling, left=np.nan, right=np.nan)


def _against_others(rows: Floats) -> list[tuple[Floats, Floats]]:
    """Each row, and the mean of all others."""
    total = rows.sum(axis=0)
    return [(row, (total - row) / (len(rows) - 1)) for row in rows]


def _absolute(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).mean())


def _root_mean_square(one: Floats, other: Floats) -> float:
    return float(np.sqrt(np.square(one - other).mean()))


def _ends(rows: list[list[float]]) -> Interval:
    """The means over runs, at the first and the last ε."""
    first, *_, last = np.mean(rows, axis=0)
    return float(first), float(last)


def _interval(values: Floats) -> Interval:
    return bootstrap_interval([float(x) for x in values], np.random.default_rng(0))
