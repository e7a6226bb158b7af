"""The contact sheet: images as Caffe's data layer gives them to the net."""

import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.datasets import DataSet
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.images import ArrayImages
from data_prep.manifest import SourceFile
from data_prep.prepare import prepare
from data_prep.recipes import Recipe
from data_prep.show import GAP, contact_sheet, prepared_folders, write_png

SIDE = 8


def prepared(tmp_path: Path, images: NDArray[np.uint8], recipe: Recipe) -> Path:
    """A folder of these training images, of which every other one is of class 1."""
    labels = np.arange(len(images)) % 2
    made = Examples(ArrayImages(images), labels, ArrayImages(images[:4]), labels[:4], None, 2)
    source = SourceFile("made.bin", "0" * 64, "verified", "made here")
    data = DataSet("made", ("0" * 64,), lambda: [source], lambda _: made)
    return tmp_path / prepare(data, recipe, tmp_path).folder


def cell(sheet: NDArray[np.uint8], row: int, column: int) -> NDArray[np.uint8]:
    top, left = row * (SIDE + GAP), column * (SIDE + GAP)
    return sheet[top : top + SIDE, left : left + SIDE]


def noise(count: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, channels, SIDE, SIDE), np.uint8)


def test_the_mean_image_is_subtracted_and_the_scale_is_named(tmp_path: Path) -> None:
    """A grey level of the sheet is (x - mean - low) / (high - low) of the net's own values."""
    images = noise(20)
    folder = prepared(tmp_path, images, Recipe(validation=2))
    sheet = contact_sheet(folder, "test", np.random.default_rng(0), columns=2)
    mean = images.astype(np.float64).mean(axis=0)
    for number in range(4):
        seen = images[number] - mean
        wanted = np.clip((seen - sheet.low) / (sheet.high - sheet.low), 0, 1) * 255
        got = cell(sheet.pixels, number % 2, number // 2).transpose(2, 0, 1)
        assert np.abs(got - wanted).max() <= 0.51


def test_a_window_of_a_padded_image_is_shown(tmp_path: Path) -> None:
    """Each cell has the original size; over the seeds, the border comes into view."""
    images = np.full((20, 1, SIDE, SIDE), 250, np.uint8)
    images[:, :, 3, 3] = 0
    folder = prepared(tmp_path, images, Recipe(validation=2, normalize=("mean",), pad=3))
    shapes = set()
    for seed in range(5):
        sheet = contact_sheet(folder, "train", np.random.default_rng(seed), columns=3)
        assert sheet.pixels.shape == (2 * SIDE + GAP, 3 * SIDE + 2 * GAP, 3)
        shapes.add(sheet.pixels.tobytes())
    assert len(shapes) == 1  # all values are 0 after the mean: a flat sheet, and no division by 0
    raw = prepared(tmp_path, images, Recipe(validation=2, pad=3))
    with_border = contact_sheet(raw, "train", np.random.default_rng(0), columns=3)
    assert len(np.unique(with_border.pixels)) > 2


def test_a_png_can_be_read_again(tmp_path: Path) -> None:
    from matplotlib.image import imread

    folder = prepared(tmp_path, noise(20), Recipe(validation=2))
    sheet = contact_sheet(folder, "train_full", np.random.default_rng(0))
    write_png(sheet, tmp_path / "sheet.png")
    read = np.rint(imread(tmp_path / "sheet.png")[:, :, :3] * 255).astype(np.uint8)
    assert np.array_equal(read, sheet.pixels)
    with pytest.raises(DataError, match="cannot be written"):
        write_png(sheet, tmp_path / "none" / "sheet.png")


def test_the_folders_there_are_and_the_databases_they_have(tmp_path: Path) -> None:
    folder = prepared(tmp_path, noise(20), Recipe(validation=2, parts=("train",)))
    shutil.copytree(folder, tmp_path / ".made-1.partial")  # whole, but not yet renamed
    assert prepared_folders(tmp_path) == [folder]
    with pytest.raises(DataError, match="has no test; there are: train"):
        contact_sheet(folder, "test", np.random.default_rng(0))


def test_what_is_not_what_the_manifest_says_is_reported(tmp_path: Path) -> None:
    folder = prepared(tmp_path, noise(20), Recipe(validation=2, parts=("train", "test")))
    database, mean = folder / "train.lmdb" / "data.mdb", folder / "mean.binaryproto"
    original = database.read_bytes()

    def refused(match: str) -> None:
        with pytest.raises(DataError, match=match) as caught:
            contact_sheet(folder, "train", np.random.default_rng(0))
        assert "\n" not in str(caught.value)

    for content in (b"", b"junk" * 5000, original[:100], original[: len(original) // 2]):
        database.write_bytes(content)
        refused("train.lmdb: is no LMDB of images, or a damaged one .*; prepare it again")
    other = prepared(tmp_path / "other", noise(20, channels=1), Recipe(validation=2))
    shutil.copy(other / "train.lmdb" / "data.mdb", database)
    refused("train.lmdb: is not what the manifest says; remove .* and prepare it again")
    database.write_bytes(original)
    with lmdb.open(str(database.parent)) as env, env.begin(write=True) as transaction:
        transaction.put(b"00000000", b"\xff\xff")
    refused("train.lmdb: is no LMDB of images, or a damaged one .*; prepare it again")
    database.write_bytes(original)
    for content in (b"\xff", mean.read_bytes()[:-200], b""):
        mean.write_bytes(content)
        refused("mean.binaryproto: is not what the manifest says; remove")
