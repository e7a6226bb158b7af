"""The paper's agent as one searcher among others: it proposes a net, and is told its training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from prototxt_gen.notation import Architecture, parse
from reproduce.driver import agent_of
from reproduce.experiments.schema import Experiment
from reproduce.rivals.surrogate.surrogate import Curve
from reproduce.search.agent import Agent
from reproduce.search.learner import Learner
from reproduce.search.loop import EpsilonStage, current_stage

_parsed = lru_cache(maxsize=100_000)(parse)


def scaled(schedule: Sequence[EpsilonStage], models: int) -> list[EpsilonStage]:
    """The ε schedule with as many models in all, each stage's share as near as can be (Table 2).

    Raises:
        ValueError: if there are fewer models than stages.
    """
    if models < len(schedule):
        raise ValueError(f"{len(schedule)} stages of ε need as many models, not {models}")
    total = sum(stage.models for stage in schedule)
    ends = np.cumsum([stage.models for stage in schedule]) * models / total
    counts = np.diff(np.rint(ends).astype(int), prepend=0)
    return [
        EpsilonStage(stage.epsilon, int(count))
        for stage, count in zip(schedule, counts, strict=True)
    ]


class QLearning:
    """Section 4.3 with an experiment's space, constants and ε schedule, one net at a time.

    Samples, replays and stages are those of `reproduce.search.loop.search`, without its files.

    Args:
        experiment: whose rules it follows.
        models: distinct nets that it shall train in all; None for the experiment's own number.
        rng: where all its randomness comes from.
        agent: a new agent of the experiment; None makes one.

    Attributes:
        samples: ε and reward of each sample, those of nets trained before among them.
    """

    def __init__(
        self,
        experiment: Experiment,
        models: int | None,
        rng: np.random.Generator,
        agent: Agent | None = None,
    ) -> None:
        rules = experiment.q_learning
        self._schedule: Sequence[EpsilonStage] = rules.stages
        if models is not None:
            self._schedule = scaled(rules.stages, models)
        self._learner = Learner(agent or agent_of(experiment), rng, rules.replays)
        self._batched = frozenset(rules.batched)
        self._trained = Counter[float]()
        self._known = set[str]()
        self._proposed: tuple[str, float] = "", 1.0
        self._owed = 0
        self._owed_at: float | None = None
        self.samples: list[tuple[float, float]] = []

    @property
    def q_values(self) -> Sequence[float]:
        """The Q-values of all pairs of the space."""
        return self._learner.q_values

    def ask(self) -> Architecture | None:
        """The next sample, of a net trained before perhaps; None once the schedule is complete."""
        epsilon = current_stage(self._schedule, self._trained)
        if self._owed and self._owed_at != epsilon:
            self._learner.replay(self._owed)
            self._owed = 0
        if epsilon is None:
            return None
        self._proposed = self._learner.sample(epsilon), epsilon
        return _parsed(self._proposed[0])

    def tell(self, curve: Curve) -> int:
        """Learn from the training of the net asked for; returns the epochs wanted of it: all."""
        net, epsilon = self._proposed
        if net not in self._known:
            self._known.add(net)
            self._trained[epsilon] += 1
        self._learner.remember(net, curve.best)
        self.samples.append((epsilon, curve.best))
        if epsilon in self._batched:
            self._owed, self._owed_at = self._owed + 1, epsilon
        else:
            self._learner.replay(1)
        return len(curve.accuracies)
