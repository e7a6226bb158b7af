"""Data sets that the tests of the data layers write, without this package's own writers."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def pixels(*shape: int, seed: int = 0) -> Pixels:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int, width: int, channels: int = 3) -> Pixels:
    """Waves, as photographs have them more than noise."""
    y, x, c = np.ogrid[:height, :width, :channels]
    return np.asarray(127.5 + 90 * np.sin(y / 5 + c) * np.cos(x / 7) + 2 * c, np.uint8)


def encoded(image: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """An image file's bytes, of (H, W), (H, W, 3) in the order R, G, B, or (H, W, 4)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def raw(image: NDArray[Any], label: int = 0) -> Any:
    """A Datum of bytes or of floats (C, H, W)."""
    datum = caffe_pb2.Datum(label=label)
    datum.channels, datum.height, datum.width = image.shape
    if image.dtype == np.uint8:
        datum.data = image.tobytes()
    else:
        datum.float_data.extend(image.ravel().tolist())
    return datum


def file_datum(content: bytes, label: int = 0) -> Any:
    """A Datum of an encoded image."""
    return caffe_pb2.Datum(data=content, encoded=True, label=label)


def write_lmdb(path: Path, records: Iterable[Any]) -> None:
    """Records under the keys 000000, 000001, …; messages, or bytes as they are."""
    with (
        lmdb.open(str(path), map_size=1 << 28) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, record in enumerate(records):
            value = record if isinstance(record, bytes) else record.SerializeToString()
            transaction.put(f"{i:06d}".encode(), value)


def write_hdf5(path: Path, **sets: Any) -> None:
    """An HDF5 file of these data sets."""
    with h5py.File(path, "w") as file:
        for name, values in sets.items():
            file[name] = values


def write_mean(path: Path, mean: NDArray[Any]) -> None:
    """A mean image (C, H, W)."""
    channels, height, width = mean.shape
    blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.ravel().tolist())
    path.write_bytes(blob.SerializeToString())


def data(source: str, batch: int, more: str = "") -> str:
    """A Data layer's text."""
    return (
        'layer { name: "data" type: "Data" top: "data" top: "label" data_param { '
        f'source: "{source}" batch_size: {batch} backend: LMDB }} {more} }}'
    )


def hdf5_data(source: str, batch: int, more: str = "", tops: str = "data label") -> str:
    """An HDF5Data layer's text."""
    names = " ".join(f'top: "{top}"' for top in tops.split())
    return (
        f'layer {{ name: "data" type: "HDF5Data" {names} hdf5_data_param {{ '
        f'source: "{source}" batch_size: {batch} {more} }} }}'
    )


def image_data(source: str, batch: int, more: str = "", transform: str = "") -> str:
    """An ImageData layer's text."""
    return (
        'layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { '
        f'source: "{source}" batch_size: {batch} {more} }} {transform} }}'
    )
