"""Experience replay: the agent with the buffer of what it has seen (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from prototxt_gen.notation import parse
from reproduce.search.agent import Agent, Trajectory


class Learner:
    """Samples architectures and learns from their rewards; knows nothing of files and training.

    Args:
        agent: a new agent.
        rng: where all randomness of sampling and replaying comes from.
        replays: walks replayed per completed sample, drawn uniformly with replacement.
    """

    def __init__(self, agent: Agent, rng: np.random.Generator, replays: int) -> None:
        self.agent, self.rng, self.replays = agent, rng, replays
        self._aliased = agent.space.aliased
        self._walks: dict[str, Trajectory] = {}
        self._buffer: list[tuple[Trajectory, float]] = []

    def load(
        self,
        q_values: Mapping[int, float],
        buffer: Iterable[tuple[str, float]],
        random_state: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on from Q-values by pair, a buffer of architecture and reward, and a random state."""
        for index, value in q_values.items():
            self.agent.q[index] = value
        for architecture, reward in buffer:
            self.remember(architecture, reward)
        if random_state is not None:
            self.rng.bit_generator.state = random_state

    @property
    def q_values(self) -> Sequence[float]:
        """The Q-values of all pairs."""
        return self.agent.q.values

    @property
    def random_state(self) -> Mapping[str, Any]:
        """The generator's state, as JSON can hold it."""
        return self.rng.bit_generator.state

    def sample(self, epsilon: float) -> str:
        """Walk through the space; returns the architecture's notation."""
        walk = self.agent.sample(self.rng, epsilon)
        architecture = str(walk.architecture)
        if not self._aliased:  # replays see the same states
            self._walks.setdefault(architecture, walk)
        return architecture

    def remember(self, architecture: str, reward: float) -> None:
        """Append to the buffer; duplicates stay, and are drawn more often."""
        if architecture not in self._walks:
            self._walks[architecture] = self.agent.trajectory(parse(architecture))
        self._buffer.append((self._walks[architecture], reward))

    def replay(self, samples: int) -> None:
        """Do the replays of some samples.

        Raises:
            ValueError: if the buffer is empty.
        """
        # Drawn sample by sample, so that the random state does not depend on their grouping.
        draws = [self.rng.integers(len(self._buffer), size=self.replays) for _ in range(samples)]
        self.agent.replay([self._buffer[row] for rows in draws for row in rows.tolist()])
