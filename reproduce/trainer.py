"""Trains what the search samples: each architecture becomes a trial in the run's folder."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

from prototxt_gen.notation import parse
from reproduce.experiments.schema import Experiment
from reproduce.nets import PreparedData, exploration_plan
from reproduce.search.replay_memory import Trial
from reproduce.training.caffe import Caffe
from reproduce.training.executors import Executor, Job
from reproduce.training.outcome import Outcome, TrialResult


class ExplorationTrainer:
    """Exploration training as the experiment says (paper, section 5).

    Trial n trains in `trials/<n>` of the run's folder, with a seed of its own.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: PreparedData,
        run_folder: Path,
        caffe: Caffe,
        executor: Executor,
    ) -> None:
        self._experiment, self._data = experiment, data
        self._run_folder, self._caffe, self._executor = run_folder, caffe, executor

    @property
    def slots(self) -> int:
        """Trials that run at a time."""
        return self._executor.slots

    def submit(self, trial: Trial) -> Future[TrialResult]:
        """Start a trial, or resume it where its folder says."""
        # Restarts count up from a trial's seed, so seeds lie further apart than restarts.
        seed = 1000 * self._experiment.seed % 2**30 + 100 * trial.id
        architecture = parse(trial.architecture)
        plan = exploration_plan(self._experiment, self._data, architecture, seed)
        return self._executor.submit(
            Job(
                key=trial.architecture,
                folder=self._run_folder / "trials" / f"{trial.id:04d}",
                run_folder=self._run_folder,
                net_text=plan.net,
                recipe=plan.recipe,
                caffe=self._caffe,
            )
        )

    def reward(self, result: TrialResult) -> float | None:
        """The experiment's rule for the result's outcome."""
        exploration = self._experiment.exploration
        if result.outcome is Outcome.FINISHED:
            best = exploration.reward == "best"
            return result.best_accuracy if best else result.last_accuracy
        rule = exploration.rewards[result.outcome]
        return None if rule == "none" else rule
