"""Claims on how the agent learns, by searches on the surrogate: predicted, none of it trained.

Seeds are searches of their own. Intervals are 95 % bootstrap intervals of a mean over them, by
resampling with a fixed seed; fewer than three decide nothing.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, Number, UnfitInputError, Verdict, decided
from reproduce.results.intervals import FEWEST_FOR_BOOTSTRAP, bootstrap_interval

Interval = tuple[float, float]

_ENOUGH = 10
"""Seeds outside whose range one more search is in fewer than one in five cases: 2 in n + 1."""


def _not_run(study: dict[str, Any]) -> Finding:
    return Finding(
        Verdict.NOT_RUN,
        f"no search was run on the surrogate; to run them and read what came out: "
        f"{study['command']}.",
    )


def _too_few(number: int) -> Finding:
    return Finding(
        Verdict.UNDERPOWERED,
        f"n = {number}, predicted by the surrogate; it takes {FEWEST_FOR_BOOTSTRAP} seeds.",
        {"seeds": number},
    )


def _unfit(rows: list[dict[str, Any]]) -> Finding | None:
    """What is said of too few seeds; None of enough.

    Raises:
        UnfitInputError: if a seed has fewer than two ε, or others than the first.
    """
    if len(rows) < FEWEST_FOR_BOOTSTRAP:
        return _too_few(len(rows))
    first = _epsilons(rows[0])
    if len(first) < 2 or any(_epsilons(row) != first for row in rows):
        raise UnfitInputError("not every seed has the same two ε or more")
    return None


def _epsilons(row: dict[str, Any]) -> list[float]:
    return [stage["epsilon"] for stage in row["stages"]]


def _interval(values: list[float]) -> Interval:
    return bootstrap_interval(values, np.random.default_rng(0))


def _said(rows: list[Any]) -> str:
    return f"n = {len(rows)} seeds, predicted by the surrogate and not trained"


def _column(rows: list[dict[str, Any]], place: int, field: str = "mean") -> list[float]:
    return [float(row["stages"][place][field]) for row in rows]


@check
def surrogate_rises(*, learning: dict[str, Any]) -> Finding:
    """The mean accuracy rises with every step of falling ε, as the mean over seeds.

    Holds where the interval of each step is above zero, contradicted where one is below.
    """
    rows = learning["runs"]
    if not rows:
        return _not_run(learning)
    if few := _unfit(rows):
        return few
    epsilons = _epsilons(rows[0])
    steps = {
        epsilons[i + 1]: _interval(
            [b - a for a, b in zip(_column(rows, i), _column(rows, i + 1), strict=True)]
        )
        for i in range(len(epsilons) - 1)
    }
    falls = [e for e, (_, high) in steps.items() if high < 0]
    leave_open = [e for e, (low, high) in steps.items() if low <= 0 <= high]
    means = [float(np.mean(_column(rows, i))) for i in range(len(epsilons))]
    every = sum(all(b["mean"] > a["mean"] for a, b in pairwise(row["stages"])) for row in rows)
    at = ", ".join(f"{epsilon:g}" for epsilon in falls or leave_open)
    how = f"; it falls at ε {at}" if falls else f"; left open at ε {at}" if at else ""
    said = (
        f"{_said(rows)}: {means[0]:.1%} at ε {epsilons[0]:g} to {means[-1]:.1%} at ε "
        f"{epsilons[-1]:g}{how or ', at every step'}; {every} of {len(rows)} seeds rise at every "
        "step."
    )
    numbers: dict[str, Number] = {
        "first": means[0],
        "last": means[-1],
        "falls": len(falls),
        "left open": len(leave_open),
        "seeds that rise at every step": every,
    }
    if leave_open and not falls:
        return Finding(Verdict.UNDERPOWERED, said, numbers)
    return decided(not falls, said, numbers)


@check
def surrogate_reaches(
    *, learning: dict[str, Any], stated: dict[str, Any], tolerance: float
) -> Finding:
    """The mean accuracies at the first and last ε, in percent, could be those of one more seed.

    They hold within the range of the seeds; outside it by at most the tolerance, within that. Of n
    seeds' range one more is outside in 2 of n + 1 cases: below ten seeds nothing is contradicted.
    """
    rows = learning["runs"]
    if not rows:
        return _not_run(learning)
    if few := _unfit(rows):
        return few
    off, parts, numbers = 0.0, [], dict[str, Number]()
    for name, place in (("first", 0), ("last", -1)):
        values = [100 * x for x in _column(rows, place)]
        low, high = min(values), max(values)
        off = max(off, low - stated[name], stated[name] - high)
        parts.append(f"{np.mean(values):.1f} % ({low:.1f} to {high:.1f})")
        numbers |= {name: float(np.mean(values)), f"{name}, low": low, f"{name}, high": high}
    said = (
        f"published {stated['first']:g} % → {stated['last']:g} %; {_said(rows)}: "
        f"{' → '.join(parts)}, in brackets the lowest and the highest seed."
    )
    if off <= 0:
        return Finding(Verdict.HOLDS, said, numbers)
    if off <= tolerance:
        return Finding(Verdict.WITHIN, said, numbers)
    enough = len(rows) >= _ENOUGH
    return Finding(Verdict.CONTRADICTED if enough else Verdict.UNDERPOWERED, said, numbers)


@check
def surrogate_is_flat(*, learning: dict[str, Any], stated: dict[str, Any]) -> Finding:
    """The rolling mean does not move during ε = 1: both halves have nearly the same mean.

    Nearly: within a share of the whole rise, with the whole interval of the change.
    """
    rows = learning["runs"]
    if not rows:
        return _not_run(learning)
    if few := _unfit(rows):
        return few
    changes = []
    for row in rows:
        half = row["stages"][0]["samples"] / 2
        early = [mean for place, mean in row["rolling"] if place < half]
        late = [mean for place, mean in row["rolling"] if place >= half]
        if not early or not late:
            raise UnfitInputError("a rolling mean has no points in a half of ε = 1")
        changes.append(float(np.mean(late) - np.mean(early)))
    low, high = _interval(changes)
    rise = float(np.mean(_column(rows, -1)) - np.mean(_column(rows, 0)))
    most = stated["share"] * abs(rise)
    said = (
        f"{_said(rows)}: second half of ε = 1 against the first: {np.mean(changes):+.4f} "
        f"({low:+.4f} to {high:+.4f}); the whole rise is {rise:.4f}."
    )
    numbers = {"change": float(np.mean(changes)), "low": low, "high": high, "whole rise": rise}
    if -most <= low and high <= most:
        return Finding(Verdict.HOLDS, said, numbers)
    apart = high < -most or low > most
    return Finding(Verdict.CONTRADICTED if apart else Verdict.UNDERPOWERED, said, numbers)


@check
def surrogate_picks_better_nets(*, learning: dict[str, Any], chance: float) -> Finding:
    """The mean accuracy rises because the agent picks better nets.

    Each seed's rise is taken apart into fewer nets that stay at chance level and better ones among
    the others, by the mean of both orders. Ambiguous where fewer failures make most of it.
    """
    rows = learning["runs"]
    if not rows:
        return _not_run(learning)
    if few := _unfit(rows):
        return few
    rises, parts, better = [], [], []
    for row in rows:
        first, last = row["stages"][0], row["stages"][-1]
        if max(first["failed"], last["failed"]) >= 1:
            raise UnfitInputError(f"seed {row['seed']}: at one ε no net learns")
        good = [(s["mean"] - s["failed"] * chance) / (1 - s["failed"]) for s in (first, last)]
        rises.append(last["mean"] - first["mean"])
        parts.append((first["failed"] - last["failed"]) * (sum(good) / 2 - chance))
        better.append(good[1] - good[0])
    rise, rise_interval = float(np.mean(rises)), _interval(rises)
    numbers: dict[str, Number] = {"rise": rise, "better": float(np.mean(better))}
    if rise_interval[1] <= 0:
        said = f"{_said(rows)}: it falls by {-rise:.4f}."
        return Finding(Verdict.CONTRADICTED, said, numbers)
    # Failures make most of the rise where they make more than half of it.
    low, high = _interval([part - r / 2 for part, r in zip(parts, rises, strict=True)])
    share = float(np.mean(parts)) / rise if rise else 0.0
    failed = [float(np.mean(_column(rows, place, "failed"))) for place in (0, -1)]
    said = (
        f"{_said(rows)}: {100 * rise:.1f} points; {share:.0%} of them come from fewer nets at "
        f"chance level ({failed[0]:.1%} → {failed[1]:.1%}); nets that learn are better by "
        f"{100 * np.mean(better):.1f} points."
    )
    numbers["share of fewer failures"] = share
    if rise_interval[0] <= 0 or low <= 0 <= high:
        return Finding(Verdict.UNDERPOWERED, said, numbers)
    return Finding(Verdict.HOLDS if high < 0 else Verdict.AMBIGUOUS, said, numbers)


def chi_squared(quantile: float, degrees: int) -> float:
    """A quantile of the χ² distribution by Wilson and Hilferty's cube, to 2 % from 9 degrees on.

    Of fewer the low ones come out too small, and intervals too wide.
    """
    z, part = NormalDist().inv_cdf(quantile), 2 / (9 * degrees)
    return float(degrees * (1 - part + z * math.sqrt(part)) ** 3)


@check
def surrogate_is_stable(*, learning: dict[str, Any], stated: dict[str, Any]) -> Finding:
    """The deviation of the best accuracy over seeds is below a bound.

    Underpowered where its 95 % interval, of normal values, is not on one side of it.
    """
    rows = learning["runs"]
    if not rows:
        return _not_run(learning)
    if few := _unfit(rows):
        return few
    best = [float(row["best"]) for row in rows]
    deviation, degrees = float(np.std(best, ddof=1)), len(best) - 1
    low, high = (deviation * math.sqrt(degrees / chi_squared(q, degrees)) for q in (0.975, 0.025))
    said = (
        f"{_said(rows)}: best accuracies {np.mean(best):.2%}, deviation {deviation:.2%}, 95 % "
        f"interval {low:.2%} to {high:.2%}; bound {stated['deviation']:.2%}. Predictions of nets "
        "spread less than their trainings."
    )
    numbers = {"mean": float(np.mean(best)), "deviation": deviation, "low": low, "high": high}
    if low <= stated["deviation"] <= high:
        return Finding(Verdict.UNDERPOWERED, said, numbers)
    return decided(high < stated["deviation"], said, numbers)


@check
def surrogate_beats_random(*, race: dict[str, Any]) -> Finding:
    """The agent's best net is better than that of random search, paired by seed at equal budgets.

    Nets are compared as predicted, without noise; by the interval of the mean difference.
    """
    pairs = race["pairs"]
    if not pairs:
        return _not_run(race)
    if len(pairs) < FEWEST_FOR_BOOTSTRAP:
        return _too_few(len(pairs))
    differences = [100 * (one["ours"] - one["theirs"]) for one in pairs]
    low, high = _interval(differences)
    mean, wins = float(np.mean(differences)), sum(x > 0 for x in differences)
    said = (
        f"{_said(pairs)}: after {race['models']:g} models the agent's best net is better by "
        f"{mean:+.2f} points ({low:+.2f} to {high:+.2f}) than that of random search, in {wins} of "
        f"{len(pairs)} seeds."
    )
    numbers = {"difference": mean, "low": low, "high": high, "wins": wins}
    if low <= 0 <= high:
        return Finding(Verdict.UNDERPOWERED, said, numbers)
    return decided(low > 0, said, numbers)
