"""Figures A3 and A4: the average Q-value against depth, by layer type and by receptive field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prototxt_gen.notation import (
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)
from reproduce.results.plots import style
from reproduce.results.plots.curves import Curves
from reproduce.search.space import SearchSpace

LAYER_TYPES: dict[type[Layer], str] = {
    Convolution: "Convolution",
    Pooling: "Pooling",
    FullyConnected: "Fully Connected",
    GlobalAveragePooling: "Global Average Pooling",
    Softmax: "Softmax",
}
"""The paper's names of the layer types, in the order of its legend."""


@dataclass(frozen=True)
class QValue:
    """Q(s, a): the depth that the action a, a layer, takes up, and the value."""

    depth: int
    action: Layer
    value: float


def q_table(space: SearchSpace, values: Mapping[int, float], initial: float) -> Iterator[QValue]:
    """All pairs of a space; those without a value have the initial one."""
    pair = 0
    for state, actions in zip(space.states, space.actions, strict=True):
        for action in actions:
            yield QValue(state.depth + 1, action, values.get(pair, initial))
            pair += 1


def average_by_layer_type(table: Iterable[QValue]) -> Curves:
    """Figure A3: the mean of Q(s, a) over all states s, for each type and depth of the layer a.

    All pairs count, those that were never visited with the first value of every pair: the paper
    leaves none out, and near the last depth on CIFAR-10, where few pairs are visited, its averages
    are close to that value, 0.5. An SM that follows a GAP layer counts too: on SVHN, SM after the
    convolutions of depth 1 is worth 0.508 in the released Q-values and its average at depth 2 in
    the figure is 0.482, which such an SM of 0.1 explains.
    """
    return _averages((LAYER_TYPES[type(q.action)], q) for q in table)


def average_by_receptive_field(table: Iterable[QValue]) -> Curves:
    """Figure A4: the same over convolutions alone, for each receptive field."""
    fields = [(q.action.size, q) for q in table if isinstance(q.action, Convolution)]
    return _averages((f"RF {size}", q) for size, q in sorted(fields, key=lambda pair: pair[0]))


def _averages(named: Iterable[tuple[str, QValue]]) -> Curves:
    groups: dict[str, dict[int, list[float]]] = {}
    for name, q in named:
        groups.setdefault(name, {}).setdefault(q.depth, []).append(q.value)
    return {
        name: {depth: math.fsum(v) / len(v) for depth, v in sorted(depths.items())}
        for name, depths in groups.items()
    }


def figure_a3(curves: Curves, title: str, paper: Curves | None = None) -> Figure:
    """Average Q-value against depth for each layer type, see `average_by_layer_type`."""
    ordered = {name: curves[name] for name in LAYER_TYPES.values() if name in curves}
    return _figure(ordered, title, paper, lowest=0.0, columns=3)


def figure_a4(curves: Curves, title: str, paper: Curves | None = None) -> Figure:
    """Average Q-value of convolutions against depth for each receptive field."""
    return _figure(curves, title, paper, lowest=0.5, columns=5)


@style.drawing()
def _figure(
    curves: Curves, title: str, paper: Curves | None, lowest: float, columns: int
) -> Figure:
    """All curves in one panel and, with the paper's, each beside it in a panel of its own.

    The y axis goes from `lowest`, as the paper's, to 1, or as far as values do. `columns` are
    those of the legend.
    """
    published = {name: paper[name] for name in curves if paper and name in paper}
    count = 1 + len(published)
    side_by_side = 1 if count == 1 else 2
    figure = style.new_figure(8, 4.2 if count == 1 else 1.2 + 2.1 * math.ceil(count / side_by_side))
    panels = style.panels(figure, count, side_by_side, "layer depth")
    styles = {name: style.series(number) for number, name in enumerate(curves)}
    for name, curve in curves.items():
        panels[0].plot(list(curve), list(curve.values()), label=name, **styles[name])
    for axes, (name, curve) in zip(panels[1:], published.items(), strict=True):
        axes.plot(list(curve), list(curve.values()), label="paper", **style.paper_series())
        axes.plot(list(curves[name]), list(curves[name].values()), **styles[name])
        axes.set_title(name, loc="left", fontsize="medium")
    if published:
        panels[0].set_title("this run", loc="left", fontsize="medium")
    every = [*curves.values(), *published.values()]
    values = [value for curve in every for value in curve.values()]
    depths = [depth for curve in every for depth in curve]
    bottom, top = min(values, default=lowest), max(values, default=1.0)
    panels[0].set(
        xlim=(0.5, max(depths, default=1) + 0.5),
        ylim=(min(lowest, bottom - 0.02), 1.03 * max(1.0, top)),
    )
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    figure.supylabel("average Q-value", fontsize="medium")
    style.legend_below(figure, columns)
    return figure
