"""Caffe's image databases: an LMDB of `Datum` messages, and the mean image beside it.

The records are those of Caffe's convert_mnist_data: the key is the example's number as `%08d`,
the value a serialized Datum with its fields in the order of their numbers. They are encoded by
hand, because all of a record but its pixels and label is the same for the whole database.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from numpy.typing import NDArray

from data_prep.errors import DataError

Images = NDArray[np.uint8] | NDArray[np.float32]  # N×C×H×W
Chunk = tuple[Images, NDArray[np.integer]]  # images and their N labels, each ≥ 0

MAX_RECORDS = 10**8  # `%08d` keeps its eight digits, and with them the order of the keys
_DATA, _LABEL, _FLOAT = 0x22, 0x28, 0x35  # field number · 8 + wire type


def _varint(value: int) -> bytes:
    """Protocol buffers' base-128 integer; value ≥ 0."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _float_fields(images: NDArray[np.float32]) -> Iterator[bytes]:
    """For each image its float_data: unpacked, that is a tag before each little-endian value."""
    for image in images:
        fields = np.empty((image.size, 5), np.uint8)
        fields[:, 0] = _FLOAT
        fields[:, 1:] = np.ascontiguousarray(image, "<f4").reshape(-1, 1).view(np.uint8)
        yield fields.tobytes()


def encode_datums(images: Images, labels: NDArray[np.integer]) -> Iterator[bytes]:
    """Serialized Datums: uint8 pixels in `data`, float32 pixels in `float_data`.

    Raises DataError if the arrays are not N×C×H×W and N, of another type, or labels negative.
    """
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise DataError(
            f"images of shape {images.shape} with labels of shape {labels.shape} "
            "are not N×C×H×W and N; pass one label per image"
        )
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(f"Datum holds uint8 or float32, not {images.dtype}; convert the images")
    if labels.size and int(labels.min()) < 0:
        raise DataError(f"label {labels.min()} is negative; classes are numbered from 0")
    channels, height, width = images.shape[1:]
    head = b"\x08" + _varint(channels) + b"\x10" + _varint(height) + b"\x18" + _varint(width)
    tails = [bytes((_LABEL,)) + _varint(int(label)) for label in labels]
    if images.dtype == np.uint8:
        head += bytes((_DATA,)) + _varint(channels * height * width)
        for image, tail in zip(images, tails, strict=True):
            yield head + image.tobytes() + tail
    else:
        floats = _float_fields(np.asarray(images, np.float32))
        for fields, tail in zip(floats, tails, strict=True):
            yield head + tail + fields


def _batches(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """The same records in pieces of at most `size`."""
    for images, labels in chunks:
        for start in range(0, len(images), size):
            yield images[start : start + size], labels[start : start + size]


def write_lmdb(
    folder: Path, chunks: Iterable[Chunk], *, batch: int = 1000, map_size: int = 1 << 26
) -> int:
    """Write a new LMDB of the chunks' examples, numbered in order; returns their number.

    Memory stays bounded by one chunk, each transaction by `batch` records. `map_size` (bytes)
    is where the map starts: it doubles whenever it is full, and the file grows only as far as
    its content. Raises DataError if `folder` exists, on a bad array, or if the disk is full.
    """
    if folder.exists():
        raise DataError(f"{folder} already exists; remove it or choose another folder")
    count = 0
    try:
        with lmdb.open(str(folder), map_size=map_size, sync=False, metasync=False) as env:
            for images, labels in _batches(chunks, batch):
                if count + len(images) > MAX_RECORDS:
                    raise DataError(f"{folder}: more than {MAX_RECORDS} records; use fewer")
                records = [
                    (b"%08d" % number, datum)
                    for number, datum in enumerate(encode_datums(images, labels), count)
                ]
                _put_all(env, records)
                count += len(records)
            env.sync(True)
    except (lmdb.Error, OSError) as error:
        raise DataError(f"{folder}: cannot write the LMDB ({error}); check the disk") from error
    return count


def _put_all(env: lmdb.Environment, records: list[tuple[bytes, bytes]]) -> None:
    """Append records in one transaction, doubling the map for as long as they do not fit."""
    while True:
        try:
            with env.begin(write=True) as transaction:
                for key, value in records:
                    transaction.put(key, value, append=True)
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
        else:
            return


def read_lmdb(folder: Path) -> Iterator[tuple[bytes, caffe_pb2.Datum]]:
    """(key, Datum) of every record in key order; for checks, not for speed."""
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        for key, value in transaction.cursor():
            yield bytes(key), caffe_pb2.Datum.FromString(bytes(value))


def write_mean(path: Path, chunks: Iterable[Images]) -> None:
    """Write the mean of N×C×H×W chunks as the BlobProto that Caffe's `mean_file` takes.

    As compute_image_mean does it: shape 1×C×H×W in the legacy num, channels, height and width
    fields, and each value the sum in float32 divided by the count in float32 (the sum itself is
    taken in float64, exact for uint8). Raises DataError if there is no image.
    """
    total: NDArray[np.float64] | None = None
    count = 0
    for images in chunks:
        part = images.sum(axis=0, dtype=np.float64)
        total = part if total is None else total + part
        count += len(images)
    if total is None or not count:
        raise DataError(f"{path}: there is no image to average; make the training part larger")
    channels, height, width = total.shape
    blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend((total.astype(np.float32) / np.float32(count)).ravel().tolist())
    path.write_bytes(blob.SerializeToString(deterministic=True))
