"""Images, records and blobs: files, sizes, and there and back again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from caffe_torch.shim.caffe import io

BYTES = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
UNIT = st.floats(0, 1, width=32)
IMAGES = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)), elements=UNIT
)


def test_colour_images_are_loaded_as_rgb_between_0_and_1(tmp_path: Path) -> None:
    """An alpha channel is dropped."""
    for channels in (3, 4):
        path = tmp_path / f"{channels}.png"
        Image.fromarray(BYTES[:, :, :channels]).save(path)
        image = io.load_image(str(path))
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, BYTES[:, :, :3] / 255, rtol=1e-6)


def test_grey_images(tmp_path: Path) -> None:
    """Three equal channels, or one; of a colour image one is its luminance (ITU-R BT.709)."""
    Image.fromarray(BYTES[:, :, 0]).save(tmp_path / "grey.png")
    grey = (BYTES[:, :, :1] / 255).astype(np.float32)
    np.testing.assert_allclose(io.load_image(str(tmp_path / "grey.png")), grey.repeat(3, axis=2))
    np.testing.assert_allclose(io.load_image(str(tmp_path / "grey.png"), color=False), grey)
    Image.fromarray(BYTES[:, :, :3]).save(tmp_path / "colour.png")
    luminance = BYTES[:, :, :3] / 255 @ np.array([0.2125, 0.7154, 0.0721])
    one = io.load_image(str(tmp_path / "colour.png"), color=False)
    np.testing.assert_allclose(one[:, :, 0], luminance, rtol=1e-5)


def test_images_of_16_bits(tmp_path: Path) -> None:
    deep = BYTES[:, :, 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    image = io.load_image(str(tmp_path / "deep.png"), color=False)
    np.testing.assert_allclose(image[:, :, 0], deep / 65535, rtol=1e-6)


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    for name in ("text", "nowhere"):
        with pytest.raises(OSError, match=name):
            io.load_image(str(tmp_path / name))


@given(IMAGES, st.integers(0, 1))
def test_an_image_of_the_wanted_size_stays_as_it_is(
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]], order: int
) -> None:
    np.testing.assert_allclose(io.resize_image(image, image.shape[:2], order), image, atol=1e-6)


@given(IMAGES, st.integers(1, 12), st.integers(1, 12))
def test_a_resized_image_stays_between_the_least_and_the_greatest_value(
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]], height: int, width: int
) -> None:
    resized = io.resize_image(image, (height, width))
    assert resized.shape == (height, width, 3)
    assert resized.min() >= image.min() - 1e-6
    assert resized.max() <= image.max() + 1e-6


def test_orders_that_are_refused() -> None:
    with pytest.raises(ValueError, match="interp_order=3: 0"):
        io.resize_image(np.zeros((4, 4, 3)), (2, 2), interp_order=3)


@given(
    hnp.arrays(np.float32, (4, 5, 3), elements=UNIT),
    st.permutations(range(3)),
    st.floats(0.1, 255),
    st.floats(0.1, 4),
    hnp.arrays(np.float32, 3, elements=st.floats(-9, 9, width=32)),
)
def test_deprocess_undoes_preprocess(
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    swap: list[int],
    raw: float,
    scale: float,
    mean: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    """And the channel c of the blob is ((image[swap[c]]·raw) − mean[c])·scale."""
    transformer = io.Transformer({"data": (2, 3, 4, 5)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", swap)
    transformer.set_raw_scale("data", raw)
    transformer.set_mean("data", mean)
    transformer.set_input_scale("data", scale)
    blob = transformer.preprocess("data", image)
    for channel in range(3):
        expected = (image[:, :, swap[channel]].astype(float) * raw - mean[channel]) * scale
        np.testing.assert_allclose(blob[channel], expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(transformer.deprocess("data", blob), image, atol=1e-4)


def test_what_a_transformer_refuses() -> None:
    transformer = io.Transformer({"data": (2, 3, 4, 5)})
    with pytest.raises(Exception, match="label is not one of the net inputs"):
        transformer.set_raw_scale("label", 2)
    with pytest.raises(Exception, match="Transpose order"):
        transformer.set_transpose("data", (1, 0))
    with pytest.raises(Exception, match="Channel swap"):
        transformer.set_channel_swap("data", (1, 0))
    with pytest.raises(ValueError, match="Mean channels"):
        transformer.set_mean("data", np.zeros(2))
    with pytest.raises(ValueError, match="Mean shape"):
        transformer.set_mean("data", np.zeros((2, 4, 5)))


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)),
    st.integers(-(2**31), 2**31 - 1),
)
def test_a_record_holds_what_was_put_in(
    values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], label: int
) -> None:
    for array in (values, values.astype(np.float32) / 3):
        record = io.array_to_datum(array, label)
        assert record.label == label
        np.testing.assert_array_equal(io.datum_to_array(record), array)
    assert not io.array_to_datum(values).HasField("label")
    with pytest.raises(ValueError, match="Incorrect array shape"):
        io.array_to_datum(values[0])


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=5, max_side=4), elements=UNIT))
def test_a_blob_holds_what_was_put_in(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    blob = io.array_to_blobproto(values, diff=values * 2)
    np.testing.assert_array_equal(io.blobproto_to_array(blob), values)
    np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), values * 2)
    vector = io.arraylist_to_blobprotovector_str([values, values + 1])
    for found, expected in zip(
        io.blobprotovector_str_to_arraylist(vector), (values, values + 1), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
