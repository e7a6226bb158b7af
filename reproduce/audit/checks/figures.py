"""The paper's figures against its text and against themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import (
    Finding,
    UnfitInputError,
    Verdict,
    compared,
    decided,
    some,
)


def _bar(bars: list[dict[str, Any]], epsilon: float) -> dict[str, Any]:
    for bar in bars:
        if bar["epsilon"] == epsilon:
            return bar
    raise UnfitInputError(f"no bar of ε {epsilon:g}")


@check
def bar_is(*, bars: list[dict[str, Any]], stated: dict[str, Any], tolerance: float = 0) -> Finding:
    """A bar is as high as the text says, in percent; the plot is read to 0.01."""
    height = 100 * _bar(bars, stated["epsilon"])["mean"]
    near = min(bars, key=lambda bar: abs(100 * bar["mean"] - stated["percent"]))
    said = f"stated {stated['percent']:g} % at ε {stated['epsilon']:g}, the bar has {height:.2f} %"
    if near["epsilon"] != stated["epsilon"]:
        said += f"; nearest is the bar of ε {near['epsilon']:g}, {100 * near['mean']:.2f} %"
    numbers = {"stated": stated["percent"], "bar": height}
    return compared(height - stated["percent"], 0.006, tolerance, f"{said}.", numbers)


@check
def bars_rise(*, bars: list[dict[str, Any]]) -> Finding:
    """The mean accuracy rises with every step of falling ε."""
    ordered = sorted(bars, key=lambda bar: -bar["epsilon"])
    if len(ordered) < 2:
        raise UnfitInputError("there are no two bars")
    falls = [b["epsilon"] for a, b in pairwise(ordered) if b["mean"] <= a["mean"]]
    ends = ordered[0]["mean"], ordered[-1]["mean"]
    at = ", ".join(f"{epsilon:g}" for epsilon in falls)
    return decided(
        not falls,
        f"{ends[0]:.4f} at ε {ordered[0]['epsilon']:g} to {ends[1]:.4f} at ε "
        f"{ordered[-1]['epsilon']:g}{f'; it falls at ε {at}' if falls else ', at every step'}.",
        {"first": ends[0], "last": ends[1], "falls": len(falls)},
    )


@check
def rolling_window_is(*, line: list[list[float]], stated: dict[str, Any]) -> Finding:
    """The rolling mean is over the stated number of models.

    A mean over w starts at the w-th sample; and no step of it exceeds the range of accuracies
    over w.
    """
    if len(line) < 2:
        raise UnfitInputError("there is no line")
    window = int(line[0][0]) + 1
    steps = [abs(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(line) if b[0] > a[0]]
    steepest = max(steps)
    most = int(0.9 / steepest + 1e-6)  # accuracies lie between chance and 1
    said = (
        f"stated {stated['count']:g}; the line starts at sample {window}, and its steepest step of "
        f"{steepest:.4f} allows a window of at most {most}."
    )
    numbers = {"first sample": window, "steepest step": steepest, "at most": most}
    return decided(window == stated["count"] and most >= stated["count"], said, numbers)


@check
def flat_at_random(
    *, line: list[list[float]], bars: list[dict[str, Any]], stated: dict[str, Any]
) -> Finding:
    """The rolling mean does not move during ε = 1: both halves have nearly the same mean."""
    end = _bar(bars, 1.0)["samples"]
    points = [(x, y) for x, y in line if x < end]
    early = [y for x, y in points if x < end / 2]
    late = [y for x, y in points if x >= end / 2]
    some(early, "points")
    some(late, "points")
    change = float(np.mean(late) - np.mean(early))
    rise = max(bar["mean"] for bar in bars) - _bar(bars, 1.0)["mean"]
    return decided(
        abs(change) <= stated["share"] * rise,
        f"second half of ε = 1 against the first: {change:+.4f}; the whole rise is {rise:.4f}.",
        {"change": change, "whole rise": rise},
    )


@check
def heights_are_percent(*, distribution: list[dict[str, Any]], tolerance: float) -> Finding:
    """The heights of each ε's bars are percentages of the models: they add up to 100."""
    sums: dict[float, list[float]] = {}
    for bar in distribution:
        width = bar["high"] - bar["low"]
        total = sums.setdefault(bar["epsilon"], [0.0, 0.0])
        total[0] += bar["height"]
        total[1] += bar["height"] * width
    some(sums, "bars")
    percent = [total[0] for total in sums.values()]
    area = [total[1] for total in sums.values()]
    said = (
        f"the heights add up to {min(percent):.0f} to {max(percent):.0f}, the areas to "
        f"{min(area):.3f} to {max(area):.3f}"
    )
    numbers = {f"sum at ε {e:g}": total[0] for e, total in sums.items()}
    if max(abs(total - 100) for total in percent) <= tolerance:
        return Finding(Verdict.HOLDS, f"{said}.", numbers)
    density = max(abs(total - 1) for total in area) <= 0.02
    end = ": they are probability densities" if density else ""
    return Finding(Verdict.CONTRADICTED, f"{said}{end}.", numbers)


def chance_share(distribution: list[dict[str, Any]], epsilon: float, chance: float) -> float:
    """The share of an ε's models in the bar that begins at chance level, by area.

    Raises:
        UnfitInputError: if the ε has no bars.
    """
    bars = [bar for bar in distribution if bar["epsilon"] == epsilon]
    some(bars, f"bars of ε {epsilon:g}")
    area = sum(bar["height"] * (bar["high"] - bar["low"]) for bar in bars)
    low = [bar for bar in bars if abs(bar["low"] - chance) < 1e-3]
    return float(sum(bar["height"] * (bar["high"] - bar["low"]) for bar in low) / area)


@check
def rise_is_of_better_nets(
    *, bars: list[dict[str, Any]], distribution: list[dict[str, Any]], chance: float
) -> Finding:
    """The mean accuracy rises because the agent picks better nets.

    The rise is taken apart into fewer nets that stay at chance level and better ones among the
    others, by the mean of both orders. Ambiguous where fewer failures make most of it.
    """
    first, last = _bar(bars, 1.0)["mean"], _bar(bars, 0.1)["mean"]
    shares = [chance_share(distribution, e, chance) for e in (1.0, 0.1)]
    learned = [
        (mean - share * chance) / (1 - share)
        for mean, share in zip((first, last), shares, strict=True)
    ]
    rise = last - first
    if rise <= 0:
        return Finding(Verdict.CONTRADICTED, f"it falls by {-rise:.4f}.", {"rise": rise})
    fewer = (shares[0] - shares[1]) * (sum(learned) / 2 - chance)
    part = fewer / rise
    said = (
        f"{100 * rise:.1f} points: {part:.0%} of it come from fewer nets at chance level "
        f"({shares[0]:.1%} → {shares[1]:.1%}); among nets that learn the mean goes from "
        f"{learned[0]:.2%} to {learned[1]:.2%}."
    )
    numbers = {
        "rise": rise,
        "share of fewer failures": part,
        "learned, first": learned[0],
        "learned, last": learned[1],
    }
    return Finding(Verdict.HOLDS if part < 0.5 else Verdict.AMBIGUOUS, said, numbers)


@check
def more_peaked_at_low_epsilon(
    *, distribution: list[dict[str, Any]], stated: dict[str, Any]
) -> Finding:
    """A larger share of models than at ε = 1 is in the top range of accuracies at ε = 0.1."""
    top = max(bar["high"] for bar in distribution) - stated["range"]
    shares = []
    for epsilon in (1.0, 0.1):
        bars = [bar for bar in distribution if bar["epsilon"] == epsilon]
        some(bars, "bars")
        area = sum(bar["height"] * (bar["high"] - bar["low"]) for bar in bars)
        inside = [bar for bar in bars if bar["low"] >= top]
        shares.append(sum(bar["height"] * (bar["high"] - bar["low"]) for bar in inside) / area)
    return decided(
        shares[1] > shares[0],
        f"above {top:.3f}: {shares[0]:.1%} of models at ε = 1, {shares[1]:.1%} at ε = 0.1.",
        {"at ε = 1": shares[0], "at ε = 0.1": shares[1]},
    )


def _line(curves: list[dict[str, Any]], series: str) -> list[tuple[float, float]]:
    found = sorted((row["depth"], row["q"]) for row in curves if row["series"] == series)
    if len(found) < 3:
        raise UnfitInputError(f"no curve of {series}")
    return found


@check
def q_trends(*, curves: list[dict[str, Any]], series: str, rises: bool) -> Finding:
    """The average Q-value of a type of layer rises with depth, or falls.

    Ambiguous where the fitted line does, and its last value against the first does not, or the
    other way round.
    """
    line = _line(curves, series)
    slope = float(np.polyfit([x for x, _ in line], [y for _, y in line], 1)[0])
    ends = line[0], line[-1]
    word = "rises" if slope > 0 else "falls"
    readings = {(slope > 0) == rises, (ends[1][1] > ends[0][1]) == rises}
    said = (
        f"{series}: {ends[0][1]:.3f} at depth {ends[0][0]:g} to {ends[1][1]:.3f} at depth "
        f"{ends[1][0]:g}; fitted, it {word} by {abs(slope):.4f} a layer."
    )
    numbers = {"slope": slope, "first": ends[0][1], "last": ends[1][1]}
    if len(readings) > 1:
        return Finding(Verdict.AMBIGUOUS, said, numbers)
    return decided(True in readings, said, numbers)


@check
def large_fields_win_deeper(
    *, curves: list[dict[str, Any]], best: str, from_depth: float, tolerance: float
) -> Finding:
    """From a depth on, one receptive field has the highest average Q-value at every depth.

    Within tolerance where it does not at no more than this share of them.
    """
    depths = sorted({row["depth"] for row in curves if row["depth"] >= from_depth})
    some(depths, "depths")
    winners = {
        depth: max((row for row in curves if row["depth"] == depth), key=lambda row: row["q"])
        for depth in depths
    }
    wins = [depth for depth, row in winners.items() if row["series"] == best]
    lost = ", ".join(f"{depth:g}" for depth in depths if depth not in wins)
    evidence = (
        f"{best} is highest at {len(wins)} of {len(depths)} depths from {from_depth:g} on"
        f"{f', not at {lost}' if lost else ''}."
    )
    numbers = {"depths": len(depths), "highest": len(wins)}
    return compared(1 - len(wins) / len(depths), 0.0, tolerance, evidence, numbers)


@check
def spread_is_of_runs(
    *, spread: list[dict[str, Any]], runs: list[list[dict[str, Any]]], tolerance: float
) -> Finding:
    """Means and deviations of a figure are those of its single runs, drawn beside them."""
    if len(runs) < 2:
        raise UnfitInputError("there are no two runs")
    worst = 0.0
    for one in spread:
        points = [point for run in runs for point in run if point["epsilon"] == one["epsilon"]]
        values = [point["mean"] for point in points]
        if len(values) != len(runs):
            raise UnfitInputError(f"not every run has ε {one['epsilon']:g}")
        worst = max(
            worst,
            abs(float(np.mean(values)) - one["mean"]),
            abs(float(np.std(values, ddof=1)) - one["deviation"]),
        )
    return compared(
        worst,
        0.00011,
        tolerance,
        f"{len(runs)} runs, {len(spread)} ε: means and sample deviations differ by at most "
        f"{worst:.5f}.",
        {"largest difference": worst, "runs": len(runs)},
    )
