"""What Caffe gets wrong and users asked for: off by default, so that a run is Caffe's."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from caffe_torch.log import FatalError, number


@dataclass(frozen=True)
class Options:
    """A solver's options.

    Attributes:
        die_on_nan: end with a fatal error at the first loss, or at a snapshot's first weight,
            that is not finite; no such weights are written. On a GPU every iteration then waits
            for its loss. Caffe trains on, and a net of NaNs has accuracy 1.
    """

    die_on_nan: bool = False

    def check_finite(self, what: str, iteration: int, compute: Callable[[], torch.Tensor]) -> None:
        """With die_on_nan: end, unless what is computed is finite.

        Raises:
            FatalError: it is infinite or not a number.
        """
        if not self.die_on_nan:
            return
        value = float(compute())
        if not math.isfinite(value):
            raise FatalError(
                "solver.cpp:239",
                f"Iteration {iteration}: the {what} is {number(value)} and die_on_nan is set: "
                "training diverged; lower base_lr, set clip_gradients, or resume from an earlier "
                "snapshot",
            )
