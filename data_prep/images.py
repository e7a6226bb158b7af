"""Images that may be more than memory holds: every reader gives them, the writers take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.splits import Indices

Shape = tuple[int, int, int]  # channels, height, width


class Images(Protocol):
    """A sequence of uint8 images of one shape, read by their numbers."""

    @property
    def shape(self) -> Shape:
        """Channels, height and width of each image."""

    def __len__(self) -> int: ...

    def take(self, numbers: Indices) -> NDArray[np.uint8]:
        """The images of these numbers, in this order, as len(numbers)×C×H×W."""


class ArrayImages:
    """Images in memory: an N×C×H×W array."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    @property
    def shape(self) -> Shape:
        channels, height, width = self.array.shape[1:]
        return channels, height, width

    def __len__(self) -> int:
        return len(self.array)

    def take(self, numbers: Indices) -> NDArray[np.uint8]:
        return self.array[numbers]


class JoinedImages:
    """Several sequences of the same shape as one; numbers go on from one to the next."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)])

    @property
    def shape(self) -> Shape:
        return self.parts[0].shape

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, numbers: Indices) -> NDArray[np.uint8]:
        out = np.empty((len(numbers), *self.shape), np.uint8)
        of_part = np.searchsorted(self.starts, numbers, side="right") - 1
        for number, part in enumerate(self.parts):
            mine = of_part == number
            if mine.any():
                out[mine] = part.take(numbers[mine] - self.starts[number])
        return out


class CentredImages:
    """Images on black ones of another shape: centred, and grey in every channel.

    Of an odd number of rows or columns left over, the smaller half comes first.

    Raises:
        DataError: if an image does not fit.
    """

    def __init__(self, images: Images, shape: Shape) -> None:
        self.images, self._shape = images, shape
        channels, height, width = images.shape
        if height > shape[1] or width > shape[2] or channels not in (1, shape[0]):
            raise DataError(
                f"images of shape {_times(images.shape)} do not fit into {_times(shape)}; choose "
                "at least their height and width, and their channels or, for grey ones, any"
            )

    @property
    def shape(self) -> Shape:
        return self._shape

    def __len__(self) -> int:
        return len(self.images)

    def take(self, numbers: Indices) -> NDArray[np.uint8]:
        _, height, width = self.images.shape
        out = np.zeros((len(numbers), *self._shape), np.uint8)
        top, left = (self._shape[1] - height) // 2, (self._shape[2] - width) // 2
        out[:, :, top : top + height, left : left + width] = self.images.take(numbers)
        return out


def _times(shape: Shape) -> str:
    return "×".join(map(str, shape))
