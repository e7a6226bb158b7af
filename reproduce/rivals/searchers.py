"""The rivals: Optuna's samplers and pruner behind the same two questions as the paper's agent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from prototxt_gen.notation import Architecture
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.rivals.encoding import Encoding, FlatEncoding, TreeEncoding
from reproduce.rivals.q_learning import QLearning
from reproduce.rivals.race import Searcher
from reproduce.rivals.surrogate.surrogate import Curve
from reproduce.search.agent import Agent
from reproduce.search.space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)


PATIENCE = 1
"""Proposals in a row of nets that were proposed before, after which one is made at random."""


class OptunaSearcher:
    """A study of Optuna's, kept in memory, that maximizes the reward.

    Args:
        sampler: what proposes.
        encoding: how its answers make a net.
        pruner: what stops trainings early; None trains all to their end.
        rungs: epochs after which it decides.
        name: of the study, by which Hyperband draws each training's bracket.
        otherwise: proposes instead after `PATIENCE` nets in a row that were told before; None for
            samplers that do not stay with one net.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        encoding: Encoding,
        pruner: BasePruner | None = None,
        rungs: Collection[int] = (),
        otherwise: BaseSampler | None = None,
        name: str | None = None,
    ) -> None:
        self._encoding, self._rungs = encoding, rungs
        self._sampler, self._otherwise = sampler, otherwise or sampler
        self._told, self._repeats = set[str](), 0
        self._study = optuna.create_study(
            study_name=name, direction="maximize", sampler=sampler, pruner=pruner or NopPruner()
        )
        self._trial: optuna.Trial | None = None

    def ask(self) -> Architecture:
        """The sampler's next net."""
        patient = self._repeats < PATIENCE
        self._study.sampler = self._sampler if patient else self._otherwise
        trial = self._trial = self._study.ask()

        def choose(name: str, choices: int) -> int:
            return int(trial.suggest_categorical(name, range(choices)))

        net = self._encoding.decode(choose)
        known = str(net) in self._told
        self._repeats = self._repeats + 1 if known else 0
        self._told.add(str(net))
        return net

    def tell(self, curve: Curve) -> int:
        """Take up a training, rung by rung where there is a pruner."""
        if self._trial is None:
            raise RuntimeError("nothing was asked for")
        trial, self._trial = self._trial, None
        epochs = len(curve.accuracies)
        if curve.learned:  # what does not learn ends by itself
            for epoch in self._rungs:
                trial.report(curve.accuracies[epoch - 1], epoch)
                if trial.should_prune():
                    self._study.tell(trial, state=TrialState.PRUNED)
                    return epoch
        self._study.tell(trial, curve.best)
        return epochs


Make = Callable[[Experiment, SearchSpace, int, np.random.Generator], Searcher]
"""Makes a searcher from the experiment, its space, the models allowed, and a generator."""


@dataclass(frozen=True)
class Rival:
    """One way to search.

    Attributes:
        title: what tables call it.
        how: what it is, and its encoding of the tree, in a phrase.
        make: makes a new one.
        most: the most models that it is run for, as its own time grows faster than their number;
            None if it scales.
        seeds: the most seeds, likewise.
        by_epochs: whether it spends epochs, 20 for each model allowed, and not models.
    """

    title: str
    how: str
    make: Make
    most: int | None = None
    seeds: int | None = None
    by_epochs: bool = False


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _q_learning(
    experiment: Experiment, space: SearchSpace, models: int, rng: np.random.Generator
) -> Searcher:
    return QLearning(experiment, models, rng, Agent(space, experiment.q_learning.constants))


def _paper_q_learning(
    experiment: Experiment, space: SearchSpace, models: int, rng: np.random.Generator
) -> Searcher:
    paper = load_experiment(experiment_path(experiment.name), "paper", 0, "paper")
    other = experiment.model_copy(update={"q_learning": paper.q_learning})
    return QLearning(other, models, rng, Agent(space, other.q_learning.constants))


def _sampled(
    sampler: Callable[..., BaseSampler],
    encoding: Callable[[SearchSpace], Encoding],
    *,
    moved_on: bool = True,
) -> Make:
    """What makes a searcher of a sampler, made with `seed=`, and an encoding.

    `moved_on`: whether a random net follows one that the sampler has proposed before.
    """

    def make(
        experiment: Experiment, space: SearchSpace, models: int, rng: np.random.Generator
    ) -> Searcher:
        own = sampler(seed=_seed(rng))
        otherwise = RandomSampler(seed=_seed(rng)) if moved_on else None
        return OptunaSearcher(own, encoding(space), otherwise=otherwise)

    return make


def _hyperband(
    experiment: Experiment, space: SearchSpace, models: int, rng: np.random.Generator
) -> Searcher:
    epochs, factor = experiment.exploration.epochs, 3
    pruner = HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=factor)
    rungs = [factor**k for k in range(epochs) if factor**k < epochs]
    return OptunaSearcher(
        RandomSampler(seed=_seed(rng)),
        TreeEncoding(space),
        pruner,
        rungs,
        name=f"hyperband {_seed(rng)}",
    )


RIVALS: Mapping[str, Rival] = {
    "q-learning": Rival(
        "Q-learning",
        "the agent of the authors' own runs (preset `authors`): 128 replays a model, on SVHN for "
        "ε ≥ 0.8 at the stage's end; Table 2's ε schedule scaled to the budget",
        _q_learning,
    ),
    "random": Rival(
        "random",
        "Optuna's RandomSampler on the tree: the agent at ε = 1",
        _sampled(RandomSampler, TreeEncoding, moved_on=False),
    ),
    "tpe": Rival(
        "TPE",
        "Optuna's TPESampler, multivariate, on the flat encoding",
        _sampled(partial(TPESampler, multivariate=True), FlatEncoding),
        most=500,
        seeds=10,
    ),
    "tpe-tree": Rival(
        "TPE on the tree",
        "Optuna's TPESampler, univariate, on the tree",
        _sampled(TPESampler, TreeEncoding),
        most=500,
        seeds=10,
    ),
    "nsga2": Rival(
        "evolution",
        "Optuna's NSGAIISampler, population 50, on the flat encoding",
        _sampled(NSGAIISampler, FlatEncoding),
    ),
    "gp": Rival(
        "Gaussian process",
        "Optuna's GPSampler on the flat encoding",
        _sampled(GPSampler, FlatEncoding),
        most=60,
        seeds=10,
    ),
    "hyperband": Rival(
        "Hyperband",
        "Optuna's HyperbandPruner, 1 to 20 epochs, η = 3, random nets on the tree",
        _hyperband,
        most=500,
        seeds=10,
        by_epochs=True,
    ),
    "q-learning-paper": Rival(
        "Q-learning, paper's rules",
        "the same with the text's 100 replays after each model (preset `paper`), in the same space",
        _paper_q_learning,
        most=500,
    ),
    "random-flat": Rival(
        "random, flat",
        "Optuna's RandomSampler on the flat encoding: how the samplers on it begin",
        _sampled(RandomSampler, FlatEncoding, moved_on=False),
        most=500,
    ),
}


def rival(name: str) -> Rival:
    """A rival by its name.

    Raises:
        ValueError: naming those that there are.
    """
    if name not in RIVALS:
        raise ValueError(f"there is no searcher {name!r}; there are {', '.join(RIVALS)}")
    return RIVALS[name]


def new_searcher(
    name: str, experiment: Experiment, space: SearchSpace, models: int, seed: int
) -> Searcher:
    """A searcher that knows nothing yet; one seed gives the same proposals to the same answers."""
    rng = np.random.default_rng([seed, list(RIVALS).index(name)])
    return rival(name).make(experiment, space, models, rng)
