"""Trains what the search samples: each architecture becomes a trial in the run's folder."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

from prototxt_gen.notation import parse
from prototxt_gen.shapes import total_cost
from reproduce.experiments.schema import Experiment
from reproduce.nets import PreparedData, exploration_plan
from reproduce.search.replay_memory import Trial
from reproduce.search.space import SearchSpace
from reproduce.training.caffe import Caffe
from reproduce.training.executors import Executor, Job
from reproduce.training.outcome import Outcome, TrialResult


class ExplorationTrainer:
    """Exploration training as the experiment says (paper, section 5).

    Trial n trains in `trials/<n>` of the run's folder, with a seed of its own: `training_seed`.
    """

    def __init__(
        self,
        experiment: Experiment,
        space: SearchSpace,
        data: PreparedData,
        run_folder: Path,
        caffe: Caffe,
        executor: Executor,
    ) -> None:
        self._experiment, self._space, self._data = experiment, space, data
        self._run_folder, self._caffe, self._executor = run_folder, caffe, executor

    @property
    def slots(self) -> int:
        """Trials that run at a time."""
        return self._executor.slots

    def submit(self, trial: Trial) -> Future[TrialResult]:
        """Start a trial, or resume it where its folder says."""
        seed = training_seed(self._experiment.seed, trial.id)
        architecture = parse(trial.architecture)
        plan = exploration_plan(self._experiment, self._space, self._data, architecture, seed)
        return self._executor.submit(
            Job(
                key=trial.architecture,
                folder=trial_folder(self._run_folder, trial.id),
                run_folder=self._run_folder,
                net_text=plan.net,
                recipe=plan.recipe,
                caffe=self._caffe,
            )
        )

    def place(self, trial: Trial) -> str | None:
        """Where a submitted trial runs or ran; None before it has started."""
        return self._executor.place(trial.architecture)

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        """See `reward_of`."""
        return reward_of(self._experiment, trial.architecture, result)


def reward_of(experiment: Experiment, architecture: str, result: TrialResult) -> float | None:
    """The experiment's rule for a result's outcome, less its penalty on size or time."""
    training = experiment.exploration
    if result.outcome is not Outcome.FINISHED:
        rule = training.rewards[result.outcome]
        return None if rule == "none" else rule
    best = training.reward == "best"
    accuracy = result.best_accuracy if best else result.last_accuracy
    if accuracy is None or training.penalty is None:
        return accuracy
    penalty = training.penalty.rule
    if penalty.of == "seconds":
        return penalty.apply(accuracy, result.seconds)
    image, net = experiment.data.image, parse(architecture)
    cost = total_cost(net, image, training.padding, training.gap)
    return penalty.apply(accuracy, cost.macs if penalty.of == "macs" else cost.parameters)


def training_seed(seed: int, trial: int) -> int:
    """Caffe's random_seed for a trial's first attempt, below 2³¹; attempt k takes it + k.

    Trials of a run lie 100 apart. Runs lie apart by the golden section of the range (Fibonacci
    hashing), so that none of 9,000 trials has a seed of another run whose SEED differs by less
    than 1,000.
    """
    return (1327217885 * seed + 100 * trial) % (2**31 - 100)


def trial_folder(run_folder: Path, trial: int) -> Path:
    """Where a trial of a run's search keeps its files."""
    return run_folder / "trials" / f"{trial:04d}"
