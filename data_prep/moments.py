"""Mean and standard deviation of more images than memory holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class PixelMoments:
    """Mean and sum of squared deviations of each pixel over batches of images, in float64.

    Batches are merged with the pairwise update of Chan, Golub and LeVeque (1983), which loses no
    digits where the mean is large beside the deviations.
    """

    def __init__(self) -> None:
        self.count = 0  # images
        self.mean: Floats = np.zeros(())
        self._squares: Floats = np.zeros(())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images so far: C×H×W."""
        return self.mean.shape

    def add(self, batch: NDArray[Any]) -> None:
        """Take n×C×H×W images in, all of one shape; n may be 0."""
        if not len(batch):
            return
        total = self.count + len(batch)
        mean = batch.mean(axis=0, dtype=np.float64)
        deviations = batch - mean
        squares = np.square(deviations, out=deviations).sum(axis=0)
        delta = mean - self.mean
        self.mean = self.mean + delta * (len(batch) / total)
        self._squares = self._squares + squares + delta**2 * (self.count * len(batch) / total)
        self.count = total

    @property
    def std(self) -> Floats:
        """The population std (divided by N) of each pixel."""
        return np.sqrt(self._squares / self.count)

    def per_channel(self) -> tuple[list[float], list[float]]:
        """Mean and population std of each channel, over all its pixels in all images."""
        mean = self.mean.mean(axis=(1, 2))
        within = (self._squares / self.count).mean(axis=(1, 2))
        return mean.tolist(), np.sqrt(within + self.mean.var(axis=(1, 2))).tolist()
