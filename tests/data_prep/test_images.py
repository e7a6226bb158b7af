"""Images brought to another shape, as transfer between data sets needs it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import DataError
from data_prep.images import ArrayImages, CentredImages

sides = st.integers(1, 5)


@given(st.sampled_from([1, 3]), sides, sides, st.integers(0, 4), st.integers(0, 4))
def test_images_are_centred_on_black_and_grey_in_every_channel(
    channels: int, height: int, width: int, rows: int, columns: int
) -> None:
    rng = np.random.default_rng(0)
    plain = rng.integers(1, 256, (3, channels, height, width), np.uint8)  # nothing black
    images = CentredImages(ArrayImages(plain), (3, height + rows, width + columns))
    assert (len(images), images.shape) == (3, (3, height + rows, width + columns))
    shown = images.take(np.array([2, 0]))
    for image, original in zip(shown, plain[[2, 0]], strict=True):
        for channel in range(3):
            of = original[0 if channels == 1 else channel]
            assert np.count_nonzero(image[channel]) == height * width
            lit = np.argwhere(image[channel])
            top, left = lit.min(axis=0)
            assert (top, left) == (rows // 2, columns // 2)
            assert np.array_equal(image[channel][top : top + height, left : left + width], of)


@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 6, 4), (4, 6, 6)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, int, int]) -> None:
    images = ArrayImages(np.zeros((1, 3, 6, 6), np.uint8))
    with pytest.raises(DataError, match=r"images of shape 3×6×6 do not fit into \d×\d×\d; choose"):
        CentredImages(images, shape)
