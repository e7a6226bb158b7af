"""Searchers on the same ground: the same space and curves, and one account of what they spend.

A *model* is a distinct architecture that is trained; one that is proposed again gives the curve
that it gave before, and costs nothing (section 4.3). *Epochs* are those trained, with one more for
each learning rate given up. *FLOP* are epochs times training images times six for each forward
multiply-accumulate; `device_seconds` makes seconds of them on a device of an assumed speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from prototxt_gen.notation import Architecture
from prototxt_gen.shapes import total_cost
from reproduce.estimate import ASSUMED_FLOP_PER_SECOND, training_flop
from reproduce.experiments.schema import Experiment
from reproduce.rivals.surrogate.surrogate import Curve, Surrogate

EVERY = 10
"""Models between two checkpoints of a race."""

MOST_REPEATS = 10_000
"""Proposals in a row of nets trained before; after so many a searcher is taken to be done."""


class Searcher(Protocol):
    """What proposes architectures, one at a time."""

    def ask(self) -> Architecture | None:
        """A net to train; None if it wants no more."""
        ...

    def tell(self, curve: Curve) -> int:
        """Take up the training of the net asked for; returns how many of its epochs it wanted.

        A searcher that stops a training early must not look at later epochs. The cost of a net is
        that of the epochs wanted beyond those that it has been trained before.
        """
        ...


@dataclass(frozen=True)
class Limit:
    """When a race ends for a searcher: after so many models, or so many epochs."""

    models: int | None = None
    epochs: int | None = None

    def reached(self, models: int, epochs: int) -> bool:
        """Whether either is spent."""
        return (self.models is not None and models >= self.models) or (
            self.epochs is not None and epochs >= self.epochs
        )


@dataclass(frozen=True)
class Improvement:
    """A new best net, and what had been spent once it was trained.

    Attributes:
        reward: its highest validation accuracy, noise and all, as the searcher saw it.
        expected: the surrogate's prediction of it, without noise.
        net: its architecture.
    """

    models: int
    epochs: int
    flop: float
    reward: float
    expected: float
    net: str


@dataclass(frozen=True)
class Checkpoint:
    """What had been spent after some models, and the mean reward of the last `EVERY` of them."""

    models: int
    epochs: int
    flop: float
    mean_reward: float


@dataclass
class Race:
    """What became of one searcher with one seed.

    Only nets that learned, within the surrogate's range, count as its best; what a net outside is
    worth, nobody knows. `outside_reward` is the highest reward of those.

    Attributes:
        models, epochs, flop, proposals: spent in all; proposals include nets trained before.
        outside: models outside the surrogate's range; None of a race that was cut.
        improvements: each new best net.
        checkpoints: after every `EVERY` models.
    """

    models: int = 0
    epochs: int = 0
    flop: float = 0.0
    proposals: int = 0
    outside: int | None = 0
    outside_reward: float = 0.0
    improvements: list[Improvement] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)


@dataclass
class _Training:
    """A net's curve, and the epochs of it that are paid for."""

    curve: Curve
    flop_per_epoch: float
    paid: int = 0


class Runner:
    """One searcher under way.

    Args:
        searcher: a new one.
        seed: of the noise of all curves: with one seed all searchers see the same curve of a net.
    """

    def __init__(
        self,
        searcher: Searcher,
        surrogate: Surrogate,
        experiment: Experiment,
        seed: int,
        limit: Limit,
    ) -> None:
        self._searcher, self._surrogate, self._experiment = searcher, surrogate, experiment
        self._seed, self._limit = seed, limit
        self._trainings: dict[str, _Training] = {}
        self._rewards: list[float] = []  # since the last checkpoint
        self.race = Race()

    def next_net(self) -> Architecture | None:
        """The next proposal that was not trained before; None at the end.

        Proposals trained before are answered on the way.
        """
        for _ in range(MOST_REPEATS):
            if self._limit.reached(self.race.models, self.race.epochs):
                return None
            net = self._searcher.ask()
            if net is None:
                return None
            training = self._trainings.get(str(net))
            if training is None:
                return net
            self._answer(net, training)
        return None

    def train(self, net: Architecture) -> None:
        """Answer the last proposal, a new net."""
        curve = self._surrogate.curve(net, self._surrogate.generator(net, self._seed))
        style = self._experiment.exploration
        macs = total_cost(net, self._experiment.data.image, style.padding, style.gap).macs
        training = _Training(curve, training_flop(macs) * self._experiment.train_images)
        self._trainings[str(net)] = training
        self.race.models += 1
        self.race.outside = (self.race.outside or 0) + (not curve.in_range)
        self._answer(net, training)

    def _answer(self, net: Architecture, training: _Training) -> None:
        race, curve = self.race, training.curve
        race.proposals += 1
        wanted = self._searcher.tell(curve)
        spent = curve.epochs if not curve.learned else curve.restarts + wanted
        new = max(0, spent - training.paid)
        first = training.paid == 0
        training.paid += new
        race.epochs += new
        race.flop += new * training.flop_per_epoch
        reward = max(curve.accuracies[:wanted])
        if curve.learned and not curve.in_range:
            race.outside_reward = max(race.outside_reward, reward)
        elif curve.learned and (not race.improvements or reward > race.improvements[-1].reward):
            expected = float(self._surrogate.predict(net).smooth.max())
            race.improvements.append(
                Improvement(race.models, race.epochs, race.flop, reward, expected, str(net))
            )
        if first:
            self._count(reward)

    def _count(self, reward: float) -> None:
        self._rewards.append(reward)
        if len(self._rewards) == EVERY:
            race = self.race
            mean = round(sum(self._rewards) / EVERY, 6)
            race.checkpoints.append(Checkpoint(race.models, race.epochs, race.flop, mean))
            self._rewards.clear()


def run_all(runners: Sequence[Runner], surrogate: Surrogate) -> None:
    """Run some searchers to their ends, side by side: their nets are predicted together."""
    running = list(runners)
    while running:
        proposed = [(runner, runner.next_net()) for runner in running]
        nets = [(runner, net) for runner, net in proposed if net is not None]
        surrogate.predict_all([net for _, net in nets])
        for runner, net in nets:
            runner.train(net)
        running = [runner for runner, _ in nets]


def device_seconds(flop: float) -> float:
    """Training time on a GPU of the speed that estimates assume (10 TFLOP/s)."""
    return flop / ASSUMED_FLOP_PER_SECOND["GPU"]
