"""What a solver shows of a run: the mean of the last losses, speeds, the nets' outputs."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from caffe_torch.log import info, number
from caffe_torch.net import Net


class MeanLoss:
    """The mean of the last `window` losses, updated in float32 in Caffe's order.

    Losses stay on the device until the mean is asked for, so that no iteration waits for them.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._losses: list[np.float32] = []
        self._pending: list[torch.Tensor] = []
        self._count = 0
        self._mean = np.float32(0)

    def add(self, loss: torch.Tensor) -> None:
        """Note the loss of one iteration, a scalar."""
        self._pending.append(loss)
        if len(self._pending) > 1000:
            self.value()

    def value(self) -> float:
        """The mean."""
        for loss in torch.stack(self._pending).float().cpu().numpy() if self._pending else ():
            if len(self._losses) < self._window:
                self._losses.append(loss)
                n = np.float32(len(self._losses))
                self._mean = (self._mean * (n - 1) + loss) / n
            else:
                place = self._count % self._window
                with np.errstate(invalid="ignore"):
                    self._mean += (loss - self._losses[place]) / np.float32(self._window)
                self._losses[place] = loss
            self._count += 1
        self._pending = []
        return float(self._mean)


class Stopwatch:
    """The speed of the iterations since it was last read."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration
        self._start = time.monotonic()

    def read(self, iteration: int, display: int) -> str:
        """`X iter/s, Ys/N iters`, as the log has it; then start again."""
        now = time.monotonic()
        seconds = now - self._start
        speed = (iteration - self._iteration) / seconds if seconds else 0.0
        self._start, self._iteration = now, iteration
        return f"{number(speed)} iter/s, {number(round(seconds, 3))}s/{display} iters"


def log_outputs(where: str, kind: str, net: Net, outputs: Sequence[torch.Tensor]) -> None:
    """Log every value of a net's outputs, with what it adds to the loss.

    Args:
        where: the log's source position.
        kind: `Train` or `Test`.
        net: the net.
        outputs: the values of each of `net.outputs`, one-dimensional.
    """
    values = torch.cat(list(outputs)).tolist() if outputs else []
    names = [
        name for name, output in zip(net.outputs, outputs, strict=True) for _ in range(len(output))
    ]
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        weight = net.loss_weight(name)
        note = f" (* {number(weight)} = {number(weight * value)} loss)" if weight else ""
        info(where, f"    {kind} net output #{i}: {name} = {number(value)}{note}")
