"""The agent learns: over the schedule of Table 2 its nets get better, as in Figure 3."""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from prototxt_gen.notation import Architecture, Convolution, Pooling, parse
from reproduce.search.agent import Agent, QLearning
from reproduce.search.learner import Learner
from reproduce.search.loop import EpsilonStage, search
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

IMAGE, CHANCE, CEILING = 32, 0.1, 0.9
SPACE = SearchSpace(SpaceRules(depth=18, image=IMAGE))
REPLAYS = 100
TABLE_2 = (
    EpsilonStage(1.0, 1500),
    *(EpsilonStage(epsilon, 100) for epsilon in (0.9, 0.8, 0.7)),
    *(EpsilonStage(epsilon, 150) for epsilon in (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)),
)


def accuracy(architecture: Architecture) -> float:
    """A formula in an accuracy's place: depth, field of view and width, each with saturation.

    chance + (ceiling − chance) · (1 − e^(−convolutions/4)) · (1 − e^(−2·field/image)) · width,
    where field is the receptive field of the last convolution or pooling on the image, in
    pixels, and width the mean of (log2 filters − 5)/4 over the convolutions: 1/4 for 64 filters,
    1 for 512. The numbers inside the layers decide, not their types alone.
    """
    field = jump = 1
    for layer in architecture:
        if isinstance(layer, Convolution | Pooling):
            field += (layer.size - 1) * jump
            jump *= layer.stride
    widths = [math.log2(x.filters) - 5 for x in architecture if isinstance(x, Convolution)]
    if not widths:
        return CHANCE
    depth, view = 1 - math.exp(-len(widths) / 4), 1 - math.exp(-2 * field / IMAGE)
    return CHANCE + (CEILING - CHANCE) * depth * view * float(np.mean(widths)) / 4


def test_layer_types_alone_do_not_determine_the_reward() -> None:
    alike = [
        f"[C({d},{f},1), C({d},{f},1), P({p}), C({d},1,1), C({d},3,1), SM(10)]"
        for d in (64, 512)
        for f in (1, 5)
        for p in ("2,2", "5,3")
    ]
    rewards = [accuracy(parse(text)) for text in alike]
    assert len(set(rewards)) == len(alike)
    assert max(rewards) - min(rewards) > 0.2


def samples(schedule: Sequence[EpsilonStage], seed: int) -> list[tuple[float, str, float]]:
    """A search without files and training: ε, architecture and reward of each sample."""
    learner = Learner(Agent(SPACE, QLearning()), np.random.default_rng(seed), REPLAYS)
    rewards: dict[str, float] = {}
    found = []
    for stage in schedule:
        target = len(rewards) + stage.models
        while len(rewards) < target:
            architecture = learner.sample(stage.epsilon)
            if architecture not in rewards:
                rewards[architecture] = accuracy(parse(architecture))
            learner.remember(architecture, rewards[architecture])
            learner.replay(1)
            found.append((stage.epsilon, architecture, rewards[architecture]))
    return found


class FormulaTrainer:
    """Answers at once, with the formula."""

    slots = 1

    def submit(self, trial: Trial) -> Future[TrialResult]:
        best = accuracy(parse(trial.architecture))
        future: Future[TrialResult] = Future()
        future.set_result(TrialResult(Outcome.FINISHED, (best,), 0.001, 0, 1, 0.0, "formula"))
        return future

    def place(self, trial: Trial) -> str | None:
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        return result.best_accuracy


def test_the_search_samples_the_same_as_it_does_without_files(tmp_path: Path) -> None:
    schedule = (EpsilonStage(1.0, 40), EpsilonStage(0.5, 10), EpsilonStage(0.1, 10))
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(3)
    for _ in search(memory, agent, rng, schedule, REPLAYS, FormulaTrainer()):
        pass
    trials = {trial.id: trial for trial in memory.trials()}
    stored = [
        (sample.epsilon, trials[sample.trial].architecture, trials[sample.trial].reward)
        for sample in memory.samples()
    ]
    assert stored == samples(schedule, 3)


def check_learning(seed: int) -> None:
    """As in Figure 3: the mean reward of all samples at each ε rises as ε falls."""
    rewards: dict[float, list[float]] = {stage.epsilon: [] for stage in TABLE_2}
    for epsilon, _, reward in samples(TABLE_2, seed):
        rewards[epsilon].append(reward)
    means = {epsilon: float(np.mean(values)) for epsilon, values in rewards.items()}
    assert spearmanr(list(means), list(means.values())).statistic <= -0.9
    errors = [
        np.std(rewards[epsilon], ddof=1) / len(rewards[epsilon]) ** 0.5 for epsilon in (1, 0.1)
    ]
    assert means[0.1] > means[1.0] + 3 * math.hypot(*errors)


@pytest.mark.parametrize("seed", [0, 1])
def test_mean_reward_rises_as_epsilon_falls(seed: int) -> None:
    check_learning(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_mean_reward_rises_as_epsilon_falls_for_ten_more_seeds(seed: int) -> None:
    check_learning(seed)
