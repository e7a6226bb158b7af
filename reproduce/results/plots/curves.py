"""The paper's own curves, to draw under a run's.

The numbers come from the vector graphics of the paper's PDFs; `paper_curves/README.md` says what
the figures leave out or state wrongly.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PaperData = Literal["CIFAR10", "SVHN"]
"""The data sets whose curves the paper shows."""

Curves = dict[str, dict[int, float]]
"""Named curves: the value at each depth."""

CURVES = Path(__file__).parent.parent / "paper_curves"
"""Where the numbers lie."""


@dataclass(frozen=True)
class Bar:
    """One bar of a figure: from `start` to `end` on the x axis, and its height."""

    start: float
    end: float
    height: float


@dataclass(frozen=True)
class PaperSearch:
    """Figure 3: the mean accuracy per ε over iterations, and the rolling mean.

    Attributes:
        means: for each ε the bar over its iterations.
        iterations, rolling: the line; its iterations count from 0. Points on a straight line
            between others are left out.
    """

    means: dict[float, Bar]
    iterations: tuple[float, ...]
    rolling: tuple[float, ...]

    @property
    def window(self) -> int:
        """Samples that the rolling mean is over: the line begins once there are as many."""
        return int(self.iterations[0]) + 1


@dataclass(frozen=True)
class PaperStability:
    """Figure 3-6 of the thesis: ten searches on a tenth of SVHN.

    Attributes:
        spread: for each ε the mean of the runs' mean accuracies and its sample standard deviation.
        runs: each run's mean accuracy at each ε.
    """

    spread: dict[float, tuple[float, float]]
    runs: tuple[dict[float, float], ...]


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (CURVES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def paper_search(data: PaperData) -> PaperSearch:
    """Figure 3, as drawn: SVHN's bars of ε 1.0 and 0.9 are swapped."""
    means = {
        float(row["epsilon"]): Bar(
            float(row["iter_start"]), float(row["iter_end"]), float(row["mean_acc"])
        )
        for row in _rows(f"fig3_bars_{data}")
    }
    line = [
        (float(row["iteration"]), float(row["rolling_mean_acc"]))
        for row in _rows(f"fig3_rolling_{data}")
    ]
    return PaperSearch(means, tuple(x for x, _ in line), tuple(y for _, y in line))


def paper_distributions(data: PaperData) -> dict[float, list[Bar]]:
    """Figure A2: for each ε the bars that are not empty; heights are probability densities."""
    panel = {"CIFAR10": "CIFAR all", "SVHN": "SVHN all"}[data]
    found: dict[float, list[Bar]] = {}
    for row in _rows("figA2_bars"):
        if row["panel"] == panel:
            # The file has densities per unit of accuracy under the figure's label, percent.
            bar = Bar(float(row["acc_lo"]), float(row["acc_hi"]), float(row["pct"]))
            found.setdefault(float(row["epsilon"]), []).append(bar)
    return found


def paper_q_by_layer_type(data: PaperData) -> Curves:
    """Figure A3: the average Q-value of each layer type at each depth."""
    return _curves({"CIFAR10": "A3b CIFAR10", "SVHN": "A3a SVHN"}[data])


def paper_q_by_receptive_field(data: PaperData) -> Curves:
    """Figure A4: the average Q-value of convolutions of each receptive field at each depth."""
    return _curves({"CIFAR10": "A4b CIFAR10", "SVHN": "A4a SVHN"}[data])


def _curves(panel: str) -> Curves:
    found: Curves = {}
    for row in _rows("figA3_A4_curves"):
        if row["panel"] == panel:
            found.setdefault(row["series"], {})[int(float(row["layer_depth"]))] = float(
                row["avg_q"]
            )
    return found


def paper_stability() -> PaperStability:
    """The stability figure."""
    spread = {
        float(row["epsilon"]): (float(row["mean"]), float(row["std"]))
        for row in _rows("fig_stability_mean_std")
    }
    runs = tuple(
        {float(name): float(value) for name, value in row.items() if name != "run"}
        for row in _rows("fig_stability_runs")
    )
    return PaperStability(spread, runs)
