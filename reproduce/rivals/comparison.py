"""Searchers compared at equal budgets, paired by seed: final regret, significance, ranks.

With one seed all searchers meet the same noise. What a searcher has found is judged by the
surrogate's own prediction of its best net, without noise, so that luck with one curve's jitter
counts for nothing; which net is its best is decided as it must, by the accuracy that it saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, rankdata, wilcoxon

from reproduce.results.intervals import bootstrap_interval
from reproduce.rivals.race import Checkpoint, Improvement, Race

Floats = NDArray[np.float64]
Unit = Literal["models", "epochs", "flop"]
UNITS: tuple[Unit, ...] = ("models", "epochs", "flop")

Races = Mapping[str, Mapping[int, Race]]
"""Races on one ground with one budget, by searcher and seed."""


def spent(item: Race | Improvement | Checkpoint, unit: Unit) -> float:
    """What a race had spent, in a unit."""
    return float(getattr(item, unit))


def best_at(race: Race, unit: Unit, budget: float) -> Improvement | None:
    """The best net once a budget is spent; None if there is none yet."""
    found = [one for one in race.improvements if spent(one, unit) <= budget]
    return found[-1] if found else None


def common_budget(races: Sequence[Race], unit: Unit) -> float:
    """What all of some races have spent: the least of their totals."""
    return min(spent(race, unit) for race in races)


@dataclass(frozen=True)
class Standing:
    """One searcher at a budget, over seeds.

    Attributes:
        regret: best prediction of any searcher's net on this ground less that of its own best,
            mean over seeds; `low` and `high` a 95 % bootstrap interval of it.
        reward: mean highest validation accuracy, as seen.
        rank: mean rank over seeds, 1 for the best.
    """

    searcher: str
    seeds: int
    regret: float
    low: float
    high: float
    reward: float
    rank: float


@dataclass(frozen=True)
class Paired:
    """One searcher against another, paired by seed.

    Attributes:
        difference: mean of what `first` found less what `second` found, as predicted accuracy;
            `low` and `high` a 95 % bootstrap interval.
        standardized: the mean of the differences over their standard deviation (Cohen's d_z).
        wins: seeds in which `first` found more; `losses` less.
        p: of Wilcoxon's signed-rank test, two-sided.
        corrected: the same by Holm, over the comparisons that it was made with.
    """

    first: str
    second: str
    seeds: int
    difference: float
    low: float
    high: float
    standardized: float
    wins: int
    losses: int
    p: float
    corrected: float

    @property
    def verdict(self) -> Literal["better", "worse", "not told apart"]:
        """What may be said of `first`, by the corrected p of 0.05."""
        if self.corrected >= 0.05:
            return "not told apart"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """All searchers of a ground at one budget.

    Attributes:
        unit: what is equal among them, seed by seed.
        best: the highest prediction of any net that any of them found, at any budget.
        standings: by rising regret.
        pairs: the first searcher named against each other.
        friedman: p of Friedman's test that all searchers rank alike; None of fewer than three.
    """

    unit: Unit
    best: float
    standings: tuple[Standing, ...]
    pairs: tuple[Paired, ...]
    friedman: float | None


def compare(
    races: Races, unit: Unit, against: str, best: float, rng: np.random.Generator
) -> Comparison:
    """Compare searchers at the budget that each seed's all have spent.

    Args:
        races: the searchers' races; all of the same seeds.
        unit: of the budget.
        against: the searcher that all others are compared with.
        best: see `Comparison`.
        rng: of the intervals.

    Raises:
        ValueError: if the seeds differ, or a race found nothing.
    """
    seeds = sorted(races[against])
    if any(sorted(found) != seeds for found in races.values()):
        raise ValueError("the searchers' seeds differ")
    expected = {name: np.empty(len(seeds)) for name in races}
    rewards = {name: np.empty(len(seeds)) for name in races}
    for place, seed in enumerate(seeds):
        budget = common_budget([found[seed] for found in races.values()], unit)
        for name, found in races.items():
            one = best_at(found[seed], unit, budget)
            if one is None:
                raise ValueError(f"{name} with seed {seed} found no net within {budget:g} {unit}")
            expected[name][place], rewards[name][place] = one.expected, one.reward
    ranks = dict(
        zip(races, rankdata([-expected[name] for name in races], axis=0).mean(axis=1), strict=True)
    )
    standings = []
    for name, values in expected.items():
        low, high = bootstrap_interval(list(best - values), rng)
        standings.append(
            Standing(
                name,
                len(seeds),
                float((best - values).mean()),
                low,
                high,
                float(rewards[name].mean()),
                float(ranks[name]),
            )
        )
    friedman = None
    if len(races) >= 3:
        friedman = float(friedmanchisquare(*expected.values()).pvalue)
    others = [name for name in races if name != against]
    return Comparison(
        unit,
        best,
        tuple(sorted(standings, key=lambda one: one.regret)),
        tuple(paired(against, others, expected, rng)),
        friedman,
    )


def paired(
    first: str, others: Sequence[str], found: Mapping[str, Floats], rng: np.random.Generator
) -> list[Paired]:
    """One searcher against each of some others, by what each found with each seed."""
    differences = {other: found[first] - found[other] for other in others}
    p = {other: _wilcoxon(values) for other, values in differences.items()}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    pairs = []
    for other, values in differences.items():
        low, high = bootstrap_interval(list(values), rng)
        deviation = float(values.std(ddof=1))
        pairs.append(
            Paired(
                first,
                other,
                len(values),
                float(values.mean()),
                low,
                high,
                float(values.mean()) / deviation if deviation else 0.0,
                int((values > 0).sum()),
                int((values < 0).sum()),
                p[other],
                corrected[other],
            )
        )
    return pairs


def _wilcoxon(differences: Floats) -> float:
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction: p-values at which each of several hypotheses is rejected."""
    order = np.argsort(p, kind="stable")
    corrected = [0.0] * len(p)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        corrected[int(index)] = largest
    return corrected


def best_so_far(races: Sequence[Race], unit: Unit, budgets: Sequence[float]) -> Floats:
    """The best net's reward after each budget (races × budgets); NaN where there is none."""
    table = np.full((len(races), len(budgets)), np.nan)
    for row, race in enumerate(races):
        for column, budget in enumerate(budgets):
            one = best_at(race, unit, budget)
            if one is not None:
                table[row, column] = one.reward
    return table


def cut(race: Race, unit: Unit, budget: float) -> Race:
    """The race as it stood at its last checkpoint within a budget; whole if it ended within it.

    Raises:
        ValueError: if it had spent more at its first checkpoint.
    """
    if spent(race, unit) <= budget:
        return race
    within = [one for one in race.checkpoints if spent(one, unit) <= budget]
    if not within:
        raise ValueError(f"no checkpoint of the race is within {budget:g} {unit}")
    last = within[-1]
    return replace(
        race,
        models=last.models,
        epochs=last.epochs,
        flop=last.flop,
        improvements=[one for one in race.improvements if one.models <= last.models],
        checkpoints=within,
    )
