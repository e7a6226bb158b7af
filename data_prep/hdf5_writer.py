"""Caffe's HDF5 input: files of a `data` and a `label` data set, and the list that names them.

HDF5Data reads the list's names one after the other, loads each file as a whole, and goes on from
one to the next in the middle of a batch. It looks for them from the folder in which Caffe runs.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.lmdb_writer import Chunk, checked

FILE_BYTES = 1 << 26  # of the images in one file, unless the caller chooses
MAX_VALUES = 2**31 - 1  # in one blob of Caffe's, which holds all images of a file

Floats = NDArray[np.float32]


def write_hdf5(
    folder: Path,
    name: str,
    chunks: Iterable[Chunk],
    *,
    records_per_file: int | None = None,
    prefix: str = "",
) -> tuple[list[str], int]:
    """Write `name`-0000.h5, `name`-0001.h5, … and `name`.txt into `folder`, an existing one.

    Every file but the last holds `records_per_file` examples (by default 64 MiB of them): `data`,
    N×C×H×W float32, and `label`, N float32, as Caffe's Data layer has its tops; uint8 pixels keep
    their values. The list has a name per line, each after `prefix`: without one Caffe must run in
    `folder`; with `/data/cifar10/` or `../data/` it finds the files from elsewhere.

    Beside one chunk, memory holds one file twice. The list is written last, and all is flushed to
    the disk before the return. Returns the files' names without prefix, and the number of
    examples. Raises DataError if a file exists, on a bad chunk (see `lmdb_writer.checked`), if
    there is no example, if a file would hold more values than a blob of Caffe's, on a name or
    prefix that the list cannot hold, or if the disk is full.
    """
    if not name or Path(name).name != name or re.search(r"\s", prefix + name):
        raise DataError(
            f"HDF5 files named '{prefix}{name}': Caffe's list of files ends a name at white space; "
            "choose a name and a prefix without it, and a name without folders"
        )
    files: list[str] = []
    total = 0
    listing = folder / f"{name}.txt"
    if listing.exists():
        raise DataError(f"{listing} already exists; remove it or choose another folder")
    for data, label in _shards(folder / name, checked(chunks), records_per_file):
        files.append(f"{name}-{len(files):04d}.h5")
        _write_new(folder / files[-1], _encode(data, label))
        total += len(data)
    if not files:
        raise DataError(f"{folder / name}: there is no example; Caffe refuses an empty list")
    _write_new(listing, "".join(f"{prefix}{file}\n" for file in files).encode())
    return files, total


def disk_bytes(records: int, shape: tuple[int, int, int]) -> int:
    """What `write_hdf5` takes on the disk for so many images C×H×W, or a little more."""
    values = math.prod(shape)
    files = -(-records // max(1, FILE_BYTES // (4 * values)))
    return records * 4 * (values + 1) + (files + 1) * (1 << 13)


def _shards(
    path: Path, chunks: Iterable[Chunk], records_per_file: int | None
) -> Iterator[tuple[Floats, Floats]]:
    """Images and labels of one file after the other; each is valid until the next is asked for."""
    data, label, filled = np.empty(0, np.float32), np.empty(0, np.float32), 0
    for images, labels in chunks:
        if not len(data):
            size = _records_per_file(path, images.shape[1:], records_per_file)
            data = np.empty((size, *images.shape[1:]), np.float32)
            label = np.empty(size, np.float32)
        start = 0
        while start < len(images):
            stop = min(len(images), start + len(data) - filled)
            end = filled + stop - start
            data[filled:end], label[filled:end] = images[start:stop], labels[start:stop]
            start, filled = stop, end
            if filled == len(data):
                yield data, label
                filled = 0
    if filled:
        yield data[:filled], label[:filled]


def _records_per_file(path: Path, shape: tuple[int, ...], chosen: int | None) -> int:
    """As chosen, if Caffe can load it, else as many as FILE_BYTES hold."""
    values = math.prod(shape)
    if chosen is None:
        return max(1, FILE_BYTES // (4 * values))
    if not 1 <= chosen <= MAX_VALUES // values:
        raise DataError(
            f"{path}: {chosen} records of {values} values per file; choose from 1 to "
            f"{MAX_VALUES // values}, since a blob of Caffe's holds up to {MAX_VALUES} values"
        )
    return chosen


def _encode(data: Floats, label: Floats) -> memoryview:
    """An HDF5 file, in memory: the HDF5 library crashes where it cannot write to a full disk."""
    content = BytesIO()
    with h5py.File(content, "w", libver=("earliest", "v108")) as file:  # as in Caffe's time
        file.create_dataset("data", data=data, dtype="<f4")
        file.create_dataset("label", data=label, dtype="<f4")
    return content.getbuffer()


def _write_new(path: Path, content: bytes | memoryview) -> None:
    """Write a file that must not exist, through to the disk."""
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise DataError(f"{path} already exists; remove it or choose another folder") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error}); see whether the disk is full"
        ) from error
