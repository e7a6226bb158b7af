"""The paper's figures against the samples that they were drawn from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, Verdict, compared, decided, some

_PLOTTED = 1.1e-4
"""To which a figure's heights are read, on both sides rounded."""
_DENSITY = 6e-4
"""The same of Figure A2, whose heights have three digits."""


@check
def data_mean_is(*, bars: dict[str, Any], stated: dict[str, Any]) -> Finding:
    """The mean accuracy of the samples of an ε, duplicates included, is the text's, in percent."""
    for one in bars["means"]:
        if one["epsilon"] == stated["epsilon"]:
            mean = 100 * one["best"]
            said = (
                f"{one['samples']:,} samples have {mean:.4f} %; the text {stated['percent']:g} %."
            )
            numbers = {"mean, %": mean, "samples": one["samples"]}
            return compared(mean - stated["percent"], 0.00501, 0.0, said, numbers)
    raise UnfitInputError(f"no samples of ε {stated['epsilon']:g}")


@check
def bars_are_of_their_epsilon(*, bars: dict[str, Any]) -> Finding:
    """Each bar of the figure has the mean of the samples of the ε that it is labelled with."""
    some(bars["means"], "bars")
    off = {one["epsilon"]: abs(one["published"] - one["best"]) for one in bars["means"]}
    worst = max(off.values())
    said = f"the bars differ from the means by up to {worst:.6f}"
    if bars["exchanged"] and worst > _PLOTTED:
        first, second = bars["exchanged"]
        said += f"; with those of ε {first:g} and {second:g} exchanged, {bars['if_exchanged']:.6f}"
    return decided(
        worst <= _PLOTTED, f"{said}.", {f"off at ε {e:g}": one for e, one in off.items()}
    )


@check
def means_rise(*, bars: dict[str, Any]) -> Finding:
    """The means of the samples rise with every step of falling ε."""
    means = [(one["epsilon"], one["best"]) for one in bars["means"]]
    if len(means) < 2:
        raise UnfitInputError("there are no two ε")
    falls = [b[0] for a, b in pairwise(means) if b[1] <= a[1]]
    said = ", ".join(f"ε {epsilon:g}: {mean:.6f}" for epsilon, mean in means)
    return decided(not falls, f"{said}.", {f"ε {e:g}": mean for e, mean in means})


@check
def bars_mean(*, bars: dict[str, Any], reading: str) -> Finding:
    """The bars, in any order, are means of a reading of the accuracy.

    `best`: of each sample's best epoch; `last`: of the last; `best_unique`: of each net once.
    """
    some(bars["means"], "bars")
    drawn = sorted(one["published"] for one in bars["means"])
    found = sorted(one[reading] for one in bars["means"])
    worst = max(abs(a - b) for a, b in zip(drawn, found, strict=True))
    return decided(
        worst <= _PLOTTED,
        f"the bars, sorted, differ from the means ({reading.replace('_', ', ')}) by up to "
        f"{worst:.6f}.",
        {"largest difference": worst},
    )


@check
def window_by_autocorrelation(*, window: dict[str, Any], stated: dict[str, Any]) -> Finding:
    """The line's own steps tell the stated window: their autocorrelation is -1/2 at its lag."""
    lag = window["lag"]
    clear = window["autocorrelation"] < min(-0.25, 2 * window["next_autocorrelation"])
    said = (
        f"stated {stated['count']:g}; the steps' autocorrelation is "
        f"{window['autocorrelation']:.2f} at lag {lag}, next {window['next_autocorrelation']:.2f} "
        f"at lag {window['next_lag']}."
    )
    numbers = {"lag": lag, "autocorrelation": window["autocorrelation"]}
    if not clear:
        return Finding(Verdict.UNDERPOWERED, said, numbers)
    return decided(lag == stated["count"], said, numbers)


@check
def distribution_is(*, histograms: list[dict[str, Any]], reading: str) -> Finding:
    """The bars of the distribution are a reading of the samples.

    `percent` of all, `density` of all per unit of accuracy, or density of the `unique` nets.
    """
    some(histograms, "histograms")
    worst = max(one[reading] for one in histograms)
    others = {name: max(one[name] for one in histograms) for name in ("percent", "density")}
    said = ", ".join(f"{name} {off:.4f}" for name, off in {**others, reading: worst}.items())
    return decided(
        worst <= _DENSITY,
        f"largest difference of a bar from the samples: {said}.",
        {f"{name}, largest difference": off for name, off in {**others, reading: worst}.items()},
    )


@check
def rise_parts(*, rise: dict[str, Any]) -> Finding:
    """Better nets make most of the rise, in either order of taking it apart.

    Ambiguous where fewer nets at chance level do, though the others improve too.
    """
    orders = [rise["failures_first"], rise["quality_first"]]
    low, high = rise["failures_first_interval"][0], rise["quality_first_interval"][1]
    better, confident = rise["better"], rise["better_interval"][0] > 0
    shares, learned = (
        [rise[group][part] for group in ("first", "last")] for part in ("chance", "learned")
    )
    said = (
        f"{100 * rise['rise']:.1f} points, of which {min(orders):.0%} to {max(orders):.0%} "
        f"({rise['confidence']:.0%} interval {low:.0%} to {high:.0%}) by fewer nets at chance "
        f"level ({shares[0]:.1%} → {shares[1]:.1%}); nets that learned gain {100 * better:.1f} "
        f"points, from {learned[0]:.2%} to {learned[1]:.2%}."
    )
    numbers = {"share, failures first": orders[0], "share, quality first": orders[1]}
    if max(orders) < 0.5:
        return Finding(Verdict.HOLDS, said, numbers)
    return Finding(Verdict.AMBIGUOUS if confident else Verdict.CONTRADICTED, said, numbers)
