"""A data set as its reader gives it: images, labels, and where each came from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.images import Images

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Training and test images with one label each, from 0 to `classes` - 1.

    `origin` numbers the file that each training image came from, where there are several that
    a split may have to tell apart (SVHN: 0 for train, 1 for extra); otherwise it is None.
    """

    training: Images
    training_labels: Labels
    test: Images
    test_labels: Labels
    origin: Labels | None
    classes: int


def checked_labels(labels: NDArray[np.integer], classes: int, origin: str) -> Labels:
    """The labels as int64; raises DataError, naming the file, if one is no class."""
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(
            f"{origin}: label {wrong}, but the classes are 0 to {classes - 1}; "
            "use the original file"
        )
    return labels.astype(np.int64)
