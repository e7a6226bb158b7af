"""A data LMDB: its records in key order."""

import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from caffe_torch import images
from caffe_torch.blob import Shape
from caffe_torch.log import FatalError, info

_FIRST_SHAPE = "data_transformer.cpp:465"  # where Caffe looks at the first record
_OPENING = "db_lmdb.hpp:15"
_FLOAT_FIELD = 6 << 3 | 5  # the byte before each value of Datum.float_data


class Record(NamedTuple):
    """One example: its pixels (H, W, C), uint8 or float32, and its label."""

    image: NDArray[Any]
    label: float


class _Environment:
    """An open LMDB; there may be one of each path in a process."""

    def __init__(self, path: Path) -> None:
        self.handle = lmdb.open(str(path), readonly=True, lock=False, create=False)


_open_environments: "weakref.WeakValueDictionary[Path, _Environment]"
_open_environments = weakref.WeakValueDictionary()


def _open(source: str) -> _Environment:
    """The environment of a path, shared by its readers.

    One that a reading thread is just letting go of may still be closing: that is waited for.
    """
    path = Path(source).resolve()
    deadline = time.monotonic() + 5
    while True:
        environment = _open_environments.get(path)
        if environment is not None:
            return environment
        try:
            environment = _Environment(path)
        except lmdb.Error as error:
            if "already open" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            _open_environments[path] = environment
            return environment


class Database:
    """An LMDB of Datum records, read without a lock, so its folder need not be writable.

    Args:
        source: the LMDB's folder.
        layer: the name of the layer that reads it, for errors.
        color: whether encoded images are made three channels (True) or one (False).

    Attributes:
        size: the number of records.

    Raises:
        FatalError: there is no such LMDB, or it is empty or truncated.
    """

    def __init__(self, source: str, layer: str, color: bool | None = None) -> None:
        self.source = source
        self.layer = layer
        self._color = color
        self._floats = 0  # how many values the last record of floats had
        try:
            self._environment = _open(source)
        except lmdb.Error as error:
            if Path(source).is_file():
                status = "(20 vs. 0) Not a directory"
            elif not (Path(source) / "data.mdb").exists():
                status = "(2 vs. 0) No such file or directory"
            else:
                status = "(-30793 vs. 0) MDB_INVALID: File is not an LMDB file"
            raise FatalError(
                _OPENING,
                f"Check failed: mdb_status == 0 {status}: '{source}', the source of layer "
                f"'{layer}', is read from the folder {Path.cwd()}; correct data_param.source, or "
                f"run where it is right ({error})",
            ) from None
        info("db_lmdb.cpp:35", f"Opened lmdb {source}")
        self._check_length()
        self.size = self._environment.handle.stat()["entries"]
        if not self.size:
            raise FatalError(
                _FIRST_SHAPE,
                f"Check failed: datum_channels > 0 (0 vs. 0) the LMDB '{source}' of layer "
                f"'{layer}' is empty; write its records first",
            )

    def _check_length(self) -> None:
        """Refuse a file that was cut: reading the missing pages would end the process."""
        handle = self._environment.handle
        path = Path(self.source) / "data.mdb"
        length = path.stat().st_size
        needed = (handle.info()["last_pgno"] + 1) * handle.stat()["psize"]
        if length < needed:
            raise FatalError(
                _OPENING,
                f"Check failed: mdb_status == 0 {path}, read by layer '{self.layer}', is "
                f"truncated: it has {length} of {needed} bytes; copy or write the LMDB again",
            )

    def first_shape(self) -> Shape:
        """(channels, height, width) of the first record.

        Raises:
            FatalError: it is not a Datum, or an image that cannot be decoded.
        """
        height, width, channels = next(self.read(0)).image.shape
        return channels, height, width

    def first_is_encoded(self) -> bool:
        """Whether the first record is an encoded image."""
        with self._environment.handle.begin() as transaction, transaction.cursor() as cursor:
            cursor.first()
            return bool(self._parse(cursor.key(), cursor.value()).encoded)

    def read(self, start: int) -> Iterator[Record]:
        """The records from number `start` on, decoded.

        Raises:
            FatalError: a record is not a Datum, or an image that cannot be decoded.
        """
        with self._environment.handle.begin(buffers=True) as transaction:
            cursor = transaction.cursor()
            cursor.first()
            for _ in range(start):
                cursor.next()
            for key, value in cursor:
                yield self._decode(key, bytes(value))

    def describe(self, number: int) -> str:
        """How errors call a record."""
        with self._environment.handle.begin() as transaction, transaction.cursor() as cursor:
            cursor.first()
            for _ in range(number):
                cursor.next()
            key = bytes(cursor.key()).decode(errors="replace")
        return f"record '{key}' of the LMDB '{self.source}'"

    def _parse(self, key: Any, value: bytes) -> Any:
        try:
            return caffe_pb2.Datum.FromString(value)
        except DecodeError:
            raise self._bad_record(key, "is not a Datum") from None

    def _decode(self, key: Any, value: bytes) -> Record:
        datum, floats = self._parse_with_floats(key, value)
        if datum.encoded:
            try:
                image = images.decode(datum.data, self._color)
            except images.UnreadableImageError as error:
                raise self._bad_record(key, f"is no image to decode ({error})") from None
            return Record(image, datum.label)
        stored: NDArray[Any] = np.frombuffer(datum.data, np.uint8) if datum.data else floats
        shape = datum.channels, datum.height, datum.width
        if min(shape) < 1 or shape[0] * shape[1] * shape[2] != len(stored):
            reason = f"has {len(stored)} values, not one per channel and pixel of its shape {shape}"
            raise self._bad_record(key, reason)
        return Record(stored.reshape(shape).transpose(1, 2, 0), datum.label)

    def _parse_with_floats(self, key: Any, value: bytes) -> tuple[Any, NDArray[np.float32]]:
        """A Datum and its float_data, which is not parsed where it is as long as the last one."""
        floats = _floats_at_the_end(value, self._floats)
        if floats is not None:
            try:
                datum = caffe_pb2.Datum.FromString(value[: -5 * len(floats)])
            except DecodeError:
                floats = None
            else:
                if not (datum.data or datum.float_data or datum.encoded):
                    return datum, floats
        datum = self._parse(key, value)
        floats = np.array(datum.float_data, np.float32)
        self._floats = len(floats)
        return datum, floats

    def _bad_record(self, key: Any, reason: str) -> FatalError:
        name = bytes(key).decode(errors="replace")
        return FatalError(
            _FIRST_SHAPE,
            f"Check failed: datum_channels > 0 (0 vs. 0) record '{name}' of the LMDB "
            f"'{self.source}' (layer '{self.layer}') {reason}; write the LMDB again",
        )


def _floats_at_the_end(value: bytes, n: int) -> NDArray[np.float32] | None:
    """The n values of Datum.float_data as C++ and Python write them, without parsing each.

    They are the last fields of a record; None where its last bytes are not n of them.
    """
    if not n or len(value) < 5 * n:
        return None
    fields = np.frombuffer(value, np.uint8, offset=len(value) - 5 * n).reshape(n, 5)
    if not (fields[:, 0] == _FLOAT_FIELD).all():
        return None
    return np.ascontiguousarray(fields[:, 1:]).view("<f4").ravel()
