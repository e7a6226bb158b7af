"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images each, 3×32×32.

The binary version (https://www.cs.toronto.edu/~kriz/cifar.html) is a sequence of records: the
label, in CIFAR-100 the coarse label and then the fine one, which is the class, and the pixels
C×H×W. The Python version, which many users have, holds pickled dictionaries of `data` (N×3072)
and `labels` or `fine_labels`; it is read by `array_pickle`, which runs nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.array_pickle import load_arrays
from data_prep.downloads import FilePin, Files, Located, pinned_files, user_files
from data_prep.errors import DataError
from data_prep.examples import Examples, checked_labels
from data_prep.files import is_file, iterate_members, read_file
from data_prep.images import ArrayImages, Images, JoinedImages
from data_prep.transfer import Progress

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
Dataset = Literal["cifar10", "cifar100"]
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images N×C×H×W and their N classes

_LARGEST = 256 << 20  # bytes of a member; the longest has 155 MB


@dataclass(frozen=True)
class Version:
    """One published form of a data set: its archive, and the members of the archive's folder."""

    archive: FilePin
    folder: str
    training: tuple[FilePin, ...]
    test: FilePin
    pickled: bool

    @property
    def members(self) -> tuple[FilePin, ...]:
        """Those of the training set in their order, then the test set's."""
        return (*self.training, self.test)


@dataclass(frozen=True)
class Facts:
    """What sets the two data sets apart; `versions` come in the order they are looked for."""

    classes: int
    coarse: int | None  # number of coarse labels, if the binary records have them
    labels: str  # the key of the classes in the Python version
    versions: tuple[Version, Version]


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
# Archives, binary version: TensorFlow Datasets, tensorflow_datasets/url_checksums/cifar10.txt
# and cifar100.txt (repository tensorflow/datasets, commit 333639b3). Their members: lib/
# torchvision/datasets/cifar10.rb and cifar100.rb (repository ankane/torchvision-ruby, commit
# 9bf22501). Python version: keras/src/datasets/cifar10.py and cifar100.py (repository
# keras-team/keras, commits 7e4b17c5 and b470eee6); of its members no SHA-256 was found.
# The second mirror: Datasets/CIFAR10/CIFAR10.swift (repository tensorflow/swift-models, commit
# 46c4b6b4).
_CIFAR10 = Facts(10, None, "labels", (
    Version(
        FilePin(
            "cifar-10-binary.tar.gz", 170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            (_TORONTO, "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/"),
        ),
        "cifar-10-batches-bin",
        tuple(FilePin(f"data_batch_{number}.bin", 30_730_000, sha256) for number, sha256 in (
            (1, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
            (2, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
            (3, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
            (4, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
            (5, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        )),
        FilePin(
            "test_batch.bin", 30_730_000,
            "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        ),
        pickled=False,
    ),
    Version(
        FilePin(
            "cifar-10-python.tar.gz", 170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
        "cifar-10-batches-py",
        tuple(FilePin(f"data_batch_{number}", 0, None) for number in range(1, 6)),
        FilePin("test_batch", 0, None),
        pickled=True,
    ),
))  # fmt: skip
_CIFAR100 = Facts(100, 20, "fine_labels", (
    Version(
        FilePin(
            "cifar-100-binary.tar.gz", 168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", (_TORONTO,),
        ),
        "cifar-100-binary",
        (FilePin(
            "train.bin", 153_700_000,
            "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        ),),
        FilePin(
            "test.bin", 30_740_000,
            "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
        ),
        pickled=False,
    ),
    Version(
        FilePin(
            "cifar-100-python.tar.gz", 169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
        "cifar-100-python",
        (FilePin("train", 0, None),),
        FilePin("test", 0, None),
        pickled=True,
    ),
))  # fmt: skip
FACTS: dict[Dataset, Facts] = {"cifar10": _CIFAR10, "cifar100": _CIFAR100}


@dataclass(frozen=True)
class CifarFiles(Files):
    """A CIFAR data set's files: one archive of this version, or its members by themselves."""

    facts: Facts
    version: Version
    packed: bool


def locate_cifar(
    dataset: Dataset, data_dir: Path | None, cache: Path, progress: Progress | None
) -> CifarFiles:
    """The data set's files in `data_dir` if it is given, else the archive of cache or mirrors.

    In `data_dir`, in this order: the binary archive, its folder (or what is in it), the Python
    archive, its folder (or what is in it). Raises DataError if none of them is there whole.
    """
    facts = FACTS[dataset]
    binary = facts.versions[0]
    if data_dir is None:
        return CifarFiles(*pinned_files([binary.archive], cache, progress), facts, binary, True)
    incomplete = ""
    for version in facts.versions:
        if is_file(archive := data_dir / version.archive.name):
            located = user_files([(archive, version.archive)], progress)
            return _of_user(located, facts, version, packed=True)
        for folder in (data_dir / version.folder, data_dir):
            chosen = [(folder / pin.name, pin) for pin in version.members]
            missing = [path.name for path, _ in chosen if not is_file(path)]
            if not missing:
                return _of_user(user_files(chosen, progress), facts, version, packed=False)
            if len(missing) < len(chosen) and not incomplete:
                incomplete = f" ({folder} is incomplete: {missing[0]} is missing)"
    raise DataError(
        f"{data_dir} has no {binary.archive.name} nor {binary.folder} nor "
        f"{facts.versions[1].archive.name}{incomplete}; put one of them there ({_TORONTO})"
    )


def _of_user(located: list[Located], facts: Facts, version: Version, *, packed: bool) -> CifarFiles:
    digests = tuple(source.sha256 for _, source in located)
    return CifarFiles(digests, lambda: located, facts, version, packed)


def read_cifar(files: CifarFiles, workspace: Path, progress: Progress | None = None) -> Examples:
    """The data set, in memory, in the order of its files; `workspace` is not needed.

    Raises DataError if a file is damaged or missing, or holds something else.
    """
    version, facts = files.version, files.facts
    batches: dict[str, Batch] = {}
    for name, origin, content in _contents(files):
        parse = _pickled_batch if version.pickled else _binary_batch
        batches[name] = parse(content, origin, facts)
        if progress:
            progress(f"read {version.folder}", len(batches), len(version.members))
    training = [batches[pin.name] for pin in version.training]
    parts: list[Images] = [ArrayImages(images) for images, _ in training]
    test_images, test_labels = batches[version.test.name]
    return Examples(
        parts[0] if len(parts) == 1 else JoinedImages(parts),
        np.concatenate([labels for _, labels in training]),
        ArrayImages(test_images), test_labels, None, facts.classes,
    )  # fmt: skip


def _contents(files: CifarFiles) -> Iterator[tuple[str, str, bytes]]:
    """Each member's name, what errors call it, and its content, one at a time."""
    names = [pin.name for pin in files.version.members]
    if files.packed:
        ((archive, _),) = files.located
        folder = f"{files.version.folder}/"
        paths = [folder + name for name in names]
        for member, content in iterate_members(archive, paths, limit=_LARGEST):
            yield member.removeprefix(folder), f"{archive}:{member}", content
        return
    for name, (path, _) in zip(names, files.located, strict=True):
        yield name, str(path), read_file(path, _LARGEST)


def _binary_batch(content: bytes, origin: str, facts: Facts) -> Batch:
    """The records of one file of the binary version; the images are a view of `content`."""
    label_bytes = 1 if facts.coarse is None else 2
    record = label_bytes + PIXELS
    if not content or len(content) % record:
        raise DataError(
            f"{origin}: {len(content)} bytes are no whole number of {record}-byte records: "
            "truncated, or another file; use the original one"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    if facts.coarse is not None:
        checked_labels(records[:, 0], facts.coarse, f"{origin} (coarse labels)")
    labels = checked_labels(records[:, label_bytes - 1], facts.classes, origin)
    return records[:, label_bytes:].reshape(-1, *SHAPE), labels


def _pickled_batch(content: bytes, origin: str, facts: Facts) -> Batch:
    """One dictionary of the Python version; its keys are bytes as Python 2 wrote them."""
    batch = load_arrays(content, origin)
    if not isinstance(batch, dict):
        raise DataError(f"{origin}: holds no dictionary; use the original file")
    images = batch.get(b"data", batch.get("data"))
    labels = batch.get(facts.labels.encode(), batch.get(facts.labels))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or not images.size:
        raise DataError(f"{origin}: holds no uint8 array `data`; use the original file")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{origin}: holds no list `{facts.labels}`; use the original file")
    if images.shape != (len(labels), PIXELS):
        raise DataError(
            f"{origin}: `data` has shape {images.shape} for {len(labels)} labels, not "
            f"{len(labels)}×{PIXELS}; use the original file"
        )
    if wrong := [label for label in labels if not 0 <= label < facts.classes]:
        raise DataError(
            f"{origin}: label {str(wrong[0])[:20]}, but the classes are 0 to {facts.classes - 1}; "
            "use the original file"
        )
    return images.reshape(-1, *SHAPE), np.array(labels, np.int64)
