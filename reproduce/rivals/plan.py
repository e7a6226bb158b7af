"""What a study of the rivals runs: grounds, searchers, budgets, seeds, cut into units of work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.rivals.searchers import RIVALS
from reproduce.rivals.surrogate.data import DATA_SETS, DataSet

PRESET = "authors"
"""Whose space the rivals search: that of the runs that the surrogate has learned from."""

Q_LEARNING = "q-learning"
_SCHEDULED = Q_LEARNING, "q-learning-paper"
Kind = Literal["quality", "early stopping", "learning", "race"]


@dataclass(frozen=True)
class Ground:
    """A data set's surrogate; `failure_share` None is its own (see `Surrogate.fit`)."""

    name: str
    data_set: DataSet
    failure_share: float | None = None


GROUNDS = {
    "svhn": Ground("svhn", "svhn"),
    "cifar10": Ground("cifar10", "cifar10"),
    "cifar10-all-learn": Ground("cifar10-all-learn", "cifar10", 0.0),
}


def experiment_of(data_set: str, preset: str) -> Experiment:
    """The paper's own experiment, its schedule uncut."""
    return load_experiment(experiment_path(data_set), "paper", 0, preset)


@dataclass(frozen=True)
class Plan:
    """What a study runs.

    Attributes:
        seeds: seeds of each race, 0 to seeds - 1.
        budgets: models at which searchers are compared, rising.
        searchers: names of `RIVALS`, Q-learning the first.
        all_learn: searchers that run on CIFAR-10 without failures too.
        learning_seeds: seeds of Figure 3's runs; `presets` whose. Without failures those of
            `PRESET` alone run.
        orders: in which early stopping meets the curves; at least three.
        folds: of the surrogate's cross-validation.
        depths: that are left out of its fit in turn; None for all.
        data_sets: whose.
        learning_models: models of each of Figure 3's runs; None for the paper's schedule.
        chunk: seeds of one unit of work.
    """

    name: str
    seeds: int
    budgets: tuple[int, ...]
    searchers: tuple[str, ...]
    all_learn: tuple[str, ...]
    learning_seeds: int
    presets: tuple[str, ...]
    orders: int
    folds: int = 10
    depths: tuple[int, ...] | None = None
    data_sets: tuple[DataSet, ...] = DATA_SETS
    chunk: int = 5
    learning_models: int | None = None

    def grounds(self) -> list[Ground]:
        """All of its data sets, and CIFAR-10 without failures where something runs on it."""
        found = [GROUNDS[name] for name in self.data_sets]
        if self.all_learn and "cifar10" in self.data_sets:
            found.append(GROUNDS["cifar10-all-learn"])
        return found

    def searchers_on(self, ground: Ground) -> tuple[str, ...]:
        """Who runs on a ground."""
        return self.searchers if ground.failure_share is None else self.all_learn

    def models(self, searcher: str) -> list[int]:
        """The budgets that a searcher is run with, each by itself.

        Q-learning's ε schedule depends on its budget. What others do within a smaller budget is
        the beginning of what they do within a larger one, so that the largest is enough.
        """
        most = RIVALS[searcher].most
        within = [budget for budget in self.budgets if most is None or budget <= most]
        return within if searcher in _SCHEDULED else within[-1:]

    def seeds_of(self, searcher: str) -> int:
        """With how many seeds a searcher is run."""
        return min(self.seeds, RIVALS[searcher].seeds or self.seeds)


PLANS = {
    "quick": Plan(
        "quick",
        seeds=5,
        budgets=(60, 500),
        searchers=tuple(RIVALS),
        all_learn=(Q_LEARNING, "random"),
        learning_seeds=3,
        presets=("paper", "released", "authors"),
        orders=20,
    ),
    "full": Plan(
        "full",
        seeds=20,
        budgets=(60, 500, 2700),
        searchers=tuple(RIVALS),
        all_learn=(Q_LEARNING, "random"),
        learning_seeds=20,
        presets=("paper", "released", "authors"),
        orders=50,
        chunk=20,
    ),
}


@dataclass(frozen=True)
class Unit:
    """A piece of work whose result is one file.

    Attributes:
        what: the searcher of a race, the preset of learning; else empty.
        models: of a race.
        seeds: of a race or of learning.
        weight: seconds that it takes, roughly.
    """

    kind: Kind
    ground: str
    what: str = ""
    models: int = 0
    seeds: tuple[int, ...] = ()
    weight: float = 1.0

    @property
    def name(self) -> str:
        """Of its file, and of nothing else's."""
        parts = [self.kind.replace(" ", "-"), self.ground]
        if self.what:
            parts.append(self.what)
        if self.models:
            parts.append(str(self.models))
        if self.seeds:
            parts.append(f"seeds-{self.seeds[0]}-{self.seeds[-1]}")
        return "_".join(parts)


def units(plan: Plan) -> list[Unit]:
    """All of a plan's work, the longest first, so that workers end together."""
    return sorted(_units(plan), key=lambda unit: -unit.weight)


def _units(plan: Plan) -> Iterator[Unit]:
    for data_set in plan.data_sets:
        yield Unit("quality", data_set, weight=12.0 * plan.folds)
        yield Unit("early stopping", data_set, weight=2.0 * plan.orders)
    for ground in plan.grounds():
        for preset in plan.presets if ground.failure_share is None else (PRESET,):
            for seeds in _chunks(plan.learning_seeds, plan.chunk):
                weight = 12.0 * len(seeds)
                yield Unit("learning", ground.name, preset, 0, seeds, weight)
        for searcher in plan.searchers_on(ground):
            for models in plan.models(searcher):
                for seeds in _chunks(plan.seeds_of(searcher), plan.chunk):
                    weight = _seconds(searcher, models) * len(seeds)
                    yield Unit("race", ground.name, searcher, models, seeds, weight)


def _chunks(count: int, size: int) -> list[tuple[int, ...]]:
    return [tuple(range(first, min(first + size, count))) for first in range(0, count, size)]


def _seconds(searcher: str, models: int) -> float:
    """Roughly what a race of one seed takes; the libraries' own time grows with the square."""
    linear, square = _COSTS.get(searcher, (0.005, 0.0))
    return linear * models + square * models**2


_COSTS = {
    "tpe": (0.01, 2.5e-5),
    "tpe-tree": (0.01, 4e-5),
    "hyperband": (0.01, 6e-5),
    "gp": (0.05, 1.5e-2),
    "nsga2": (0.01, 7e-6),
}
