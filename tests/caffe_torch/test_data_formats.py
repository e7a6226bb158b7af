"""What data layers read as bytes: records, windows of images, lists, image files."""

import tempfile
from typing import Any

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import torch
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_torch.database import Database
from caffe_torch.images import UnreadableImageError, decode
from caffe_torch.layers.image_data import _split
from caffe_torch.log import FatalError
from caffe_torch.transform import Windows

# Records as bytes


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["data", "float_data"]),
            st.integers(1, 3),
            st.integers(1, 4),
            st.integers(0, 255),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None, max_examples=40)
def test_any_sequence_of_datums_is_read_as_protobuf_reads_it(
    kinds: list[tuple[str, int, int, int, bool]],
) -> None:
    """Bytes and floats of several sizes, with and without the field behind them, in turn."""
    rng = np.random.default_rng(1)
    datums = []
    for kind, channels, side, label, behind in kinds:
        datum = caffe_pb2.Datum(channels=channels, height=side, width=side, label=label)
        count = channels * side * side
        if kind == "data":
            datum.data = rng.choice([53, 200], count).astype(np.uint8).tobytes()
        else:
            datum.float_data.extend(rng.choice([53.0, 2.5e-41, -1e30], count).tolist())
        if behind:
            datum.encoded = False
        datums.append(datum)
    with tempfile.TemporaryDirectory() as folder:
        with lmdb.open(folder) as environment, environment.begin(write=True) as transaction:
            for i, datum in enumerate(datums):
                transaction.put(b"%03d" % i, datum.SerializeToString())
        records = list(Database(folder, "layer").read(0))
    for datum, record in zip(datums, records, strict=True):
        values: Any = np.frombuffer(datum.data, np.uint8)
        if datum.float_data:
            values = np.array(datum.float_data, np.float32)
        shape = (datum.channels, datum.height, datum.width)
        assert record.image.dtype == values.dtype
        assert np.array_equal(record.image.transpose(2, 0, 1), values.reshape(shape))
        assert record.label == datum.label


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_bytes_that_are_no_datum_are_refused(value: bytes) -> None:
    """By one fatal error, or they are read as protobuf reads them."""
    with tempfile.TemporaryDirectory() as folder:
        with lmdb.open(folder) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"the key", value)
        database = Database(folder, "layer")
        try:
            datum = caffe_pb2.Datum.FromString(value)
            values = datum.data or datum.float_data
            good = 0 < len(values) == datum.channels * datum.height * datum.width
        except DecodeError:
            good = False
        if good and not datum.encoded:
            assert database.first_shape() == (datum.channels, datum.height, datum.width)
        else:
            with pytest.raises(FatalError, match=r"'the key'.*'layer'"):
                database.first_shape()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_windows_are_cut_alike_on_every_device(dtype: torch.dtype) -> None:
    """The way for the CPU and the way for a GPU, here both on the CPU."""
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.integers(0, 256, (50, 7, 9, 3))).to(dtype)
    tops, lefts = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    windows = Windows((4, 5), tops, lefts, rng.integers(0, 2, 50).astype(bool))
    cut = windows.copied(images)
    assert cut.dtype == dtype
    assert torch.equal(cut, windows.gathered(images))
    for image, window, top, left, flip in zip(images, cut, tops, lefts, windows.flips, strict=True):
        expected = image[top : top + 4, left : left + 5]
        assert torch.equal(window, expected.flip(1) if flip else expected)


# Lists of images


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])), st.integers())
def test_a_line_of_a_list_is_a_path_and_a_number(path: str, label: int) -> None:
    """Paths may have blanks in them."""
    name, number = _split(f"{path} {label}")
    assert name == path
    assert number == float(label)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.png", ("a.png", 0)),
        ("a.png cat", ("a.png", 0)),
        ("a.png 7.9", ("a.png", 7)),
        ("a.png -2x", ("a.png", -2)),
        ("a.png 3 ", ("a.png 3", 0)),
    ],
)
def test_labels_are_read_as_atoi_reads_them(line: str, expected: tuple[str, int]) -> None:
    assert _split(line) == expected


@given(st.binary(max_size=200))
def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        decode(content, True)
