"""The IDX reader against the format's description, and against damaged files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.idx import encode_idx, parse_idx

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6))


def test_the_example_of_the_format_is_read() -> None:
    content = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(12))
    array = parse_idx(content, "images", dimensions=3)
    assert array.dtype == np.uint8
    assert array.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@given(ARRAYS)
def test_what_is_encoded_is_read_back(array: NDArray[np.uint8]) -> None:
    back = parse_idx(encode_idx(array), "file", dimensions=array.ndim)
    assert back.shape == array.shape
    assert np.array_equal(back, array)


@given(ARRAYS, st.data())
def test_every_truncation_and_every_surplus_is_refused(
    array: NDArray[np.uint8], data: st.DataObject
) -> None:
    whole = encode_idx(array)
    length = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:length], whole + b"\0"):
        with pytest.raises(DataError, match=r"^file: .*replace it with the original file$"):
            parse_idx(damaged, "file", dimensions=array.ndim)


@given(st.binary(max_size=64), st.integers(1, 3))
def test_any_bytes_are_either_an_array_or_refused(content: bytes, dimensions: int) -> None:
    try:
        array = parse_idx(content, "file", dimensions=dimensions)
    except DataError:
        return
    assert encode_idx(array) == content


@pytest.mark.parametrize(
    "magic",
    [
        pytest.param("00000801", id="labels in place of images"),
        pytest.param("00000d03", id="floats"),
        pytest.param("1f8b0800", id="gzip"),
    ],
)
def test_another_kind_of_file_is_named(magic: str) -> None:
    with pytest.raises(DataError, match=f"0x{magic}.*starts with 0x00000803"):
        parse_idx(bytes.fromhex(magic) + bytes(12), "images", dimensions=3)


def test_a_header_that_announces_more_than_memory_is_refused_at_once() -> None:
    with pytest.raises(DataError, match="truncated"):
        parse_idx(bytes.fromhex("00000803") + b"\xff" * 12, "images", dimensions=3)
