"""The numeric arrays of a MATLAB level 5 MAT-file, read as a stream.

The format is that of MathWorks' "MAT-File Format" (level 5): a 128-byte header, then elements
of an 8-byte tag (type, number of bytes) and data; an array is an element of elements: flags,
dimensions, name, values. Version 7 packs each array into a zlib stream. The values are in
column-major order, and may be stored in a narrower type than the array's class.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.files import PIECE

_HEADER = 128
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_STORED = {  # element type: numpy's type
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CLASSES = {  # array class: its name
    6: "double", 7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32",
    13: "uint32", 14: "int64", 15: "uint64",
}  # fmt: skip
_COMPLEX = 0x0800
_LONGEST = 1024  # bytes of dimensions or a name; real ones have a few


class _MalformedError(Exception):
    """What is wrong with the file."""


class _Source(Protocol):
    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; raises _MalformedError."""

    def finish(self) -> None:
        """Check that nothing but padding follows."""


class _Plain:
    """An element's bytes as they lie in the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.left = size

    def read(self, size: int) -> bytes:
        content = self.file.read(size) if size <= self.left else b""
        if len(content) != size:
            raise _MalformedError("it is truncated")
        self.left -= size
        return content

    def finish(self) -> None:
        if self.left >= 8:
            raise _MalformedError(f"{self.left} bytes follow an array's values")


class _Inflated:
    """The bytes in a zlib stream, unpacked as they are read."""

    def __init__(self, packed: _Plain) -> None:
        self.packed = packed
        self.unpack = zlib.decompressobj()

    def _more(self, size: int) -> bytes:
        """Between 1 and `size` bytes; none at the end, where zlib's checksum is compared."""
        while not self.unpack.eof:
            feed = self.unpack.unconsumed_tail or self.packed.read(min(self.packed.left, 1 << 16))
            if content := self.unpack.decompress(feed, size):
                return content
            if not feed:
                raise _MalformedError("it is truncated")
        return b""

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            if not (more := self._more(size - len(content))):
                raise _MalformedError("it is truncated")
            content += more
        return bytes(content)

    def finish(self) -> None:
        surplus = 0
        while more := self._more(PIECE):
            if (surplus := surplus + len(more)) >= 8:
                raise _MalformedError("bytes follow an array's values")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What goes wrong with the file, as a DataError that names it."""
    try:
        yield
    except _MalformedError as reason:
        raise DataError(f"{path}: {reason}; fetch it again") from None
    except (zlib.error, OSError) as error:
        raise DataError(f"{path}: damaged ({error}); fetch it again") from error


@dataclass(frozen=True)
class Array:
    """An array in the file, its values still unread."""

    name: str
    mat_class: str  # "uint8", "double", …
    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # as the values are stored
    path: Path
    _source: _Source
    _in_tag: bytes | None  # the values, where they are so few that they lie in their tag

    @property
    def size(self) -> int:
        """The number of bytes of the values as stored."""
        return prod(self.shape) * self.dtype.itemsize

    def pieces(self) -> Iterator[bytes]:
        """The values in column-major order, at most a megabyte at a time.

        To be read once, and before the next array is asked for. Raises DataError, perhaps at
        the end, if the file is damaged.
        """
        with _named(self.path):
            if self._in_tag is not None:
                yield self._in_tag
            else:
                for start in range(0, self.size, PIECE):
                    yield self._source.read(min(PIECE, self.size - start))
            self._source.finish()

    def values(self) -> NDArray[Any]:
        """All the values, as stored and in the array's shape; raises as `pieces`."""
        stored = np.frombuffer(b"".join(self.pieces()), self.dtype)
        return stored.reshape(self.shape, order="F")


def _tag(source: _Source, order: str) -> tuple[int, int, bytes | None]:
    """An element's type and number of bytes, and its data if the tag holds it (4 at most)."""
    kind, size = struct.unpack(f"{order}II", raw := source.read(8))
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise _MalformedError("a malformed tag")
        return kind, size, raw[4 : 4 + size]
    return kind, size, None


def _part(source: _Source, order: str, expected: int) -> bytes:
    """The data of a short element of the expected type."""
    kind, size, data = _tag(source, order)
    if kind != expected or size > _LONGEST:
        raise _MalformedError("an array without its flags, dimensions or name")
    return data if data is not None else source.read(size + -size % 8)[:size]


def _array(source: _Source, order: str, path: Path) -> Array | None:
    """The numeric array at the source; None for arrays of another kind."""
    flags = _part(source, order, _UINT32)
    dimensions = _part(source, order, _INT32)
    name = _part(source, order, _INT8).decode("latin-1")
    if len(flags) != 8 or len(dimensions) % 4:
        raise _MalformedError("an array without its flags or dimensions")
    word = struct.unpack(f"{order}II", flags)[0]
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    if word & 0xFF not in _CLASSES or word & _COMPLEX:
        return None
    kind, size, data = _tag(source, order)
    if kind not in _STORED or min(shape, default=-1) < 0:
        raise _MalformedError(f"{name} holds no numbers")
    dtype = np.dtype(_STORED[kind]).newbyteorder("<" if order == "<" else ">")
    array = Array(name, _CLASSES[word & 0xFF], shape, dtype, path, source, data)
    if array.size != size:
        raise _MalformedError(f"{name} has {size} bytes, which is not its shape's number")
    return array


def arrays(path: Path) -> Iterator[Array]:
    """The real numeric arrays in the file, in their order; others are passed over.

    Raises DataError if the file cannot be read, is of another format or is damaged.
    """
    with _named(path), path.open("rb") as file:
        head = file.read(_HEADER)
        order = {b"\0\1IM": "<", b"\1\0MI": ">"}.get(head[124:])
        if order is None:
            raise _MalformedError("it is no MAT-file of MATLAB 5 to 7")
        while tag := file.read(8):
            if len(tag) < 8:
                raise _MalformedError("it is truncated")
            kind, size = struct.unpack(f"{order}II", tag)
            after = file.tell() + size
            source: _Source = _Plain(file, size)
            if kind == _COMPRESSED:
                source = _Inflated(_Plain(file, size))
                kind, _ = struct.unpack(f"{order}II", source.read(8))
            if kind == _MATRIX and (array := _array(source, order, path)) is not None:
                yield array
            file.seek(after)
