"""CIFAR from files of its formats: binary and Python version, packed and unpacked."""

import gzip
import hashlib
import io
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep import cifar
from data_prep.cifar import Dataset, locate_cifar, read_cifar
from data_prep.downloads import FilePin
from data_prep.errors import DataError
from data_prep.examples import Examples

CLASSES = {"cifar10": 10, "cifar100": 100}
DATASETS: tuple[Dataset, ...] = ("cifar10", "cifar100")
FOLDERS = {
    ("cifar10", "binary"): "cifar-10-batches-bin", ("cifar10", "python"): "cifar-10-batches-py",
    ("cifar100", "binary"): "cifar-100-binary", ("cifar100", "python"): "cifar-100-python",
}  # fmt: skip
ARCHIVES = {
    (dataset, version): f"cifar-{CLASSES[dataset]}-{version}.tar.gz" for dataset, version in FOLDERS
}
NAMES = {
    "cifar10": [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"],
    "cifar100": ["train", "test"],
}
Batch = tuple[NDArray[np.uint8], list[int]]


def batches(dataset: str, seed: int = 0) -> dict[str, Batch]:
    """A few images and labels for each file, in uneven numbers."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.integers(0, 256, (3 + number, 3, 32, 32), np.uint8),
            rng.integers(0, CLASSES[dataset], 3 + number).tolist(),
        )
        for number, name in enumerate(NAMES[dataset])
    }


def binary(dataset: str, batch: Batch) -> bytes:
    """The format's description: <label><3072 pixels>, with CIFAR-100 <coarse><fine><pixels>."""
    coarse = b"\x13" if dataset == "cifar100" else b""
    return b"".join(
        coarse + bytes([label]) + image.tobytes()
        for image, label in zip(*batch, strict=True)
    )  # fmt: skip


def pickled(dataset: str, batch: Batch) -> bytes:
    """As Python 2 wrote it: protocol 2, every string a `str` (opcode U), the array's too."""
    images, labels = batch
    data = images.reshape(len(labels), -1)
    key = b"labels" if dataset == "cifar10" else b"fine_labels"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"".join(b"J" + size.to_bytes(4, "little") for size in data.shape) + b"\x86"
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        + b"K\x00tb\x89T" + data.nbytes.to_bytes(4, "little") + data.tobytes() + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(b"U\x05a.png" for _ in labels) + b"e"
    return (
        b"\x80\x02}(U\x04data" + array + b"U" + bytes([len(key)]) + key + numbers
        + b"U\x09filenames" + names + b"u."
    )  # fmt: skip


def members(dataset: str, version: str, content: dict[str, Batch]) -> dict[str, bytes]:
    if version == "binary":
        return {f"{name}.bin": binary(dataset, batch) for name, batch in content.items()}
    return {name: pickled(dataset, batch) for name, batch in content.items()}


def write_archive(folder: Path, dataset: str, version: str, parts: dict[str, bytes]) -> Path:
    """The members in another order than the data set's, with company."""
    path = folder / ARCHIVES[dataset, version]
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in [*reversed(parts.items()), ("readme.html", b"readme")]:
            info = tarfile.TarInfo(f"{FOLDERS[dataset, version]}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_folder(folder: Path, dataset: str, version: str, parts: dict[str, bytes]) -> Path:
    inner = folder / FOLDERS[dataset, version]
    write_bare(inner, dataset, version, parts)
    return inner


def write_bare(folder: Path, dataset: str, version: str, parts: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    return folder


Write = Callable[[Path, str, str, dict[str, bytes]], Path]


def read(dataset: Dataset, folder: Path) -> Examples:
    return read_cifar(locate_cifar(dataset, folder, folder / "cache", None), folder)


def same(data: Examples, dataset: str, content: dict[str, Batch]) -> bool:
    *training, test = content.values()
    images = np.concatenate([images for images, _ in training])
    labels = [label for _, labels in training for label in labels]
    return (
        data.classes == CLASSES[dataset] and data.origin is None
        and (data.training.shape, data.test.shape) == ((3, 32, 32), (3, 32, 32))
        and np.array_equal(data.training.take(np.arange(len(data.training))), images)
        and np.array_equal(data.test.take(np.arange(len(data.test))), test[0])
        and data.training_labels.dtype == np.int64 and data.training_labels.tolist() == labels
        and data.test_labels.tolist() == test[1]
    )  # fmt: skip


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("write", [write_archive, write_folder, write_bare])
def test_every_form_gives_the_same_images_and_labels(
    tmp_path: Path, dataset: Dataset, version: str, write: Write
) -> None:
    content = batches(dataset)
    write(tmp_path, dataset, version, members(dataset, version, content))
    assert same(read(dataset, tmp_path), dataset, content)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_batches_that_python_3_pickled_are_read(
    tmp_path: Path, dataset: Dataset, protocol: int
) -> None:
    key = "labels" if dataset == "cifar10" else "fine_labels"
    content = batches(dataset)
    parts = {
        name: pickle.dumps({"data": images.reshape(-1, 3072), key: labels}, protocol)
        for name, (images, labels) in content.items()
    }
    write_folder(tmp_path, dataset, "python", parts)
    assert same(read(dataset, tmp_path), dataset, content)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_forms_are_looked_for_in_their_order(tmp_path: Path, dataset: Dataset) -> None:
    """Binary archive, binary folder, its bare files, Python archive, Python folder."""
    forms = [
        (write, version) for version in ("binary", "python")
        for write in (write_archive, write_folder, write_bare)
    ]  # fmt: skip
    for seed, (write, version) in reversed(list(enumerate(forms))):
        content = batches(dataset, seed)
        write(tmp_path, dataset, version, members(dataset, version, content))
        assert same(read(dataset, tmp_path), dataset, content)


def test_the_published_archive_is_identified_without_being_there(tmp_path: Path) -> None:
    for dataset in DATASETS:
        located = locate_cifar(dataset, None, tmp_path / "cache", None)
        assert located.digests == (cifar.FACTS[dataset].versions[0].archive.sha256,)
    assert not (tmp_path / "cache").exists()


def test_the_binary_archive_is_downloaded_and_verified(
    tmp_path: Path, serve: Callable[[dict[str, bytes]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = batches("cifar10")
    archive = write_archive(tmp_path, "cifar10", "binary", members("cifar10", "binary", content))
    packed = archive.read_bytes()
    mirror = serve({archive.name: packed})
    digest = hashlib.sha256(packed).hexdigest()
    pin = FilePin(archive.name, len(packed), digest, (mirror.url,))
    facts = cifar.FACTS["cifar10"]
    version = cifar.Version(pin, *(getattr(facts.versions[0], name) for name in
                                   ("folder", "training", "test", "pickled")))  # fmt: skip
    ours = cifar.Facts(10, None, "labels", (version, facts.versions[1]))
    monkeypatch.setitem(cifar.FACTS, "cifar10", ours)
    located = locate_cifar("cifar10", None, tmp_path / "cache", None)
    assert mirror.asked == []
    assert same(read_cifar(located, tmp_path), "cifar10", content)
    (source,) = located.sources
    assert (source.status, source.origin) == ("verified", mirror.url + archive.name)


def test_users_members_are_unverified_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, "cifar10", "binary", members("cifar10", "binary", batches("cifar10")))
    located = locate_cifar("cifar10", tmp_path, tmp_path, None)
    assert [source.status for source in located.sources] == ["unverified"] * 6
    assert [source.sha256 for source in located.sources] == list(located.digests)
    (record,) = caplog.records
    assert "data_batch_1.bin, data_batch_2.bin" in record.getMessage()


def test_an_empty_or_incomplete_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no cifar-100-binary.tar.gz nor cifar-100-binary nor"):
        read("cifar100", tmp_path)
    inner = write_folder(
        tmp_path, "cifar10", "python", members("cifar10", "python", batches("cifar10"))
    )
    (inner / "data_batch_4").unlink()
    with pytest.raises(DataError, match=r"batches-py is incomplete: data_batch_4 is missing\)"):
        read("cifar10", tmp_path)


def one_line(call: Callable[[], object], pattern: str) -> None:
    with pytest.raises(DataError, match=pattern) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


RECORD = bytes([3]) + bytes(3072)


@pytest.mark.parametrize(
    ("dataset", "content", "reason"),
    [
        ("cifar10", RECORD[:-1], "3072 bytes are no whole number of 3073-byte records"),
        ("cifar10", RECORD * 2 + b"\0", "6147 bytes are no whole number of 3073-byte records"),
        ("cifar10", b"", "0 bytes are no whole number"),
        ("cifar10", bytes([10]) + bytes(3072), "label 10, but the classes are 0 to 9"),
        ("cifar100", RECORD, "3073 bytes are no whole number of 3074-byte records"),
        ("cifar100", b"\0" + bytes([100]) + bytes(3072), "label 100, but the classes are 0 to 99"),
        ("cifar100", bytes([20]) + RECORD, r"\(coarse labels\): label 20, but the classes are"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("write", [write_archive, write_folder])
def test_wrong_binary_files_are_named_with_the_reason(
    tmp_path: Path, dataset: Dataset, content: bytes, reason: str, write: Write
) -> None:
    parts = members(dataset, "binary", batches(dataset))
    last = list(parts)[-1]
    write(tmp_path, dataset, "binary", parts | {last: content})
    one_line(lambda: read(dataset, tmp_path), f"{last}.*{reason}.*use the original")


def dump(**changes: Any) -> bytes:
    content = {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]}
    return pickle.dumps(content | changes, 2)


class _Command:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dump(data=np.zeros((2, 3071), np.uint8)), r"`data` has shape \(2, 3071\) for 2 labels"),
        (dump(labels=[1]), r"`data` has shape \(2, 3072\) for 1 labels"),
        (dump(labels=[1, 10]), "label 10, but the classes are 0 to 9"),
        (dump(labels=[1, -1]), "label -1, but the classes are 0 to 9"),
        (dump(labels=[1, 2**70]), "label 1180591620717411303424, but|label 1180591620717411"),
        (dump(labels=[1, 2.0]), "holds no list `labels`"),
        (dump(labels=[1, [2]]), "holds no list `labels`"),
        (dump(labels=None), "holds no list `labels`"),
        (dump(data=np.zeros((2, 3072), np.float32)), "holds no uint8 array `data`"),
        (dump(data=None), "holds no uint8 array `data`"),
        (pickle.dumps({"labels": [1]}), "holds no uint8 array `data`"),
        (pickle.dumps([1, 2]), "holds no dictionary"),
        (dump()[:-20], "refused: it holds a truncated pickle"),
        (dump(filenames=_Command()), "refused: it holds the global '.*print'"),
        (b"cos\nsystem\n(S'touch touched'\ntR.", "refused: it holds the global 'os.system'"),
        (b"]q\x000" + b"(h\x00h\x00lq\x000" * 200 + b"h\x00.", "refused: it holds containers"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "refused: it holds a truncated pickle"),
        (b"", "refused: it holds a truncated pickle"),
    ],
)
@pytest.mark.parametrize("write", [write_archive, write_folder])
def test_wrong_and_hostile_pickles_are_named_with_the_reason(
    tmp_path: Path, content: bytes, reason: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = members("cifar10", "python", batches("cifar10"))
    write(tmp_path, "cifar10", "python", parts | {"data_batch_2": content})
    before = sorted(tmp_path.rglob("*"))
    one_line(lambda: read("cifar10", tmp_path), f"data_batch_2: ({reason}).*use the original")
    assert sorted(tmp_path.rglob("*")) == before  # nothing was run, nothing written


@pytest.mark.parametrize("version", ["binary", "python"])
def test_damaged_archives_are_refused_and_nothing_is_written(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = members("cifar100", version, batches("cifar100"))
    path = write_archive(tmp_path, "cifar100", version, parts)
    whole = path.read_bytes()
    inner = FOLDERS["cifar100", version]
    first = next(iter(parts))

    def packed(*added: tuple[str, bytes, bytes]) -> bytes:
        """An archive of these names, types and contents."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, kind, content in added:
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
                archive.addfile(info, io.BytesIO(content))
        return file.getvalue()

    reg = tarfile.REGTYPE
    huge = tarfile.TarInfo(f"{inner}/{first}")
    huge.size = 1 << 40
    for content, reason in [
        (whole[: len(whole) // 2], "damaged archive .*; fetch it again"),
        (whole[:-8] + bytes(8), "damaged archive .*; fetch it again"),
        (b"no archive" * 99, "damaged archive .*; fetch it again"),
        (packed((f"{inner}/other", reg, b"")), f"has no {inner}/{first}"),
        (packed((f"../{inner}/{first}", reg, b"x"), (f"/{first}", reg, b"x")), f"has no {inner}/"),
        (packed((f"{inner}/{first}", tarfile.SYMTYPE, b"")), f"has no {inner}/{first}"),
        (packed((f"{inner}/{first}", tarfile.LNKTYPE, b"")), f"has no {inner}/{first}"),
        (gzip.compress(huge.tobuf(tarfile.GNU_FORMAT)), "larger than 268435456 bytes|numbers"),
    ]:
        path.write_bytes(content)
        one_line(lambda: read("cifar100", tmp_path), f"{re.escape(path.name)}.*({reason})")
        assert list(tmp_path.rglob("*")) == [path]


@given(st.binary(max_size=30), st.integers(0, 4000), st.sampled_from(["binary", "python"]))
def test_any_damage_to_a_member_is_survived(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, version: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"noise-{version}"
    folder.mkdir(exist_ok=True)
    parts = members("cifar100", version, batches("cifar100"))
    first = next(iter(parts))
    content = parts[first]
    parts[first] = content[:place] + noise + content[place + len(noise) :]
    write_bare(folder, "cifar100", version, parts)
    try:
        data = read("cifar100", folder)
    except DataError:
        return
    assert len(data.training) == len(data.training_labels) == 3
