"""SVHN's cropped digits: 73,257 training, 26,032 test and 531,131 extra images, 3×32×32.

Each part is a MAT-file with X (uint8, 32×32×3×N) and y (N×1), where the digits 1 to 9 have
their own labels and 0 has label 10 (http://ufldl.stanford.edu/housenumbers/).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.downloads import FilePin, Files, pinned_files, user_files
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.file_images import FileImages
from data_prep.files import is_file, require_space
from data_prep.images import JoinedImages
from data_prep.matfile import Array, arrays
from data_prep.transfer import Progress

CLASSES = 10
SHAPE = (3, 32, 32)
Labels = Literal["zero", "minus_one"]

# The one place they are served from; TensorFlow Datasets and the others read there as well.
MIRRORS = ("http://ufldl.stanford.edu/housenumbers/",)

# Sizes and SHA-256: TensorFlow Datasets, tensorflow_datasets/url_checksums/svhn_cropped.txt
# (repository tensorflow/datasets, commit 333639b37af6c6fedf3610a4a2d42f1c6ef6f7d5).
TRAIN = FilePin(
    "train_32x32.mat", 182_040_794,
    "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", MIRRORS,
)  # fmt: skip
TEST = FilePin(
    "test_32x32.mat", 64_275_384,
    "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", MIRRORS,
)  # fmt: skip
EXTRA = FilePin(
    "extra_32x32.mat", 1_329_278_602,
    "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3", MIRRORS,
)  # fmt: skip

_MOST_IMAGES = 10_000_000  # in a file; what more it announces is damage


@dataclass(frozen=True)
class SvhnFiles(Files):
    """SVHN's files: train, test and, if asked for, extra."""


def locate_svhn(
    data_dir: Path | None, cache: Path, progress: Progress | None, *, extra: bool
) -> SvhnFiles:
    """SVHN's MAT-files in `data_dir` if it is given, else those of the cache or the mirror.

    Raises DataError if one is missing in `data_dir` or unreadable.
    """
    pins = [TRAIN, TEST, *([EXTRA] if extra else [])]
    if data_dir is None:
        return SvhnFiles(*pinned_files(pins, cache, progress))
    for pin in pins:
        if not is_file(data_dir / pin.name):
            raise DataError(f"{data_dir} has no {pin.name}; put it there ({MIRRORS[0]})")
    located = user_files([(data_dir / pin.name, pin) for pin in pins], progress)
    return SvhnFiles(tuple(source.sha256 for _, source in located), lambda: located)


def read_svhn(
    files: SvhnFiles, workspace: Path, progress: Progress | None = None, *, labels: Labels
) -> Examples:
    """SVHN, its images unpacked into files in `workspace` and read from there by number.

    `workspace` is an existing folder that has to last as long as the images are used; it gets
    3,072 bytes per image. `labels`: with "zero" a digit is its own class, with "minus_one"
    digit d is class d - 1 and 0 is class 9. Extra images follow those of train. Raises
    DataError on malformed files and on a disk without the space.
    """
    paths = [path for path, _ in files.located]
    parts = [_read_part(path, workspace, labels, progress) for path in paths]
    (train, train_labels), (test, test_labels), *extras = parts
    if not extras:
        return Examples(train, train_labels, test, test_labels, None, CLASSES)
    ((extra, extra_labels),) = extras
    return Examples(
        JoinedImages([train, extra]), np.concatenate([train_labels, extra_labels]),
        test, test_labels, np.repeat(np.arange(2), [len(train), len(extra)]), CLASSES,
    )  # fmt: skip


def _read_part(
    path: Path, workspace: Path, labels: Labels, progress: Progress | None
) -> tuple[FileImages, NDArray[np.int64]]:
    """One file's images and their classes."""
    images: FileImages | None = None
    digits: NDArray[np.int64] | None = None
    for array in arrays(path):
        if array.name == "X":
            images = _unpack(array, workspace / f"{path.stem}.raw", progress)
        elif array.name == "y":
            digits = _digits(array)
    if images is None or digits is None:
        raise DataError(f"{path}: has no numeric X and y; use the original file")
    if len(images) != len(digits):
        raise DataError(
            f"{path}: {len(images)} images, but {len(digits)} labels; use the original file"
        )
    return images, digits % 10 if labels == "zero" else digits - 1


def _unpack(array: Array, raw: Path, progress: Progress | None) -> FileImages:
    """The images of X, as they lie in the file, in a file of their own."""
    channels, height, width = SHAPE
    count = array.shape[-1]
    if array.mat_class != "uint8" or array.shape[:-1] != (height, width, channels):
        raise DataError(
            f"{array.path}: X is {array.mat_class} of shape {array.shape}, not uint8 of "
            "32×32×3×N; use the original file"
        )
    if array.dtype != np.uint8 or not 1 <= count <= _MOST_IMAGES:
        raise DataError(f"{array.path}: X announces {count} images; use the original file")
    done = 0
    try:
        require_space(raw.parent, array.size, f"unpacking {array.path.name}")
        with raw.open("wb") as file:
            for piece in array.pieces():
                file.write(piece)
                done += len(piece)
                if progress:
                    progress(f"unpack {array.path.name}", done, array.size)
    except OSError as error:
        raise DataError(f"{raw}: cannot be written ({error}); use another disk") from error
    return FileImages(raw, offset=0, count=count, shape=SHAPE, column_major=True)


def _digits(array: Array) -> NDArray[np.int64]:
    """The labels of y, 1 to 10; raises DataError if they are others."""
    count = max(array.shape)
    if sorted(array.shape) != [1, count] or count > _MOST_IMAGES:
        raise DataError(f"{array.path}: y has shape {array.shape}, not N×1; use the original file")
    stored = array.values().ravel()
    wrong = ~((stored >= 1) & (stored <= CLASSES) & (stored == np.floor(stored)))
    if wrong.any():
        raise DataError(
            f"{array.path}: label {stored[wrong][0]}; SVHN's are 1 to 10; use the original file"
        )
    return stored.astype(np.int64)
