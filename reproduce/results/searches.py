"""A run's search as it is compared with others: is it complete, and how did it go."""

from __future__ import annotations

from dataclasses import dataclass

from reproduce.experiments.schema import Experiment
from reproduce.results.labels import Label
from reproduce.results.plots.search_curve import SearchCurve, search_curve
from reproduce.results.summary import unverified_files
from reproduce.results.top_models import top_trials, validation_accuracy
from reproduce.search.loop import models_done
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.caffe import is_predicted


@dataclass(frozen=True)
class Search:
    """What was done of a search.

    Attributes:
        experiment: the run's, with its seed.
        verified: whether all files of its data are known to be the published ones.
        complete: whether all models of its schedule are trained; never without a schedule.
        curve: its samples.
        best: the highest validation accuracy of a model; None before one has finished.
        predicted: whether a surrogate predicted the accuracies.
    """

    experiment: Experiment
    verified: bool
    complete: bool
    curve: SearchCurve
    best: float | None
    predicted: bool = False

    @property
    def mark(self) -> str:
        """What sets its numbers apart from the paper's; empty if nothing does."""
        label = Label(self.experiment, predicted=self.predicted)
        return label.mark("verified" if self.verified else "unverified")


def read_search(experiment: Experiment, memory: ReplayMemory) -> Search:
    """Read a run's search."""
    stages, trials = experiment.q_learning.stages, memory.trials()
    wanted = sum(stage.models for stage in stages)
    best = [validation_accuracy(trial) for trial in top_trials(trials, 1)]
    return Search(
        experiment,
        not unverified_files(memory),
        bool(wanted) and models_done(stages, memory.unique_per_epsilon()) == wanted,
        search_curve(memory),
        best[0] if best else None,
        is_predicted(memory.get("trainer")),
    )
