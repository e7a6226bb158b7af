"""Several searches of one experiment, which differ in their seed: how far their results spread.

The paper's later revision ran ten on a tenth of SVHN (thesis, section 3.4.1).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce.experiments.schema import Experiment
from reproduce.files import write_atomically
from reproduce.paper import STABILITY
from reproduce.results.labels import Label
from reproduce.results.plots import curves, style
from reproduce.results.plots.search_curve import SearchCurve
from reproduce.results.plots.stability import Spread, spread, stability_figure
from reproduce.results.searches import read_search
from reproduce.run import REPLAY_MEMORY, frozen
from reproduce.search.replay_memory import read_replay_memory


@dataclass(frozen=True)
class OneRun:
    """A complete search: its seed, samples, and the validation accuracy of its best model.

    `verified`: whether all files of its data are known to be the published ones; `predicted`:
    whether a surrogate predicted the accuracies.
    """

    seed: int
    curve: SearchCurve
    best: float
    verified: bool = True
    predicted: bool = False


@dataclass(frozen=True)
class Stability:
    """What complete searches of one experiment have in common."""

    experiment: Experiment
    runs: tuple[OneRun, ...]

    @property
    def mean(self) -> float | None:
        """The mean of the runs' best accuracies."""
        return statistics.fmean(run.best for run in self.runs) if self.runs else None

    @property
    def deviation(self) -> float | None:
        """Their sample standard deviation (n - 1); None of fewer than two."""
        best = [run.best for run in self.runs]
        return statistics.stdev(best) if len(best) > 1 else None

    @property
    def spread(self) -> list[Spread]:
        """The runs' mean accuracies at each ε."""
        return spread([run.curve for run in self.runs])

    @property
    def mark(self) -> str:
        """What sets the numbers apart from the paper's; empty if nothing does."""
        verified = all(run.verified for run in self.runs)
        label = Label(self.experiment, predicted=any(run.predicted for run in self.runs))
        return label.mark("verified" if verified else "unverified")

    @property
    def is_papers(self) -> bool:
        """Whether the paper's numbers are of this data set."""
        return self.experiment.data.svhn == "tenth"


def read_stability(folders: Sequence[Path]) -> Stability:
    """The complete ones of some runs; their seeds aside they are of one experiment."""
    found = []
    for folder in folders:
        experiment = frozen(folder)
        with read_replay_memory(folder / REPLAY_MEMORY) as memory, memory.snapshot():
            one = read_search(experiment, memory)
        if one.complete and one.best is not None:
            found.append(OneRun(experiment.seed, one.curve, one.best, one.verified, one.predicted))
    return Stability(frozen(folders[0]), tuple(found))


def stability_json(found: Stability) -> dict[str, Any]:
    """The numbers as plain data, accuracies in [0, 1]; the paper's where it has them."""
    published = curves.paper_stability().spread if found.is_papers else {}
    return {
        "experiment": found.experiment.name,
        "preset": found.experiment.preset,
        "budget": found.experiment.budget_name,
        "mark": found.mark,
        "runs": [{"seed": run.seed, "best": run.best} for run in found.runs],
        "mean": found.mean,
        "deviation": found.deviation,
        "published": {
            "runs": STABILITY.runs, "mean": STABILITY.mean, "deviation": STABILITY.deviation,
        } if found.is_papers else None,
        "epsilons": [
            {
                "epsilon": one.epsilon,
                "mean": one.mean,
                "deviation": one.deviation,
                "published_mean": published.get(one.epsilon, (None, None))[0],
                "published_deviation": published.get(one.epsilon, (None, None))[1],
            }
            for one in found.spread
        ],
    }  # fmt: skip


def stability_markdown(found: Stability) -> str:
    """Two tables: the best model of each run, and the mean accuracy at each ε."""
    mark = f" [{found.mark}]" if found.mark else ""
    published = STABILITY if found.is_papers else None
    lines = [
        f"Best validation accuracy of each run, %, of {found.experiment.title}",
        "",
        "| | published | measured |",
        "| --- | --- | --- |",
        f"| runs | {published.runs if published else ''} | {len(found.runs)}{mark} |",
        f"| mean | {_percent(published.mean if published else None)} "
        f"| {_percent(found.mean)}{mark} |",
        f"| standard deviation | {_percent(published.deviation if published else None)} "
        f"| {_percent(found.deviation)}{mark} |",
        "",
        "| seed | best model |",
        "| --- | --- |",
        *(f"| {run.seed} | {_percent(run.best)}{mark} |" for run in found.runs),
        "",
        "Mean validation accuracy at each ε, %: mean ± standard deviation over the runs",
        "",
        "| ε | published | measured |",
        "| --- | --- | --- |",
    ]
    for one in stability_json(found)["epsilons"]:
        paper = _spread(one["published_mean"], one["published_deviation"])
        own = _spread(one["mean"], one["deviation"])
        lines.append(f"| {one['epsilon']:g} | {paper} | {own}{mark} |")
    return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _spread(mean: float | None, deviation: float | None) -> str:
    return _percent(mean) + ("" if deviation is None else f" ± {_percent(deviation)}")


def write_stability(found: Stability, folder: Path) -> list[Path]:
    """Write the tables as Markdown and JSON, and the figure; returns their paths."""
    title = f"{found.experiment.title}, budget {found.experiment.budget_name}"
    if found.mark not in ("", found.experiment.budget_name):
        title = f"{found.experiment.title}: {found.mark}"
    figure = stability_figure(
        [run.curve for run in found.runs],
        title,
        curves.paper_stability() if found.is_papers else None,
    )
    contents: dict[str, str | bytes] = {
        "stability.md": stability_markdown(found),
        "stability.json": json.dumps(stability_json(found), indent=2) + "\n",
        "stability.svg": style.svg(figure, "stability"),
        "stability.png": style.png(figure),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]
