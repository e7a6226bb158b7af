"""Where dropout layers go, and with which ratio: the rules of the paper and of its code."""

from __future__ import annotations

from enum import StrEnum

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
    NONE: no dropout.
    """

    PAPER = "paper"
    RELEASED = "released"
    AFTER_FC = "after_fc"
    NONE = "none"


def _count_released(hidden: tuple[Layer, ...]) -> int:
    """The released code's n for the layers before SM (GAP included)."""
    ends_in_fc = bool(hidden) and isinstance(hidden[-1], FullyConnected)
    ends_in_gap = bool(hidden) and isinstance(hidden[-1], GlobalAveragePooling)
    fc = sum(isinstance(x, FullyConnected) for x in hidden) + ends_in_fc
    gap = sum(isinstance(x, GlobalAveragePooling) for x in hidden) + ends_in_gap
    return (len(hidden) + 1 - gap - fc) // 2 + fc


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
        elif rule is DropoutRule.RELEASED:
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
            layers.append(Dropout(1, 1) if rule is DropoutRule.AFTER_FC else Dropout(index, count))
    return Architecture((*layers, Softmax(architecture.classes)))
