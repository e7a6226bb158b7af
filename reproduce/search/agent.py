"""The Q-learning agent (paper, section 4.3 and appendix A)."""

from __future__ import annotations

import functools
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from prototxt_gen.notation import Architecture, Layer
from reproduce.search.cost_cap import CostCap
from reproduce.search.space import END, NotInSpaceError, SearchSpace


@dataclass(frozen=True)
class Step:
    """One decision of a walk.

    Attributes:
        chosen: index of the chosen pair in the Q table.
        state: indices of all pairs of the state.
        choices: those of them that were open, the chosen one among them.
    """

    chosen: int
    state: range
    choices: Sequence[int]


Reader = Callable[[Sequence[float]], Sequence[float]]
"""Reads the values of a state's open pairs off a Q table."""


@dataclass(frozen=True)
class Trajectory:
    """A walk from the start to a termination; what replays need of it is computed once."""

    architecture: Architecture
    steps: tuple[Step, ...]

    @functools.cached_property
    def backups(self) -> array[int]:
        """The chosen pairs in reversed order."""
        return array("i", [step.chosen for step in reversed(self.steps)])

    @functools.cached_property
    def readers(self) -> tuple[Reader, ...] | None:
        """What reads each backup's open values; None if all values of all its states are."""
        if all(len(step.choices) == len(step.state) for step in self.steps):
            return None
        return tuple(_reader(step.choices) for step in reversed(self.steps))


def _reader(choices: Sequence[int]) -> Reader:
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


class QTable:
    """The Q-values of a space's pairs, in its numbering; values can be assigned.

    Arrays of machine numbers, as objects scattered in memory would triple the time of replays
    that come between other work.

    Attributes:
        values: the values; read them here, assign them through the table.
        highest: at the index of each state's first pair, the highest value of its pairs.
        first, end: of each pair, the first pair of its state and the one after its last.
    """

    def __init__(self, space: SearchSpace, initial: float) -> None:
        self.values = array("d", [initial]) * space.pairs
        self.highest = self.values[:]
        self.first, self.end = array("i"), array("i")
        for first, end in itertools.pairwise(space.offsets):
            self.first.extend([first] * (end - first))
            self.end.extend([end] * (end - first))

    def __getitem__(self, pair: int) -> float:
        return self.values[pair]

    def __setitem__(self, pair: int, value: float) -> None:
        old, first = self.values[pair], self.first[pair]
        self.values[pair] = value
        # The highest value is searched anew only where it was this one and fell.
        if value >= self.highest[first]:
            self.highest[first] = value
        elif old == self.highest[first]:
            self.highest[first] = max(self.values[first : self.end[pair]])

    def __iter__(self) -> Iterator[float]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)


class Agent:
    """An ε-greedy agent with a tabular Q function.

    With a cost cap, pairs that the cap masks at a step of a walk take part neither in its choice
    nor in its maximum.
    """

    def __init__(self, space: SearchSpace, learning: QLearning, cap: CostCap | None = None) -> None:
        self.space, self.learning, self.cap = space, learning, cap
        self.q = QTable(space, learning.initial)

    def sample(self, rng: np.random.Generator, epsilon: float) -> Trajectory:
        """Walk from the start to a termination.

        At each step a uniformly random action is taken with probability ε, otherwise one of the
        actions of the highest Q-value, ties broken at random.
        """
        values = self.q.values

        def choose(choices: Sequence[int], _: int) -> int:
            if rng.random() >= epsilon:
                best = max([values[i] for i in choices])
                choices = [i for i in choices if values[i] == best]
            return choices[int(rng.integers(len(choices)))]

        return self._walk(choose)

    def trajectory(self, architecture: Architecture) -> Trajectory:
        """The walk that leads to an architecture, as replays see it.

        Raises:
            NotInSpaceError: if the space does not hold it, or the cap excludes it.
        """
        numbers = iter([number for _, number in self.space.walk(architecture)])

        def choose(choices: Sequence[int], first: int) -> int:
            pair = first + next(numbers)
            if pair not in choices:
                raise NotInSpaceError(f"{architecture} costs more than the cap allows")
            return pair

        return self._walk(choose, self.space.replayed)

    def _walk(
        self, choose: Callable[[Sequence[int], int], int], seen_as: Sequence[int] | None = None
    ) -> Trajectory:
        """Walk by `choose(open pairs, first pair of the state)`, which returns a pair.

        `seen_as` gives for each state the one whose values stand for its own.
        """
        space = self.space
        meter = self.cap.meter() if self.cap else None
        node = 0
        layers: list[Layer] = []
        steps: list[Step] = []
        while node != END:
            state = space.state_of[node]
            if seen_as is not None:
                state = seen_as[state]
            pairs = range(space.offsets[state], space.offsets[state + 1])
            choices: Sequence[int] = pairs
            if meter is not None:
                choices = [pairs[number] for number in meter.affordable(node)]
            chosen = choose(choices, pairs.start)
            steps.append(Step(chosen, pairs, choices))
            number = chosen - pairs.start
            layers.append(space.actions[state][number])
            if meter is not None:
                meter.spend(node, number)
            node = space.successors[node][number]
        return Trajectory(space.architecture(layers), tuple(steps))

    def update(self, trajectory: Trajectory, reward: float) -> None:
        """Replay one walk in temporally reversed order (appendix A, algorithm 3)."""
        self.replay([(trajectory, reward)])

    def replay(self, walks: Iterable[tuple[Trajectory, float]]) -> None:
        """Replay walks and their rewards one after the other, each in reversed order."""
        values, highest = self.q.values, self.q.highest
        first_of, end_of = self.q.first, self.q.end
        alpha, gamma = self.learning.alpha, self.learning.gamma
        for trajectory, target in walks:
            if trajectory.readers is not None:
                self._replay_masked(trajectory, target, trajectory.readers)
                continue
            for pair in trajectory.backups:
                old = values[pair]
                values[pair] = new = old + alpha * (target - old)
                first = first_of[pair]
                best = highest[first]  # kept as the table itself does, without a call
                if new >= best:
                    highest[first] = best = new
                elif old == best:
                    highest[first] = best = max(values[first : end_of[pair]])
                target = gamma * best

    def _replay_masked(self, walk: Trajectory, target: float, readers: Sequence[Reader]) -> None:
        """The same where a cap masks some pairs: the target is the best of the open ones."""
        q, alpha, gamma = self.q, self.learning.alpha, self.learning.gamma
        for pair, read in zip(walk.backups, readers, strict=True):
            q[pair] += alpha * (target - q[pair])
            target = gamma * max(read(q.values))
