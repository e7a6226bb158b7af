"""Learning rates in phases, as Caffe's `multistep` policy.

`multistep` has one factor for all its steps, so a drop that is no power of it takes several steps
at consecutive iterations, as the published solvers do it: Caffe takes one step an iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LARGEST_ERROR = 0.01
"""How far a rate of the schedule may be from the phase's, as a fraction of it."""

_FINEST = 40  # the factor 10^(-1/40)


@dataclass(frozen=True)
class MultistepRates:
    """A `multistep` policy.

    Attributes:
        base_lr: the rate of the first phase.
        gamma: the factor of each step.
        step_epochs: after how many epochs each step is taken, ascending; an epoch comes as often
            as steps are taken there.
    """

    base_lr: float
    gamma: float
    step_epochs: tuple[int, ...]


def multistep(phases: Sequence[tuple[int, float]]) -> MultistepRates:
    """Phases of (epochs, learning rate) with the largest factor that meets every rate to 1 %.

    One half comes first, the factor of the published solvers, then 10^(-1/k) with the least k.

    Raises:
        ValueError: if there is no phase, a rate rises, or no factor meets the rates.
    """
    if not phases:
        raise ValueError("a schedule of learning rates needs a phase")
    rates = [rate for _, rate in phases]
    if any(later > earlier for earlier, later in pairwise(rates)):
        raise ValueError(f"learning rates {rates} rise; Caffe's multistep can only lower them")
    for gamma in (0.5, *(10 ** (-1 / k) for k in range(1, _FINEST + 1))):
        counts = [round(math.log(rate / rates[0], gamma)) for rate in rates]
        errors = (
            abs(rates[0] * gamma**n / rate - 1) for n, rate in zip(counts, rates, strict=True)
        )
        if max(errors) <= LARGEST_ERROR:
            return MultistepRates(rates[0], gamma, tuple(_steps(phases, counts)))
    raise ValueError(f"no factor of Caffe's multistep meets the learning rates {rates} to 1 %")


def _steps(phases: Sequence[tuple[int, float]], counts: Sequence[int]) -> list[int]:
    steps: list[int] = []
    epoch = 0
    for (epochs, _), taken in zip(phases, counts, strict=True):
        steps += [epoch] * (taken - len(steps))
        epoch += epochs
    return steps


def rescaled(steps: Sequence[int], whole: int, last: int) -> tuple[int, ...]:
    """Steps of a schedule over `whole` iterations, in proportion over `last`; at least 1 each."""
    return tuple(max(1, step * last // whole) for step in steps)


def scaled(phases: Sequence[tuple[int, float]], epochs: int) -> list[tuple[int, float]]:
    """The same phases over another number of epochs, in proportion; those of none are left out."""
    whole = sum(length for length, _ in phases)
    out: list[tuple[int, float]] = []
    passed = start = 0
    for length, rate in phases:
        passed += length
        end = (2 * passed * epochs + whole) // (2 * whole)  # rounded, halves up
        if end > start:
            out.append((end - start, rate))
            start = end
    return out
