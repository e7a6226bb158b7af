"""The IDX format of MNIST's files: a big-endian header, then unsigned bytes in C order.

Header: two zero bytes, the element type (0x08, unsigned byte), the number of dimensions, and
each dimension as a big-endian uint32 (the format's description is on MNIST's own page).
"""

import struct
from math import prod

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError

UNSIGNED_BYTE = 0x08


_REMEDY = "replace it with the original file"


def header_size(dimensions: int) -> int:
    """The number of bytes before the elements."""
    return 4 + 4 * dimensions


def parse_header(start: bytes, origin: str, *, dimensions: int) -> tuple[int, ...]:
    """The shape in the header at the beginning of an uncompressed IDX file.

    `origin` names the file in errors. Raises DataError if the header is not that of an array
    of unsigned bytes with `dimensions` dimensions.
    """
    header = start[: header_size(dimensions)]
    if len(header) < header_size(dimensions):
        raise DataError(
            f"{origin}: {len(header)} bytes cannot hold the {header_size(dimensions)}-byte IDX "
            f"header; {_REMEDY}"
        )
    expected_magic = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if header[:4] != expected_magic:
        raise DataError(
            f"{origin}: starts with 0x{header[:4].hex()}, but an IDX file of unsigned bytes in "
            f"{dimensions} dimension(s) starts with 0x{expected_magic.hex()}; {_REMEDY}"
        )
    return struct.unpack(f">{dimensions}I", header[4:])


def check_length(shape: tuple[int, ...], length: int, origin: str) -> None:
    """Raise DataError unless a file of `length` bytes is as long as its header says."""
    expected = header_size(len(shape)) + prod(shape)
    if length != expected:
        state = "truncated" if length < expected else "too long"
        raise DataError(
            f"{origin}: {state}: its header announces {'×'.join(map(str, shape))} elements, "
            f"{expected} bytes in all, but it has {length}; {_REMEDY}"
        )


def parse_idx(content: bytes, origin: str, *, dimensions: int) -> NDArray[np.uint8]:
    """The array in an uncompressed IDX file, read-only, of the shape its header gives.

    Raises DataError as `parse_header` and `check_length`.
    """
    shape = parse_header(content, origin, dimensions=dimensions)
    check_length(shape, len(content), origin)
    return np.frombuffer(content, np.uint8, offset=header_size(dimensions)).reshape(shape)


def encode_idx(array: NDArray[np.uint8]) -> bytes:
    """The uncompressed IDX file that holds `array`: the inverse of `parse_idx`."""
    magic = bytes((0, 0, UNSIGNED_BYTE, array.ndim))
    return magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
