"""The sampled nets themselves against what the text and the released code say of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from reproduce.audit.checks.membership import rules_of, space_of
from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, Verdict, decided, some
from reproduce.results.intervals import wilson_interval


@check
def nets_have_none(*, layers: dict[str, Any], what: str) -> Finding:
    """No sampled net has what a rule forbids; `what` is a field of `LayerCounts`."""
    if not layers["nets"]:
        raise UnfitInputError("there are no nets")
    found = layers[what]
    return decided(
        found == 0,
        f"{found:,} of {layers['nets']:,} distinct nets; {layers['consecutive_fc']:,} have two FC, "
        f"{layers['pooling_nets']:,} pooling.",
        {"nets": layers["nets"], "have it": found},
    )


@check
def smallest_images_have_windows(*, layers: dict[str, Any]) -> Finding:
    """Convolutions and pooling stand on R-sizes below 4 too, where the text allows C(N,1,1)."""
    reached, found = layers["on_smallest"], layers["windows_on_smallest"]
    if not reached:
        raise UnfitInputError("no net reaches an R-size below 4")
    return decided(
        found > 0,
        f"{reached:,} layers and terminations follow an R-size below 4; {found:,} of them are "
        "convolutions or pooling.",
        {"follow": reached, "windows": found},
    )


@check
def deepest_is(*, layers: dict[str, Any], depth: float) -> Finding:
    """The deepest sampled net has the stated number of layers, GAP counted as one."""
    return decided(
        layers["deepest"] == depth,
        f"stated {depth:g} layers; the deepest of {layers['nets']:,} distinct nets has "
        f"{layers['deepest']:g}.",
        {"deepest": layers["deepest"]},
    )


@check
def first_steps_are_uniform(*, steps: dict[str, Any], space: dict[str, Any]) -> Finding:
    """At ε = 1 each first action is equally likely: so many walks end with it, without a layer.

    By the 95 % interval of the share that is GAP or softmax alone.
    """
    of = space_of(rules_of(space))
    ending = [a for a in of.actions[0] if type(a).__name__ in ("GlobalAveragePooling", "Softmax")]
    share, total = len(ending) / len(of.actions[0]), steps["samples"]
    if not total:
        raise UnfitInputError("there are no samples")
    low, high = wilson_interval(steps["empty"], total)
    return decided(
        low <= share <= high,
        f"{steps['empty']:,} of {total:,} samples at ε = 1 are GAP or softmax alone: "
        f"{steps['empty'] / total:.1%}, 95 % interval {low:.1%} to {high:.1%}; {len(ending)} of "
        f"{len(of.actions[0])} first actions are {share:.1%}.",
        {"share": steps["empty"] / total, "uniform": share},
    )


@check
def drawn_steps_are_uniform(
    *,
    distribution: list[dict[str, Any]],
    curves: list[dict[str, Any]],
    bars: list[dict[str, Any]],
    space: dict[str, Any],
) -> Finding:
    """The same as `first_steps_are_uniform`, by the figures.

    The bars of the distribution at ε = 1 that hold the accuracies of the two nets without a layer,
    which are their Q-values at depth 1; other nets of the same accuracy are counted with them.
    """
    alone = [row["q"] for row in curves if row["depth"] == 1 and row["series"] in _TERMINATIONS]
    some(alone, "terminations at depth 1")
    random = [bar for bar in distribution if bar["epsilon"] == 1]
    area = sum(
        bar["height"] * (bar["high"] - bar["low"])
        for bar in random
        if any(bar["low"] <= q < bar["high"] for q in alone)
    )
    total = int(next((bar["samples"] for bar in bars if bar["epsilon"] == 1), 0))
    steps = {"samples": total, "empty": round(min(1.0, area) * total)}
    return first_steps_are_uniform(steps=steps, space=space)


_TERMINATIONS = ("Global Average Pooling", "Softmax")


@check
def reward_is_measured(*, trainings: dict[str, Any]) -> Finding:
    """Every sample has an accuracy of its own, none the constant 1/classes at iteration 0."""
    lost = trainings["at_chance"]
    total = lost + trainings["whole"] + trainings["cut_short"]
    if not total:
        raise UnfitInputError("there are no samples")
    return decided(
        lost == 0,
        f"{lost:,} of {total:,} samples ({lost / total:.1%}) have exactly 1/classes, at iteration "
        "0: nets that never learned.",
        {"samples": total, "never learned": lost},
    )


@check
def iterations_are_of_epochs(
    *, trainings: dict[str, Any], images: float, validation: float, batch: float
) -> Finding:
    """An epoch has as many iterations as whole batches fit into the training images."""
    each = int((images - validation) // batch)
    found = trainings["per_epoch"]
    return decided(
        found == each,
        f"all recorded iterations are multiples of {found:,}; {images - validation:,.0f} images "
        f"have {each:,} whole batches.",
        {"recorded": found, "whole batches": each},
    )


@check
def column_counts_parameters(*, column: dict[str, Any], reading: str) -> Finding:
    """The column `num_params` is a count of each net's weights, read as `plain` or `repeated`.

    Without biases and the softmax layer; `repeated` has the last layer once more, as the state of
    termination repeats it.
    """
    total, found = column["nets"], column[reading]
    if not total:
        raise UnfitInputError("there are no nets")
    said = f"{found:,} of {total:,} nets; with the last layer once more {column['repeated']:,}."
    return decided(found == total, said, {"nets": total, "as counted": found})


@check
def failures_grow_with_depth(*, failures: dict[str, Any], depths: list[float]) -> Finding:
    """Among some depths, the deeper a sampled net, the more often it stayed at chance level."""
    shares = []
    for depth in depths:
        level = failures["by_depth"].get(f"{depth:g}")
        if level is None:
            raise UnfitInputError(f"no nets of {depth:g} layers")
        shares.append((depth, level["chance"], level["nets"]))
    falls = [b[0] for a, b in pairwise(shares) if b[1] < a[1]]
    said = ", ".join(
        f"{share:.0%} of {nets} with {depth:g} layers" for depth, share, nets in shares
    )
    return decided(
        not falls, f"{said}.", {f"{depth:g} layers": share for depth, share, _ in shares}
    )


@check
def learned_at_first_is_less(*, rise: dict[str, Any]) -> Finding:
    """Even the nets that learned at the first ε are worse on average than the last ε's samples."""
    learned, last = rise["first"]["learned"], rise["last"]["mean"]
    return decided(
        learned < last,
        f"nets that learned at ε = 1 have {learned:.2%} on average, all samples at ε = 0.1 "
        f"{last:.2%}.",
        {"learned at ε = 1": learned, "all at ε = 0.1": last},
    )


@check
def values_have_digits(*, digits: dict[str, Any], doubles: float) -> Finding:
    """The changed Q-values are double-precision numbers, of up to `doubles` decimal digits."""
    if not digits["changed"]:
        raise UnfitInputError("no value has changed")
    short = digits["changed"] == digits["of_twelve"]
    return decided(
        not short and digits["most"] <= doubles,
        f"{digits['of_twelve']:,} of {digits['changed']:,} changed values have at most 12 digits, "
        f"the most has {digits['most']:g}; doubles need up to {doubles:g}.",
        {"changed": digits["changed"], "of at most 12 digits": digits["of_twelve"]},
    )


@check
def curve_spans_space(
    *, curves: list[dict[str, Any]], space: dict[str, Any], series: str
) -> Finding:
    """A series of Q-values begins and ends at the depths at which the space has such actions.

    An action at depth d leads from a state of depth d - 1.
    """
    kinds = {"Fully Connected": "FullyConnected", "Softmax": "Softmax"}
    drawn = [int(row["depth"]) for row in curves if row["series"] == series]
    some(drawn, f"values of {series}")
    of = space_of(rules_of(space))
    there = [
        state.depth + 1
        for state, actions in zip(of.states, of.actions, strict=True)
        if any(type(action).__name__ == kinds[series] for action in actions)
    ]
    some(there, f"actions of {series}")
    said = (
        f"drawn from depth {min(drawn)} to {max(drawn)}; the space has such actions from depth "
        f"{min(there)} to {max(there)}."
    )
    numbers = {"first drawn": min(drawn), "first": min(there), "last drawn": max(drawn)}
    return decided((min(drawn), max(drawn)) == (min(there), max(there)), said, numbers)


@check
def empty_nets_learn(*, curves: list[dict[str, Any]], chance: float) -> Finding:
    """Softmax alone, and GAP alone, learn something: their Q-values at depth 1 exceed chance."""
    found = {
        r["series"]: r["q"] for r in curves if r["depth"] == 1 and r["series"] in _TERMINATIONS
    }
    some(found, "terminations at depth 1")
    said = ", ".join(f"{name} {q:.3f}" for name, q in found.items())
    above = [q > chance + 0.005 for q in found.values()]
    if any(above) and not all(above):
        return Finding(Verdict.AMBIGUOUS, f"{said}; chance {chance:g}.", dict(found))
    return decided(all(above), f"{said}; chance {chance:g}.", dict(found))


@check
def pooling_actions_tell_the_next_bin(*, actions: dict[str, Any]) -> Finding:
    """The pooling actions of the Q table have the bin after pooling, as the enumerator makes them.

    `smaller` are those of which it is another bin than the one before.
    """
    total, kept = actions["pooling"], actions["of_bin_before"]
    if not actions["smaller"]:
        raise UnfitInputError("no pooling leads to another bin")
    return decided(
        kept == total - actions["smaller"],
        f"{kept:,} of {total:,} pooling actions have the bin before pooling, though "
        f"{actions['smaller']:,} lead to another.",
        {"pooling": total, "of the bin before": kept, "lead to another": actions["smaller"]},
    )
