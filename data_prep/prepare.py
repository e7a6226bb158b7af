"""From a data set's files to its prepared folder: divide, normalize, pad, write, describe.

train.lmdb       the training examples that are not set aside, shuffled once (or a subset)
val.lmdb         those set aside for validation, shuffled (released code: by class)
train_full.lmdb  all training examples, shuffled
test.lmdb        the test examples in their original order
<name>.txt, <name>-*.h5: the same as HDF5 files, where asked for
mean.binaryproto, mean_full.binaryproto: the mean images of train and of train_full, where the
                 databases hold original pixels; where images have a border, mean_padded and
                 mean_full_padded as well: Caffe wants a mean image of a record's own size
manifest.json    what all this was made from, and how

A normalization that looks at the whole training set looks at `train` for train and val, and at
`train_full` for train_full and test.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets import DataSet
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.files import require_space, sha256
from data_prep.folders import finished, publish, versions
from data_prep.hdf5_writer import disk_bytes as hdf5_bytes
from data_prep.hdf5_writer import write_hdf5
from data_prep.images import CentredImages, Images
from data_prep.lmdb_writer import Chunk, write_lmdb, write_mean
from data_prep.lmdb_writer import disk_bytes as lmdb_bytes
from data_prep.manifest import Database, Manifest, Mean, Parameter, folder_name
from data_prep.moments import PixelMoments
from data_prep.normalize import Normalization
from data_prep.padding import pad
from data_prep.recipes import Part, Recipe
from data_prep.splits import Indices
from data_prep.training_split import orders
from data_prep.transfer import Progress

log = logging.getLogger("data_prep")

CHUNK = 1000  # examples in memory at a time, beside what the data set itself takes,
CHUNK_BYTES = 1 << 24  # and fewer where their uint8 pixels would be more than this
MEANS: dict[str, Part] = {"mean": "train", "mean_full": "train_full"}
PADDED: tuple[Part, ...] = ("train", "train_full")
FITTED_ON: dict[str, Part] = {
    "train": "train", "val": "train", "train_full": "train_full", "test": "train_full",
}  # fmt: skip
WORKSPACE = ".workspace"


@dataclass(frozen=True)
class _Records:
    """Images and labels in the order in which they are to be written."""

    images: Images
    labels: NDArray[np.int64]
    order: Indices
    chunk: int  # how many are in memory at a time

    def raw(self) -> Iterator[NDArray[np.uint8]]:
        """The original pixels, chunk by chunk."""
        for start in range(0, len(self.order), self.chunk):
            yield self.images.take(self.order[start : start + self.chunk])

    def chunks(
        self, change: Callable[[NDArray[np.uint8]], Any], said: Callable[[int], None]
    ) -> Iterator[Chunk]:
        """Changed images with their labels, chunk by chunk."""
        labels, done = self.labels[self.order], 0
        for images in self.raw():
            yield change(images), labels[done : done + len(images)]
            done += len(images)
            said(done)


def _parameters(recipe: Recipe, content: str) -> dict[str, Parameter]:
    """All that makes a folder differ from another of the same data set."""
    shape = {} if recipe.shape is None else {"shape": "×".join(map(str, recipe.shape))}
    return {
        "content": content, "seed": recipe.seed, "validation": recipe.validation,
        "split": recipe.split, "subset": recipe.subset, "svhn": recipe.svhn,
        "labels": recipe.labels, "normalize": " ".join(recipe.normalize), "pad": recipe.pad,
        "floats": recipe.as_float, "parts": " ".join(recipe.parts), "hdf5": recipe.hdf5, **shape,
    }  # fmt: skip


def _preprocessing(recipe: Recipe) -> list[str]:
    """What was done to the pixels, and what is left to the net, one line each."""
    border = Normalization(recipe.normalize).pad_value
    lines = []
    if recipe.shape:
        shape = "×".join(map(str, recipe.shape))
        lines.append(f"images were centred on black ones of {shape}, grey in every channel")
    lines += Normalization(recipe.normalize).description
    if not recipe.normalize:
        lines += [
            "the databases hold the original pixels, as "
            + ("float32" if recipe.floats else "uint8"),
            "Caffe subtracts the mean image: name it as transform_param.mean_file in the net "
            "(mean.binaryproto with train and val, mean_full.binaryproto with train_full and test"
            + (
                "; with train and train_full, which have a border, *_padded)" if recipe.pad else ")"
            ),
        ]
    if recipe.pad:
        lines.append(
            f"train and train_full have a border of {recipe.pad} pixels of value {border:g}: "
            "transform_param.crop_size, the original side, makes Caffe cut a random window of it"
        )
    if recipe.hdf5:
        lines.append("HDF5: Caffe finds the files that <name>.txt lists if it runs in this folder")
    if recipe.labels:
        what = "label 10, the digit 0, is class 0" if recipe.labels == "zero" else "label less one"
        lines.append(f"classes: {what}")
    return lines


def prepare(
    data: DataSet, recipe: Recipe, out: Path, *, progress: Progress | None = None
) -> Manifest:
    """Prepare `out`/<data set>-<hash>, unless it is there: then it is left as is, with a log line.

    The hashes of the files and the recipe make the folder's name, so that files are read only if
    there is work to do.

    Raises:
        DataError: as `data.read` does, if the recipe does not fit the data, or if `out` cannot
            be written or its disk is too small. Nothing is left behind.
    """
    parameters = _parameters(recipe, sha256(" ".join(data.digests).encode()))
    name = folder_name(data.name, parameters)
    if (manifest := finished(out, name)) is not None:
        log.info("%s: already prepared, nothing to do", out / name)
        return manifest

    def fill(folder: Path) -> Manifest:
        workspace = folder / WORKSPACE
        workspace.mkdir()
        examples = _shaped(data.read(workspace), recipe)
        manifest = _Writer(folder, recipe, examples, progress).write(data, name, parameters)
        shutil.rmtree(workspace)
        return manifest

    return publish(out, name, fill)


def _shaped(examples: Examples, recipe: Recipe) -> Examples:
    """Examples whose images have the recipe's shape."""
    if recipe.shape is None:
        return examples
    training, test = (CentredImages(x, recipe.shape) for x in (examples.training, examples.test))
    return replace(examples, training=training, test=test)


class _Writer:
    """One folder being filled."""

    def __init__(
        self, folder: Path, recipe: Recipe, examples: Examples, progress: Progress | None
    ) -> None:
        self.folder, self.recipe, self.examples = folder, recipe, examples
        self.progress = progress
        self.normalization = Normalization(recipe.normalize)
        channels, height, width = examples.training.shape
        if recipe.pad > min(height, width):
            raise DataError(
                f"pad {recipe.pad}: a border wider than the images, {height}×{width}; choose "
                f"at most {min(height, width)} pixels"
            )
        side = 2 * recipe.pad
        self.padded = (channels, height + side, width + side)
        chunk = max(1, min(CHUNK, CHUNK_BYTES // math.prod(self.padded)))
        training = orders(recipe, examples.training_labels, examples.origin)
        self.records: dict[Part, _Records] = {
            part: _Records(examples.training, examples.training_labels, order, chunk)
            for part, order in training.items()
        }
        everything = np.arange(len(examples.test_labels))
        if not len(everything):
            raise DataError("there are no test images; use the complete data set")
        self.records["test"] = _Records(examples.test, examples.test_labels, everything, chunk)

    def _require_space(self, name: str) -> None:
        """Raise DataError unless the disk has room for all the databases."""
        kind = "float32" if self.recipe.as_float else "uint8"
        size = 0
        for part in self.recipe.parts:
            shape = self.padded if part in PADDED else self.examples.training.shape
            count = len(self.records[part].order)
            size += lmdb_bytes(count, shape, kind)
            if self.recipe.hdf5:
                size += hdf5_bytes(count, shape)
        require_space(self.folder.parent, size, name)

    def write(self, data: DataSet, name: str, parameters: dict[str, Parameter]) -> Manifest:
        recipe, examples = self.recipe, self.examples
        self._require_space(name)
        databases, fitted = {}, {}
        for part in recipe.parts:
            source = FITTED_ON[part]
            if source not in fitted:
                fitted[source] = self.normalization.fit(self.records[source].raw)
            databases[str(part)] = self._write(part, fitted[source])
        means = {} if recipe.normalize else dict(self._write_means())
        return Manifest(
            data.name, name, examples.classes, examples.training.shape, parameters,
            data.sources(), databases, means, _preprocessing(recipe), versions(),
        )  # fmt: skip

    def _write_means(self) -> Iterator[tuple[str, Mean]]:
        """The mean images that the databases need."""
        border = self.normalization.pad_value
        for key, of in MEANS.items():
            if not any(FITTED_ON[part] == of for part in self.recipe.parts):
                continue
            for name, margin in ((key, 0), (f"{key}_padded", self.recipe.pad)):
                if margin or name == key:
                    mean = Mean(f"{name}.binaryproto", of=of)
                    raw = self.records[of].raw()
                    write_mean(self.folder / mean.path, (pad(x, margin, border) for x in raw))
                    yield name, mean

    def _write(self, part: Part, normalize: Callable[[NDArray[np.uint8]], Any]) -> Database:
        """One database, and its HDF5 twin."""
        records, recipe = self.records[part], self.recipe
        margin = recipe.pad if part in PADDED else 0
        moments = PixelMoments()

        def change(images: NDArray[np.uint8]) -> Any:
            changed: Any = images
            if recipe.normalize:
                changed = normalize(images)
            elif recipe.floats:
                changed = images.astype(np.float32)
            changed = pad(changed, margin, self.normalization.pad_value)
            moments.add(changed)
            return changed

        path = f"{part}.lmdb"
        count = write_lmdb(self.folder / path, records.chunks(change, self._said(path, records)))
        mean, std = moments.per_channel()
        channels, height, width = moments.shape
        listed = None
        if recipe.hdf5:
            said = self._said(f"{part} as HDF5", records)
            write_hdf5(self.folder, part, records.chunks(change, said))
            listed = f"{part}.txt"
        per_class = np.bincount(records.labels[records.order], minlength=self.examples.classes)
        by_class = part == "val" and recipe.split == "first"
        order = "original" if part == "test" else "by class" if by_class else "shuffled"
        kind: Any = "float32" if recipe.as_float else "uint8"
        counts = dict(enumerate(per_class.tolist()))
        return Database(
            path, count, counts, order, (channels, height, width), kind, mean, std, listed
        )

    def _said(self, what: str, records: _Records) -> Callable[[int], None]:
        """Tells the progress of a database to whom it concerns."""

        def said(done: int) -> None:
            if self.progress:
                self.progress(f"write {what}", done, len(records.order))

        return said
