"""SVHN from MAT-files of its format: scipy writes them, small or, once, at the full size."""

import hashlib
import shutil
import struct
import subprocess
import sys
import zlib
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from data_prep import files, svhn
from data_prep.downloads import FilePin
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.svhn import locate_svhn, read_svhn

COUNTS = {"train": 23, "test": 11, "extra": 37}
PARTS = {
    part: (
        np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), np.uint8),
        np.arange(count).reshape(-1, 1) % 10 + 1,
    )
    for seed, (part, count) in enumerate(COUNTS.items())
}


def write(folder: Path, compressed: bool = True, **changes: Any) -> Path:
    """The three files; `changes` by part: other content for savemat."""
    folder.mkdir(exist_ok=True)
    for part, (images, labels) in PARTS.items():
        content = {"X": images, "y": labels.astype(np.uint8)}
        savemat(
            folder / f"{part}_32x32.mat", changes.get(part, content), do_compression=compressed
        )  # fmt: skip
    return folder


def read(folder: Path, workspace: Path, *, extra: bool = False, labels: Any = "zero") -> Examples:
    workspace.mkdir(exist_ok=True)
    located = locate_svhn(folder, folder / "cache", None, extra=extra)
    return read_svhn(located, workspace, labels=labels)


def images(part: str) -> NDArray[np.uint8]:
    """N×C×H×W by definition: pixel [n, c, h, w] is X[h, w, c, n]."""
    array: NDArray[np.uint8] = PARTS[part][0].transpose(3, 2, 0, 1)
    return array


@pytest.mark.parametrize("compressed", [False, True])
def test_images_and_labels_are_those_of_the_files(tmp_path: Path, compressed: bool) -> None:
    data = read(write(tmp_path / "data", compressed), tmp_path / "work")
    assert (data.training.shape, len(data.training), len(data.test)) == ((3, 32, 32), 23, 11)
    assert np.array_equal(data.training.take(np.arange(23)), images("train"))
    assert np.array_equal(data.test.take(np.arange(11)), images("test"))
    assert data.training_labels.dtype == np.int64
    assert data.training_labels.tolist() == [(n % 10 + 1) % 10 for n in range(23)]
    assert (data.origin, data.classes) == (None, 10)


def test_images_are_read_by_their_numbers(tmp_path: Path) -> None:
    data = read(write(tmp_path / "data"), tmp_path / "work")
    rng = np.random.default_rng(1)
    for numbers in ([], [22], [3, 3, 4, 5, 0], rng.permutation(23).tolist(), range(5, 20)):
        order = np.array(numbers, np.int64)
        assert np.array_equal(data.training.take(order), images("train")[order])
    for numbers in ([23], [-1, 0]):
        with pytest.raises(IndexError):
            data.training.take(np.array(numbers))


def test_extra_images_follow_and_are_told_apart(tmp_path: Path) -> None:
    data = read(write(tmp_path / "data"), tmp_path / "work", extra=True)
    both = np.concatenate([images("train"), images("extra")])
    order = np.random.default_rng(2).permutation(60)
    assert len(data.training) == 60
    assert np.array_equal(data.training.take(order), both[order])
    assert data.origin is not None
    assert data.origin.tolist() == [0] * 23 + [1] * 37
    digits = [*(n % 10 + 1 for n in range(23)), *(n % 10 + 1 for n in range(37))]
    assert data.training_labels.tolist() == [digit % 10 for digit in digits]


def test_the_label_10_is_the_digit_0_or_the_last_class(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    zero = read(folder, tmp_path / "work", labels="zero").test_labels
    minus_one = read(folder, tmp_path / "work", labels="minus_one").test_labels
    stored = PARTS["test"][1].ravel()
    assert set(stored) == set(range(1, 11))
    for label, first, second in zip(stored, zero, minus_one, strict=True):
        assert first == (0 if label == 10 else label)
        assert second == label - 1


def test_labels_of_class_double_are_read(tmp_path: Path) -> None:
    content = {"X": PARTS["test"][0], "y": PARTS["test"][1].astype(float)}
    data = read(write(tmp_path / "data", test=content), tmp_path / "work")
    assert data.test_labels.tolist() == [(n % 10 + 1) % 10 for n in range(11)]


X, Y = PARTS["test"][0], PARTS["test"][1].astype(np.uint8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"X": X}, "has no numeric X and y"),
        ({"y": Y}, "has no numeric X and y"),
        ({"X": "text", "y": Y}, "has no numeric X and y"),
        ({"X": X, "y": Y[:-1]}, "11 images, but 10 labels"),
        ({"X": X[:, :, :2], "y": Y}, r"X is uint8 of shape \(32, 32, 2, 11\), not uint8 of"),
        ({"X": X.transpose(3, 0, 1, 2), "y": Y}, r"X is uint8 of shape \(11, 32, 32, 3\)"),
        ({"X": X[..., 0], "y": Y[:1]}, r"X is uint8 of shape \(32, 32, 3\), not"),
        ({"X": X.astype(float), "y": Y}, "X is double of shape"),
        ({"X": X, "y": Y * 0}, "label 0; SVHN's are 1 to 10"),
        ({"X": X, "y": Y + 1}, "label 11; SVHN's are 1 to 10"),
        ({"X": X, "y": Y + 0.5}, "label 1.5; SVHN's are 1 to 10"),
        ({"X": X, "y": Y * np.nan}, "label nan; SVHN's are 1 to 10"),
        ({"X": X, "y": np.ones((11, 11))}, r"y has shape \(11, 11\), not N×1"),
    ],
)
def test_wrong_files_are_named_with_the_reason(
    tmp_path: Path, content: dict[str, Any], reason: str
) -> None:
    folder = write(tmp_path / "data", test=content)
    with pytest.raises(DataError, match=f"test_32x32.mat: {reason}.*; use the orig") as caught:
        read(folder, tmp_path / "work")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    path = folder / "train_32x32.mat"
    whole = path.read_bytes()
    for length in (0, 127, 140, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"train_32x32.mat: .*fetch it again"):
            read(folder, tmp_path / "work")


def test_users_files_are_told_from_the_published_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data")
    test_hash = hashlib.sha256((folder / "test_32x32.mat").read_bytes()).hexdigest()
    monkeypatch.setattr(svhn, "TEST", FilePin("test_32x32.mat", 0, test_hash))
    located = locate_svhn(folder, tmp_path, None, extra=True)
    statuses = {source.name: source.status for source in located.sources}
    assert statuses == {
        "train_32x32.mat": "unverified", "test_32x32.mat": "verified",
        "extra_32x32.mat": "unverified",
    }  # fmt: skip
    assert located.digests[1] == test_hash
    assert [source.sha256 for source in located.sources] == list(located.digests)
    (record,) = caplog.records
    assert "train_32x32.mat, extra_32x32.mat" in record.getMessage()
    (folder / "extra_32x32.mat").unlink()
    locate_svhn(folder, tmp_path, None, extra=False)
    with pytest.raises(DataError, match=r"has no extra_32x32.mat; put it there \(http"):
        locate_svhn(folder, tmp_path, None, extra=True)


def test_the_published_files_are_identified_without_being_there(tmp_path: Path) -> None:
    located = locate_svhn(None, tmp_path / "cache", None, extra=True)
    assert located.digests == (svhn.TRAIN.sha256, svhn.TEST.sha256, svhn.EXTRA.sha256)
    assert not (tmp_path / "cache").exists()


def test_a_disk_without_space_is_reported_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "data")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage(10**9, 0, 70_000))
    with pytest.raises(DataError, match=r"work: unpacking train_32x32.mat needs 0 MB, but 0 MB"):
        read(folder, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_copy_that_has_become_shorter_is_noticed(tmp_path: Path) -> None:
    data = read(write(tmp_path / "data"), tmp_path / "work")
    raw = tmp_path / "work" / "train_32x32.raw"
    raw.write_bytes(raw.read_bytes()[:-1])
    data.training.take(np.arange(22))
    with pytest.raises(DataError, match=r"train_32x32.raw: cannot be read"):
        data.training.take(np.arange(23))
    raw.unlink()
    with pytest.raises(DataError, match=r"train_32x32.raw: cannot be read"):
        data.training.take(np.arange(22))


def write_large(path: Path, count: int) -> None:
    """A packed file of `count` images, whose pixels all are the image's number modulo 251."""
    values = np.arange(count, dtype=np.int64)

    def array(name: bytes, dims: tuple[int, ...], size: int) -> bytes:
        head = struct.pack("<IIII", 6, 8, 9, 0) + struct.pack("<II", 5, 4 * len(dims))
        head += struct.pack(f"<{len(dims)}i", *dims) + struct.pack("<I", len(name) << 16 | 1)
        head += name.ljust(4, b"\0") + struct.pack("<II", 2, size)
        return struct.pack("<II", 14, len(head) + size + -size % 8) + head

    with path.open("wb") as file:
        file.write(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM")
        for name, dims, size in (
            (b"X", (32, 32, 3, count), 3072 * count), (b"y", (count, 1), count),
        ):  # fmt: skip
            start = file.tell()
            file.write(bytes(8))
            packer = zlib.compressobj(1)
            file.write(packer.compress(array(name, dims, size)))
            for part in np.array_split(values, max(1, count // 5000)):
                pixels = np.repeat((part % 251).astype(np.uint8), 3072)
                labels = (part % 10 + 1).astype(np.uint8)
                file.write(packer.compress((pixels if name == b"X" else labels).tobytes()))
            file.write(packer.compress(bytes(-size % 8)) + packer.flush())
            end = file.tell()
            file.seek(start)
            file.write(struct.pack("<II", 15, end - start - 8))
            file.seek(end)


MEASURED = """
import sys
from pathlib import Path
import numpy as np
from data_prep.svhn import locate_svhn, read_svhn
folder, workspace = map(Path, sys.argv[1:])
data = read_svhn(locate_svhn(folder, folder, None, extra=True), workspace, labels="zero")
order = np.random.default_rng(0).permutation(len(data.training))
train = len(data.training) - np.count_nonzero(data.origin)
for start in range(0, len(order), 5000):
    numbers = order[start : start + 5000]
    within = np.where(numbers < train, numbers, numbers - train)
    taken = data.training.take(numbers)
    assert np.array_equal(taken[:, 2, 31, 31], within % 251)
    assert np.array_equal(data.training_labels[numbers], (within % 10 + 1) % 10)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(data.training), peak.split()[1])
"""


@pytest.mark.slow
def test_the_extended_set_is_streamed_within_512_mb(tmp_path: Path) -> None:
    """604,388 training images, of which extra alone are 1.6 GB, are read in shuffled order."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("peak memory is read from /proc")
    counts = {"train": 73_257, "test": 26_032, "extra": 531_131}
    for part, count in counts.items():
        write_large(tmp_path / f"{part}_32x32.mat", count)
    workspace = tmp_path / "work"
    workspace.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), str(workspace)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shutil.rmtree(tmp_path)  # several gigabytes
    images_read, peak_kib = map(int, result.stdout.split())
    assert images_read == 604_388
    assert peak_kib < 512 << 10
