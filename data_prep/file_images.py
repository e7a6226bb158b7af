"""Images that lie one after another in a file, read by their numbers."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.images import Shape
from data_prep.splits import Indices


class FileImages:
    """`count` uint8 images of `shape`, without gaps, from byte `offset` of a file on.

    Each is stored C×H×W in C order, or in column-major order (that of MATLAB) as H×W×C. The
    file is opened for each `take` and read by position, so that memory holds what was asked
    for and nothing else. `take` raises DataError if the file has become unreadable.
    """

    def __init__(
        self, path: Path, *, offset: int, count: int, shape: Shape, column_major: bool
    ) -> None:
        self.path = path
        self.offset = offset
        self.count = count
        self.shape = shape
        self.column_major = column_major

    def __len__(self) -> int:
        return self.count

    def take(self, numbers: Indices) -> NDArray[np.uint8]:
        """The images of these numbers, in this order, as len(numbers)×C×H×W."""
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < self.count:
            raise IndexError(f"of {self.count} images, one beyond them was asked for")
        channels, height, width = self.shape
        size = channels * height * width
        content = np.empty((len(numbers), size), np.uint8)
        ends = np.flatnonzero(np.diff(numbers) != 1) + 1  # of runs of successive numbers
        bounds = [0, *ends.tolist(), len(numbers)]
        try:
            with self.path.open("rb") as file:
                for start, end in pairwise(bounds):
                    if start < end:
                        place = self.offset + int(numbers[start]) * size
                        _fill(content[start:end], file.fileno(), place)
        except (OSError, EOFError) as error:
            raise DataError(f"{self.path}: cannot be read ({error}); prepare again") from error
        if not self.column_major:
            return content.reshape(-1, channels, height, width)
        columns = content.reshape(-1, channels, width, height)
        return np.ascontiguousarray(columns.transpose(0, 1, 3, 2))


def _fill(target: NDArray[np.uint8], descriptor: int, place: int) -> None:
    """Fill contiguous memory from `place` of a file on; raises EOFError if the file ends."""
    rest = target.reshape(-1).data
    while rest:
        count = os.preadv(descriptor, [rest], place)
        if not count:
            raise EOFError("it has become shorter")
        rest, place = rest[count:], place + count
