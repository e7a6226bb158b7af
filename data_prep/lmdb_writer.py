"""Caffe's image databases: an LMDB of `Datum` messages, and the mean image beside it.

The records are those of Caffe's convert_mnist_data: the key is the example's number as `%08d`,
the value a serialized Datum with its fields in the order of their numbers. They are encoded by
hand, because all of a record but its pixels and label is the same for the whole database, and
because float_data is written packed (one tag and length before all values, instead of a tag
before each), which every protobuf reader takes, real Caffe's too, and which is a fifth smaller.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from mmap import PAGESIZE
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from data_prep.errors import DataError

Images = NDArray[np.uint8] | NDArray[np.float32]  # N×C×H×W
Chunk = tuple[Images, NDArray[np.integer]]  # images and their N labels, each ≥ 0

MAX_RECORDS = 10**8  # `%08d` keeps its eight digits, and with them the order of the keys
MAX_LABEL = 2**24  # Caffe's label blob is float32, which holds every integer up to here
_DATA, _LABEL, _FLOATS = 0x22, 0x28, 0x32  # field number · 8 + wire type


def checked(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same chunks, each one checked before it is given.

    Raises DataError if a chunk's arrays are not N×C×H×W of uint8 or finite float32 and N integer
    labels from 0 to 2²⁴, or if its images have another shape or type than those before.
    """
    first = None
    for images, labels in chunks:
        _check(images, labels)
        kind = (images.shape[1:], images.dtype)
        first = first or kind
        if kind != first:
            raise DataError(
                f"images of shape {kind[0]} and type {kind[1]} follow others of shape {first[0]} "
                f"and type {first[1]}; a database holds one kind"
            )
        yield images, labels


def _check(images: Images, labels: NDArray[np.integer]) -> None:
    """Raise DataError if these are not one chunk of examples."""
    if images.ndim != 4 or not all(images.shape[1:]) or labels.shape != images.shape[:1]:
        raise DataError(
            f"images of shape {images.shape} with labels of shape {labels.shape} "
            "are not N×C×H×W and N; pass one label per image"
        )
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(f"Caffe takes uint8 or float32, not {images.dtype}; convert the images")
    if images.dtype == np.float32 and not np.isfinite(images).all():
        raise DataError("an image holds NaN or infinity, on which no net can train; correct it")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels are {labels.dtype}, not integers; number the classes from 0")
    if labels.size and int(labels.min()) < 0:
        raise DataError(f"label {labels.min()} is negative; classes are numbered from 0")
    if labels.size and int(labels.max()) > MAX_LABEL:
        raise DataError(f"label {labels.max()} is above {MAX_LABEL}; classes are numbered from 0")


def _varint(value: int) -> bytes:
    """Protocol buffers' base-128 integer; value ≥ 0."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_datums(images: Images, labels: NDArray[np.integer]) -> Iterator[bytes]:
    """Serialized Datums of a checked chunk: uint8 in `data`, float32 in a packed `float_data`."""
    channels, height, width = images.shape[1:]
    head = b"\x08" + _varint(channels) + b"\x10" + _varint(height) + b"\x18" + _varint(width)
    tails = [bytes((_LABEL,)) + _varint(label) for label in labels.tolist()]
    size = channels * height * width
    if images.dtype == np.uint8:
        head += bytes((_DATA,)) + _varint(size)
        for image, tail in zip(np.ascontiguousarray(images), tails, strict=True):
            yield b"".join((head, image.data, tail))
    else:
        floats = bytes((_FLOATS,)) + _varint(4 * size)
        for image, tail in zip(np.ascontiguousarray(images, "<f4"), tails, strict=True):
            yield b"".join((head, tail, floats, image.data))


def disk_bytes(records: int, shape: tuple[int, int, int], dtype: str) -> int:
    """What `write_lmdb` takes on the disk for so many images C×H×W of `dtype`, or a little more.

    LMDB puts as many records on a page as fit, but gives one that takes half a page pages of its
    own: a float32 image of 3×32×32, 12,288 bytes, takes four pages of 4,096 bytes.
    """
    page = min(PAGESIZE, 1 << 15)  # LMDB's largest
    label = np.array([255])  # the longest that is usual
    datum = len(next(encode_datums(np.zeros((1, *shape), dtype), label)))
    node = 16 + datum + datum % 2  # a header and the key of eight bytes come first
    if node > (page - 16) // 2 - 2:
        each: float = -(-(16 + datum) // page) * page + 48  # and a node that tells where it is
    else:
        each = page / ((page - 16) // (node + 2)) * 1.02  # and the pages that tell where
    return math.ceil(records * each) + 16 * page


def _batches(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """The same records in pieces of at most `size` bytes of pixels, or of one record."""
    for images, labels in chunks:
        step = max(1, size // (images[:1].nbytes or 1))
        for start in range(0, len(images), step):
            yield images[start : start + step], labels[start : start + step]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A failure to write, as a DataError."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise DataError(
            f"{folder}: the LMDB cannot be written ({error}); see whether the disk is full"
        ) from error


def write_lmdb(
    folder: Path,
    chunks: Iterable[Chunk],
    *,
    transaction_bytes: int = 1 << 24,
    map_size: int = 1 << 26,
) -> int:
    """Write a new LMDB of the chunks' examples, numbered in order; returns their number.

    Beside one chunk, memory holds a transaction of about `transaction_bytes` of pixels. `map_size`
    (bytes) is where the map starts: it doubles whenever it is full, and the file grows only as
    far as its content. All is flushed to the disk before the return. Raises DataError if `folder`
    exists, on a bad chunk (see `checked`), or if the disk is full.
    """
    if folder.exists():
        raise DataError(f"{folder} already exists; remove it or choose another folder")
    written = 0
    with _writing(folder):
        env = lmdb.open(str(folder), map_size=map_size, sync=False, metasync=False)
    with env:
        for images, labels in _batches(checked(chunks), transaction_bytes):
            if written + len(images) > MAX_RECORDS:
                raise DataError(f"{folder}: more than {MAX_RECORDS} records; use fewer")
            with _writing(folder):
                _put_all(env, written, images, labels)
            written += len(images)
        with _writing(folder):
            env.sync(True)
    return written


def _put_all(
    env: lmdb.Environment, first: int, images: Images, labels: NDArray[np.integer]
) -> None:
    """Append records in one transaction, doubling the map for as long as they do not fit."""
    while True:
        keys = (b"%08d" % number for number in count(first))
        records = zip(keys, encode_datums(images, labels), strict=False)
        try:
            with env.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(records, append=True)
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
        else:
            return


def read_lmdb(folder: Path) -> Iterator[tuple[bytes, caffe_pb2.Datum]]:
    """(key, Datum) of every record in key order; for checks, not for speed.

    Raises DataError if it is no such database.
    """
    try:
        with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
            pages = env.info()["last_pgno"] + 1
            if (folder / "data.mdb").stat().st_size < pages * env.stat()["psize"]:
                raise lmdb.Error("it is cut off")  # a look at what is missing would be a SIGBUS
            for key, value in transaction.cursor():
                yield bytes(key), caffe_pb2.Datum.FromString(bytes(value))
    except (lmdb.Error, DecodeError) as error:
        raise DataError(
            f"{folder}: is no LMDB of images, or a damaged one ({error}); prepare it again"
        ) from error


def write_mean(path: Path, chunks: Iterable[Images]) -> None:
    """Write the mean of N×C×H×W chunks as the BlobProto that Caffe's `mean_file` takes.

    As compute_image_mean does it: shape 1×C×H×W in the legacy num, channels, height and width
    fields, and each value the sum in float32 divided by the count in float32 (the sum itself is
    taken in float64, exact for uint8). Raises DataError if there is no image.
    """
    total: NDArray[np.float64] | None = None
    images_seen = 0
    for images in chunks:
        part = images.sum(axis=0, dtype=np.float64)
        total = part if total is None else total + part
        images_seen += len(images)
    if total is None or not images_seen:
        raise DataError(f"{path}: there is no image to average; make the training part larger")
    channels, height, width = total.shape
    blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend((total.astype(np.float32) / np.float32(images_seen)).ravel().tolist())
    path.write_bytes(blob.SerializeToString(deterministic=True))
