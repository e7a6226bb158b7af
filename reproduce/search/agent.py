"""The Q-learning agent (paper, section 4.3 and appendix A)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from prototxt_gen.notation import Architecture, Layer
from reproduce.search.cost_cap import CostCap, action_macs, channels_after
from reproduce.search.space import (
    SearchSpace,
    SpaceRules,
    State,
    is_termination,
    replayed,
    successor,
)


@dataclass(frozen=True)
class Step:
    """One decision of a walk.

    Attributes:
        chosen: index of the chosen pair in the Q table.
        choices: indices of all pairs that were open, the chosen one among them.
    """

    chosen: int
    choices: Sequence[int]


@dataclass(frozen=True)
class Trajectory:
    """A walk from the start to a termination."""

    architecture: Architecture
    steps: tuple[Step, ...]

    @functools.cached_property
    def backups(self) -> tuple[tuple[int, Callable[[list[float]], Sequence[float]]], ...]:
        """The steps in reversed order: the chosen pair, and what reads its state's open values."""
        return tuple((step.chosen, _reader(step.choices)) for step in reversed(self.steps))


def _reader(choices: Sequence[int]) -> Callable[[list[float]], Sequence[float]]:
    """A fast way to read the values of some pairs off a Q table."""
    if choices[-1] - choices[0] == len(choices) - 1:
        return itemgetter(slice(choices[0], choices[-1] + 1))
    return itemgetter(*choices)


@dataclass(frozen=True)
class QLearning:
    """The update's constants: learning rate, discount, first value of every pair (section 5)."""

    alpha: float = 0.01
    gamma: float = 1.0
    initial: float = 0.5


class Agent:
    """An ε-greedy agent with a tabular Q function.

    The table is one flat list in the space's numbering of pairs; with a cost cap, pairs that the
    cap masks at a step of a walk take part neither in its choice nor in its maximum.
    """

    def __init__(
        self, space: SearchSpace, learning: QLearning, cap: CostCap | None = None, channels: int = 1
    ) -> None:
        self.space, self.learning, self.cap = space, learning, cap
        self.channels = cap.channels if cap else channels
        self.q = [learning.initial] * space.pairs

    def sample(self, rng: np.random.Generator, epsilon: float) -> Trajectory:
        """Walk from the start to a termination.

        At each step a uniformly random action is taken with probability ε, otherwise one of the
        actions of the highest Q-value, ties broken at random.
        """

        def choose(choices: Sequence[int], _: int) -> int:
            if rng.random() >= epsilon:
                best = max(self.q[i] for i in choices)
                choices = [i for i in choices if self.q[i] == best]
            return choices[int(rng.integers(len(choices)))]

        return self._walk(choose)

    def trajectory(self, architecture: Architecture) -> Trajectory:
        """The walk that leads to an architecture, as replays see it.

        Raises:
            NotInSpaceError: if the space (its cap aside) does not hold it.
        """
        numbers = [number for _, number in self.space.walk(architecture)]

        def choose(_: Sequence[int], state: int) -> int:
            return self.space.offsets[state] + numbers.pop(0)

        return self._walk(choose, replayed)

    def _walk(
        self,
        choose: Callable[[Sequence[int], int], int],
        seen_as: Callable[[State, SpaceRules], State] = lambda state, rules: state,
    ) -> Trajectory:
        """Walk by `choose(open pairs, number of the state)`, which returns a pair's index.

        `seen_as` gives the state whose values stand for a state's.
        """
        space, rules = self.space, self.space.rules
        node, channels, spent = space.start, self.channels, 0
        layers: list[Layer] = []
        steps: list[Step] = []
        while True:
            state = space.index(seen_as(node.state, rules))
            first = space.offsets[state]
            choices: Sequence[int] = range(first, space.offsets[state + 1])
            if self.cap is not None:
                choices = [first + i for i in self.cap.affordable(node, channels, spent)]
            chosen = choose(choices, state)
            steps.append(Step(chosen, choices))
            action = space.actions[state][chosen - first]
            layers.append(action)
            if is_termination(action, rules):
                return Trajectory(space.architecture(layers), tuple(steps))
            spent += action_macs(node, channels, action, rules.classes)
            channels = channels_after(channels, action)
            node = successor(node, action, rules)

    def update(self, trajectory: Trajectory, reward: float) -> None:
        """Replay one walk in temporally reversed order (appendix A, algorithm 3)."""
        q, alpha, gamma = self.q, self.learning.alpha, self.learning.gamma
        target = reward
        for i, values in trajectory.backups:
            q[i] += alpha * (target - q[i])
            target = gamma * max(values(q))
