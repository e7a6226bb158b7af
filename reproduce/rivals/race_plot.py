"""How good the best net found is, over what was spent: one curve for each searcher."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from reproduce.results.intervals import bootstrap_interval
from reproduce.results.plots import style
from reproduce.rivals.comparison import Floats, Races, best_so_far, common_budget
from reproduce.rivals.searchers import RIVALS

_POINTS = 60
_FIRST = 200  # epochs, ten nets trained in full


def race_svg(races: Races, name: str, title: str) -> str:
    """The figure as an SVG document; `name` sets its ids apart from other documents'."""
    return style.svg(race_figure(races, title), name)


@style.drawing()
def race_figure(races: Races, title: str) -> Figure:
    """Best validation accuracy so far over epochs: mean over seeds, 95 % bootstrap band of it.

    Curves end where the first of a searcher's seeds does.
    """
    figure = style.new_figure(8, 5)
    axes = figure.add_subplot()
    for number, (searcher, found) in enumerate(races.items()):
        runs = list(found.values())
        last = common_budget(runs, "epochs")
        epochs = np.geomspace(min(_FIRST, last), last, _POINTS)
        mean, low, high = band(best_so_far(runs, "epochs", epochs.tolist()))
        look = style.series(number)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(epochs, mean, label=RIVALS[searcher].title, markevery=10, **look)
    axes.set_xscale("log")
    axes.set(
        xlabel="epochs trained by all models",
        ylabel="validation accuracy of the best net so far",
        title=title,
    )
    style.legend_below(figure, columns=4)
    return figure


def band(table: Floats) -> tuple[Floats, Floats, Floats]:
    """The mean over rows, and its 95 % bootstrap interval; NaN where a row has none."""
    rng = np.random.default_rng(0)
    mean = table.mean(axis=0)
    ends = [
        (np.nan, np.nan) if np.isnan(column).any() else bootstrap_interval(list(column), rng)
        for column in table.T
    ]
    low, high = np.array(ends).T
    return mean, low, high
