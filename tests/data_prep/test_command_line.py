"""`python -m data_prep DATASET`: every data set by every preset, from files in official formats."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from data_prep.cli import main
from data_prep.datasets import locate_files
from data_prep.downloads import FilePin
from data_prep.lmdb_writer import read_lmdb
from data_prep.manifest import Manifest, read_manifest
from data_prep.sources import Pin
from tests.data_prep.official_files import FILES, mnist


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command's exit code, in this process."""
    monkeypatch.setattr("sys.argv", ["data_prep", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def prepared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: str, *options: str
) -> tuple[Path, Manifest]:
    """A data set prepared from small files, with 100 validation images unless told otherwise."""
    files = tmp_path / "files"
    if not files.exists():
        files.mkdir()
        FILES[dataset](files)
    own = "tenth" in options or "extended" in options
    number = [] if own else ["--validation", "100"]
    where = ["--out", str(tmp_path / "out"), "--data-dir", str(files)]
    assert run(monkeypatch, dataset, *where, *number, *options) == 0
    (folder,) = (tmp_path / "out").iterdir()
    return folder, read_manifest(folder)


@pytest.mark.parametrize(
    ("dataset", "preset", "parameters"),
    [
        ("mnist", "paper", {"normalize": "", "floats": False, "split": "random"}),
        ("mnist", "released", {"normalize": "mean", "floats": True, "split": "first"}),
        ("cifar10", "paper", {"normalize": "gcn", "split": "random"}),
        ("cifar10", "released", {"normalize": "gcn-released", "split": "first"}),
        ("cifar10", "authors", {"normalize": "gcn-released", "split": "first"}),
        ("cifar100", "paper", {"normalize": "gcn", "split": "random"}),
        ("svhn", "paper", {"normalize": "gcn lcn", "labels": "zero", "svhn": "original"}),
        ("svhn", "released", {"normalize": "lcn-released", "labels": "minus_one"}),
    ],
)
def test_each_preset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    dataset: str, preset: str, parameters: dict[str, Any],
) -> None:  # fmt: skip
    _, manifest = prepared(monkeypatch, tmp_path, dataset, "--preset", preset)
    assert manifest.parameters | parameters == manifest.parameters
    assert manifest.dataset == dataset
    assert manifest.databases["val"].records == 100
    assert {source.status for source in manifest.sources} == {"unverified"}


@pytest.mark.parametrize(("preset", "of_digit_0"), [("paper", 0), ("released", 9)])
def test_svhns_tenth_label(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, preset: str, of_digit_0: int
) -> None:
    """Every tenth image of the files is a 0, labelled 10."""
    folder, manifest = prepared(monkeypatch, tmp_path, "svhn", "--preset", preset)
    labels = [datum.label for _, datum in read_lmdb(folder / "test.lmdb")]
    assert [n for n, label in enumerate(labels) if label == of_digit_0] == [9, 19, 29]
    said = "label 10, the digit 0, is class 0" if preset == "paper" else "label less one"
    assert f"classes: {said}" in manifest.preprocessing


def test_options_change_parts_of_a_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, manifest = prepared(
        monkeypatch, tmp_path, "cifar10", "--normalize", "whiten,gcn-released", "--pad", "5",
        "--parts", "train,val", "--seed", "3", "--hdf5", "--split", "first",
    )  # fmt: skip
    said = {"normalize": "whiten gcn-released", "pad": 5, "seed": 3, "split": "first"}
    assert manifest.parameters | said == manifest.parameters
    assert list(manifest.databases) == ["train", "val"]
    assert manifest.databases["train"].shape == (3, 42, 42)
    assert manifest.databases["val"].hdf5 == "val.txt"


def test_nothing_is_normalized_where_none_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, manifest = prepared(monkeypatch, tmp_path, "cifar10", "--normalize", "none")
    assert manifest.databases["train"].dtype == "uint8"
    assert set(manifest.means) == {"mean", "mean_full"}


def test_any_data_set_of_idx_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mnist(tmp_path)
    four = [
        "--train-images", str(tmp_path / "train-images-idx3-ubyte"),
        "--train-labels", str(tmp_path / "train-labels-idx1-ubyte"),
        "--test-images", str(tmp_path / "t10k-images-idx3-ubyte"),
        "--test-labels", str(tmp_path / "t10k-labels-idx1-ubyte"),
    ]  # fmt: skip
    out = ["--out", str(tmp_path / "out"), "--validation", "20"]
    assert run(monkeypatch, "idx", *out, *four) == 0
    (folder,) = (tmp_path / "out").iterdir()
    manifest = read_manifest(folder)
    assert (manifest.dataset, manifest.classes, manifest.shape) == ("idx", 10, (1, 28, 28))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["svhn", "--set", "tenth", "--validation", "10"], "has its own validation images"),
        (["mnist", "--set", "tenth"], "mnist has no set tenth; only svhn has"),
        (["mnist", "--labels", "zero"], "--labels: mnist has one numbering of its classes"),
        (["mnist", "--normalize", "gcn,zca"], "unknown normalization 'zca'; choose from mean,"),
        (["mnist", "--parts", ","], "no part to write; choose of train, val"),
        (["cifar10", "--uint8"], "--uint8: gcn makes fractions of the pixels; leave it out, or"),
        (["mnist", "--preset", "released", "--uint8"], "--uint8: mean makes fractions"),
        (["cifar10", "--train-images", "x"], "--train-images: cifar10 finds its files by name"),
        (["mnist", "--test-labels", "x"], "--test-labels: mnist finds its files by name"),
        (["mnist", "--pad", "5", "--parts", "val,test"], "pad 5: a border is for train"),
        (["idx", "--train-images", "x"], "idx: name the four files with --train-images"),
        (["mnist", "--parts", "train,dev"], "part 'dev' is unknown; there are: train, val"),
        (["mnist", "--seed", "-4"], "seed -4 is negative"),
        (["idx"], "idx: name the four files with --train-images"),
        (["cifar10"], "has no cifar-10-binary.tar.gz"),
        (["svhn"], "has no train_32x32.mat"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    empty = tmp_path / "empty"
    empty.mkdir()
    out = ["--out", str(tmp_path / "out"), "--data-dir", str(empty)]
    assert run(monkeypatch, *arguments, *out) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("data_prep: error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_parts_are_one_folder_in_any_order_and_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, _ = prepared(monkeypatch, tmp_path, "mnist", "--parts", "train,val")
    again, manifest = prepared(monkeypatch, tmp_path, "mnist", "--parts", "val,train,train")
    assert first == again
    assert list(manifest.databases) == ["train", "val"]


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist", "--out", LONG], f"{LONG}: cannot be written (File name too long); choose"),
        (["mnist", "--pad", "20000"], "pad 20000: a border wider than the images, 28×28"),
        (["mnist", "--subset", "1000"], "subset 1000 exceeds the 100 examples left to train on"),
        *(
            ([name, "--data-dir", LONG], "cannot be read (File name too long); name one")
            for name in ("mnist", "cifar10", "svhn")
        ),
    ],
)
def test_what_only_the_disk_or_the_data_tell_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    (tmp_path / "files").mkdir()
    mnist(tmp_path / "files")
    standard = ["--out", str(tmp_path / "out"), "--data-dir", str(tmp_path / "files")]
    chosen = [arguments[0], "--validation", "100", *standard, *arguments[1:]]
    assert run(monkeypatch, *chosen) == 1
    *_, line = capfd.readouterr().err.splitlines()
    assert line.startswith("data_prep: error: ")
    assert message in line
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate 9 TiB"), "out of memory (Unable to allocate 9 TiB)"),
        (PermissionError(13, "Permission denied", "file"), "Permission denied: 'file'"),
    ],
)
def test_what_nobody_thought_of_is_still_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    error: Exception, message: str,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("data_prep.cli.locate", fail)
    assert run(monkeypatch, "mnist", "--out", str(tmp_path)) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("data_prep: error: ")
    assert message in line


def test_mnists_own_files_are_published_as_idx_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mnist(tmp_path)
    kinds = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    paths = [tmp_path / f"{kind}-ubyte" for kind in kinds]
    packed = FilePin("", 0, None)
    pins = [
        Pin(path.name, 0, hashlib.sha256(path.read_bytes()).hexdigest(), packed) for path in paths
    ]
    monkeypatch.setattr("data_prep.datasets.PINS", pins)
    found = locate_files((paths[0], paths[1], paths[2], paths[3]), None)
    assert {source.status for source in found.sources()} == {"verified"}
