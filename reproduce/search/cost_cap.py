"""A cap on a net's cost, the threshold in the state-action space that the paper's conclusion
suggests: architectures above it are outside the space, and actions from which every way to the
end would exceed it are masked."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from prototxt_gen.notation import (
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)
from reproduce.search.space import Node, SearchSpace, is_termination, legal_actions, successor


def action_macs(node: Node, channels: int, action: Layer, classes: int) -> int:
    """Multiply-accumulates per image of one more layer on `channels` × R × R (SAME padding)."""
    inputs = channels if node.state.kind == "FC" else channels * node.size**2
    match action:
        case Convolution(filters, size, _):
            return inputs * size**2 * filters
        case FullyConnected(neurons):
            return inputs * neurons
        case GlobalAveragePooling() | Softmax():
            return inputs * classes
    return 0


def channels_after(channels: int, action: Layer) -> int:
    """Channels (or neurons) of the blob that an action puts out."""
    match action:
        case Convolution(filters, _, _):
            return filters
        case FullyConnected(neurons):
            return neurons
    return channels


class CostCapError(ValueError):
    """The cap leaves no net, or too few."""


class CostCap:
    """Forward multiply-accumulates per image, at most `macs`.

    Args:
        space: the space to cap; its termination GAP costs its 1×1 convolution, as SM does.
        channels: channels of the input image.
        macs: the cap.

    Raises:
        CostCapError: if not even the net without hidden layers fits.
    """

    def __init__(self, space: SearchSpace, channels: int, macs: int) -> None:
        self.space, self.channels, self.macs = space, channels, macs
        cheapest = self._cheapest_end(space.start, channels)
        if cheapest > macs:
            raise CostCapError(f"the cap of {macs} MACs excludes every net (least: {cheapest})")

    def _cheapest_end(self, node: Node, channels: int) -> int:
        """MACs of the cheapest way to the end: softmax at once, or after one pooling."""
        rules = self.space.rules
        ends = [action_macs(node, channels, Softmax(rules.classes), rules.classes)]
        for action in legal_actions(node.state, rules):
            if isinstance(action, Pooling):
                after = successor(node, action, rules)
                ends.append(action_macs(after, channels, Softmax(rules.classes), rules.classes))
        return min(ends)

    def affordable(self, node: Node, channels: int, spent: int) -> list[int]:
        """Numbers of the legal actions from which some architecture within the cap follows.

        Args:
            node: where the walk stands.
            channels: channels of its blob.
            spent: MACs of the layers so far.
        """
        rules, kept = self.space.rules, []
        for number, action in enumerate(legal_actions(node.state, rules)):
            total = spent + action_macs(node, channels, action, rules.classes)
            if not is_termination(action, rules):
                after = successor(node, action, rules)
                total += self._cheapest_end(after, channels_after(channels, action))
            if total <= self.macs:
                kept.append(number)
        return kept

    def count(self, resolution: int = 1000) -> tuple[float, float]:
        """Bounds on the number of architectures within the cap.

        Costs are counted in units of macs/resolution, rounded up for the lower and down for
        the upper bound.
        """
        return self._count(resolution, math.ceil), self._count(resolution, math.floor)

    def _count(self, resolution: int, rounding: Callable[[float], int]) -> float:
        rules, unit = self.space.rules, self.macs / resolution
        memo: dict[tuple[Node, int], npt.NDArray[np.float64]] = {}

        def histogram(node: Node, channels: int) -> npt.NDArray[np.float64]:
            """counts[u]: completions whose layers cost u units."""
            if (node, channels) in memo:
                return memo[node, channels]
            counts = np.zeros(resolution + 1)
            for action in legal_actions(node.state, rules):
                cost = action_macs(node, channels, action, rules.classes)
                units = rounding(cost / unit)
                if units > resolution:
                    continue
                if is_termination(action, rules):
                    counts[units] += 1
                else:
                    after = successor(node, action, rules)
                    rest = histogram(after, channels_after(channels, action))
                    counts[units:] += rest[: resolution + 1 - units]
            memo[node, channels] = counts
            return counts

        return float(histogram(self.space.start, self.channels).sum())
