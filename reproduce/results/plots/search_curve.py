"""What a search sampled, in order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from reproduce.search.replay_memory import ReplayMemory


@dataclass(frozen=True)
class SearchCurve:
    """The samples of a search in the order of sampling: the ε and the reward of each.

    A model that was sampled again is there again, as in the paper's Figure 3.
    """

    epsilons: tuple[float, ...]
    rewards: tuple[float, ...]

    def per_epsilon(self) -> dict[float, list[float]]:
        """The rewards at each ε, the highest ε first."""
        found: dict[float, list[float]] = {}
        for epsilon, reward in zip(self.epsilons, self.rewards, strict=True):
            found.setdefault(epsilon, []).append(reward)
        return dict(sorted(found.items(), reverse=True))

    def means(self) -> dict[float, float]:
        """The mean reward at each ε, the highest ε first."""
        return {e: sum(rewards) / len(rewards) for e, rewards in self.per_epsilon().items()}

    def stretches(self) -> list[tuple[float, int, int]]:
        """ε, first position and end of each stretch of samples of one ε."""
        found, start = [], 0
        for epsilon, group in itertools.groupby(self.epsilons):
            end = start + sum(1 for _ in group)
            found.append((epsilon, start, end))
            start = end
        return found


def search_curve(memory: ReplayMemory) -> SearchCurve:
    """Read the curve; samples still in training and those without a reward are left out."""
    samples = memory.samples()  # before the trials: a running search only ever adds
    rewards = {trial.id: trial.reward for trial in memory.trials()}
    done = [
        (sample.epsilon, reward)
        for sample in samples
        if sample.completed is not None and (reward := rewards[sample.trial]) is not None
    ]
    return SearchCurve(tuple(e for e, _ in done), tuple(r for _, r in done))


def rolling_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of the last `window` values at each position from the window-th on."""
    return [
        sum(values[i - window : i]) / window for i in range(window, len(values) + 1) if window > 0
    ]


def rolling_window(count: int) -> int:
    """The paper's 100 samples, or a third of a run of up to 300."""
    return 100 if count > 300 else max(1, count // 3)
