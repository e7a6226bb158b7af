"""The paper's Figure 3 on the surrogate: how the agent learns over the whole ε schedule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from prototxt_gen.notation import Architecture
from reproduce.driver import agent_of
from reproduce.experiments.schema import Experiment
from reproduce.rivals.figure_3_comparison import published
from reproduce.rivals.figure_3_runs import LearningRun, Stage, rolling_at
from reproduce.rivals.q_learning import QLearning
from reproduce.rivals.race import Limit, Runner, run_all
from reproduce.rivals.surrogate.surrogate import Curve, Surrogate
from reproduce.search.agent import Agent


@dataclass(frozen=True)
class Sample:
    """One sample of a search.

    Attributes:
        learned, in_range: what the surrogate says of its net.
        new: whether the net was not sampled before.
    """

    epsilon: float
    reward: float
    learned: bool
    in_range: bool
    new: bool


class _Recorded:
    """The agent, with all that it samples kept."""

    def __init__(self, agent: QLearning) -> None:
        self._agent, self._net = agent, ""
        self._known = set[str]()
        self.samples: list[Sample] = []

    def ask(self) -> Architecture | None:
        net = self._agent.ask()
        self._net = str(net)
        return net

    def tell(self, curve: Curve) -> int:
        wanted = self._agent.tell(curve)
        epsilon, reward = self._agent.samples[-1]
        new = self._net not in self._known
        self._known.add(self._net)
        self.samples.append(Sample(epsilon, reward, curve.learned, curve.in_range, new))
        return wanted


def learn(
    surrogate: Surrogate,
    experiment: Experiment,
    seeds: Sequence[int],
    models: int | None = None,
) -> list[LearningRun]:
    """Search by Q-learning on the surrogate, side by side for some seeds.

    Args:
        experiment: with the preset whose rules are followed.
        seeds: each of one search, and of the noise of its curves.
        models: distinct nets of a search, the ε schedule scaled to them; None for all of it.

    Raises:
        ValueError: if the surrogate is of another data set; or a search finds no new net, or none
            that learns within the surrogate's range.
    """
    if surrogate.data_set != experiment.name:
        raise ValueError(f"a surrogate of {surrogate.data_set} cannot train for {experiment.name}")
    new = agent_of(experiment)  # its space and cap serve all
    agents = [
        _Recorded(
            QLearning(
                experiment,
                models,
                np.random.default_rng(seed),
                Agent(new.space, new.learning, new.cap),
            )
        )
        for seed in seeds
    ]
    runners = [
        Runner(agent, surrogate, experiment, seed, Limit())
        for agent, seed in zip(agents, seeds, strict=True)
    ]
    run_all(runners, surrogate)
    window = published(surrogate.data_set).window
    found = []
    for agent, runner, seed in zip(agents, runners, seeds, strict=True):
        race = runner.race
        if not race.improvements:
            raise ValueError(f"seed {seed}: no net learned within the surrogate's range")
        best = race.improvements[-1]
        found.append(
            LearningRun(
                data_set=surrogate.data_set,
                preset=experiment.preset,
                failure_share=surrogate.failure_share,
                seed=seed,
                stages=stages(agent.samples),
                window=window,
                rolling=rolling_at([sample.reward for sample in agent.samples], window),
                models=race.models,
                outside=race.outside or 0,
                best=best.reward,
                expected=best.expected,
                net=best.net,
            )
        )
    return found


def stages(samples: Iterable[Sample]) -> tuple[Stage, ...]:
    """Samples by ε, in the order in which they come.

    Raises:
        ValueError: naming an ε at which no new net was sampled.
    """
    found: dict[float, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.epsilon, []).append(sample)
    return tuple(_stage(epsilon, group) for epsilon, group in found.items())


def _stage(epsilon: float, samples: list[Sample]) -> Stage:
    new = [sample.reward for sample in samples if sample.new]
    if not new:
        raise ValueError(f"no new net was sampled at ε {epsilon:g}")
    return Stage(
        epsilon=epsilon,
        samples=len(samples),
        mean=float(np.mean([sample.reward for sample in samples])),
        failed=float(np.mean([not sample.learned for sample in samples])),
        outside=float(np.mean([not sample.in_range for sample in samples])),
        models=len(new),
        models_mean=float(np.mean(new)),
    )
