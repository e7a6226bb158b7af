"""The search as a generator of events; the replay memory is written here and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

import numpy as np

from prototxt_gen.notation import parse
from reproduce.search.agent import Agent, Trajectory
from reproduce.search.replay_memory import ReplayMemory, Sample, Trial
from reproduce.training.outcome import Outcome, TrialResult


@dataclass(frozen=True)
class EpsilonStage:
    """Explore with `epsilon` until `models` distinct architectures are trained (Table 2)."""

    epsilon: float
    models: int


class Trainer(Protocol):
    """Trains architectures, at most `slots` at once."""

    @property
    def slots(self) -> int:
        """Trials that run at a time."""
        ...

    def submit(self, trial: Trial) -> Future[TrialResult]:
        """Start a trial, or resume it; the result `stopped` means that it must be resumed."""
        ...

    def reward(self, result: TrialResult) -> float | None:
        """What the agent learns from a result; None if nothing, the net is then set aside."""
        ...


@dataclass(frozen=True)
class Sampled:
    """An architecture was sampled; `duplicate` if it was sampled before."""

    sample: Sample
    architecture: str
    duplicate: bool


@dataclass(frozen=True)
class Resumed:
    """A trial that an earlier process left unfinished goes on."""

    trial: Trial


@dataclass(frozen=True)
class Trained:
    """An architecture's training ended."""

    trial: Trial


@dataclass(frozen=True)
class Completed:
    """A sample joined the replay memory and the agent learned from it."""

    sample: Sample
    trial: Trial


SearchEvent = Sampled | Resumed | Trained | Completed

_CHOSEN = itemgetter(0)

MOST_FAILURES = 3
"""Consecutive trials without a reward after which the search gives up: the trainer is broken."""


class TrainerBrokenError(RuntimeError):
    """Several trials in a row failed without a reward; the message tells the last outcome."""


def current_stage(schedule: Sequence[EpsilonStage], trained: Mapping[float, int]) -> float | None:
    """The ε at which to sample next, or None once the schedule is complete.

    Args:
        schedule: stages in order, each ε once.
        trained: distinct trained architectures by the ε at which they were first sampled.
    """
    return next((s.epsilon for s in schedule if trained.get(s.epsilon, 0) < s.models), None)


class _Learner:
    """The agent with its replay buffer, kept in step with the replay memory."""

    def __init__(
        self, memory: ReplayMemory, agent: Agent, rng: np.random.Generator, replays: int
    ) -> None:
        self.memory, self.agent, self.rng, self.replays = memory, agent, rng, replays
        for index, value in memory.q_values().items():
            agent.q[index] = value
        self._trajectories: dict[str, Trajectory] = {}
        self._buffer = [(self._walk(text), reward) for text, reward in memory.replayable()]
        state = memory.get("random_state")
        if state is not None:
            rng.bit_generator.state = state

    def _walk(self, architecture: str) -> Trajectory:
        if architecture not in self._trajectories:
            self._trajectories[architecture] = self.agent.trajectory(parse(architecture))
        return self._trajectories[architecture]

    def sample(self, epsilon: float) -> Sample:
        trajectory = self.agent.sample(self.rng, epsilon)
        architecture = str(trajectory.architecture)
        if not self.agent.space.rules.fc_sees_bin:  # replays see the same states
            self._trajectories.setdefault(architecture, trajectory)
        return self.memory.add_sample(architecture, epsilon, self.rng.bit_generator.state)

    def complete(self, sample: Sample, trial: Trial) -> None:
        """Append a sample to the buffer, then replay (paper, section 4.3: K models per model)."""
        changed: set[int] = set()
        if trial.reward is not None:
            self._buffer.append((self._walk(trial.architecture), trial.reward))
            for row in self.rng.integers(len(self._buffer), size=self.replays).tolist():
                trajectory, reward = self._buffer[row]
                self.agent.update(trajectory, reward)
                changed.update(map(_CHOSEN, trajectory.backups))
        q_values = [(i, self.agent.q[i]) for i in sorted(changed)]
        self.memory.complete(sample.id, q_values, self.rng.bit_generator.state)


def search(
    memory: ReplayMemory,
    agent: Agent,
    rng: np.random.Generator,
    schedule: Sequence[EpsilonStage],
    replays: int,
    trainer: Trainer,
) -> Iterator[SearchEvent]:
    """Run or resume a search until its schedule is complete.

    Already trained architectures give their stored reward again without training (section
    4.3). A sample of one that is still in training waits for it and counts as another sample.
    The generator ends early if a trial was stopped; its sample then stays pending.

    Raises:
        TrainerBrokenError: after `MOST_FAILURES` consecutive trials without a reward.
    """
    learner = _Learner(memory, agent, rng, replays)
    trained = Counter(memory.unique_per_epsilon())
    running: dict[Future[TrialResult], int] = {}
    failures = 0

    def start(trial: Trial) -> None:
        if trial.outcome is None and trial.id not in running.values():
            running[trainer.submit(trial)] = trial.id

    def complete_all_of(trial: Trial) -> Iterator[SearchEvent]:
        for sample in memory.pending():
            if sample.trial == trial.id:
                learner.complete(sample, trial)
                yield Completed(sample, trial)

    for sample in memory.pending():  # what an earlier process left unfinished
        trial = memory.trial(sample.trial)
        if trial.outcome is not None:
            yield from complete_all_of(trial)
        elif trial.id not in running.values():
            yield Resumed(trial)
            start(trial)
    while True:
        while len(running) < trainer.slots:
            epsilon = current_stage(schedule, trained)
            if epsilon is None:
                break
            sample = learner.sample(epsilon)
            trial = memory.trial(sample.trial)
            duplicate = trial.outcome is not None or trial.id in running.values()
            yield Sampled(sample, trial.architecture, duplicate)
            if trial.outcome is not None:
                yield from complete_all_of(trial)
            else:
                start(trial)
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            trial_id = running.pop(future)
            result = future.result()
            if result.outcome is Outcome.STOPPED:
                return
            memory.record_outcome(trial_id, result, trainer.reward(result))
            trial = memory.trial(trial_id)
            trained[trial.epsilon] += trial.reward is not None
            yield Trained(trial)
            yield from complete_all_of(trial)
            failures = failures + 1 if trial.reward is None else 0
            if failures >= MOST_FAILURES:
                raise TrainerBrokenError(
                    f"{failures} trials in a row gave no result; the last {result.outcome}: "
                    f"{result.message}"
                )
