"""From a data set's examples to its prepared folder: split, shuffle, write, describe.

train.lmdb       the training examples that are not set aside, shuffled once (or a subset)
val.lmdb         those set aside for validation, shuffled
train_full.lmdb  all training examples, shuffled
test.lmdb        the test examples in their original order
mean.binaryproto, mean_full.binaryproto: the mean images of train and of train_full
manifest.json    what all this was made from, and how
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.folders import finished, publish, versions
from data_prep.lmdb_writer import Chunk, write_lmdb, write_mean
from data_prep.manifest import Database, Manifest, Mean, Parameter, SourceFile, folder_name
from data_prep.sources import Progress
from data_prep.splits import Indices, generator, permutation, stratified_split, stratified_subset

log = logging.getLogger("data_prep")

CHUNK = 5000  # examples in memory at a time, beside the data set itself
MEANS = {
    "mean": Mean("mean.binaryproto", of="train"),
    "mean_full": Mean("mean_full.binaryproto", of="train_full"),
}


@dataclass(frozen=True)
class Examples:
    """A data set as read: images N×C×H×W with N labels, and the files they came from."""

    training: Chunk
    test: Chunk
    sources: list[SourceFile]


@dataclass(frozen=True)
class Split:
    """How the training examples are divided; all three numbers name the result.

    `validation` examples are set aside, stratified by class; `subset` thins the rest to that
    many, again stratified; `seed` drives the draws and the shuffles. Raises DataError if a
    number can fit no data set.
    """

    seed: int
    validation: int
    subset: int | None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise DataError(f"seed {self.seed} is negative; choose 0 or more")
        if self.validation < 1:
            raise DataError(f"validation {self.validation}: choose at least 1 example")
        if self.subset is not None and self.subset < 1:
            raise DataError(f"subset {self.subset}: choose at least 1 example")

    def orders(self, labels: NDArray[np.integer]) -> dict[str, Indices]:
        """Shuffled indices into the training examples for `train`, `val` and `train_full`.

        The subset is drawn after the split and the full shuffle, so that it changes neither.
        Raises DataError if there are too few examples.
        """
        if self.validation >= len(labels):
            raise DataError(
                f"validation {self.validation} leaves nothing of {len(labels)} examples to train "
                "on; choose fewer"
            )
        rng = generator(self.seed)
        remaining, held_out = stratified_split(labels, self.validation, rng)
        held_out = held_out[permutation(len(held_out), rng)]
        full = permutation(len(labels), rng)
        if self.subset is not None:
            remaining = remaining[stratified_subset(labels[remaining], self.subset, rng)]
        train = remaining[permutation(len(remaining), rng)]
        return {"train": train, "val": held_out, "train_full": full}


def _chunks(
    examples: Chunk, order: Indices, what: str, progress: Progress | None
) -> Iterator[Chunk]:
    """The examples in the given order, CHUNK at a time."""
    images, labels = examples
    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        yield images[part], labels[part]
        if progress:
            progress(what, start + len(part), len(order))


def prepare(
    dataset: str,
    out: Path,
    *,
    shape: tuple[int, int, int],
    classes: int,
    split: Split,
    content: str,
    load: Callable[[], Examples],
    preprocessing: list[str],
    progress: Progress | None,
) -> Manifest:
    """Prepare `out`/`dataset`-<hash>, unless it is there: then it is left as is, with a log line.

    `content` identifies the input files (a hash of their hashes); with the split it makes the
    folder's name, so that `load` is called only if there is work to do. Raises DataError as
    `load` does, if the split does not fit the data, or if `out` cannot be written.
    """
    parameters: dict[str, Parameter] = {
        "seed": split.seed, "validation": split.validation, "subset": split.subset,
        "content": content,
    }  # fmt: skip
    name = folder_name(dataset, parameters)
    if (manifest := finished(out, name)) is not None:
        log.info("%s: already prepared, nothing to do", out / name)
        return manifest
    examples = load()
    orders = split.orders(examples.training[1])

    def fill(folder: Path) -> Manifest:
        databases = {}

        def write(key: str, part: Chunk, order: Indices, described: str) -> None:
            path = f"{key}.lmdb"
            records = write_lmdb(folder / path, _chunks(part, order, f"write {path}", progress))
            counts = np.bincount(part[1][order], minlength=classes).tolist()
            databases[key] = Database(path, records, dict(enumerate(counts)), described)

        for key, order in orders.items():
            write(key, examples.training, order, "shuffled")
        write("test", examples.test, np.arange(len(examples.test[1])), "original")
        for mean in MEANS.values():
            chunks = _chunks(examples.training, orders[mean.of], f"write {mean.path}", progress)
            write_mean(folder / mean.path, (images for images, _ in chunks))
        return Manifest(
            dataset, name, classes, shape, parameters, examples.sources, databases, MEANS,
            preprocessing, versions(),
        )  # fmt: skip

    return publish(out, name, fill)
