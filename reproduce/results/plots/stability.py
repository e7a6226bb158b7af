"""The stability figure (thesis, Figure 3-6): the mean accuracy per ε of several searches."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from reproduce.results.plots import style
from reproduce.results.plots.curves import PaperStability
from reproduce.results.plots.search_curve import SearchCurve


@dataclass(frozen=True)
class Spread:
    """The mean accuracies of several runs at one ε.

    Attributes:
        mean: their mean.
        deviation: their sample standard deviation (n - 1); None for one run.
        runs: how many have samples at this ε.
    """

    epsilon: float
    mean: float
    deviation: float | None
    runs: int


def spread(runs: Sequence[SearchCurve]) -> list[Spread]:
    """Mean and deviation over runs of each run's mean accuracy, the highest ε first."""
    means: dict[float, list[float]] = {}
    for run in runs:
        for epsilon, mean in run.means().items():
            means.setdefault(epsilon, []).append(mean)
    return [
        Spread(
            epsilon,
            statistics.fmean(found),
            statistics.stdev(found) if len(found) > 1 else None,
            len(found),
        )
        for epsilon, found in sorted(means.items(), reverse=True)
    ]


@style.drawing()
def stability_figure(
    runs: Sequence[SearchCurve], title: str, paper: PaperStability | None = None
) -> Figure:
    """Mean accuracy per ε, its standard deviation over the runs, and each run.

    Args:
        runs: the searches.
        title: what the figure is headed with.
        paper: the paper's figure, drawn a little to the right of the runs' own.
    """
    found = spread(runs)
    published = paper.spread if paper else {}
    epsilons = sorted({s.epsilon for s in found} | set(published), reverse=True)
    place = {epsilon: position for position, epsilon in enumerate(epsilons)}
    figure = style.new_figure(8, 4.2)
    axes = figure.add_subplot()
    for number, run in enumerate(runs):
        means = run.means()
        axes.plot(
            [place[epsilon] for epsilon in means],
            list(means.values()),
            color=style.GREY,
            linewidth=0.7,
            label="" if number else "each run",
        )
    axes.errorbar(
        [place[s.epsilon] for s in found],
        [s.mean for s in found],
        yerr=[s.deviation or 0.0 for s in found],
        capsize=4,
        label=f"mean ± standard deviation of {len(runs)} runs",
        **style.series(0),
    )
    if published:
        axes.errorbar(
            [place[epsilon] + 0.15 for epsilon in published],
            [mean for mean, _ in published.values()],
            yerr=[deviation for _, deviation in published.values()],
            capsize=4,
            label=f"paper: {len(paper.runs) if paper else 0} runs",
            **style.paper_series(),
        )
    axes.set_xticks(list(place.values()), [f"{epsilon:g}" for epsilon in place])
    axes.set(xlabel="ε", ylabel="mean validation accuracy", title=title)
    style.legend_below(figure, columns=3)
    return figure
