"""How the tables count parameters: each published row under each counting rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Pooling,
    parse,
)
from prototxt_gen.shapes import Padding, convolution_size, pooling_size
from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, Verdict, decided, listed, some

_POOLING: dict[str, Callable[[int, int, int], int]] = {
    "⌈(n-f)/s⌉+1": pooling_size,
    "⌊(n-f)/s⌋+1": lambda n, f, s: (n - f) // s + 1,
    "⌈(n-f)/s⌉": lambda n, f, s: -((n - f) // -s),
}
"""Output sizes of pooling: Caffe's, the rounded-down one, and the one without its last term."""

CAFFE = "weights and biases, with the softmax layer, pooling ⌈(n-f)/s⌉+1"
"""What Caffe allocates."""


def counts(architecture: Architecture, image: Sequence[int], padding: Padding) -> dict[str, int]:
    """Parameters by counting rule, twelve in all: `CAFFE` is the first.

    Raises:
        UnfitInputError: if a layer does not fit its input.
    """
    found: dict[str, int] = {}
    for name, rule in _POOLING.items():
        weights, biases, softmax = _count(architecture, image, padding, rule)
        total = weights + biases
        classes = architecture.classes
        found |= {
            f"weights and biases, with the softmax layer, pooling {name}": total,
            f"weights, with the softmax layer, pooling {name}": weights,
            f"weights and biases, without the softmax layer, pooling {name}": (
                total - softmax - classes
            ),
            f"weights, without the softmax layer, pooling {name}": weights - softmax,
        }
    return found


def _count(
    architecture: Architecture,
    image: Sequence[int],
    padding: Padding,
    pool: Callable[[int, int, int], int],
) -> tuple[int, int, int]:
    """Weights, biases, and the softmax layer's weights, GAP with the inner product behind it."""
    channels, size, _ = image
    weights = biases = last = 0
    for layer in architecture.without_dropout():
        match layer:
            case Convolution(filters, field, stride):
                last, biases = filters * channels * field**2, biases + filters
                pad = padding.pad(field)
                channels, size = filters, convolution_size(size, field, stride, pad)
            case Pooling(field, stride):
                last, size = 0, pool(size, field, stride)
            case FullyConnected(neurons):
                last, biases = neurons * channels * size**2, biases + neurons
                channels, size = neurons, 1
            case GlobalAveragePooling(classes):
                last, biases = classes * channels, biases + classes
                channels, size = classes, 1
            case _:  # softmax
                last, biases = (
                    architecture.classes * channels * size**2,
                    (biases + architecture.classes),
                )
        if size < 1:
            raise UnfitInputError(f"{layer} does not fit its input in {architecture}")
        weights += last
    return weights, biases, last


def _exact(stated: float) -> float:
    """Half a unit of the last printed digit of a number of millions, at most two decimals."""
    return 0.05 if round(stated, 1) == stated else 0.005


def fitting(stated: float, counted: dict[str, int]) -> list[str]:
    """The rules under which a count, rounded as printed, is the stated number of millions."""
    exact = _exact(stated) + 1e-9
    return [rule for rule, count in counted.items() if abs(count / 1e6 - stated) <= exact]


@check
def parameter_count(
    *, net: dict[str, Any], image: list[float], padding: str = "SAME", tolerance: float = 0.0
) -> Finding:
    """A row's printed number of parameters is what Caffe allocates, in millions.

    Ambiguous where other counting rules alone give the printed number; within the relative
    tolerance of one where none does.
    """
    stated = net["parameters"]
    shape = [int(n) for n in image]
    counted = counts(parse(net["notation"]), shape, Padding(padding))
    fits = fitting(stated, counted)
    numbers = {"stated, millions": stated, **counted}
    said = f"Caffe allocates {counted[CAFFE]:,}; the table has {stated:g} million"
    if CAFFE in fits:
        return Finding(Verdict.HOLDS, f"{said}.", numbers)
    if fits:
        rules = "; ".join(f"{rule}: {counted[rule]:,}" for rule in fits)
        return Finding(Verdict.AMBIGUOUS, f"{said}, as other rules count: {rules}.", numbers)
    nearest = min(counted, key=lambda rule: abs(counted[rule] / 1e6 - stated))
    near = f"of twelve counting rules none gives it, the nearest being {nearest}: "
    evidence = f"{said}; {near}{counted[nearest]:,}."
    within = abs(counted[nearest] / 1e6 - stated) <= tolerance * stated
    return Finding(Verdict.WITHIN if within else Verdict.CONTRADICTED, evidence, numbers)


@check
def one_counting_rule(
    *,
    nets: list[dict[str, Any]],
    image: list[float],
    padding: str = "SAME",
    rule: str = "",
) -> Finding:
    """One counting rule gives every printed number of a table; `rule` names the one that must."""
    some(nets, "rows")
    fits: dict[str, list[str]] = {}
    for net in nets:
        shape = [int(n) for n in image]
        counted = counts(parse(net["notation"]), shape, Padding(padding))
        for one in counted:
            fits.setdefault(one, [])
        for one in fitting(net["parameters"], counted):
            fits[one].append(net["id"])
    if rule and rule not in fits:
        raise UnfitInputError(f"no counting rule {rule!r}; there are: {'; '.join(fits)}")
    best = rule or max(fits, key=lambda one: len(fits[one]))
    left = [net["id"] for net in nets if net["id"] not in fits[best]]
    numbers = {one: f"{len(ids)} of {len(nets)}" for one, ids in fits.items()}
    said = f"{best} gives {len(nets) - len(left)} of {len(nets)} rows"
    if not rule and left:
        said = f"no rule gives all; {said}"
    return decided(not left, f"{said}{f', not {listed(left)}' if left else ''}.", numbers)


@check
def convolutions_exceed(*, net: dict[str, Any]) -> Finding:
    """A row's printed number is at least the weights of its convolutions, whatever the padding."""
    channels, weights = 1, 0
    for layer in parse(net["notation"]):
        if isinstance(layer, Convolution):
            weights += layer.filters * channels * layer.size**2
            channels = layer.filters
    stated = net["parameters"]
    return decided(
        weights / 1e6 <= stated + _exact(stated),
        f"the convolutions alone have {weights:,} weights; the table has {stated:g} million.",
        {"convolutions' weights": weights, "stated, millions": stated},
    )


@check
def rows_permuted(*, nets: list[dict[str, Any]], image: list[float], padding: str) -> Finding:
    """Each printed number fits its own row better than any other row's, under some one rule."""
    some(nets, "rows")
    shape = [int(n) for n in image]
    table = [counts(parse(net["notation"]), shape, Padding(padding)) for net in nets]
    best: tuple[int, str] = (-1, "")
    for rule in table[0]:
        own = 0
        for row, net in enumerate(nets):
            off = [abs(other[rule] / 1e6 - net["parameters"]) for other in table]
            own += off[row] == min(off)
        best = max(best, (own, rule))
    said = f"at best {best[0]} of {len(nets)} numbers are nearest to their own row ({best[1]})"
    return decided(best[0] == len(nets), f"{said}.", {"nearest to their own row": best[0]})
