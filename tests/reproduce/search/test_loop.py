"""The search: its schedule, its duplicates, and that stopping it changes nothing."""

import functools
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from prototxt_gen.notation import parse
from prototxt_gen.shapes import total_cost
from reproduce.search import loop
from reproduce.search.agent import Agent, QLearning
from reproduce.search.loop import (
    MOST_WITHOUT_REWARD,
    Completed,
    EpsilonStage,
    NoNewNetError,
    Replayed,
    Resumed,
    Sampled,
    SearchEvent,
    Stopped,
    Trained,
    TrainerBrokenError,
    models_done,
    search,
)
from reproduce.search.replay_memory import ReplayMemory, Sample, Trial
from reproduce.search.rerun import rerun
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

SPACE = SearchSpace(SpaceRules(depth=3, image=12))
TINY = SearchSpace(SpaceRules(depth=1, image=6, filters=(64,), sizes=(3,)))  # duplicates abound
SCHEDULE = (EpsilonStage(1.0, 6), EpsilonStage(0.5, 4), EpsilonStage(0.1, 4))
SHORT = (EpsilonStage(1.0, 3), EpsilonStage(0.5, 1), EpsilonStage(0.1, 2))
BATCHED = [(), (1.0,), (1.0, 0.5), (0.1,)]


def accuracy(architecture: str) -> float:
    macs = total_cost(parse(architecture), (1, 12, 12)).macs
    return 0.1 + 0.8 * macs / (macs + 1e6)


class FormulaTrainer:
    """Answers at once, with a known function of the architecture."""

    def __init__(self, outcome: Callable[[int], Outcome] = lambda number: Outcome.FINISHED) -> None:
        """`outcome` of the n-th trial that is submitted, from 1."""
        self.trained: list[str] = []
        self.outcome = outcome

    @property
    def slots(self) -> int:
        return 1

    def submit(self, trial: Trial) -> Future[TrialResult]:
        self.trained.append(trial.architecture)
        future: Future[TrialResult] = Future()
        future.set_result(self.result(trial, self.outcome(len(self.trained))))
        return future

    def result(self, trial: Trial, outcome: Outcome) -> TrialResult:
        accuracies = (accuracy(trial.architecture),)
        return TrialResult(outcome, accuracies, 0.001, 0, 1, 0.0, "formula", f"so {outcome}")

    def place(self, trial: Trial) -> str | None:
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        return result.best_accuracy if result.outcome is Outcome.FINISHED else None


class ScrambledTrainer(FormulaTrainer):
    """Trials on several slots end in a random order, some together; replaces the loop's wait."""

    def __init__(
        self, slots: int, seed: int, outcome: Callable[[int], Outcome] = lambda _: Outcome.FINISHED
    ) -> None:
        super().__init__(outcome)
        self._slots, self.rng = slots, np.random.default_rng(seed)
        self.ended: list[list[int]] = []

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, trial: Trial) -> Future[TrialResult]:
        self.trained.append(trial.architecture)
        return Future()

    def wait(
        self, running: Mapping[Future[TrialResult], Trial], return_when: str
    ) -> tuple[set[Future[TrialResult]], None]:
        futures = list(running)
        chosen = self.rng.choice(len(futures), self.rng.integers(len(futures)) + 1, replace=False)
        self.ended.append([running[futures[i]].id for i in chosen])
        for i in chosen:
            trial = running[futures[i]]
            futures[i].set_result(self.result(trial, self.outcome(trial.id)))
        return {futures[i] for i in chosen}, None


@pytest.fixture
def scrambled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScrambledTrainer]:
    def make(*args: Any, **kwargs: Any) -> ScrambledTrainer:
        trainer = ScrambledTrainer(*args, **kwargs)
        monkeypatch.setattr(loop, "wait", trainer.wait)
        return trainer

    return make


def start(
    path: Path,
    trainer: FormulaTrainer,
    *,
    seed: int = 0,
    space: SearchSpace = SPACE,
    schedule: tuple[EpsilonStage, ...] = SCHEDULE,
    replays: int = 30,
    batched: tuple[float, ...] = (),
) -> Iterator[SearchEvent]:
    agent, rng = Agent(space, QLearning()), np.random.default_rng(seed)
    return search(ReplayMemory(path), agent, rng, schedule, replays, trainer, batched=batched)


def contents(path: Path) -> tuple[object, ...]:
    """All but wall-clock times."""
    memory = ReplayMemory(path, read_only=True)
    return memory.trials(), memory.samples(), memory.q_values(), memory.get("random_state")


def learned(
    events: list[SearchEvent], space: SearchSpace, replays: int, batched: tuple[float, ...] = ()
) -> tuple[dict[int, float], object]:
    """Q-values and random state by the released code's rule, written down step by step.

    A net's samples are appended to the buffer all together when it ends, then each has its
    replays, uniform over the buffer. Samples of a batched ε have theirs at the end of the stage.
    """
    agent, rng = Agent(space, QLearning()), np.random.default_rng(0)
    buffer: list[tuple[str, float]] = []
    epsilons = {e.sample.id: e.sample.epsilon for e in events if isinstance(e, Sampled)}

    def replay(times: int) -> None:
        for _ in range(times):
            for row in rng.integers(len(buffer), size=replays):
                agent.update(agent.trajectory(parse(buffer[row][0])), buffer[row][1])

    steps: list[list[SearchEvent]] = []
    for event in events:
        together = steps and steps[-1] and isinstance(event, Completed)
        if together and isinstance(steps[-1][-1], Trained | Completed):
            steps[-1].append(event)
        else:
            steps.append([event])
    for first, *rest in steps:
        if isinstance(first, Sampled):
            assert str(agent.sample(rng, first.sample.epsilon).architecture) == first.architecture
        if isinstance(first, Replayed):
            replay(len(first.samples))
        completed = [e for e in (first, *rest) if isinstance(e, Completed)]
        for event in completed:
            if event.trial.reward is not None:
                buffer.append((event.trial.architecture, event.trial.reward))
        rewarded = [e.sample.id for e in completed if e.trial.reward is not None]
        replay(sum(epsilons[number] not in batched for number in rewarded))
    initial = QLearning().initial
    values = {i: value for i, value in enumerate(agent.q) if value != initial}
    return values, rng.bit_generator.state


def check_learned(
    path: Path, events: list[SearchEvent], space: SearchSpace, batched: tuple[float, ...] = ()
) -> None:
    memory = ReplayMemory(path, read_only=True)
    values, state = learned(events, space, 30, batched)
    stored = {i: v for i, v in memory.q_values().items() if v != QLearning().initial}
    assert stored == values
    assert memory.get("random_state") == state


# Schedule and duplicates.


def test_each_epsilon_trains_its_number_of_distinct_models(tmp_path: Path) -> None:
    trainer = FormulaTrainer()
    list(start(tmp_path / "r.sqlite", trainer))
    memory = ReplayMemory(tmp_path / "r.sqlite", read_only=True)
    assert memory.unique_per_epsilon() == {1.0: 6, 0.5: 4, 0.1: 4}
    assert len(trainer.trained) == len(set(trainer.trained)) == 14
    assert len(memory.samples()) > 14  # samples of trained nets are kept, and not trained again
    assert not memory.pending()


def test_learning_is_the_released_code_s(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    events = list(start(path, FormulaTrainer()))
    check_learned(path, events, SPACE)


@pytest.mark.parametrize("seed", range(3))
def test_samples_of_a_net_in_training_wait_for_it_and_count_each(
    tmp_path: Path, scrambled: Callable[..., ScrambledTrainer], seed: int
) -> None:
    """All of them join the buffer before the first of their replays, as in the released code."""
    path, trainer = tmp_path / "r.sqlite", scrambled(3, seed)
    schedule = (EpsilonStage(1.0, 2), EpsilonStage(0.1, 2))
    events = list(start(path, trainer, space=TINY, schedule=schedule))
    assert len(set(trainer.trained)) == len(trainer.trained)
    memory = ReplayMemory(path, read_only=True)
    completed: dict[int, list[Sample]] = {}
    for sample in memory.samples():
        completed.setdefault(sample.trial, []).append(sample)
    first = {trial: min(s.completed or 0 for s in samples) for trial, samples in completed.items()}
    waited = [s for s in memory.samples() if (s.sampled_after or 0) < first[s.trial]]
    assert len(waited) > len(first)  # some waited beside the first of their net
    check_learned(path, events, TINY)


def test_a_finished_search_does_nothing(tmp_path: Path) -> None:
    list(start(tmp_path / "r.sqlite", FormulaTrainer()))
    trainer = FormulaTrainer()
    assert list(start(tmp_path / "r.sqlite", trainer)) == []
    assert trainer.trained == []


def test_learning_prefers_better_nets(tmp_path: Path) -> None:
    """Mean reward rises from ε = 1 to ε = 0.1 in most of ten searches."""
    better = 0
    for seed in range(10):
        path = tmp_path / f"{seed}.sqlite"
        memory, trainer = ReplayMemory(path), FormulaTrainer()
        schedule = (EpsilonStage(1.0, 60), EpsilonStage(0.1, 20))
        agent, rng = Agent(SPACE, QLearning(alpha=0.05)), np.random.default_rng(seed)
        list(search(memory, agent, rng, schedule, 100, trainer))
        rewards = {t.id: t.reward for t in memory.trials()}
        means = [
            np.mean([rewards[s.trial] for s in memory.samples() if s.epsilon == epsilon])
            for epsilon in (1.0, 0.1)
        ]
        better += means[1] > means[0]
        memory.close()
    assert better >= 9


def test_a_reward_may_depend_on_the_architecture(tmp_path: Path) -> None:
    class SizePenalty(FormulaTrainer):
        def reward(self, trial: Trial, result: TrialResult) -> float | None:
            return result.accuracies[0] - 0.01 * len(parse(trial.architecture))

    list(start(tmp_path / "r.sqlite", SizePenalty(), schedule=SHORT))
    trials = ReplayMemory(tmp_path / "r.sqlite", read_only=True).trials()
    assert [t.reward for t in trials] == [
        accuracy(t.architecture) - 0.01 * len(parse(t.architecture)) for t in trials
    ]


def test_where_and_when_a_trial_ran_is_recorded(tmp_path: Path) -> None:
    class Placed(FormulaTrainer):
        def place(self, trial: Trial) -> str | None:
            """Known when the trial starts, or only once it has ended."""
            return f"GPU {trial.id}" if trial.id % 2 or trial.started_at else None

    list(start(tmp_path / "r.sqlite", Placed(), schedule=SHORT))
    memory = ReplayMemory(tmp_path / "r.sqlite", read_only=True)
    for trial in memory.trials():
        assert trial.place == (f"GPU {trial.id}" if trial.id % 2 else None)
        assert trial.started_at is not None
        assert trial.finished_at is not None
        assert trial.started_at <= trial.finished_at
    for sample in memory.samples():
        assert sample.sampled_at is not None
        assert sample.completed_at is not None
        assert sample.sampled_at <= sample.completed_at
        assert sample.sampled_at.endswith("+00:00")


# A space with no net left.


@pytest.fixture
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MOST_REPEATS", 60)
    monkeypatch.setattr(loop, "MOST_REPEATS_BESIDE", 40)


TINY_NETS = 7  # see TINY.counts()


def run_out(path: Path, trainer: FormulaTrainer, models: int, **keywords: Any) -> str:
    """Search TINY for so many models in its second stage, in vain; returns the message."""
    schedule = (EpsilonStage(1.0, 2), EpsilonStage(0.5, models))
    with pytest.raises(NoNewNetError) as error:
        list(start(path, trainer, space=TINY, schedule=schedule, **keywords))
    return str(error.value)


def check_rerun(path: Path, schedule: tuple[EpsilonStage, ...], batched: tuple[float, ...]) -> None:
    agent, rng = Agent(TINY, QLearning()), np.random.default_rng(0)
    memory = ReplayMemory(path, read_only=True)
    assert rerun(memory, agent, rng, schedule, 30, batched=batched).difference is None


@pytest.mark.usefixtures("few_repeats")
@pytest.mark.parametrize("batched", [(), (1.0,)])
@pytest.mark.parametrize("seed", range(3))
def test_slots_for_which_no_net_is_left_wait_for_those_that_train(
    tmp_path: Path,
    scrambled: Callable[..., ScrambledTrainer],
    seed: int,
    batched: tuple[float, ...],
) -> None:
    """More slots than nets: sampling on would never take up a result."""
    assert TINY.counts().architectures == TINY_NETS
    path, trainer = tmp_path / "r.sqlite", scrambled(TINY_NETS + 4, seed)
    schedule = (EpsilonStage(1.0, TINY_NETS),)
    events = list(start(path, trainer, space=TINY, schedule=schedule, batched=batched))
    check_learned(path, events, TINY, batched)
    check_rerun(path, schedule, batched)
    memory = ReplayMemory(path, read_only=True)
    assert memory.unique_per_epsilon() == {1.0: TINY_NETS}
    # At most so many in vain after each trial's start and each wait.
    assert len(memory.samples()) <= TINY_NETS + 40 * (TINY_NETS + len(trainer.ended))


@pytest.mark.usefixtures("few_repeats")
@pytest.mark.parametrize("slots", [1, 3, 20])
def test_a_schedule_of_more_nets_than_there_are_ends_in_an_error(
    tmp_path: Path, scrambled: Callable[..., ScrambledTrainer], slots: int
) -> None:
    path = tmp_path / "r.sqlite"
    trainer = scrambled(slots, 0)
    said = run_out(path, trainer, TINY_NETS)
    assert re.fullmatch(
        r"60 samples in a row at ε 0\.5 found no net beside the 7 known; \d of the schedule's 9 "
        r"models are trained: it needs fewer models, or a larger space",
        said,
    )
    memory = ReplayMemory(path, read_only=True)
    assert not memory.pending()
    assert len(trainer.trained) == TINY_NETS
    check_rerun(path, (EpsilonStage(1.0, 2), EpsilonStage(0.5, TINY_NETS)), ())


@pytest.mark.usefixtures("few_repeats")
def test_a_net_set_aside_that_leaves_too_few_ends_in_an_error(tmp_path: Path) -> None:
    """Before the search there were enough; the same command samples as many times again."""
    path = tmp_path / "r.sqlite"
    trainer = FormulaTrainer(
        lambda number: Outcome.OUT_OF_MEMORY if number == 3 else Outcome.FINISHED
    )
    said = run_out(path, trainer, TINY_NETS - 2)
    assert "the 7 known; 6 of the schedule's 7 models are trained" in said
    samples = ReplayMemory(path, read_only=True).samples()
    assert run_out(path, trainer, TINY_NETS - 2) == said
    again = ReplayMemory(path, read_only=True).samples()
    assert len(again) == len(samples) + 60
    assert len(trainer.trained) == TINY_NETS


@pytest.mark.usefixtures("few_repeats")
def test_a_search_stopped_on_its_way_out_of_nets_ends_as_one_never_stopped(tmp_path: Path) -> None:
    """How often nets repeated is read from the record."""
    whole = tmp_path / "whole.sqlite"
    said = run_out(whole, FormulaTrainer(), TINY_NETS)
    samples = len(ReplayMemory(whole, read_only=True).samples())
    for stop_after in (samples - 59, samples - 30, samples - 2):
        path = tmp_path / f"{stop_after}.sqlite"
        schedule = (EpsilonStage(1.0, 2), EpsilonStage(0.5, TINY_NETS))
        for event in start(path, FormulaTrainer(), space=TINY, schedule=schedule):
            if isinstance(event, Sampled) and event.sample.id == stop_after:
                break
        assert run_out(path, FormulaTrainer(), TINY_NETS, seed=99) == said
        assert contents(path) == contents(whole)


# What several slots train beyond a stage's number.


@pytest.mark.parametrize("seed", range(5))
def test_stages_train_up_to_one_model_more_for_each_further_slot(
    tmp_path: Path, scrambled: Callable[..., ScrambledTrainer], seed: int
) -> None:
    path, slots = tmp_path / "r.sqlite", 4
    list(start(path, scrambled(slots, seed)))
    trained = ReplayMemory(path, read_only=True).unique_per_epsilon()
    for stage in SCHEDULE:
        assert stage.models <= trained[stage.epsilon] < stage.models + slots
    assert sum(trained.values()) > 14
    assert models_done(SCHEDULE, trained) == 14


def test_models_beyond_a_stage_s_number_do_not_count_for_another() -> None:
    assert models_done(SCHEDULE, {}) == 0
    assert models_done(SCHEDULE, {1.0: 9, 0.5: 1}) == 6 + 1
    assert models_done(SCHEDULE, {1.0: 6, 0.5: 4, 0.1: 3, 0.7: 8}) == 6 + 4 + 3


# Batched stages.


@pytest.mark.parametrize("batched", BATCHED)
@pytest.mark.parametrize("slots", [1, 3])
def test_a_batched_stage_is_replayed_at_its_end(
    tmp_path: Path,
    scrambled: Callable[..., ScrambledTrainer],
    batched: tuple[float, ...],
    slots: int,
) -> None:
    path = tmp_path / "r.sqlite"
    events = list(start(path, scrambled(slots, 1), batched=batched))
    check_learned(path, events, SPACE, batched)
    ends = [event for event in events if isinstance(event, Replayed)]
    assert [event.samples[0].epsilon for event in ends] == list(batched)
    sampled = [event.sample for event in events if isinstance(event, Sampled)]
    for event in ends:
        at = events.index(event)
        epsilon = event.samples[0].epsilon
        before = [e.sample.id for e in events[:at] if isinstance(e, Completed)]
        # All that was sampled before is completed, and nothing of the stage comes later.
        assert sorted(before) == [e.sample.id for e in events[:at] if isinstance(e, Sampled)]
        of_stage = [s.id for s in sampled if s.epsilon == epsilon]
        assert sorted(s.id for s in event.samples) == of_stage
        assert max(of_stage) <= len(before)


def test_a_batched_stage_changes_no_q_value_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    for event in start(path, FormulaTrainer(), batched=(1.0,)):
        changed = ReplayMemory(path, read_only=True).q_values()
        if isinstance(event, Replayed):
            assert changed
            break
        assert not changed
    assert len(event.samples) >= 6


# Stopping and killing.


@pytest.mark.parametrize("batched", BATCHED)
def test_a_search_stopped_after_any_event_ends_as_one_never_stopped(
    tmp_path: Path, batched: tuple[float, ...]
) -> None:
    whole = tmp_path / "whole.sqlite"
    run = functools.partial(start, schedule=SHORT, replays=10, batched=batched)
    events = len(list(run(whole, FormulaTrainer())))
    for stop_after in range(1, events):
        path = tmp_path / f"{stop_after}.sqlite"
        stopped = run(path, FormulaTrainer())
        for _ in range(stop_after):
            next(stopped)
        stopped.close()
        list(run(path, FormulaTrainer(), seed=99))  # the stored random state counts, not the seed
        assert contents(path) == contents(whole)


class KilledError(BaseException):
    """The process is gone."""


class DyingConnection(sqlite3.Connection):
    """Executes so many statements, and then nothing any more."""

    left = 0
    opened: ClassVar[list[sqlite3.Connection]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        DyingConnection.opened.append(self)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        if not DyingConnection.left:
            raise KilledError
        DyingConnection.left -= 1
        return super().execute(*args)


@pytest.mark.parametrize("batched", [(), (1.0, 0.1)])
def test_a_search_killed_before_any_statement_ends_as_one_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batched: tuple[float, ...]
) -> None:
    schedule = (EpsilonStage(1.0, 2), EpsilonStage(0.1, 1))
    run = functools.partial(start, schedule=schedule, replays=5, batched=batched)
    whole = tmp_path / "whole.sqlite"
    list(run(whole, FormulaTrainer()))
    connect = sqlite3.connect
    for statements in count(1):
        path = tmp_path / f"{statements}.sqlite"
        monkeypatch.setattr(sqlite3, "connect", functools.partial(connect, factory=DyingConnection))
        DyingConnection.left = statements
        try:
            list(run(path, FormulaTrainer()))
            break
        except KilledError:
            DyingConnection.opened.pop().close()  # what was not committed is lost
        finally:
            monkeypatch.undo()
        list(run(path, FormulaTrainer()))
        assert contents(path) == contents(whole)
    assert statements > 50


def test_a_stopped_trial_ends_the_search_and_stays_pending(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    *_, last = start(path, FormulaTrainer(lambda number: Outcome.STOPPED))
    assert isinstance(last, Stopped)
    assert last.result.message == "so stopped"
    memory = ReplayMemory(path, read_only=True)
    assert [sample.completed for sample in memory.samples()] == [None]
    assert memory.trials()[0].outcome is None


@pytest.mark.parametrize("seed", range(5))
def test_trials_that_ended_beside_a_stopped_one_are_kept(
    tmp_path: Path, scrambled: Callable[..., ScrambledTrainer], seed: int
) -> None:
    path = tmp_path / "r.sqlite"
    trainer = scrambled(
        4, seed, lambda number: Outcome.STOPPED if number == 2 else Outcome.FINISHED
    )
    events = list(start(path, trainer))
    ended = {number for together in trainer.ended for number in together}
    trials = ReplayMemory(path, read_only=True).trials()
    assert {t.id for t in trials if t.outcome is not None} == ended - {2}
    assert [e.trial.id for e in events if isinstance(e, Stopped)] == [2]
    assert isinstance(events[-1], Stopped)
    # The others that still ran are resumed with it.
    left = [t.id for t in trials if t.outcome is None]
    resumed = [e.trial.id for e in start(path, scrambled(4, seed)) if isinstance(e, Resumed)]
    assert resumed == left
    assert 2 in left


def test_trials_that_end_together_are_recorded_in_the_order_of_sampling(
    tmp_path: Path, scrambled: Callable[..., ScrambledTrainer]
) -> None:
    trainer = scrambled(5, 0)
    events = list(start(tmp_path / "r.sqlite", trainer))
    assert any(len(together) > 2 for together in trainer.ended)
    expected = [number for together in trainer.ended for number in sorted(together)]
    assert [e.trial.id for e in events if isinstance(e, Trained)] == expected


# A trainer that does not work.


def test_a_trainer_that_crashes_ends_the_search(tmp_path: Path) -> None:
    trainer = FormulaTrainer(lambda number: Outcome.CRASHED)
    with pytest.raises(
        TrainerBrokenError, match=r"^3 trials in a row crashed; the last crashed: so crashed$"
    ):
        list(start(tmp_path / "r.sqlite", trainer))
    assert len(trainer.trained) == 3


def test_crashes_in_a_row_are_broken_by_any_other_outcome(tmp_path: Path) -> None:
    def outcome(number: int) -> Outcome:
        return Outcome.OUT_OF_MEMORY if number % 3 == 0 and number < 15 else (
            Outcome.CRASHED if number < 15 else Outcome.FINISHED
        )  # fmt: skip

    path = tmp_path / "r.sqlite"
    list(start(path, FormulaTrainer(outcome)))
    assert sum(ReplayMemory(path, read_only=True).unique_per_epsilon().values()) == 14


def test_nets_too_big_for_the_memory_do_not_end_the_search(tmp_path: Path) -> None:
    big = MOST_WITHOUT_REWARD - 1
    path = tmp_path / "r.sqlite"
    trainer = FormulaTrainer(
        lambda number: Outcome.OUT_OF_MEMORY if number <= big else Outcome.FINISHED
    )
    list(start(path, trainer))
    memory = ReplayMemory(path, read_only=True)
    assert [t.reward for t in memory.trials()[:big]] == [None] * big
    assert sum(memory.unique_per_epsilon().values()) == 14
    assert not {s.replayed_after for s in memory.samples() if s.trial <= big} - {None}


def test_a_machine_without_memory_ends_the_search(tmp_path: Path) -> None:
    trainer = FormulaTrainer(lambda number: Outcome.OUT_OF_MEMORY)
    with pytest.raises(
        TrainerBrokenError, match=r"^20 trials in a row gave no reward; the last out_of_memory: "
    ):
        list(start(tmp_path / "r.sqlite", trainer))
    assert len(trainer.trained) == 20
