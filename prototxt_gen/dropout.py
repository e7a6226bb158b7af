"""Where dropout layers go, and with which ratio: the rules of the paper and of its code."""

from __future__ import annotations

import math
from enum import StrEnum
from fractions import Fraction

from prototxt_gen.notation import (
    Architecture,
    Dropout,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Softmax,
)


class DropoutRule(StrEnum):
    """How `place_dropout` places dropout layers.

    PAPER: after every two layers, the i-th of n with ratio i/2n, n as placed (section 5).
    RELEASED: also after every FC, never after GAP, and with the released code's own n, which
        counts the copy of the last layer in the termination state (so that some nets never
        reach ratio 0.5).
    AFTER_FC: ratio 0.5 after each FC (the first version's MNIST nets, its appendix C).
    RAMP_30, RAMP_40: where RELEASED has them, with ratios that rise evenly from 0.3 or 0.4 to 0.5,
        rounded to tenths: as in all ten published MNIST nets.
    NONE: no dropout.
    """

    PAPER = "paper"
    RELEASED = "released"
    AFTER_FC = "after_fc"
    RAMP_30 = "ramp_0.3"
    RAMP_40 = "ramp_0.4"
    NONE = "none"


def _count_released(hidden: tuple[Layer, ...]) -> int:
    """The released code's n for the layers before SM (GAP included)."""
    ends_in_fc = bool(hidden) and isinstance(hidden[-1], FullyConnected)
    ends_in_gap = bool(hidden) and isinstance(hidden[-1], GlobalAveragePooling)
    fc = sum(isinstance(x, FullyConnected) for x in hidden) + ends_in_fc
    gap = sum(isinstance(x, GlobalAveragePooling) for x in hidden) + ends_in_gap
    return (len(hidden) + 1 - gap - fc) // 2 + fc


_LOWEST_TENTHS = {DropoutRule.RAMP_30: 3, DropoutRule.RAMP_40: 4}


def _on_ramp(lowest: int, number: int, count: int) -> Dropout:
    """The `number`-th of `count` ratios from `lowest` tenths to five, rounded half up."""
    if count == 1:
        return Dropout(5, 5)
    tenths = Fraction(lowest) + Fraction((5 - lowest) * (number - 1), count - 1)
    return Dropout(math.floor(tenths + Fraction(1, 2)), 5)


def place_dropout(architecture: Architecture, rule: DropoutRule) -> Architecture:
    """The architecture with its dropout layers placed anew by a rule."""
    hidden = architecture.without_dropout().layers[:-1]
    places = []
    for position, layer in enumerate(hidden, start=1):
        if isinstance(layer, GlobalAveragePooling):
            continue
        is_fc = isinstance(layer, FullyConnected)
        if rule is DropoutRule.PAPER:
            wanted = position % 2 == 0
        elif rule is DropoutRule.RELEASED or rule in _LOWEST_TENTHS:
            wanted = position % 2 == 0 or is_fc
        else:
            wanted = rule is DropoutRule.AFTER_FC and is_fc
        if wanted:
            places.append(position)
    count = _count_released(hidden) if rule is DropoutRule.RELEASED else len(places)
    layers: list[Layer] = []
    for position, layer in enumerate(hidden, start=1):
        layers.append(layer)
        if position in places:
            index = places.index(position) + 1
            if rule in _LOWEST_TENTHS:
                layers.append(_on_ramp(_LOWEST_TENTHS[rule], index, len(places)))
            else:
                after_fc = rule is DropoutRule.AFTER_FC
                layers.append(Dropout(1, 1) if after_fc else Dropout(index, count))
    return Architecture((*layers, Softmax(architecture.classes)))
