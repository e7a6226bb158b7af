"""A reward that a net's size or training time lowers, as the paper's conclusion suggests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Penalty:
    """Takes `weight · amount / per` off a reward, but never goes below 0.

    Attributes:
        of: what the amount is: a net's parameters, its forward multiply-accumulates per image,
            or the seconds that it trained.
        weight: what an amount of `per` costs, in units of the reward.
        per: the amount that costs `weight`, e.g. a million parameters.
    """

    of: Literal["parameters", "macs", "seconds"]
    weight: float
    per: float

    def apply(self, reward: float, amount: float) -> float:
        """The reward of a net that has, or took, `amount`."""
        return max(0.0, reward - self.weight * amount / self.per)
