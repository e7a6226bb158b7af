"""A cap on a net's cost, the threshold in the state-action space that the paper's conclusion
suggests: architectures above it are outside the space, and actions from which every way to the
end would exceed it are masked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from prototxt_gen.dropout import DropoutRule
from prototxt_gen.shapes import GapForm, Shape
from reproduce.search.costs import Cost, CostModel
from reproduce.search.space import END, SearchSpace

__all__ = ["Cost", "CostCap", "CostCapError", "Meter"]

_UNITS = {"macs": "MACs", "parameters": "parameters", "memory": "bytes of training memory"}


class CostCapError(ValueError):
    """The cap leaves no net, or too few."""


class CostCap:
    """At most `at_most` of one cost.

    Args:
        space: the space to cap.
        channels: channels of the input image.
        at_most: the cap: forward multiply-accumulates per image, parameters, or bytes.
        of: what is capped; `CostModel` tells what each cost counts.
        image: height and width of the images that are trained on, where the space's rules have
            another (the released code on SVHN).
        gap, dropout, batch: see `CostModel`.

    Raises:
        CostCapError: if every net costs more.
    """

    def __init__(
        self,
        space: SearchSpace,
        channels: int,
        at_most: int,
        of: Cost = "macs",
        *,
        image: int | None = None,
        gap: GapForm = GapForm.PAPER,
        dropout: DropoutRule = DropoutRule.PAPER,
        batch: int = 128,
    ) -> None:
        self.space, self.at_most, self.of = space, at_most, of
        self._model = CostModel(of, space.rules.padding, gap, dropout, batch)
        side = space.nodes[0].size if image is None else image
        self.image: Shape = (channels, side, side)
        self._cheapest_memo: dict[tuple[int, Shape], int] = {}
        self._through_memo: dict[tuple[int, Shape], list[int]] = {}
        if (cheapest := self._cheapest(0, self.image)) > at_most:
            raise CostCapError(
                f"the cap of {at_most} {_UNITS[of]} excludes every net (least: {cheapest})"
            )

    def price(self, node: int, blob: Shape, number: int) -> tuple[int, Shape]:
        """The cost of a node's action, by their numbers, and the blob that it makes of `blob`."""
        space, state = self.space, self.space.state_of[node]
        action = space.actions[state][number]
        ends = space.successors[node][number] == END
        return self._model.price(space.states[state], blob, action, ends)

    def _cheapest(self, node: int, blob: Shape) -> int:
        """The least cost of any way to the end."""
        found = self._cheapest_memo.get((node, blob))
        if found is None:
            steps = []
            for number, successor in enumerate(self.space.successors[node]):
                cost, after = self.price(node, blob, number)
                steps.append((successor != END, cost, successor, after))
            steps.sort()  # terminations first, then by cost: most of the rest is never followed
            found = steps[0][1]
            for goes_on, cost, successor, after in steps:
                if cost < found:
                    found = min(found, cost + (self._cheapest(successor, after) if goes_on else 0))
            self._cheapest_memo[node, blob] = found
        return found

    def through(self, node: int, blob: Shape) -> list[int]:
        """For each action of a node, the least cost of any way to the end that begins with it."""
        if (node, blob) not in self._through_memo:
            costs = []
            for number, successor in enumerate(self.space.successors[node]):
                cost, after = self.price(node, blob, number)
                costs.append(cost if successor == END else cost + self._cheapest(successor, after))
            self._through_memo[node, blob] = costs
        return self._through_memo[node, blob]

    def meter(self) -> Meter:
        """A walk's own meter, at the start."""
        return Meter(self)

    def count(self, resolution: int = 1000) -> tuple[float, float]:
        """Bounds on the number of architectures within the cap.

        Costs are counted in units of at_most/resolution, rounded up for the lower and down for
        the upper bound.
        """
        most = self.at_most
        return (
            self._count(resolution, lambda cost: -(-cost * resolution // most)),
            self._count(resolution, lambda cost: cost * resolution // most),
        )

    def _count(self, resolution: int, units: Callable[[int], int]) -> float:
        memo: dict[tuple[int, Shape], npt.NDArray[np.float64]] = {}

        def histogram(node: int, blob: Shape) -> npt.NDArray[np.float64]:
            """counts[u]: completions whose layers cost u units."""
            if (node, blob) in memo:
                return memo[node, blob]
            counts = np.zeros(resolution + 1)
            for number, successor in enumerate(self.space.successors[node]):
                cost, after = self.price(node, blob, number)
                spent = units(cost)
                if spent > resolution:
                    continue
                if successor == END:
                    counts[spent] += 1
                else:
                    counts[spent:] += histogram(successor, after)[: resolution + 1 - spent]
            memo[node, blob] = counts
            return counts

        return float(histogram(0, self.image).sum())


class Meter:
    """What one walk has spent of a cap, and the blob that it has come to."""

    def __init__(self, cap: CostCap) -> None:
        self.cap, self.blob, self.spent = cap, cap.image, 0

    def affordable(self, node: int) -> list[int]:
        """Numbers of the actions from which some architecture within the cap follows."""
        left = self.cap.at_most - self.spent
        costs = self.cap.through(node, self.blob)
        return [number for number, cost in enumerate(costs) if cost <= left]

    def spend(self, node: int, number: int) -> None:
        """Take an action of a node."""
        cost, self.blob = self.cap.price(node, self.blob, number)
        self.spent += cost
