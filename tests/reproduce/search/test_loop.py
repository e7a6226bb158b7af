"""The search: its schedule, its duplicates, and that stopping it changes nothing."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from prototxt_gen.notation import parse
from prototxt_gen.shapes import total_cost
from reproduce.search.agent import Agent, QLearning
from reproduce.search.loop import EpsilonStage, SearchEvent, TrainerBrokenError, search
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

SPACE = SearchSpace(SpaceRules(depth=3, image=12))
SCHEDULE = (EpsilonStage(1.0, 6), EpsilonStage(0.5, 4), EpsilonStage(0.1, 4))


class FormulaTrainer:
    """Answers at once, with a known function of the architecture."""

    def __init__(self, outcome: Outcome = Outcome.FINISHED) -> None:
        self.trained: list[str] = []
        self.outcome = outcome

    @property
    def slots(self) -> int:
        return 1

    def submit(self, trial: Trial) -> Future[TrialResult]:
        self.trained.append(trial.architecture)
        macs = total_cost(parse(trial.architecture), (1, 12, 12)).macs
        accuracy = 0.1 + 0.8 * macs / (macs + 1e6)
        future: Future[TrialResult] = Future()
        future.set_result(TrialResult(self.outcome, (accuracy,), 0.001, 0, 1, 0.0, "formula"))
        return future

    def reward(self, result: TrialResult) -> float | None:
        return result.best_accuracy if result.outcome is Outcome.FINISHED else None


def start(path: Path, trainer: FormulaTrainer, seed: int = 0) -> Iterator[SearchEvent]:
    memory = ReplayMemory(path)
    agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(seed)
    return search(memory, agent, rng, SCHEDULE, 100, trainer)


def contents(path: Path) -> tuple[object, ...]:
    memory = ReplayMemory(path, read_only=True)
    trials = [(t.architecture, t.epsilon, t.reward) for t in memory.trials()]
    return trials, memory.samples(), memory.q_values(), memory.get("random_state")


def test_each_epsilon_trains_its_number_of_distinct_models(tmp_path: Path) -> None:
    trainer = FormulaTrainer()
    list(start(tmp_path / "r.sqlite", trainer))
    memory = ReplayMemory(tmp_path / "r.sqlite", read_only=True)
    assert memory.unique_per_epsilon() == {1.0: 6, 0.5: 4, 0.1: 4}
    assert len(trainer.trained) == len(set(trainer.trained)) == 14
    assert len(memory.samples()) > 14  # samples of trained nets are kept, and not trained again
    assert not memory.pending()


def test_a_search_stopped_after_any_event_ends_as_one_never_stopped(tmp_path: Path) -> None:
    whole = tmp_path / "whole.sqlite"
    events = len(list(start(whole, FormulaTrainer())))
    for stop_after in range(1, events):
        path = tmp_path / f"{stop_after}.sqlite"
        run = start(path, FormulaTrainer())
        for _ in range(stop_after):
            next(run)
        run.close()
        list(start(path, FormulaTrainer(), seed=99))  # the stored random state counts, not the seed
        assert contents(path) == contents(whole)


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


def test_a_broken_trainer_ends_the_search_with_its_last_outcome(tmp_path: Path) -> None:
    with pytest.raises(
        TrainerBrokenError, match="3 trials in a row gave no result; the last crash"
    ):
        list(start(tmp_path / "r.sqlite", FormulaTrainer(Outcome.CRASHED)))


def test_a_stopped_trial_ends_the_search_and_stays_pending(tmp_path: Path) -> None:
    list(start(tmp_path / "r.sqlite", FormulaTrainer(Outcome.STOPPED)))
    memory = ReplayMemory(tmp_path / "r.sqlite", read_only=True)
    assert [sample.completed for sample in memory.samples()] == [None]
    assert memory.trials()[0].outcome is None
