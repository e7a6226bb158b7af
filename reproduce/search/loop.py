"""The search as a generator of events; the replay memory is written here and nowhere else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reproduce.search.agent import Agent
from reproduce.search.learner import Learner
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

    def place(self, trial: Trial) -> str | None:
        """Where a submitted trial runs or ran, such as "GPU 0"; None if not known (yet)."""
        ...

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
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
    """A sample joined the replay memory; the agent learned from it unless its stage is batched."""

    sample: Sample
    trial: Trial


@dataclass(frozen=True)
class Replayed:
    """A batched stage ended: the agent learned from all its samples."""

    samples: Sequence[Sample]


@dataclass(frozen=True)
class Stopped:
    """A trial was stopped before its end, and the search with it; `result` says why."""

    trial: Trial
    result: TrialResult


SearchEvent = Sampled | Resumed | Trained | Completed | Replayed | Stopped

MOST_CRASHES = 3
"""Trials that may crash one after the other; after so many the trainer is taken for broken."""

MOST_WITHOUT_REWARD = 20
"""The same for trials without a reward of any outcome. Big nets may run out of memory in a row;
so many do where something else holds the memory, and each would be set aside for good."""

MOST_REPEATS = 10_000
"""Samples in a row of nets that were sampled before, with nothing in training; after so many the
schedule is taken to want more models than there are."""

MOST_REPEATS_BESIDE = 1000
"""The same beside trials that run; then one of them is waited for, since its reward may complete
the stage or change what is sampled."""


class TrainerBrokenError(RuntimeError):
    """Too many trials in a row failed; the message tells the last one's failure."""


class NoNewNetError(RuntimeError):
    """Sampling finds no net that was not sampled before; the message says how many there are."""


def current_stage(schedule: Sequence[EpsilonStage], trained: Mapping[float, int]) -> float | None:
    """The ε at which to sample next, or None once the schedule is complete.

    Args:
        schedule: stages in order, each ε once.
        trained: distinct trained architectures by the ε at which they were first sampled.
    """
    return next((s.epsilon for s in schedule if trained.get(s.epsilon, 0) < s.models), None)


def models_done(schedule: Sequence[EpsilonStage], trained: Mapping[float, int]) -> int:
    """Trained models of a schedule, without what was trained beyond a stage's number.

    Args:
        schedule, trained: as for `current_stage`.
    """
    return sum(min(trained.get(stage.epsilon, 0), stage.models) for stage in schedule)


def search(
    memory: ReplayMemory,
    agent: Agent,
    rng: np.random.Generator,
    schedule: Sequence[EpsilonStage],
    replays: int,
    trainer: Trainer,
    *,
    batched: Collection[float] = (),
) -> Iterator[SearchEvent]:
    """Run or resume a search until its schedule is complete.

    Architectures that are trained already give their stored reward again without training
    (section 4.3). Samples of one that is still in training wait for it; when it ends all of
    them join the replay memory, then `replays` replays are done for each of them, as in the
    released code. All that a step changes is one transaction, made before its event.

    A stage ends once its models are trained. What else still trains then belongs to it as well,
    so that each stage may have up to `slots` - 1 models more than the schedule says, as in the
    released code.

    The generator ends early if a trial was stopped, once trials that ended beside it are
    recorded; its samples, and those of trials that still run, stay pending and are resumed the
    next time.

    Args:
        memory: the run's replay memory; a search goes on from what it holds.
        agent: a new agent.
        rng: a new generator; its state is replaced by the stored one.
        schedule: the ε stages.
        replays: walks replayed per sample (section 4.3: 100).
        trainer: what trains.
        batched: ε values whose samples are not replayed one by one: once the stage is complete
            and its last trial has ended, the replays of all its samples are done, before the
            next stage's first sample. The authors' own runs did so at first.

    Raises:
        TrainerBrokenError: after `MOST_CRASHES` crashed trials in a row, or
            `MOST_WITHOUT_REWARD` without a reward.
        NoNewNetError: after `MOST_REPEATS` samples in a row without a new net, nothing being in
            training; the search can go on, up to as many again.
    """
    run = _Search(memory, Learner(agent, rng, replays), trainer, batched)
    yield from run.resume()
    while True:
        yield from run.fill_slots(schedule)
        if not run.running:
            return
        done, _ = wait(run.running, return_when=FIRST_COMPLETED)
        # A set has no order: of trials that ended together the one sampled first comes first.
        stopped: list[SearchEvent] = []
        for future in sorted(done, key=lambda future: run.running[future].id):
            trial, result = run.running.pop(future), future.result()
            if result.outcome is Outcome.STOPPED:
                stopped.append(Stopped(trial, result))
            else:
                yield from run.end(trial, result)
        yield from stopped
        if stopped:
            return
        run.check_trainer()


class _Search:
    """What the steps of one search share, kept in step with the replay memory."""

    def __init__(
        self,
        memory: ReplayMemory,
        learner: Learner,
        trainer: Trainer,
        batched: Collection[float],
    ) -> None:
        self.memory, self.learner = memory, learner
        self.trainer, self.batched = trainer, batched
        self.running: dict[Future[TrialResult], Trial] = {}
        self._trained = Counter(memory.unique_per_epsilon())
        self._owed = memory.owed()
        self._waiting: defaultdict[int, list[Sample]] = defaultdict(list)  # by trial
        self._last: TrialResult | None = None
        self._crashes = self._without_reward = 0  # in a row, up to now
        self._repeats = _repeats_alone(memory.samples())
        learner.load(memory.q_values(), memory.replayable(), memory.get("random_state"))

    def resume(self) -> Iterator[SearchEvent]:
        """Go on with what an earlier process left unfinished."""
        for sample in self.memory.pending():
            self._waiting[sample.trial].append(sample)
        for trial_id in list(self._waiting):
            trial = self.memory.trial(trial_id)
            if trial.outcome is not None:
                yield from self._complete(trial, trial.reward)
            else:
                yield Resumed(trial)
                self._start(trial)

    def fill_slots(self, schedule: Sequence[EpsilonStage]) -> Iterator[SearchEvent]:
        """Sample until every slot trains, or the stage or the schedule is complete.

        Beside trials that run, up to `MOST_REPEATS_BESIDE` samples in a row without a new net.
        """
        beside = 0
        while len(self.running) < self.trainer.slots:
            if self.running and beside >= MOST_REPEATS_BESIDE:
                return
            epsilon = current_stage(schedule, self._trained)
            if self._owed and self._owed[0].epsilon != epsilon:
                if self.running:
                    return
                yield self._replay_owed()
            elif epsilon is None:
                return
            else:
                new = yield from self._sample(epsilon)
                beside = 0 if new else beside + 1
                if not new and not self.running and self._repeats % MOST_REPEATS == 0:
                    raise NoNewNetError(self._no_new_net(schedule, epsilon))

    def _no_new_net(self, schedule: Sequence[EpsilonStage], epsilon: float) -> str:
        found, wanted = len(self.memory.trials()), sum(stage.models for stage in schedule)
        return (
            f"{MOST_REPEATS:,} samples in a row at ε {epsilon:g} found no net beside the {found} "
            f"known; {models_done(schedule, self._trained)} of the schedule's {wanted} models are "
            "trained: it needs fewer models, or a larger space"
        )

    def _sample(self, epsilon: float) -> Generator[SearchEvent, None, bool]:
        """Take one sample; returns whether it is of a new net."""
        architecture = self.learner.sample(epsilon)
        sample = self.memory.add_sample(architecture, epsilon, self.learner.random_state)
        trial = self.memory.trial(sample.trial)
        in_training = trial.id in self._waiting
        new = trial.outcome is None and not in_training
        self._repeats = 0 if new or self.running else self._repeats + 1
        self._waiting[trial.id].append(sample)
        yield Sampled(sample, architecture, not new)
        if trial.outcome is not None:
            yield from self._complete(trial, trial.reward)
        elif new:
            self._start(trial)
        return new

    def _start(self, trial: Trial) -> None:
        self.running[self.trainer.submit(trial)] = trial
        self.memory.start_trial(trial.id, self.trainer.place(trial))

    def end(self, trial: Trial, result: TrialResult) -> Iterator[SearchEvent]:
        """Take up how a trial ended."""
        reward = self.trainer.reward(trial, result)
        self._trained[trial.epsilon] += reward is not None
        self._last = result
        self._crashes = self._crashes + 1 if result.outcome is Outcome.CRASHED else 0
        self._without_reward = self._without_reward + 1 if reward is None else 0
        yield from self._complete(trial, reward, result)

    def _complete(
        self, trial: Trial, reward: float | None, result: TrialResult | None = None
    ) -> Iterator[SearchEvent]:
        """Complete all samples that wait for a trial, then do their replays, in one step.

        `result` is given where the trial has just ended.
        """
        samples = self._waiting.pop(trial.id)
        due: list[Sample] = []
        if reward is not None:
            for sample in samples:
                self.learner.remember(trial.architecture, reward)
                (self._owed if sample.epsilon in self.batched else due).append(sample)
        self.learner.replay(len(due))
        with self.memory.transaction():
            if result is not None:
                place = self.trainer.place(trial)
                trial = self.memory.record_outcome(trial.id, result, reward, place)
            for sample in samples:
                self.memory.complete(sample.id)
            self._record_replays(due)
        if result is not None:
            yield Trained(trial)
        for sample in samples:
            yield Completed(sample, trial)

    def _replay_owed(self) -> Replayed:
        samples, self._owed = self._owed, []
        self.learner.replay(len(samples))
        self._record_replays(samples)
        return Replayed(samples)

    def _record_replays(self, samples: Sequence[Sample]) -> None:
        if samples:
            ids = [sample.id for sample in samples]
            self.memory.record_replays(ids, self.learner.q_values, self.learner.random_state)

    def check_trainer(self) -> None:
        """Raise TrainerBrokenError if too many trials failed in a row."""
        if self._last is None:
            return
        if self._crashes >= MOST_CRASHES:
            problem = f"{self._crashes} trials in a row crashed; the last"
        elif self._without_reward >= MOST_WITHOUT_REWARD:
            problem = f"{self._without_reward} trials in a row gave no reward; the last"
        else:
            return
        raise TrainerBrokenError(f"{problem} {self._last.outcome}: {self._last.message}")


def _repeats_alone(samples: Sequence[Sample]) -> int:
    """How many samples in a row, up to the last, found no new net with nothing in training."""
    repeats, found = 0, set[int]()
    for sample in samples:
        alone = sample.sampled_after == sample.id - 1
        repeats = repeats + 1 if alone and sample.trial in found else 0
        found.add(sample.trial)
    return repeats
