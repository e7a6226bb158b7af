"""The paper's agent as a searcher: the search itself, step by step, and its schedule scaled."""

from pathlib import Path

import numpy as np
import pytest

from reproduce.driver import agent_of
from reproduce.experiments.schema import Experiment
from reproduce.rivals.plan import experiment_of
from reproduce.rivals.q_learning import QLearning, scaled
from reproduce.rivals.race import Limit, Runner, run_all
from reproduce.rivals.surrogate.surrogate import Surrogate
from reproduce.rivals.surrogate.trainer import SurrogateTrainer
from reproduce.search.loop import EpsilonStage, search
from reproduce.search.replay_memory import ReplayMemory

MODELS = 60


@pytest.mark.parametrize("preset", ["paper", "authors"])
def test_it_samples_and_learns_what_the_search_does(
    preset: str, failing: Surrogate, tmp_path: Path
) -> None:
    """In the authors' preset for SVHN the first three stages are replayed at their ends."""
    experiment = experiment_of("svhn", preset)
    schedule = scaled(experiment.q_learning.stages, MODELS)
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    agent = agent_of(experiment)
    rules = experiment.q_learning
    trainer = SurrogateTrainer(experiment, failing)
    rng = np.random.default_rng(5)
    for _ in search(
        memory, agent, rng, schedule, rules.replays, trainer, batched=frozenset(rules.batched)
    ):
        pass
    searcher = QLearning(experiment, MODELS, np.random.default_rng(5))
    runner = Runner(searcher, failing, experiment, failing.seed, Limit())
    run_all([runner], failing)
    trials = {trial.id: trial.reward for trial in memory.trials()}
    expected = [(sample.epsilon, trials[sample.trial]) for sample in memory.samples()]
    assert searcher.samples == expected
    assert list(searcher.q_values) == list(agent.q)
    assert runner.race.models == MODELS == len(trials)
    assert runner.race.proposals == len(expected) > MODELS


def test_a_scaled_schedule_keeps_its_stages_shares(paper: Experiment) -> None:
    stages = paper.q_learning.stages
    whole = scaled(stages, 2700)
    assert whole == list(stages)
    half = scaled(stages, 1350)
    assert [stage.models for stage in half] == [750, 50, 50, 50, 75, 75, 75, 75, 75, 75]
    for models in (10, 60, 500, 501):
        found = scaled(stages, models)
        assert sum(stage.models for stage in found) == models
        assert [stage.epsilon for stage in found] == [stage.epsilon for stage in stages]
        for one, own in zip(found, stages, strict=True):
            assert abs(one.models - own.models * models / 2700) < 1


def test_fewer_models_than_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="2 stages of ε need as many models, not 1"):
        scaled([EpsilonStage(1.0, 5), EpsilonStage(0.1, 5)], 1)


@pytest.fixture
def paper() -> Experiment:
    return experiment_of("cifar10", "paper")
