"""The record of a prepared data set: what went in, what was done, what came out.

A prepared folder is named after its parameters and only gets that name when it is complete, so
a folder with a manifest is a finished one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from data_prep.errors import DataError
from data_prep.files import is_file, read_file

FILE_NAME = "manifest.json"
# Part of every folder's name; to be raised when the same parameters would give other records.
FORMAT_VERSION = 3

_LONGEST_LIST = 1 << 20  # bytes of a list of HDF5 files

_STRICT = ConfigDict(extra="forbid")
Parameter = bool | int | str | None


@dataclass(frozen=True, config=_STRICT)
class SourceFile:
    """One file a data set was made from.

    `status`: its content has a published hash (verified), has not (unverified), or no hash is
    published and this one was recorded when the file was first seen (first-seen). `sha256` is
    that of an IDX file's content, unpacked, and of every other file as it is served.
    """

    name: str
    sha256: str
    status: Literal["verified", "unverified", "first-seen"]
    origin: str


@dataclass(frozen=True, config=_STRICT)
class Database:
    """One LMDB, and the same records as HDF5 files where they were asked for.

    Attributes:
        path: its folder within the prepared one.
        records: their number; `per_class` by label.
        order: "shuffled", "original" or "by class".
        shape: channels, height and width of each record, border included.
        dtype: of the pixels.
        mean, std: over all pixels of all records, per channel; the border counts.
        hdf5: the list file of the HDF5 files, which Caffe's HDF5Data takes as `source`.
    """

    path: str
    records: int
    per_class: dict[int, int]
    order: str
    shape: tuple[int, int, int]
    dtype: Literal["uint8", "float32"]
    mean: list[float]
    std: list[float]
    hdf5: str | None = None


@dataclass(frozen=True, config=_STRICT)
class Mean:
    """One mean image: its file and the database it averages."""

    path: str
    of: str


@dataclass(frozen=True, config=_STRICT)
class Manifest:
    """Everything about one prepared folder; `folder` is its name within the output folder."""

    dataset: str
    folder: str
    classes: int
    shape: tuple[int, int, int]  # channels, height, width
    parameters: dict[str, Parameter]
    sources: list[SourceFile]
    databases: dict[str, Database]
    means: dict[str, Mean]
    preprocessing: list[str]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain data, as JSON has it."""
        plain: dict[str, Any] = json.loads(_ADAPTER.dump_json(self))
        return plain


_ADAPTER = TypeAdapter(Manifest)


def folder_name(dataset: str, parameters: Mapping[str, Parameter]) -> str:
    """`<dataset>-<the first 8 hexadecimal digits of the parameters' SHA-256>`."""
    described = json.dumps(
        {"dataset": dataset, "format": FORMAT_VERSION, **parameters}, sort_keys=True
    )
    return f"{dataset}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `folder`/manifest.json, indented."""
    text = _ADAPTER.dump_json(manifest, indent=2).decode()
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder, after a check that its files are all there.

    Raises DataError if it is missing or malformed, or if a database, an HDF5 file or a mean
    image is gone.
    """
    path = folder / FILE_NAME
    remedy = f"remove {folder} and prepare it again"
    try:
        manifest = _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {place}: {first['msg']}; {remedy}") from error
    for name in _files(folder, manifest):
        if not is_file(folder / name):
            raise DataError(f"{folder / name} is missing; {remedy}")
    return manifest


def _files(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What the folder has to hold, each list before the files that it names."""
    for database in manifest.databases.values():
        yield f"{database.path}/data.mdb"
        if database.hdf5 is not None:
            yield database.hdf5
            yield from (
                read_file(folder / database.hdf5, _LONGEST_LIST).decode(errors="replace").split()
            )
    yield from (mean.path for mean in manifest.means.values())
