"""Training curves: the validation accuracy after each epoch of a search's best models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reproduce.results.plots import style


@dataclass(frozen=True)
class TrainingCurve:
    """One trained model: its trial, and the validation accuracy after each epoch."""

    trial: int
    accuracies: tuple[float, ...]

    @property
    def best(self) -> float:
        """The highest accuracy."""
        return max(self.accuracies)


@style.drawing()
def training_curves(curves: Sequence[TrainingCurve], title: str) -> Figure:
    """One line per model, in the order given; the legend tells its trial and best accuracy.

    A first epoch below all later ones of all models is cut off, so that the rest can be told apart.
    """
    figure = style.new_figure(8, 4.2)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        axes.plot(
            range(1, len(curve.accuracies) + 1),
            curve.accuracies,
            label=f"trial {curve.trial}: {curve.best:.4f}",
            **style.series(number),
        )
    if later := [accuracy for curve in curves for accuracy in curve.accuracies[1:]]:
        lowest, highest = min(later), max(curve.best for curve in curves)
        margin = 0.05 * (highest - lowest) or 0.01
        axes.set_ylim(lowest - margin, highest + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="validation accuracy", title=title)
    figure.legend(loc="outside right upper", frameon=False, title="best accuracy", handlelength=3.2)
    return figure
