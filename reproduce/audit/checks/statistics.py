"""What the stated numbers of runs and images can tell."""

from __future__ import annotations

import math
from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, Verdict, decided
from reproduce.results.intervals import wilson_interval

_CHI_SQUARED = {  # quantiles at 0.025 and 0.975 by degrees of freedom
    4: (0.484, 11.143),
    9: (2.700, 19.023),
    19: (8.907, 32.852),
    29: (16.047, 45.722),
    99: (73.361, 128.422),
}
_STUDENT = {4: 2.776, 9: 2.262, 19: 2.093, 29: 2.045, 99: 1.984}


@check
def spread_is_small(*, stability: dict[str, Any], stated: dict[str, Any]) -> Finding:
    """The deviation over runs is below a bound; underpowered where its 95 % interval is not."""
    runs, deviation = int(stability["runs"]), stability["deviation"]
    if runs - 1 not in _CHI_SQUARED:
        raise UnfitInputError(f"no quantiles for {runs} runs")
    low, high = (deviation * math.sqrt((runs - 1) / q) for q in reversed(_CHI_SQUARED[runs - 1]))
    half = _STUDENT[runs - 1] * deviation / math.sqrt(runs)
    said = (
        f"n = {runs}: deviation {deviation:.2%}, 95 % interval {low:.2%} to {high:.2%}; mean "
        f"{stability['mean']:.2%} ± {half:.2%}; bound {stated['deviation']:.2%}."
    )
    numbers = {"low": low, "high": high, "half width of the mean": half}
    if low <= stated["deviation"] <= high:
        return Finding(Verdict.UNDERPOWERED, said, numbers)
    return decided(high < stated["deviation"], said, numbers)


@check
def test_set_can_tell(*, ours: dict[str, Any], theirs: dict[str, Any], images: float) -> Finding:
    """Two errors on a test set differ by more than its size leaves open.

    Each with its 95 % interval, of one training each: underpowered while they overlap.
    """
    ends = []
    for row in (ours, theirs):
        ends.append(wilson_interval(row["error"] / 100 * images, int(images)))
    said = " and ".join(
        f"{row['what']} {row['error']:g} % ({100 * low:.2f} to {100 * high:.2f})"
        for row, (low, high) in zip((ours, theirs), ends, strict=True)
    )
    numbers = {"ours, high": 100 * ends[0][1], "theirs, low": 100 * ends[1][0]}
    if ends[0][1] < ends[1][0]:
        return Finding(Verdict.HOLDS, f"n = {images:,.0f}: {said}.", numbers)
    if ends[1][1] < ends[0][0]:
        return Finding(Verdict.CONTRADICTED, f"n = {images:,.0f}: {said}.", numbers)
    return Finding(Verdict.UNDERPOWERED, f"n = {images:,.0f}: {said} overlap.", numbers)


@check
def constant_is_not_learning(*, images: list[float], threshold: float) -> Finding:
    """A net that gives every image the most frequent class does not pass for one that learns.

    `images` are the training images of each class, whose proportions the validation set keeps.
    """
    if not images or sum(images) <= 0:
        raise UnfitInputError("there are no images")
    share = max(images) / sum(images)
    return decided(
        share <= threshold,
        f"the most frequent class has {share:.1%} of the images; above {threshold:g} a net counts "
        "as one that learns.",
        {"most frequent class": share, "threshold": threshold},
    )


@check
def initial_weights_agree(*, layer: dict[str, Any]) -> Finding:
    """Caffe's `xavier` filler draws from the range of the cited paper, Glorot and Bengio's.

    Caffe: ±√(3 / fan-in); the cited paper: ±√(6 / (fan-in + fan-out)).
    """
    window = layer["field"] ** 2
    fan_in, fan_out = layer["channels"] * window, layer["filters"] * window
    caffe, cited = math.sqrt(3 / fan_in), math.sqrt(6 / (fan_in + fan_out))
    return decided(
        math.isclose(caffe, cited),
        f"a {layer['field']:g}×{layer['field']:g} convolution from {layer['channels']:g} to "
        f"{layer['filters']:g} channels: ±{caffe:.4f} in Caffe, ±{cited:.4f} in the cited paper.",
        {"Caffe": caffe, "cited": cited},
    )
