"""A whole search computed again from its record, without training anything."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reproduce.search.agent import Agent
from reproduce.search.learner import Learner
from reproduce.search.loop import EpsilonStage, current_stage
from reproduce.search.released_import import imported_part
from reproduce.search.replay_memory import ReplayMemory, ReplayMemoryError, Sample, Trial
from reproduce.training.outcome import TrialResult

Reward = Callable[[Trial, TrialResult], float | None]


@dataclass(frozen=True)
class RerunReport:
    """What a rerun compared; `str` tells it in a line.

    Attributes:
        samples: samples drawn again and found as recorded, up to the first difference.
        imported: samples before them that came from the released code's files.
        replays: walks replayed again.
        difference: the first difference, in words; None if there is none.
    """

    samples: int
    imported: int
    replays: int
    difference: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        done = f"{self.samples} samples drawn and {self.replays} walks replayed again"
        if self.imported:
            done += f", after {self.imported} imported samples"
        if self.difference:
            return f"{done}; then a difference: {self.difference}"
        return f"{done}: samples, Q-values and random state are those of the record, bit for bit"


class _DifferenceError(Exception):
    """The record and the rerun differ."""


def rerun(
    memory: ReplayMemory,
    agent: Agent,
    rng: np.random.Generator,
    schedule: Sequence[EpsilonStage],
    replays: int,
    *,
    batched: Collection[float] = (),
    reward: Reward | None = None,
) -> RerunReport:
    """Do all of a search again but the training, and compare.

    Sampling, completion and replays follow the recorded order, so that it does not matter how
    many trials ran at a time. Each sample must be drawn as recorded, at the ε that the schedule
    has there; in the end all Q-values and the random state must be the same, bit for bit. The
    search may still be under way.

    Args:
        memory: the record.
        agent: a new agent, made as for the search.
        rng: a generator as it was before the search (or its part after an import).
        schedule, replays, batched: as for the search.
        reward: the trainer's rule; with it each trial's reward is compared with its result.

    Raises:
        ReplayMemoryError: if the record does not tell the order of its steps, which version 1
            did not keep of several trials at a time.
    """
    record = _Record(memory, agent)
    learner = Learner(agent, rng, replays)
    state = _State()
    try:
        if reward is not None:
            record.check_rewards(reward)
        record.check_numbers()
        record.check_replays(batched)
        _walk(record, learner, schedule, state)
        record.check_result(learner)
    except _DifferenceError as difference:
        state.difference = str(difference)
    return RerunReport(state.samples, record.imported, state.replayed * replays, state.difference)


@dataclass
class _State:
    """How far a rerun is."""

    samples: int = 0
    replayed: int = 0
    difference: str | None = None


class _Record:
    """What a replay memory holds of a search, of one moment."""

    def __init__(self, memory: ReplayMemory, agent: Agent) -> None:
        with memory.snapshot():
            self.trials = {trial.id: trial for trial in memory.trials()}
            self.samples = memory.samples()
            self.q_values = memory.q_values()
            self.random_state = memory.get("random_state")
            self.imported, self.imported_q_values = imported_part(memory, agent.space)
        for sample in self.samples[self.imported :]:
            if sample.sampled_after is None:
                raise ReplayMemoryError(
                    f"{memory.path}: an earlier version made this run and did not record the "
                    f"order of its steps (sample {sample.id}); it cannot be computed again"
                )
        self.completed = sorted(
            (sample for sample in self.samples if sample.completed is not None),
            key=lambda sample: sample.completed or 0,
        )

    def trial(self, sample: Sample) -> Trial:
        """A sample's trial."""
        return self.trials[sample.trial]

    def check_rewards(self, reward: Reward) -> None:
        """Compare each trial's reward with what its result gives."""
        imported = {sample.trial for sample in self.samples[: self.imported]}
        for trial in self.trials.values():
            if trial.result is None or trial.id in imported:
                continue
            expected = reward(trial, trial.result)
            if trial.reward != expected:
                raise _DifferenceError(
                    f"trial {trial.id} has reward {trial.reward}, its result gives {expected}"
                )

    def check_numbers(self) -> None:
        """Samples must be numbered without gaps, and trials have their first sample's ε."""
        for what, numbers in (
            ("samples", [sample.id for sample in self.samples]),
            ("completed samples", [sample.completed for sample in self.completed]),
        ):
            if numbers != list(range(1, len(numbers) + 1)):
                raise _DifferenceError(f"the numbers of the {what} have gaps")
        epsilons = {sample.trial: sample.epsilon for sample in reversed(self.samples)}
        for trial, epsilon in epsilons.items():
            if self.trials[trial].epsilon != epsilon:
                raise _DifferenceError(
                    f"trial {trial} has ε {self.trials[trial].epsilon:g}, its first sample "
                    f"{epsilon:g}"
                )

    def check_replays(self, batched: Collection[float]) -> None:
        """Replays must have been done when they were due."""
        last = {sample.epsilon: sample.id for sample in self.samples}
        first, end = 0, 0  # the positions of a step: samples that were completed together
        for position, sample in enumerate(self.completed, start=1):
            if position > end:
                first = end = position
                while end < len(self.completed) and self._joins(self.completed[end], first):
                    end += 1
            if position <= self.imported:
                continue
            due: int | None = end
            if self.trial(sample).reward is None:
                due = None
            elif sample.epsilon in batched:
                due = last[sample.epsilon]
                if due == len(self.samples) and sample.replayed_after is None:
                    continue  # its stage may not be complete
            if sample.replayed_after != due:
                raise _DifferenceError(
                    f"sample {sample.id} was replayed after {sample.replayed_after} completed "
                    f"samples, not after {due}"
                )

    def _joins(self, sample: Sample, first: int) -> bool:
        """Whether a sample was completed with the one at position `first`: it waited for the
        same trial."""
        same = sample.trial == self.completed[first - 1].trial
        return same and sample.sampled_after is not None and sample.sampled_after < first

    def check_result(self, learner: Learner) -> None:
        """Compare the Q-values and the random state."""
        space, initial = learner.agent.space, learner.agent.learning.initial
        for pair, value in enumerate(learner.agent.q):
            recorded = self.q_values.get(pair, initial)
            if recorded != value:
                state = bisect_right(space.offsets, pair) - 1
                action = space.actions[state][pair - space.offsets[state]]
                raise _DifferenceError(
                    f"the Q-value of {action} in state {space.states[state]} is {recorded!r} in "
                    f"the record, {value!r} computed again"
                )
        if len(self.samples) > self.imported and self.random_state != learner.random_state:
            raise _DifferenceError("the random state is another one")


def _walk(
    record: _Record, learner: Learner, schedule: Sequence[EpsilonStage], state: _State
) -> None:
    """Take the record's steps in their order."""
    taken = record.completed[: record.imported]
    buffer = [(record.trial(sample).architecture, record.trial(sample).reward) for sample in taken]
    learner.load(
        record.imported_q_values,
        [(architecture, reward) for architecture, reward in buffer if reward is not None],
    )
    ended = {sample.trial for sample in taken}
    trained = Counter(
        record.trials[trial].epsilon for trial in ended if record.trials[trial].reward is not None
    )
    rounds = Counter(sample.replayed_after for sample in record.completed[record.imported :])
    waiting = record.samples[record.imported :]
    waiting.reverse()
    for position in range(record.imported, len(record.completed) + 1):
        if position > record.imported:
            sample = record.completed[position - 1]
            trial = record.trial(sample)
            if trial.reward is not None:
                learner.remember(trial.architecture, trial.reward)
                trained[trial.epsilon] += trial.id not in ended
            ended.add(trial.id)
            learner.replay(rounds[position])
            state.replayed += rounds[position]
        while waiting and waiting[-1].sampled_after == position:
            _draw(waiting.pop(), record, learner, current_stage(schedule, trained))
            state.samples += 1
    if waiting:
        raise _DifferenceError(f"sample {waiting[-1].id} was sampled out of turn")


def _draw(sample: Sample, record: _Record, learner: Learner, epsilon: float | None) -> None:
    """Draw a sample again and compare."""
    if sample.epsilon != epsilon:
        wanted = "no sample" if epsilon is None else f"ε {epsilon:g}"
        raise _DifferenceError(
            f"sample {sample.id} has ε {sample.epsilon:g}, the schedule wants {wanted} there"
        )
    architecture, recorded = learner.sample(sample.epsilon), record.trial(sample).architecture
    if architecture != recorded:
        raise _DifferenceError(
            f"sample {sample.id} is {recorded} in the record, {architecture} drawn again"
        )
