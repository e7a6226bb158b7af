"""Padding: values, shapes, dtypes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.padding import pad


@pytest.mark.parametrize("margin", [0, 1, 5])
@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 128), (np.float32, 0), (np.float32, -0.5)])
def test_a_border_of_the_value_surrounds_the_images(margin: int, dtype: type, value: float) -> None:
    images: NDArray[np.generic] = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).astype(dtype)
    padded = pad(images, margin, value)
    assert padded.dtype == dtype
    assert padded.shape == (2, 3, 4 + 2 * margin, 6 + 2 * margin)
    for row in range(4 + 2 * margin):
        for column in range(6 + 2 * margin):
            inside = margin <= row < margin + 4 and margin <= column < margin + 6
            want = images[:, :, row - margin, column - margin] if inside else value
            assert np.all(padded[:, :, row, column] == want)


def test_the_padded_images_are_a_copy() -> None:
    images = np.zeros((1, 1, 2, 2), np.uint8)
    pad(images, 0, 0)[:] = 1
    assert not images.any()


def test_no_images_give_no_images() -> None:
    assert pad(np.zeros((0, 3, 4, 6), np.uint8), 5, 128).shape == (0, 3, 14, 16)


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(DataError, match="cannot pad by -1 pixels; choose 0 or more"):
        pad(np.zeros((1, 1, 2, 2), np.uint8), -1, 0)


@pytest.mark.parametrize("value", [-1, 256, 0.5, float("nan")])
def test_a_value_that_the_pixels_cannot_hold_is_refused(value: float) -> None:
    """Not wrapped, not rounded."""
    with pytest.raises(DataError, match=r"cannot pad uint8 images with .*; choose .* 0 to 255"):
        pad(np.zeros((1, 1, 2, 2), np.uint8), 1, value)
