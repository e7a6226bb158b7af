"""Data sets in IDX files of any size, plain and packed, small ones written by the tests."""

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import idx_dataset
from data_prep.downloads import FilePin
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.idx import encode_idx
from data_prep.idx_dataset import IdxFiles, locate_idx, read_idx_files
from data_prep.sources import Pin

RNG = np.random.default_rng(0)
CONTENT = {
    "train-images": RNG.integers(0, 256, (40, 9, 7), np.uint8),
    "train-labels": (np.arange(40) % 27).astype(np.uint8),
    "test-images": RNG.integers(0, 256, (12, 9, 7), np.uint8),
    "test-labels": np.arange(12, dtype=np.uint8),
}


def write(folder: Path, packed: bool = False, **changes: Any) -> dict[str, Path]:
    """The four files; `changes` by name (with _ for -): other arrays or other bytes."""
    paths = {}
    for name, array in CONTENT.items():
        content = changes.get(name.replace("-", "_"), array)
        content = encode_idx(content) if isinstance(content, np.ndarray) else content
        paths[name] = folder / (f"{name}.gz" if packed else name)
        paths[name].write_bytes(gzip.compress(content) if packed else content)
    return paths


def locate(paths: dict[str, Path], **options: Any) -> IdxFiles:
    return locate_idx(*(paths[name] for name in CONTENT), **options)


def read(paths: dict[str, Path], workspace: Path, classes: int | None = None) -> Examples:
    workspace.mkdir(exist_ok=True)
    return read_idx_files(locate(paths), workspace, classes=classes)


@pytest.mark.parametrize("packed", [False, True])
def test_images_of_any_size_are_read_by_their_numbers(tmp_path: Path, packed: bool) -> None:
    data = read(write(tmp_path, packed), tmp_path / "work")
    order = np.random.default_rng(1).permutation(40)
    assert data.training.shape == data.test.shape == (1, 9, 7)
    assert np.array_equal(data.training.take(order)[:, 0], CONTENT["train-images"][order])
    assert np.array_equal(data.test.take(np.arange(12))[:, 0], CONTENT["test-images"])
    assert data.training_labels.tolist() == CONTENT["train-labels"].tolist()
    assert data.test_labels.tolist() == CONTENT["test-labels"].tolist()
    assert (data.training_labels.dtype, data.origin) == (np.int64, None)


def test_classes_are_counted_in_the_training_set_unless_they_are_given(tmp_path: Path) -> None:
    paths = write(tmp_path)
    assert read(paths, tmp_path / "work").classes == 27
    assert read(paths, tmp_path / "work", classes=47).classes == 47
    with pytest.raises(DataError, match="train-labels: label 26, but the classes are 0 to 25"):
        read(paths, tmp_path / "work", classes=26)
    paths = write(tmp_path, test_labels=np.full(12, 27, np.uint8))
    with pytest.raises(DataError, match="test-labels: label 27, but the classes are 0 to 26"):
        read(paths, tmp_path / "work")


def test_the_content_identifies_a_file_packed_or_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, packed = locate(write(tmp_path)), locate(write(tmp_path, packed=True))
    hashes = [hashlib.sha256(encode_idx(array)).hexdigest() for array in CONTENT.values()]
    assert list(plain.digests) == list(packed.digests) == hashes
    assert [source.name for source in packed.sources] == list(CONTENT)
    assert {source.status for source in packed.sources} == {"unverified"}
    assert len(caplog.records) == 2  # one for each set of four


def test_pinned_content_and_published_archives_are_verified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, packed = write(tmp_path), write(tmp_path, packed=True)
    packed_pin = FilePin("", 0, None)
    pins = [Pin(name, 0, hashlib.sha256(path.read_bytes()).hexdigest(), packed_pin)
            for name, path in plain.items()]  # fmt: skip
    for paths in (plain, packed):
        sources = locate(paths, pins=pins).sources
        assert {source.status for source in sources} == {"verified"}
    published = {hashlib.sha256(path.read_bytes()).hexdigest() for path in packed.values()}
    monkeypatch.setattr(idx_dataset, "PUBLISHED_GZ", published)
    assert {source.status for source in locate(packed).sources} == {"verified"}
    assert caplog.records == []
    assert {source.status for source in locate(plain).sources} == {"unverified"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train_labels": CONTENT["test-labels"]}, "has 12 labels, but .*train-images.* 40 images"),
        ({"train_images": CONTENT["train-labels"]}, "starts with 0x00000801"),
        ({"test_images": CONTENT["test-images"][:, :8]}, r"of \(8, 7\); use the files of one"),
        ({"train_images": CONTENT["train-images"][:0]}, "has no image in it"),
        ({"train_images": CONTENT["train-images"][:, :0]}, "has no image in it"),
        ({"test_images": encode_idx(CONTENT["test-images"])[:-1]}, "test-images.*: truncated"),
        ({"test_images": encode_idx(CONTENT["test-images"]) + b"x"}, "test-images.*: too long"),
        ({"test_labels": b"\0\0"}, "2 bytes cannot hold the 8-byte IDX header"),
        ({"test_labels": b""}, "0 bytes cannot hold the 8-byte IDX header"),
    ],
)
def test_wrong_files_are_named_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str, packed: bool
) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(write(tmp_path, packed, **changes), tmp_path / "work")
    assert "\n" not in str(caught.value)


def test_a_packed_file_is_unpacked_no_further_than_its_header_says(tmp_path: Path) -> None:
    bomb = encode_idx(CONTENT["train-images"]) + bytes(50_000_000)
    with pytest.raises(DataError, match=r"train-images.gz: too long"):
        read(write(tmp_path, packed=True, train_images=bomb), tmp_path / "work")
    (raw,) = (tmp_path / "work").iterdir()
    assert raw.stat().st_size <= CONTENT["train-images"].nbytes + 16


def test_damaged_gzip_and_missing_files_are_reported(tmp_path: Path) -> None:
    paths = write(tmp_path, packed=True)
    content = paths["train-images"].read_bytes()
    for damaged in (content[:-1], content[:-8] + bytes(8), content[: len(content) // 2]):
        paths["train-images"].write_bytes(damaged)
        with pytest.raises(DataError, match=r"train-images.gz: damaged gzip"):
            locate(paths)
    paths["train-images"].unlink()
    with pytest.raises(DataError, match=r"train-images.gz: cannot be read \(No such file"):
        locate(paths)
