"""A small figure of a search: every sampled model, the mean per ε and the rolling mean."""

from __future__ import annotations

from matplotlib.figure import Figure

from reproduce.results.plots import style
from reproduce.results.plots.figure_3 import mean_bars
from reproduce.results.plots.search_curve import SearchCurve, rolling_mean, rolling_window


def learning_curve_svg(curve: SearchCurve, title: str) -> str:
    """Accuracy of each sample, its mean per ε and its rolling mean, as an SVG document.

    The rolling mean's window is the paper's 100 samples, or a third of a shorter run.
    """
    return style.svg(_learning_curve(curve, title), "search")


@style.drawing()
def _learning_curve(curve: SearchCurve, title: str) -> Figure:
    figure = style.new_figure(8, 3.6)
    axes = figure.add_subplot()
    count, window = len(curve.rewards), rolling_window(len(curve.rewards))
    mean_bars(axes, curve, "")
    if count:
        places = range(1, count + 1)
        axes.plot(places, curve.rewards, ".", color=style.BLUE, label="one net")
        axes.plot(
            places[window - 1 :],
            rolling_mean(curve.rewards, window),
            color=style.VERMILION,
            label=f"rolling mean of {window}",
        )
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.15))
    axes.set(xlabel="sampled nets", ylabel="validation accuracy", ylim=(0, 1.02), title=title)
    return figure
