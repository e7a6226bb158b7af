"""What a prepared folder holds: its numbers, and a sheet of images as the net gets them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.lmdb_writer import read_lmdb
from data_prep.manifest import FILE_NAME, Database, Manifest, read_manifest
from data_prep.prepare import FITTED_ON, MEANS

GAP = 1  # pixels between two images of a sheet


@dataclass(frozen=True)
class Sheet:
    """A contact sheet: the first images of each class, a row for each, and their grey scale.

    Attributes:
        pixels: rows × columns × 3, uint8.
        low, high: the net's values that are shown as black and white.
    """

    pixels: NDArray[np.uint8]
    low: float
    high: float


def prepared_folders(data: Path) -> list[Path]:
    """The prepared folders in `data`, by name; those under a temporary name are not finished."""
    found = (manifest.parent for manifest in data.glob(f"*/{FILE_NAME}"))
    return sorted(folder for folder in found if not folder.name.startswith("."))


def as_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain data."""
    return asdict(manifest)


def contact_sheet(folder: Path, name: str, rng: np.random.Generator, *, columns: int = 12) -> Sheet:
    """The first `columns` images of each class in a database, as the net gets them.

    As Caffe's data layer does it: the mean image is subtracted where the databases hold original
    pixels, and of images with a border a random window of the original size is cut (`rng`).

    Raises:
        DataError: if the folder is not a complete prepared one, has no such database, or holds
            something else than its manifest says.
    """
    manifest = read_manifest(folder)
    if name not in manifest.databases:
        raise DataError(f"{folder} has no {name}; there are: {', '.join(manifest.databases)}")
    database = manifest.databases[name]
    mean = _mean_image(folder, manifest, name)
    found: dict[int, list[NDArray[np.float32]]] = {c: [] for c in range(manifest.classes)}
    wanted = sum(min(columns, count) for count in database.per_class.values())
    for label, image in _images(folder / database.path, database, manifest.classes):
        if len(found[label]) < columns:
            found[label].append(_window(image, manifest.shape, rng) - mean)
            wanted -= 1
            if not wanted:
                break
    values = np.concatenate([image.ravel() for images in found.values() for image in images])
    low, high = (float(edge) for edge in np.percentile(values, (0.5, 99.5)))
    channels, height, width = manifest.shape
    cell = (height + GAP, width + GAP)
    sheet = np.full((manifest.classes * cell[0] - GAP, columns * cell[1] - GAP, 3), 255, np.uint8)
    for row, images in found.items():
        for column, image in enumerate(images):
            scaled = np.clip((image - low) / max(high - low, 1e-12), 0, 1) * 255
            top, left = row * cell[0], column * cell[1]
            shown = np.rint(scaled).astype(np.uint8).transpose(1, 2, 0)
            if channels not in (1, 3):
                shown = shown[:, :, :1]
            sheet[top : top + height, left : left + width] = shown
    return Sheet(sheet, low, high)


def write_png(sheet: Sheet, path: Path) -> None:
    """Write a sheet as a PNG file.

    Raises:
        DataError: if it cannot be written.
    """
    from matplotlib.image import imsave  # slow to import, and only needed here

    try:
        imsave(path, sheet.pixels, format="png")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error


def _images(
    path: Path, database: Database, classes: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for _, datum in read_lmdb(path):
        flat = (
            np.frombuffer(datum.data, np.uint8)
            if database.dtype == "uint8"
            else np.array(datum.float_data)
        )
        if flat.size != math.prod(database.shape) or not 0 <= datum.label < classes:
            raise _other(path)
        yield datum.label, flat.astype(np.float32).reshape(database.shape)


def _other(path: Path) -> DataError:
    return DataError(
        f"{path}: is not what the manifest says; remove {path.parent} and prepare it again"
    )


def _mean_image(folder: Path, manifest: Manifest, name: str) -> NDArray[np.float32]:
    """The mean image that the net subtracts from a database; zeros where it subtracts none."""
    for key, of in MEANS.items():
        if key in manifest.means and of == FITTED_ON[name]:
            mean = manifest.means[key]
            try:
                blob = caffe_pb2.BlobProto.FromString((folder / mean.path).read_bytes())
                return np.array(blob.data, np.float32).reshape(manifest.shape)
            except (DecodeError, ValueError) as error:
                raise _other(folder / mean.path) from error
    return np.zeros(manifest.shape, np.float32)


def _window(
    image: NDArray[np.float32], shape: tuple[int, int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A random window of the original size; the image itself where it has no border."""
    _, height, width = shape
    top, left = (
        int(rng.integers(0, full - side + 1))
        for full, side in zip(image.shape[1:], (height, width), strict=True)
    )
    return image[:, top : top + height, left : left + width]
