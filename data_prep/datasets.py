"""The data sets by name: where their files are and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep.cifar import locate_cifar, read_cifar
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.idx_dataset import locate_idx, read_idx_files
from data_prep.manifest import SourceFile
from data_prep.mnist import PINS, locate_mnist, read_mnist
from data_prep.recipes import Dataset, Recipe
from data_prep.svhn import locate_svhn, read_svhn
from data_prep.transfer import Progress


@dataclass(frozen=True)
class DataSet:
    """A data set whose files are known, and may have to be fetched.

    Attributes:
        name: how it is called.
        digests: the SHA-256 of each file, of pinned ones without a look at them.
        sources: the record of each file; may fetch them. Raises DataError.
        read: the examples; images may lie in the folder given, until it is removed. Raises
            DataError.
    """

    name: str
    digests: tuple[str, ...]
    sources: Callable[[], list[SourceFile]]
    read: Callable[[Path], Examples]


def locate(
    dataset: Dataset,
    recipe: Recipe,
    *,
    data_dir: Path | None,
    cache: Path,
    progress: Progress | None = None,
) -> DataSet:
    """A data set by name, from `data_dir` if given, else from `cache`, mirrors or packages.

    Raises:
        DataError: if `data_dir` does not hold it.
    """
    match dataset:
        case "mnist":
            mnist = locate_mnist(data_dir, cache, progress)
            return DataSet(
                dataset, mnist.digests, lambda: mnist.sources, lambda _: read_mnist(mnist)
            )
        case "cifar10" | "cifar100":
            cifar = locate_cifar(dataset, data_dir, cache, progress)
            read = partial(read_cifar, cifar, progress=progress)
            return DataSet(dataset, cifar.digests, lambda: cifar.sources, read)
        case "svhn":
            svhn = locate_svhn(data_dir, cache, progress, extra=recipe.svhn == "extended")
            read = partial(read_svhn, svhn, progress=progress, labels=recipe.labels or "zero")
            return DataSet(dataset, svhn.digests, lambda: svhn.sources, read)
        case "idx":
            raise DataError("idx: name its four files")


def locate_files(files: tuple[Path, Path, Path, Path], progress: Progress | None) -> DataSet:
    """Any data set of IDX files: training images, training labels, test images, test labels.

    Raises:
        DataError: if one cannot be read.
    """
    found = locate_idx(*files, pins=PINS, progress=progress)
    read = partial(read_idx_files, found, progress=progress)
    return DataSet("idx", found.digests, lambda: found.sources, read)
