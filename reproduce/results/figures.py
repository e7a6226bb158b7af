"""The figures that a run has data for, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from reproduce.experiments.schema import Data, Experiment
from reproduce.files import write_atomically
from reproduce.results.plots import curves, style
from reproduce.results.plots.curves import PaperData
from reproduce.results.plots.figure_3 import figure_3
from reproduce.results.plots.figure_a2 import figure_a2
from reproduce.results.plots.learning_curve import learning_curve_svg
from reproduce.results.plots.q_values import (
    average_by_layer_type,
    average_by_receptive_field,
    figure_a3,
    figure_a4,
    q_table,
)
from reproduce.results.plots.search_curve import SearchCurve, rolling_mean, search_curve
from reproduce.results.plots.stability import spread, stability_figure
from reproduce.results.plots.training_curves import TrainingCurve, training_curves
from reproduce.results.top_models import top_trials
from reproduce.search.replay_memory import ReplayMemory
from reproduce.search.space import SearchSpace
from reproduce.training.caffe import is_predicted

__all__ = [
    "NamedFigure",
    "SearchCurve",
    "learning_curve_svg",
    "rolling_mean",
    "run_figures",
    "search_curve",
    "write_figures",
]


TOP = 10
"""Models whose training is drawn: the paper trains its top ten further."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure, the name of its files, and what it shows, for those who do not see it."""

    name: str
    caption: str
    description: str
    figure: Figure


def run_figures(
    memory: ReplayMemory, experiment: Experiment, runs: Sequence[SearchCurve] = ()
) -> list[NamedFigure]:
    """The figures that there is data for; none before the first trained model.

    The paper's own curves are drawn where the paper shows the same data set.

    Args:
        memory: the run's replay memory.
        experiment: the run's experiment, as it was frozen.
        runs: further runs of the same search; with any, the stability figure is drawn.
    """
    curve = search_curve(memory)
    if not curve.rewards:
        return []
    title = figure_title(memory, experiment)
    paper = paper_data(experiment.data)
    distributions = curves.paper_distributions(paper) if paper else None
    found = [
        NamedFigure(
            "figure-3",
            "Rolling mean and mean per ε of the validation accuracy (Figure 3)",
            _per_epsilon(curve),
            figure_3(curve, title, curves.paper_search(paper) if paper else None),
        ),
        NamedFigure(
            "figure-a2",
            "Distribution of the validation accuracy at each ε (Figure A2)",
            _ranges(curve),
            figure_a2(curve, title, distributions),
        ),
        *_q_figures(memory, experiment, title, paper),
    ]
    best = top_trials(memory.trials(), TOP)
    if top := [TrainingCurve(t.id, t.result.accuracies) for t in best if t.result is not None]:
        accuracies = ", ".join(f"trial {one.trial} {one.best:.4f}" for one in top)
        found.append(
            NamedFigure(
                "training-curves",
                f"Validation accuracy after each epoch of the best {len(top)} models; "
                "first epochs far below are cut off",
                f"Best accuracies: {accuracies}.",
                training_curves(top, title),
            )
        )
    if runs:
        every = [curve, *runs]
        published = curves.paper_stability() if experiment.data.svhn == "tenth" else None
        found.append(
            NamedFigure(
                "stability",
                f"Mean validation accuracy at each ε over {len(every)} runs (thesis, Figure 3-6)",
                "; ".join(
                    f"ε {one.epsilon:g}: {one.mean:.4f}"
                    + ("" if one.deviation is None else f" ± {one.deviation:.4f}")
                    for one in spread(every)
                )
                + ".",
                stability_figure(every, _without_seed(experiment), published),
            )
        )
    return found


def figure_title(memory: ReplayMemory, experiment: Experiment) -> str:
    """What stands over a run's figures: the run, and whether its accuracies are predicted."""
    title = f"{experiment.title}, budget {experiment.budget_name}, seed {experiment.seed}"
    return f"{title}; predicted" if is_predicted(memory.get("trainer")) else title


def write_figures(figures: Sequence[NamedFigure], folder: Path) -> list[Path]:
    """Write each figure as an SVG and a PNG of 150 dots per inch; returns their paths.

    The same data gives the same bytes.
    """
    paths = []
    for one in figures:
        folder.mkdir(parents=True, exist_ok=True)
        vector, pixels = folder / f"{one.name}.svg", folder / f"{one.name}.png"
        write_atomically(vector, style.svg(one.figure, one.name))
        write_atomically(pixels, style.png(one.figure))
        paths += [vector, pixels]
    return paths


def paper_data(data: Data) -> PaperData | None:
    """Whose curves of the paper a search on some data can be held against; None for no one's."""
    if data.dataset == "cifar10":
        return "CIFAR10"
    return "SVHN" if data.svhn == "original" else None


def _q_figures(
    memory: ReplayMemory, experiment: Experiment, title: str, paper: PaperData | None
) -> list[NamedFigure]:
    values = memory.q_values()
    if not values:
        return []
    space = SearchSpace(experiment.space.rules(experiment.data))
    table = list(q_table(space, values, experiment.q_learning.initial))
    by_type, by_field = average_by_layer_type(table), average_by_receptive_field(table)
    return [
        NamedFigure(
            "figure-a3",
            "Average Q-value against depth, by layer type (Figure A3)",
            _ends(by_type),
            figure_a3(by_type, title, curves.paper_q_by_layer_type(paper) if paper else None),
        ),
        NamedFigure(
            "figure-a4",
            "Average Q-value of convolutions against depth, by receptive field (Figure A4)",
            _ends(by_field),
            figure_a4(by_field, title, curves.paper_q_by_receptive_field(paper) if paper else None),
        ),
    ]


def _without_seed(experiment: Experiment) -> str:
    return f"{experiment.title}, budget {experiment.budget_name}"


def _per_epsilon(curve: SearchCurve) -> str:
    groups, means = curve.per_epsilon(), curve.means()
    parts = [f"ε {e:g}: {means[e]:.4f} over {len(groups[e])}" for e in groups]
    return f"Mean accuracy and number of sampled models: {'; '.join(parts)}."


def _ranges(curve: SearchCurve) -> str:
    parts = [f"ε {e:g}: {min(r):.4f} to {max(r):.4f}" for e, r in curve.per_epsilon().items()]
    return f"Least and highest accuracy: {'; '.join(parts)}."


def _ends(averages: curves.Curves) -> str:
    parts = []
    for name, line in averages.items():
        first, last = min(line), max(line)
        parts.append(f"{name}: {line[first]:.4f} at depth {first}, {line[last]:.4f} at {last}")
    return f"First and last averages: {'; '.join(parts)}."
