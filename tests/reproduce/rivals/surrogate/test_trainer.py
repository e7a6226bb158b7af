"""A search with the surrogate in its own process."""

from contextlib import closing
from pathlib import Path

import numpy as np

from prototxt_gen.notation import parse
from reproduce.audit.authors_data.files import EPOCHS
from reproduce.driver import agent_of
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.rivals.surrogate.surrogate import Surrogate
from reproduce.rivals.surrogate.trainer import SurrogateTrainer
from reproduce.search.loop import EpsilonStage, search
from reproduce.search.replay_memory import ReplayMemory, Trial

SCHEDULE = (EpsilonStage(1.0, 30), EpsilonStage(0.1, 10))


def searched(path: Path, surrogate: Surrogate) -> tuple[list[Trial], SurrogateTrainer]:
    experiment = load_experiment(experiment_path("svhn"), "paper", 0, "authors")
    trainer = SurrogateTrainer(experiment, surrogate)
    rng = np.random.default_rng(4)
    with closing(ReplayMemory(path)) as memory:
        for _ in search(memory, agent_of(experiment), rng, SCHEDULE, 10, trainer):
            pass
        return list(memory.trials()), trainer


def test_each_trial_gets_its_nets_curve_and_a_failed_one_chance_level(
    tmp_path: Path, failing: Surrogate
) -> None:
    trials, trainer = searched(tmp_path / "replay.sqlite", failing)
    assert len(trials) == 40
    epochs, failed = 0, 0
    for trial in trials:
        curve = failing.curve(parse(trial.architecture))
        assert trial.result is not None
        if curve.learned:
            assert trial.result.accuracies == curve.accuracies
            assert trial.reward == curve.best
        else:
            failed += 1
            assert (trial.outcome, trial.reward) == ("chance_level", 0.1)
        assert (trial.architecture in trainer.outside) == (not curve.in_range)
        epochs += EPOCHS + curve.restarts if curve.learned else 5
    assert 0 < failed < 40
    assert trainer.epochs == epochs


def test_the_same_seed_searches_the_same(tmp_path: Path, failing: Surrogate) -> None:
    one, _ = searched(tmp_path / "one.sqlite", failing)
    other, _ = searched(tmp_path / "other.sqlite", failing)
    assert one == other
