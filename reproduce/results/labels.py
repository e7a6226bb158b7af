"""How a measured number is labelled, so that none passes for the paper's experiment unless it is.

The mark stands in the number's own cell; the status says the same in words.
"""

from __future__ import annotations

from reproduce.experiments.load import experiment_path, known_experiments, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError

WITHOUT_SEARCH = "top-models"
"""The budget that trains published nets alone; `train-published` adds files and epochs."""

QUOTED, NOT_RUN = "published only", "not run"
"""The statuses of rows without a number that nothing went wrong with."""

_SET_ELSEWHERE = {"title", "unstated", "budget_name", "published", "transfer"}
"""Parts that set no number, or that are compared by themselves."""


class Label:
    """What is said of an experiment's numbers.

    Args:
        predicted: whether a surrogate said them, and nothing was trained.

    Attributes:
        status: whether they are from the paper's own experiment, in words; the budget aside.
    """

    def __init__(self, experiment: Experiment, *, predicted: bool = False) -> None:
        changed = is_changed(experiment)
        marks = [
            "predicted, not trained" if predicted else "",
            "" if experiment.budget_name == "paper" else experiment.budget_name,
            "" if experiment.preset == "paper" else f"preset {experiment.preset}",
            "changed experiment" if changed else "",
        ]
        self._marks = [mark for mark in marks if mark]
        self.status = "predicted by a surrogate: nothing was measured"
        if not predicted:
            self.status = _status(experiment, changed)

    def mark(self, data: str) -> str:
        """What sets a number apart from the paper's, in a few words; empty if nothing does.

        `data` is "unverified" where a file is not known to be the published one.
        """
        return ", ".join([*self._marks, *(["unverified data"] if data == "unverified" else [])])


def _status(experiment: Experiment, changed: bool) -> str:
    if experiment.preset != "paper":
        said = f"preset {experiment.preset}: not the paper's text"
    elif not experiment.q_learning.stages:
        files = any(net.file is not None for net in experiment.published)
        said = f"trained from its {'file' if files else 'notation'}, without a search"
    elif experiment.budget_name == "paper" and not changed:
        said = "the paper's budget"
    else:
        said = "not the paper's experiment"
    return f"{said}; of a changed experiment file" if changed else said


def is_changed(experiment: Experiment) -> bool:
    """Whether the experiment is another than the package's of that name, preset and budget.

    Of what sets its numbers: a file of the user's own, or one of another version of the package.
    """
    budget, *names = experiment.budget_name.split(", ")
    if experiment.name not in known_experiments():
        return True
    try:
        path = experiment_path(experiment.name)
        ours = load_experiment(path, budget, experiment.seed, experiment.preset)
    except ExperimentError:
        return True
    parts = Experiment.model_fields.keys() - _SET_ELSEWHERE
    if any(getattr(ours, part) != getattr(experiment, part) for part in parts):
        return True
    if experiment.transfer not in (None, ours.transfer):
        return True
    if budget != WITHOUT_SEARCH:
        return ours.published != experiment.published
    if names or experiment.preset != "paper":
        return False  # other epochs or files are in the budget's name, and so in the mark
    known = {net.id: net for net in ours.published}
    return any(known.get(net.id, net) != net for net in experiment.published)
