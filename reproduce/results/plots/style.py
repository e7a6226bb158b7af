"""What the figures share: colours, lines, markers, and files that are the same each time.

Colours are Okabe and Ito's, told apart by the colour-blind; where grey must do, the kind of line
and the marker tell curves apart. The paper's curves are dark and dashed, with hollow markers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#000000",
)
SKY = "#56B4E9"
"""Filled areas: light enough for lines across them."""
PAPER = "#222222"
"""The colour of the paper's own curves."""
PALE = "#D9D9D9"
"""Bars that curves cross."""
GREY = "#999999"
"""Curves that are context alone."""

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, BLACK)
_LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (4, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def series(number: int) -> dict[str, Any]:
    """How to draw the curve of a number: colour, line and marker.

    Any two of the first 45 differ in line or marker, and any two of the first five in all three.
    """
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _LINES[number % len(_LINES)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 5,
        "linewidth": 1.6,
    }


def paper_series() -> dict[str, Any]:
    """How to draw the paper's curve beside a run's."""
    return {
        "color": PAPER,
        "linestyle": (0, (4, 2)),
        "marker": "o",
        "markersize": 5,
        "markerfacecolor": "white",
        "linewidth": 1.1,
    }


def legend_below(figure: Figure, columns: int) -> None:
    """A legend under a figure: each label of its axes once, the paper's last."""
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = sorted(found, key=lambda label: label.startswith("paper"))
    figure.legend(
        [found[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=3,
    )


def panels(
    figure: Figure, count: int, columns: int, xlabel: str, *, down: bool = False
) -> list[Axes]:
    """Panels with common axes, row by row or `down` the columns; the last of each is labelled."""
    figure.set_layout_engine("constrained", wspace=0.05)
    rows = -(-count // columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    found: list[Axes] = list((grid.T if down else grid).flat)
    for axes in found[count:]:
        axes.remove()
    for column in grid.T:
        lowest = [axes for axes in column if axes in found[:count]][-1]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(xlabel)
    return found[:count]


@contextmanager
def drawing() -> Iterator[None]:
    """Settings under which figures are made, whatever the user's; theirs are back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.hashsalt": "metaqnn", "svg.fonttype": "none", "font.size": 11})
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches that lays itself out."""
    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure, name: str) -> str:
    """A figure as an SVG document: the same text for the same data.

    Its ids begin with `name`, so that several documents can stand in one page.
    """
    out = io.StringIO()
    with drawing():
        figure.savefig(out, format="svg", metadata={"Date": None})
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", out.getvalue())


def png(figure: Figure) -> bytes:
    """A figure as a PNG of 150 dots per inch."""
    out = io.BytesIO()
    with drawing():
        figure.savefig(out, format="png", dpi=150)
    return out.getvalue()
