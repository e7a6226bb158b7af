"""Figure 3 of the paper with searches on the surrogate laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reproduce.published_results import NAMES
from reproduce.results.plots import style
from reproduce.results.plots.curves import PaperSearch
from reproduce.results.plots.figure_3 import mean_bar
from reproduce.rivals.figure_3_comparison import PAPER_DATA, Comparison, published
from reproduce.rivals.surrogate.data import DataSet

_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"color": style.BLUE, "linestyle": "-"},
    "authors": {"color": style.GREEN, "linestyle": (0, (5, 1.5))},
    "released": {"color": style.ORANGE, "linestyle": (0, (6, 1.5, 1, 1.5))},
}


def figure_3_svg(comparisons: Sequence[Comparison], data_set: DataSet) -> str:
    """The figure of one data set as an SVG document, the same for the same comparisons.

    Comparisons of other data sets are passed over, and those without failures where there is the
    same preset with them.

    Raises:
        ValueError: if there is none of the data set.
    """
    name = f"figure-3-{PAPER_DATA[data_set].lower()}"
    return style.svg(figure_3(comparisons, data_set), name)


@style.drawing()
def figure_3(comparisons: Sequence[Comparison], data_set: DataSet) -> Figure:
    """See `figure_3_svg`; each preset as the mean over seeds with a band of 90 % of them."""
    chosen: dict[str, Comparison] = {}
    for one in comparisons:
        if one.data_set == data_set and (one.preset not in chosen or one.failure_share != 0):
            chosen[one.preset] = one
    if not chosen:
        raise ValueError(f"there are no searches on {data_set}")
    paper = published(data_set)
    figure = style.new_figure(8, 4.4)
    axes = figure.add_subplot()
    _bars(axes, paper)
    for preset, one in chosen.items():
        _preset(axes, one, _PRESETS.get(preset, {"color": style.PURPLE}))
    axes.plot(
        paper.iterations,
        paper.rolling,
        color=style.PAPER,
        linestyle=(0, (1, 1)),
        linewidth=1.2,
        label=f"paper: rolling mean over {paper.window}",
    )
    axes.set(
        xlabel="iterations of the paper, duplicates included",
        ylabel="validation accuracy",
        xlim=(0, max(bar.end for bar in paper.means.values())),
        ylim=(0, 1),
        title=f"{NAMES[data_set]}: Q-learning, rewards predicted by the surrogate",
    )
    style.legend_below(figure, columns=2)
    return figure


def _bars(axes: Axes, paper: PaperSearch) -> None:
    for number, (epsilon, bar) in enumerate(paper.means.items()):
        mean_bar(axes, bar, epsilon, "" if number else "paper: mean per ε")


def _preset(axes: Axes, one: Comparison, how: dict[str, Any]) -> None:
    label = f"preset {one.preset}: mean of {one.runs} seeds, and 90 % of them"
    axes.fill_between(one.iterations, one.low, one.high, color=how["color"], alpha=0.2, linewidth=0)
    axes.plot(one.iterations, one.rolling, **how, linewidth=1.6, label=label)
