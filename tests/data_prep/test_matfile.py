"""The MAT-file reader against scipy's writer, files written by hand, and damaged files."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import savemat

from data_prep.errors import DataError
from data_prep.matfile import arrays

DTYPES = st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5))
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mat") / "file.mat"


def everything(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {array.name: array.values() for array in arrays(path)}


@given(ARRAYS, ARRAYS, st.booleans())
def test_what_scipy_writes_is_read(
    path: Path, first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], compressed: bool
) -> None:
    savemat(path, {"X": first, "labels": second}, do_compression=compressed)
    back = everything(path)
    assert list(back) == ["X", "labels"]
    for array, original in zip(back.values(), (first, second), strict=True):
        assert array.shape == original.shape
        assert array.dtype == original.dtype
        assert np.array_equal(array, original, equal_nan=original.dtype.kind == "f")


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_of_other_kinds_and_unread_ones_are_passed_over(
    path: Path, compressed: bool
) -> None:
    content: dict[str, Any] = {
        "s": {"field": np.arange(3)}, "text": "text", "c": np.array([1j]), "x": np.arange(5000),
        "cell": np.array([1, "a"], object), "y": np.uint8([[7]]),
    }  # fmt: skip
    savemat(path, content, do_compression=compressed)
    names = []
    for array in arrays(path):
        names.append(array.name)
        if array.name == "y":
            assert (array.mat_class, array.shape) == ("uint8", (1, 1))
            assert array.values().tolist() == [[7]]
    assert names == ["x", "y"]


def element(order: str, kind: int, data: bytes, *, short: bool = False) -> bytes:
    if short:
        return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def mat(order: str, *elements: bytes, packed: bool = False) -> bytes:
    """A file of these arrays' contents, as MATLAB writes it."""
    mark = struct.pack(f"{order}HH", 0x0100, 0x4D49)
    content = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + mark
    for part in elements:
        whole = element(order, 14, part)
        if packed:
            whole = zlib.compress(whole)
            whole = struct.pack(f"{order}II", 15, len(whole)) + whole
        content += whole
    return content


def labels(order: str) -> bytes:
    """[[1], [10]] of class double, stored in bytes, its name in the tag: as SVHN has y."""
    return (
        element(order, 6, struct.pack(f"{order}II", 6, 0))
        + element(order, 5, struct.pack(f"{order}ii", 2, 1))
        + element(order, 1, b"y", short=True)
        + element(order, 2, b"\x01\x0a", short=True)
    )


def pixels(order: str) -> bytes:
    """[[1, 3, 5], [2, 4, 6]] of class uint16 in column-major order."""
    return (
        element(order, 6, struct.pack(f"{order}II", 11, 0))
        + element(order, 5, struct.pack(f"{order}ii", 2, 3))
        + element(order, 1, b"pixels")
        + element(order, 4, struct.pack(f"{order}6H", 1, 2, 3, 4, 5, 6))
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_layout_of_the_format_is_read(path: Path, order: str, packed: bool) -> None:
    path.write_bytes(mat(order, labels(order), pixels(order), packed=packed))
    y, x = list(arrays(path))
    assert (y.name, y.mat_class, y.shape, y.size) == ("y", "double", (2, 1), 2)
    assert (x.name, x.mat_class, x.shape, x.size) == ("pixels", "uint16", (2, 3), 12)
    back = everything(path)
    assert back["y"].tolist() == [[1], [10]]
    assert back["pixels"].tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize("compressed", [False, True])
def test_large_arrays_come_in_pieces(path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 3, (32, 32, 3, 1000), np.uint8)
    savemat(path, {"X": array}, do_compression=compressed)
    (x,) = arrays(path)  # unread
    assert x.shape == array.shape
    pieces = [piece for x in arrays(path) for piece in x.pieces()]
    assert max(map(len, pieces)) == 1 << 20
    assert b"".join(pieces) == array.tobytes(order="F")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_truncation_is_refused(path: Path, packed: bool, order: str) -> None:
    whole = mat(order, labels(order), pixels(order), packed=packed)
    ends = {128, len(mat(order, labels(order), packed=packed))}  # an array is missing altogether
    for length in range(len(whole) - 4 * (not packed)):  # the last values are padded
        path.write_bytes(whole[:length])
        if length in ends:
            assert len(everything(path)) < 2
        else:
            with pytest.raises(DataError, match=r"file.mat: .*(truncated|no MAT-file)"):
                everything(path)


def test_a_packed_array_whose_checksum_disagrees_is_refused(path: Path) -> None:
    content = bytearray(mat("<", pixels("<"), packed=True))
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged .*; fetch it again"):
        everything(path)


def array_of(
    shape: tuple[int, ...], data: bytes, *, kind: int = 2, mat_class: int = 9, name: bytes = b"X"
) -> bytes:
    dimensions = struct.pack(f"<{len(shape)}i", *shape)
    return (
        element("<", 6, struct.pack("<II", mat_class, 0)) + element("<", 5, dimensions)
        + element("<", 1, name) + element("<", kind, data)
    )  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (array_of((2, 2), b"123"), "X has 3 bytes"),
        (array_of((2**31 - 1,) * 4, b"1234"), "X has 4 bytes"),
        (array_of((-2, -2), b"1234"), "X holds no numbers"),
        (array_of((2, 2), b"1234", kind=14), "X holds no numbers"),
        (array_of((1,) * 300, b"1"), "without its flags"),
        (array_of((1, 1), b"1", name=b"n" * 2000), "without its flags"),
        (array_of((1, 1), b"1") + bytes(8), "bytes follow"),
        (element("<", 5, bytes(8)), "without its flags"),
        (element("<", 6, bytes(8)) + struct.pack("<II", 0x5_0005, 0), "a malformed tag"),
    ],
)
def test_malformed_arrays_are_refused(
    path: Path, content: bytes, reason: str, packed: bool
) -> None:
    path.write_bytes(mat("<", content, packed=packed))
    with pytest.raises(DataError, match=f"{reason}.*; fetch it again$") as caught:
        everything(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"text" * 100, id="text"),
        pytest.param(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400), id="HDF5"),
        pytest.param(b"\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0X\0" + bytes(200), id="level 4"),
    ],
)
def test_other_formats_are_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"it is no MAT-file of MATLAB 5 to 7"):
        everything(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        everything(tmp_path / "gone.mat")


def test_a_bomb_is_unpacked_no_further_than_it_is_read(path: Path) -> None:
    """100 MB of zeros, of which each piece is a megabyte; an array that says less is refused."""
    bomb = array_of((10, 10_000_000), bytes(100_000_000))
    path.write_bytes(mat("<", bomb, packed=True))
    (x,) = arrays(path)
    assert len(next(x.pieces())) == 1 << 20
    small = array_of((2, 2), b"1234") + bytes(100_000_000)
    path.write_bytes(mat("<", small, packed=True))
    with pytest.raises(DataError, match="bytes follow"):
        everything(path)


@given(st.binary(max_size=40), st.integers(100, 300), st.booleans())
def test_any_damage_is_survived(path: Path, noise: bytes, place: int, packed: bool) -> None:
    whole = mat("<", labels("<"), pixels("<"), packed=packed)
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    with suppress(DataError):  # any other exception fails the test
        everything(path)
