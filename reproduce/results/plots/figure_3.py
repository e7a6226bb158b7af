"""Figure 3: the rolling mean of the accuracy over the search, and its mean per ε."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reproduce.results.plots import style
from reproduce.results.plots.curves import Bar, PaperSearch
from reproduce.results.plots.search_curve import SearchCurve, rolling_mean, rolling_window


def mean_bars(axes: Axes, curve: SearchCurve, label: str) -> dict[float, Bar]:
    """Draw the mean per ε as bars over the samples, numbered from 1, and ε at their foot.

    Returns:
        the widest bar of each ε: a search that went back to an ε has several.
    """
    means, widest = curve.means(), dict[float, Bar]()
    for number, (epsilon, start, end) in enumerate(curve.stretches()):
        bar = Bar(start + 0.5, end + 0.5, means[epsilon])
        mean_bar(axes, bar, epsilon, "" if number else label)
        known = widest.get(epsilon)
        if known is None or bar.end - bar.start > known.end - known.start:
            widest[epsilon] = bar
    return widest


def mean_bar(axes: Axes, bar: Bar, epsilon: float, label: str) -> None:
    """Draw one bar, and its ε at its foot: upright, so that narrow bars keep the labels apart."""
    axes.bar(
        bar.start,
        bar.height,
        bar.end - bar.start,
        align="edge",
        color=style.PALE,
        edgecolor="white",
        label=label,
    )
    axes.text(
        (bar.start + bar.end) / 2, 0.03, f"ε {epsilon:g}", ha="center", va="bottom", rotation=90
    )


@style.drawing()
def figure_3(curve: SearchCurve, title: str, paper: PaperSearch | None = None) -> Figure:
    """Rolling mean and mean per ε of the accuracy, over the sampled models.

    Duplicates count, as in the paper. The rolling mean at a sample is that of the window which
    ends there; the window is the paper's 100 samples, or a third of a run of up to 300.

    Args:
        curve: the search.
        title: what the figure is headed with.
        paper: the paper's figure, drawn over the run's. Each of its stages of ε is stretched to
            the run's samples at that ε; stages that the run has not reached are left out.
    """
    figure = style.new_figure(8, 4.2)
    axes = figure.add_subplot()
    count, window = len(curve.rewards), rolling_window(len(curve.rewards))
    bars = mean_bars(axes, curve, "this run: mean per ε")
    if paper is not None:
        _paper(axes, paper, bars)
    axes.plot(
        range(window, count + 1),
        rolling_mean(curve.rewards, window),
        color=style.BLUE,
        linewidth=1.8,
        marker="o" if count <= 60 else "",
        markersize=4,
        label=f"this run: rolling mean over {window}",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(
        xlabel="sampled models, duplicates included",
        ylabel="validation accuracy",
        xlim=(0.5, count + 0.5),
        ylim=(0, 1),
        title=title,
    )
    style.legend_below(figure, columns=2)
    return figure


def _paper(axes: Axes, paper: PaperSearch, bars: dict[float, Bar]) -> None:
    places: list[float] = []
    rolling: list[float] = []
    label = "paper: mean per ε"
    for epsilon, stage in paper.means.items():
        if epsilon not in bars:
            places.append(math.nan)  # interrupts the line
            rolling.append(math.nan)
            continue
        start, end = bars[epsilon].start, bars[epsilon].end
        axes.plot(
            [start, end],
            [stage.height] * 2,
            color=style.PAPER,
            linestyle=(0, (4, 2)),
            linewidth=1.3,
            label=label,
        )
        label = ""
        scale = (end - start) / (stage.end - stage.start)
        for iteration, mean in zip(paper.iterations, paper.rolling, strict=True):
            if stage.start <= iteration < stage.end:
                places.append(start + (iteration + 0.5 - stage.start) * scale)
                rolling.append(mean)
    axes.plot(
        places,
        rolling,
        color=style.VERMILION,
        linestyle=(0, (1, 1)),
        linewidth=1.1,
        label=f"paper: rolling mean over {paper.window}",
    )
