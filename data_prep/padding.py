"""A border around images, so that Caffe's random crops are translations."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError

Pixel = TypeVar("Pixel", bound=np.generic)


def pad(images: NDArray[Pixel], margin: int, value: float) -> NDArray[Pixel]:
    """N×C×H×W images as N×C×(H+2·margin)×(W+2·margin), of the same dtype.

    The border holds `value` (`Normalization.pad_value`). A crop of the original H×W at a random
    place is then a translation by up to `margin` pixels in each direction (paper, section 6: 5).
    Raises DataError on a negative margin, or where an integer dtype cannot hold `value`.
    """
    if margin < 0:
        raise DataError(f"cannot pad by {margin} pixels; choose 0 or more")
    if np.issubdtype(images.dtype, np.integer):
        limits = np.iinfo(images.dtype.name)
        if not float(value).is_integer() or not limits.min <= value <= limits.max:
            raise DataError(
                f"cannot pad {images.dtype} images with {value}; "
                f"choose a whole number from {limits.min} to {limits.max}"
            )
    count, channels, height, width = images.shape
    padded = np.full(
        (count, channels, height + 2 * margin, width + 2 * margin), value, images.dtype
    )
    padded[:, :, margin : margin + height, margin : margin + width] = images
    return padded
