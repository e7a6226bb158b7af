"""Any data set in four IDX files: Fashion-MNIST, KMNIST, EMNIST and the like.

Images are unsigned bytes N×H×W of any size, labels unsigned bytes. They are read from the files
by number, so that a data set may be larger than memory; EMNIST's largest has 814,255 images.
EMNIST's images come transposed as against MNIST's, and its letters are numbered from 1.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.downloads import Files, Located, Status, hash_file, warn_unverified
from data_prep.errors import DataError
from data_prep.examples import Examples, checked_labels
from data_prep.file_images import FileImages
from data_prep.files import GZIP_MAGIC, PIECE, require_space, unreadable
from data_prep.idx import check_length, header_size, parse_header
from data_prep.manifest import SourceFile
from data_prep.sources import Pin
from data_prep.transfer import Progress

# SHA-256 of the .gz files as they were published. Fashion-MNIST and KMNIST: lib/torchvision/
# datasets/fashion_mnist.rb and kmnist.rb (repository ankane/torchvision-ruby, commits 74a9b728
# and 9bf22501).
PUBLISHED_GZ = frozenset((
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
))  # fmt: skip
# SHA-256 of the content, however it is packed. Fashion-MNIST: crates/dataset-ml/src/dataset/
# fashion_mnist.rs (repository SomeB1oody/dataset-core, commit 582ee609); Debian's package
# dataset-fashion-mnist holds the same, packed otherwise.
PUBLISHED_CONTENT = frozenset((
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
))  # fmt: skip

_LONGEST = 16 << 30  # bytes of a file, unpacked


@dataclass(frozen=True)
class IdxFiles(Files):
    """Four IDX files: training images and labels, test images and labels."""


def locate_idx(
    train_images: Path,
    train_labels: Path,
    test_images: Path,
    test_labels: Path,
    *,
    pins: Sequence[Pin] = (),
    progress: Progress | None = None,
) -> IdxFiles:
    """The user's four IDX files, each plain or .gz.

    A file is verified if its content is published or that of one of `pins`, or if it is a .gz
    as it was published; of the others one warning tells. Raises DataError if one cannot be
    read.
    """
    known = PUBLISHED_CONTENT | {pin.sha256 for pin in pins}
    located: list[Located] = []
    for path in (train_images, train_labels, test_images, test_labels):
        digest = _content_hash(path, progress)
        published = digest in known or hash_file(path) in PUBLISHED_GZ
        status: Status = "verified" if published else "unverified"
        name = path.name.removesuffix(".gz")
        located.append((path, SourceFile(name, digest, status, f"user file {path.name}")))
    warn_unverified(located)
    return IdxFiles(tuple(source.sha256 for _, source in located), lambda: located)


def read_idx_files(
    files: IdxFiles,
    workspace: Path,
    progress: Progress | None = None,
    *,
    classes: int | None = None,
) -> Examples:
    """The data set with images N×1×H×W, read by number from the files.

    A .gz is unpacked into `workspace`, an existing folder that has to last as long as the
    images are used. `classes` is the largest training label + 1 if it is not given. Raises
    DataError on malformed files, if they do not belong together, and if a label is no class.
    """
    train_path, train_labels_path, test_path, test_labels_path = (p for p, _ in files.located)
    train = _images(train_path, workspace / "train.idx", progress)
    test = _images(test_path, workspace / "test.idx", progress)
    raw = workspace / "labels.idx"
    train_labels = _labels(train_labels_path, raw, train_path, len(train))
    test_labels = _labels(test_labels_path, raw, test_path, len(test))
    if train.shape != test.shape:
        raise DataError(
            f"{train_path} has images of {train.shape[1:]} pixels and {test_path} of "
            f"{test.shape[1:]}; use the files of one data set"
        )
    count = int(train_labels.max()) + 1 if classes is None else classes
    return Examples(
        train, checked_labels(train_labels, count, str(train_labels_path)),
        test, checked_labels(test_labels, count, str(test_labels_path)), None, count,
    )  # fmt: skip


def _pieces(path: Path) -> Iterator[bytes]:
    """The file's content, unpacked if it is gzip; raises DataError if it is unreadable."""
    try:
        with path.open("rb") as file:
            packed = _is_packed(path)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            while piece := stream.read(PIECE):
                yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip ({error}); fetch the file again") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _content_hash(path: Path, progress: Progress | None) -> str:
    digest, done = hashlib.sha256(), 0
    for piece in _pieces(path):
        digest.update(piece)
        if (done := done + len(piece)) > _LONGEST:
            raise DataError(f"{path}: unpacks to an absurd size; use the original file")
        if progress:
            progress(f"check {path.name}", done, 0)
    return digest.hexdigest()


def _content(
    path: Path, raw: Path, dimensions: int, progress: Progress | None
) -> tuple[Path, tuple[int, ...]]:
    """A file with the unpacked content, `raw` if there was need to unpack, and its shape."""
    pieces = _pieces(path)
    first = next(pieces, b"")
    shape = parse_header(first, str(path), dimensions=dimensions)
    if not _is_packed(path):
        check_length(shape, path.stat().st_size, str(path))
        return path, shape
    expected, done = header_size(dimensions) + prod(shape), 0
    try:
        require_space(raw.parent, expected, f"unpacking {path.name}")
        with raw.open("wb") as file:
            for piece in chain([first], pieces):
                done += len(piece)
                if done > expected:
                    break
                file.write(piece)
                if progress:
                    progress(f"unpack {path.name}", done, expected)
    except OSError as error:
        raise DataError(f"{raw}: cannot be written ({error}); use another disk") from error
    check_length(shape, done, str(path))
    return raw, shape


def _images(path: Path, raw: Path, progress: Progress | None) -> FileImages:
    content, (count, height, width) = _content(path, raw, 3, progress)
    if not count * height * width:
        raise DataError(f"{path}: has no image in it; use the original file")
    return FileImages(
        content, offset=header_size(3), count=count, shape=(1, height, width), column_major=False
    )


def _labels(path: Path, raw: Path, images: Path, count: int) -> NDArray[np.uint8]:
    """The `count` labels of `images`."""
    content, (labels,) = _content(path, raw, 1, None)
    if labels != count:
        raise DataError(
            f"{path} has {labels} labels, but {images} {count} images; "
            "use the files of one data set"
        )
    return np.fromfile(content, np.uint8, offset=header_size(1))
