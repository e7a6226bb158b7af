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

from reproduce.results.intervals import FEWEST_FOR_BOOTSTRAP, bootstrap_interval
from reproduce.rivals.race import Checkpoint, Improvement, Race

Floats = NDArray[np.float64]
Unit = Literal["models", "epochs", "flop"]
UNITS: tuple[Unit, ...] = ("models", "epochs", "flop")
Verdict = Literal["better", "worse", "not told apart", "too few seeds"]

FEWEST_SEEDS = 6
"""Of fewer pairs Wilcoxon's two-sided p is never below 0.05."""

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
        seeds: of all searchers.
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
    def verdict(self) -> Verdict:
        """What may be said of `first`, by the corrected p of 0.05."""
        if self.seeds < FEWEST_SEEDS:
            return "too few seeds"
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
    """Compare searchers at equal budgets: where those compared have spent the same, by seed.

    Standings are of the seeds that all searchers have, where the least of them all has ended;
    pairs are of the seeds that both have, where the first of the two has ended.

    Args:
        races: the searchers' races.
        unit: of the budget.
        against: the searcher that all others are compared with.
        best: see `Comparison`.
        rng: of the intervals.

    Raises:
        ValueError: if there are not three seeds in common, or a race found nothing in its budget.
    """
    found = _found(races, unit)
    first = found[against]
    expected = {name: np.array([one.expected for one in own]) for name, own in found.items()}
    columns = [-expected[name] for name in races]
    ranks = dict(zip(races, rankdata(columns, axis=0).mean(axis=1), strict=True))
    standings = []
    for name, values in expected.items():
        low, high = bootstrap_interval(list(best - values), rng)
        reward = float(np.mean([one.reward for one in found[name]]))
        regret = float((best - values).mean())
        standings.append(Standing(name, len(first), regret, low, high, reward, float(ranks[name])))
    differences = {}
    for other in races:
        if other != against:
            both = _found({name: races[name] for name in (against, other)}, unit)
            pairs = zip(both[against], both[other], strict=True)
            differences[other] = np.array([a.expected - b.expected for a, b in pairs])
    return Comparison(
        unit,
        best,
        tuple(sorted(standings, key=lambda one: one.regret)),
        tuple(paired(against, differences, rng)),
        float(friedmanchisquare(*expected.values()).pvalue) if len(races) >= 3 else None,
    )


def _found(races: Races, unit: Unit) -> dict[str, list[Improvement]]:
    """Each searcher's best net, by the seeds that all have, where the first of them has ended."""
    seeds = sorted(set.intersection(*(set(own) for own in races.values())))
    if len(seeds) < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(f"{', '.join(races)}: {len(seeds)} seeds in common are too few")
    found: dict[str, list[Improvement]] = {name: [] for name in races}
    for seed in seeds:
        budget = common_budget([own[seed] for own in races.values()], unit)
        for name, own in races.items():
            one = best_at(own[seed], unit, budget)
            if one is None:
                raise ValueError(f"{name} with seed {seed} found no net within {budget:g} {unit}")
            found[name].append(one)
    return found


def paired(first: str, differences: Mapping[str, Floats], rng: np.random.Generator) -> list[Paired]:
    """One searcher against some others, by the differences of what both found with each seed."""
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
        outside=None,
        improvements=[one for one in race.improvements if one.models <= last.models],
        checkpoints=within,
    )
