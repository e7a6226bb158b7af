"""Runs that have measured something, without having trained anything."""

from pathlib import Path
from typing import Any

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.results.summary import RunResults
from reproduce.run import freeze
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.outcome import Outcome, TrialResult

TRAINER = "caffe version 1.0.0 (caffe_torch 0.1.0, PyTorch 2.13.0) (embedded)"


def trained(*accuracies: float, outcome: Outcome = Outcome.FINISHED) -> TrialResult:
    """A training's record with these test accuracies, one for each epoch."""
    return TrialResult(outcome, accuracies, 0.001, 0, 78, 12.5, "caffe 1.0.0", "")


def manifest(test_images: int, status: str = "verified") -> dict[str, Any]:
    """What the tables need of a prepared data set's manifest."""
    source = {"name": "images", "sha256": "5e", "status": status}
    return {"sources": [source], "databases": {"test": {"records": test_images}}}


class MeasuredRun:
    """A run's folder: its frozen experiment, and a replay memory to fill."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder, self.experiment = folder, experiment
        freeze(experiment, folder)
        self.memory = ReplayMemory(folder / "replay.sqlite")
        self.memory.put(trainer=TRAINER, device="the CPU", data=manifest(10_000))

    def measure(self, id_: str, *accuracies: float, net: str = "[SM(10)]") -> None:
        """Record a final training with these test accuracies, one for each epoch."""
        self.memory.record_final(id_, net, trained(*accuracies))

    def score(self, size: int, method: str, errors: int, total: int = 10_000) -> None:
        """Record an ensemble's score, beside those there are."""
        found = self.memory.get("evaluation") or {"ensembles": []}
        score = {"what": "", "errors": errors, "total": total}
        members = [f"top/{place}" for place in range(1, size + 1)]
        one = {"size": size, "method": method, "members": members, "score": score, "verdict": "v"}
        self.memory.put(evaluation={"ensembles": [*found["ensembles"], one]})

    @property
    def results(self) -> RunResults:
        """What the tables are made of."""
        return RunResults(self.experiment, self.memory)


def measured_run(
    folder: Path,
    name: str = "mnist",
    budget: str = "quick",
    seed: int = 1,
    preset: str = "paper",
    **changes: object,
) -> MeasuredRun:
    """A run of an experiment that comes with the package; `changes` replace parts of it."""
    experiment = load_experiment(experiment_path(name), budget, seed, preset)
    return MeasuredRun(folder, experiment.model_copy(update=changes))
