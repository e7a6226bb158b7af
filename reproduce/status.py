"""What a run is doing or has done, read from its folder by anyone at any time."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from reproduce.experiments.schema import Experiment
from reproduce.finals import final_folder
from reproduce.pace import PREFLIGHT, RunPace
from reproduce.results.top_models import top_id, top_trials
from reproduce.rivals.surrogate.choice import outside_range
from reproduce.run import REPLAY_MEMORY, Owner, frozen, owner
from reproduce.search.loop import current_stage, models_done
from reproduce.search.replay_memory import ReplayMemory, Trial, read_replay_memory
from reproduce.trainer import trial_folder
from reproduce.training.caffe import is_predicted
from reproduce.training.log_parser import TrainLoss, parse_events
from reproduce.training.outcome import Outcome
from reproduce.training.progress import Progress
from reproduce.training.snapshots import MODEL

_LOG = re.compile(r"caffe_([0-9]+)_([0-9]+)\.log")

State = Literal["running", "complete", "not running"]


@dataclass(frozen=True)
class StageStatus:
    """One ε: distinct nets trained of those wanted, all samples, and the mean of their rewards."""

    epsilon: float
    trained: int
    wanted: int
    samples: int
    mean_reward: float | None


@dataclass(frozen=True)
class Done:
    """How far a run is with what it was last started for.

    A run that no driver has started, one that was imported, is taken as started for all of its
    experiment.

    Attributes:
        trained, wanted: models of the ε schedule, without those beyond a stage's number.
        finals, finals_wanted: final trainings; none are wanted of a search alone.
        complete: whether nothing is left, the evaluation of the top models included.
    """

    trained: int
    wanted: int
    finals: int
    finals_wanted: int
    complete: bool


@dataclass(frozen=True)
class TrialUnderWay:
    """A trial that training has begun and not ended."""

    id: int
    architecture: str
    epsilon: float
    started_at: str | None
    place: str | None
    attempt: int
    iteration: int
    loss: float | None
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Status:
    """A run's state.

    Attributes:
        state: `complete` once all is done that the run was last started for.
        trained, wanted: models of the ε schedule. Several places at a time may train more than
            a stage wants; those are left out here, but not in `stages`.
        seconds_left: an estimate for the search alone; None where nothing is known of the device.
        predicted: whether the rewards are predicted by a surrogate, and none is of a trained net.
        outside: architectures whose predictions are no more than guesses, and why; None where
            the record does not say.
    """

    run: str
    experiment: str
    preset: str
    budget: str
    seed: int
    state: State
    owner: Owner | None
    trainer: str | None
    device: str | None
    trained: int
    wanted: int
    epsilon: float | None
    stages: tuple[StageStatus, ...]
    outcomes: dict[str, int]
    under_way: tuple[TrialUnderWay, ...]
    best: str | None
    best_reward: float | None
    finals: tuple[str, ...]
    seconds_left: float | None
    predicted: bool
    outside: dict[str, str] | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def status(run: Path) -> Status:
    """Read a run's status; the run may be under way, dead or complete.

    Raises:
        RunError, ExperimentError, ReplayMemoryError: if the folder holds no run that can be read.
    """
    experiment, driver = frozen(run), owner(run)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        trials = memory.trials()
        done = done_of(run, experiment, memory, trials)
        state: State = "complete" if done.complete else "not running"
        best = next(iter(top_trials(trials, 1)), None)
        return Status(
            run=str(run),
            experiment=experiment.name,
            preset=experiment.preset,
            budget=experiment.budget_name,
            seed=experiment.seed,
            state="running" if driver else state,
            owner=driver,
            trainer=(trainer := memory.get("trainer")),
            device=memory.get("device"),
            trained=done.trained,
            wanted=done.wanted,
            epsilon=current_stage(experiment.q_learning.stages, memory.unique_per_epsilon()),
            stages=stages_of(experiment, memory, trials),
            outcomes=dict(Counter(t.outcome for t in trials if t.outcome is not None)),
            under_way=tuple(_under_way(run, trial) for trial in trials if trial.outcome is None),
            best=best.architecture if best else None,
            best_reward=best.reward if best else None,
            finals=tuple(memory.finals()),
            seconds_left=_seconds_left(experiment, memory, trials, done.wanted - done.trained),
            predicted=is_predicted(trainer),
            outside=outside_range(memory, trials),
        )


def done_of(run: Path, experiment: Experiment, memory: ReplayMemory, trials: list[Trial]) -> Done:
    """Count what a run has done of what it was last started for."""
    stages, finals = experiment.q_learning.stages, memory.finals()
    wanted = sum(stage.models for stage in stages)
    trained = models_done(stages, memory.unique_per_epsilon())
    searched = trained == wanted and not memory.pending() and not memory.owed()
    nets: set[str] = set()
    tops: set[str] = set()
    if (memory.get("options") or {"finals": True})["finals"]:
        nets = {net.id for net in experiment.published}
        if experiment.final is not None and stages:
            most = experiment.final.top
            found = len(top_trials(trials, most)) if searched else most
            tops = {top_id(place) for place in range(1, found + 1)}
    there = (nets | tops) & finals.keys()
    members = (memory.get("evaluation") or {}).get("members", [])
    unevaluated = {
        id_
        for id_ in (tops & there) - {one["what"] for one in members}
        if finals[id_][1].outcome is Outcome.FINISHED and (final_folder(run, id_) / MODEL).is_file()
    }
    complete = searched and there == nets | tops and not unevaluated
    return Done(trained, wanted, len(there), len(nets | tops), complete)


def stages_of(
    experiment: Experiment, memory: ReplayMemory, trials: list[Trial]
) -> tuple[StageStatus, ...]:
    """What each ε of the schedule has come to."""
    rewards = {trial.id: trial.reward for trial in trials}
    trained, samples = memory.unique_per_epsilon(), memory.samples()
    out = []
    for stage in experiment.q_learning.stages:
        of_stage = [rewards[s.trial] for s in samples if s.epsilon == stage.epsilon]
        known = [reward for reward in of_stage if reward is not None]
        mean = sum(known) / len(known) if known else None
        count = trained.get(stage.epsilon, 0)
        out.append(StageStatus(stage.epsilon, count, stage.models, len(of_stage), mean))
    return tuple(out)


def _under_way(run: Path, trial: Trial) -> TrialUnderWay:
    """Where a trial stands, told by its logs: `caffe_<attempt>_<process>.log`."""
    logs: dict[int, list[tuple[int, Path]]] = {}
    for path in trial_folder(run, trial.id).glob("caffe_*_*.log"):
        if name := _LOG.fullmatch(path.name):
            logs.setdefault(int(name[1]), []).append((int(name[2]), path))
    progress, loss, attempt = Progress(), None, max(logs, default=0)
    for _, path in sorted(logs.get(attempt, [])):
        events = parse_events(path)
        progress.replay(events)
        loss = next((e.loss for e in reversed(events) if isinstance(e, TrainLoss)), loss)
    return TrialUnderWay(
        trial.id,
        trial.architecture,
        trial.epsilon,
        trial.started_at,
        trial.place,
        attempt,
        progress.reached,
        loss,
        tuple(row.accuracy for _, row in sorted(progress.rows.items())),
    )


def _seconds_left(
    experiment: Experiment, memory: ReplayMemory, trials: list[Trial], models: int
) -> float | None:
    pace = RunPace(experiment)
    pace.slots = memory.get("slots") or 1
    speed = memory.get(PREFLIGHT)
    if speed is not None:
        pace.calibrate(speed["startup_seconds"], speed["flop_per_second"])
    elif not any(trial.result and trial.result.seconds for trial in trials):
        return None
    for trial in trials:
        pace.sampled(trial.architecture)
        pace.trained(trial)
    return pace.search_seconds(models)
