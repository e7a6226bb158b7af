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


def parse_idx(content: bytes, origin: str, *, dimensions: int) -> NDArray[np.uint8]:
    """The array in an uncompressed IDX file, read-only, of the shape its header gives.

    `origin` names the file in errors. Raises DataError if the header is not that of an array
    of unsigned bytes with `dimensions` dimensions, or if the file is not exactly as long as
    the header says.
    """
    remedy = "replace it with the original file"
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(
            f"{origin}: {len(content)} bytes cannot hold the {header}-byte IDX header; {remedy}"
        )
    expected_magic = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if content[:4] != expected_magic:
        raise DataError(
            f"{origin}: starts with 0x{content[:4].hex()}, but an IDX file of unsigned bytes in "
            f"{dimensions} dimension(s) starts with 0x{expected_magic.hex()}; {remedy}"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + prod(shape)
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise DataError(
            f"{origin}: {state}: its header announces {'×'.join(map(str, shape))} elements, "
            f"{expected} bytes in all, but it has {len(content)}; {remedy}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def encode_idx(array: NDArray[np.uint8]) -> bytes:
    """The uncompressed IDX file that holds `array`: the inverse of `parse_idx`."""
    magic = bytes((0, 0, UNSIGNED_BYTE, array.ndim))
    return magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
