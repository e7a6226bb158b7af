"""A data LMDB: its records in key order, round and round."""

import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch.blob import Array, Shape
from caffe_torch.log import FatalError, info


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

    Raises:
        FatalError: there is no such LMDB, or it is empty.
    """

    def __init__(self, source: str, layer: str) -> None:
        self.source = source
        self.layer = layer
        try:
            self._environment = _open(source)
        except lmdb.Error as error:
            exists = Path(source).exists()
            reason = "is not an LMDB" if exists else "No such file or directory"
            raise FatalError(
                "db_lmdb.hpp:15",
                f"Check failed: mdb_status == 0 {reason}: '{source}', the source of layer "
                f"'{layer}', is read from the folder {Path.cwd()}; correct data_param.source, or "
                f"run where it is right ({error})",
            ) from None
        info("db_lmdb.cpp:35", f"Opened lmdb {source}")
        self.size = self._environment.handle.stat()["entries"]
        if not self.size:
            raise FatalError(
                "db_lmdb.cpp:40",
                f"Check failed: entries > 0 the LMDB '{source}' of layer '{layer}' is empty; "
                "write its records first",
            )

    def first_shape(self) -> Shape:
        """(channels, height, width) of the first record."""
        with self._environment.handle.begin() as transaction, transaction.cursor() as cursor:
            cursor.first()
            datum = self._parse(cursor.item()[0], cursor.value())
        return (datum.channels, datum.height, datum.width)

    def batches(self, size: int, skip: int = 0) -> Iterator[tuple[Array, Array, int]]:
        """Endless batches.

        Args:
            size: records per batch; a batch may go past the last record to the first.
            skip: records to leave out at the start.

        Yields:
            values (size, C, H, W), uint8 or float32; labels (size) float32; and how often this
            batch came to the end of the LMDB.

        Raises:
            FatalError: a record is not a Datum, is encoded, or has another shape.
        """
        with self._environment.handle.begin(buffers=True) as transaction:
            cursor = transaction.cursor()
            cursor.first()
            position = 0
            for _ in range(skip % self.size):
                cursor.next()
                position += 1
            while True:
                wraps = 0
                datums = []
                for _ in range(size):
                    datums.append(self._parse(*cursor.item()))
                    position += 1
                    if position == self.size:
                        position = 0
                        wraps += 1
                        cursor.first()
                    else:
                        cursor.next()
                values, labels = self._stack(datums)
                yield values, labels, wraps

    def _parse(self, key: Any, value: Any) -> Any:
        datum = caffe_pb2.Datum()
        try:
            datum.ParseFromString(bytes(value))
        except Exception:
            raise self._bad_record(key, "is not a Datum") from None
        if datum.encoded:
            raise self._bad_record(key, "is an encoded image; this engine reads raw values")
        return datum

    def _stack(self, datums: list[Any]) -> tuple[Array, Array]:
        first = datums[0]
        shape = (first.channels, first.height, first.width)
        labels = np.array([datum.label for datum in datums], dtype=np.float32)
        values: Any
        if first.data:
            values = np.frombuffer(b"".join([datum.data for datum in datums]), dtype=np.uint8)
        else:
            values = np.array([datum.float_data for datum in datums], dtype=np.float32)
        same = all((d.channels, d.height, d.width) == shape for d in datums)
        if not same or values.size != len(datums) * int(np.prod(shape)):
            raise self._bad_record(
                "?", f"has another shape than {shape}, or not one value per pixel and channel"
            )
        return values.reshape(len(datums), *shape), labels

    def _bad_record(self, key: Any, reason: str) -> FatalError:
        name = key if isinstance(key, str) else bytes(key).decode(errors="replace")
        return FatalError(
            "data_transformer.cpp:44",
            f"Check failed: record '{name}' of the LMDB '{self.source}' (layer '{self.layer}') "
            f"{reason}; write the LMDB again",
        )
