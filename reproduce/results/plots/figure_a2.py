"""Figure A2: how the accuracies of the sampled models are distributed at each ε."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from reproduce.results.plots import style
from reproduce.results.plots.curves import Bar
from reproduce.results.plots.search_curve import SearchCurve

BINS = 100
"""Bins of each ε, between its least and its highest accuracy, as in the paper's figure."""


def distribution(accuracies: Sequence[float]) -> list[Bar]:
    """The bars of a histogram that are not empty; they integrate to 1.

    There are `BINS` of equal width between the least and the highest accuracy. The released
    replay database gives the paper's bars in this way, with duplicates. Where all are equal, the
    bin is 1/`BINS` wide and begins at the value.

    Raises:
        ValueError: without accuracies.
    """
    if not accuracies:
        raise ValueError("a distribution needs at least one accuracy")
    density, edges = np.histogram(accuracies, BINS, density=True)
    return [
        Bar(float(edges[i]), float(edges[i + 1]), float(density[i]))
        for i in np.flatnonzero(density)
    ]


def outline(bars: Sequence[Bar]) -> tuple[list[float], list[float]]:
    """Edges, and the height between each two, of bars in order and the gaps between them."""
    edges, heights = [bars[0].start], list[float]()
    for bar in bars:
        # Bars read off a figure meet only to its precision.
        if not math.isclose(bar.start, edges[-1], abs_tol=0.2 * (bar.end - bar.start)):
            edges.append(bar.start)
            heights.append(0.0)
        edges.append(bar.end)
        heights.append(bar.height)
    return edges, heights


@style.drawing()
def figure_a2(
    curve: SearchCurve, title: str, paper: Mapping[float, Sequence[Bar]] | None = None
) -> Figure:
    """One panel per ε: the density of the accuracy over the sampled models, duplicates included.

    The axis is in percent of the models per 0.01 of accuracy, which is the density per unit; its
    scale is that of square roots, since a tenth to a half of all models may have one value, that
    of chance.

    Args:
        curve: the search, of at least one sample.
        title: what the figure is headed with.
        paper: the paper's bars per ε.
    """
    groups = curve.per_epsilon()
    columns = 1 if len(groups) == 1 else 2
    figure = style.new_figure(8, max(3.2, 1.3 + 1.25 * math.ceil(len(groups) / columns)))
    panels = style.panels(figure, len(groups), columns, "validation accuracy", down=True)
    for axes, (epsilon, rewards) in zip(panels, groups.items(), strict=True):
        edges, heights = outline(distribution(rewards))
        axes.stairs(heights, edges, fill=True, color=style.SKY, label="this run")
        if paper and epsilon in paper:
            edges, heights = outline(paper[epsilon])
            axes.stairs(heights, edges, color=style.PAPER, linewidth=0.9, label="paper")
        axes.set_title(f"ε {epsilon:g}, n = {len(rewards)}", loc="left", fontsize="medium")
    panels[0].set_yscale("function", functions=(np.sqrt, np.square))
    panels[0].set(xlim=(0, 1), ylim=(0, None), yticks=(1, 10, 30, 60, 100))
    figure.suptitle(title)
    figure.supylabel("% of samples per 0.01", fontsize="medium")
    style.legend_below(figure, columns=2)
    return figure
