"""Preparing a data set: who goes where, what is in the records, what the manifest says of it."""

from __future__ import annotations

import tracemalloc
from collections import Counter, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from data_prep import files
from data_prep.datasets import DataSet
from data_prep.errors import DataError
from data_prep.examples import Examples
from data_prep.images import ArrayImages
from data_prep.lmdb_writer import read_lmdb
from data_prep.manifest import Manifest, SourceFile, read_manifest
from data_prep.prepare import prepare
from data_prep.recipes import Recipe

CLASSES = 4
Make = Callable[..., DataSet]


def number_of(image: NDArray[Any]) -> int:
    """Which image of the data set this is; `data_set` writes it into the middle."""
    return int(image[0, 2, 2]) * 256 + int(image[0, 2, 3])


def examples(labels: list[int], test: int = 9, origin: list[int] | None = None) -> Examples:
    """3×6×6 noise whose middle pixels hold each image's number."""
    rng = np.random.default_rng(5)

    def images(count: int) -> NDArray[np.uint8]:
        made = rng.integers(0, 256, (count, 3, 6, 6), np.uint8)
        made[:, 0, 2, 2], made[:, 0, 2, 3] = np.arange(count) >> 8, np.arange(count) & 255
        return made

    return Examples(
        ArrayImages(images(len(labels))),
        np.array(labels),
        ArrayImages(images(test)),
        np.arange(test) % CLASSES,
        None if origin is None else np.array(origin),
        CLASSES,
    )


def data_set(of: Examples) -> DataSet:
    source = SourceFile("noise.bin", "0" * 64, "verified", "made here")
    return DataSet("noise", ("0" * 64,), lambda: [source], lambda _: of)


UNEVEN = [0] * 40 + [1] * 30 + [2] * 20 + [3] * 10


def records(folder: Path, manifest: Manifest, name: str) -> tuple[NDArray[Any], list[int]]:
    database = manifest.databases[name]
    images, labels = [], []
    for _, datum in read_lmdb(folder / manifest.folder / database.path):
        flat = datum.float_data or np.frombuffer(datum.data, np.uint8)
        kind = np.float32 if datum.float_data else np.uint8
        images.append(np.array(flat, kind).reshape(datum.channels, datum.height, datum.width))
        labels.append(datum.label)
    return np.array(images), labels


def numbers(folder: Path, manifest: Manifest, name: str) -> list[int]:
    return [number_of(image) for image in records(folder, manifest, name)[0]]


def test_the_released_split_takes_the_first_of_each_class(tmp_path: Path) -> None:
    """lmdb_creator.py:123-135: by class, in file order, and the validation part unshuffled."""
    recipe = Recipe(validation=10, split="first")
    manifest = prepare(data_set(examples(UNEVEN)), recipe, tmp_path)
    first = [*range(4), *range(40, 43), *range(70, 72), 90]
    assert numbers(tmp_path, manifest, "val") == first
    assert records(tmp_path, manifest, "val")[1] == [0] * 4 + [1] * 3 + [2] * 2 + [3]
    train = numbers(tmp_path, manifest, "train")
    assert sorted([*train, *first]) == list(range(100))
    assert train != sorted(train)
    assert manifest.databases["val"].order == "by class"


def test_the_released_rounding_cuts_the_last_class(tmp_path: Path) -> None:
    """Quotas of 2.5, 2.5 and 5 of 10, rounded up to 3, 3 and 5: the last class gets 4."""
    labels = [0] * 25 + [1] * 25 + [2] * 50
    manifest = prepare(data_set(examples(labels)), Recipe(validation=10, split="first"), tmp_path)
    assert manifest.databases["val"].per_class == {0: 3, 1: 3, 2: 4, 3: 0}


def test_a_released_split_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    """Three quotas of 3⅓ of 10, rounded down: the released code stops at an assertion."""
    labels = [0, 1, 2] * 10
    with pytest.raises(DataError, match="sets 9 examples aside, not 10; choose another number"):
        prepare(data_set(examples(labels)), Recipe(validation=10, split="first"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def svhn_like() -> Examples:
    """450 of each class as SVHN's train part, 230 as its extra part."""
    labels = list(range(CLASSES)) * 450 + list(range(CLASSES)) * 230
    return examples(labels, origin=[0] * (CLASSES * 450) + [1] * (CLASSES * 230))


@pytest.mark.parametrize("split", ["random", "first"])
def test_the_extended_validation_set_is_of_both_parts(tmp_path: Path, split: Any) -> None:
    """Lee et al.: 400 of each class from train and 200 from extra; all others train."""
    recipe = Recipe(validation=None, split=split, svhn="extended", labels="zero")
    manifest = prepare(data_set(svhn_like()), recipe, tmp_path)
    of = manifest.databases
    assert of["val"].per_class == dict.fromkeys(range(CLASSES), 600)
    assert of["train"].per_class == dict.fromkeys(range(CLASSES), 80)
    assert of["train_full"].records == CLASSES * 680
    _, labels = records(tmp_path, manifest, "val")
    chosen = numbers(tmp_path, manifest, "val")
    from_train = Counter(
        label for number, label in zip(chosen, labels, strict=True) if number < CLASSES * 450
    )
    assert from_train == dict.fromkeys(range(CLASSES), 400)
    if split == "first":
        of_class_0 = [4 * i for i in range(400)] + [CLASSES * 450 + 4 * i for i in range(200)]
        assert chosen[:600] == of_class_0
        assert labels == sorted(labels)
    else:
        assert labels != sorted(labels)


@pytest.mark.parametrize("split", ["random", "first"])
def test_the_tenth_has_a_thousand_of_each_class(tmp_path: Path, split: Any) -> None:
    """get_datasets.py:150-157: the first 700 of each class train, the next 300 validate."""
    labels = list(range(CLASSES)) * 1100
    recipe = Recipe(validation=None, split=split, svhn="tenth", labels="zero")
    manifest = prepare(data_set(examples(labels)), recipe, tmp_path)
    of = manifest.databases
    assert of["train"].per_class == dict.fromkeys(range(CLASSES), 700)
    assert of["val"].per_class == dict.fromkeys(range(CLASSES), 300)
    train, val = numbers(tmp_path, manifest, "train"), numbers(tmp_path, manifest, "val")
    assert sorted(numbers(tmp_path, manifest, "train_full")) == sorted([*train, *val])
    if split == "first":
        assert sorted(train) == list(range(2800))
        assert sorted(val) == list(range(2800, 4000))
        assert val[:300] == list(range(2800, 4000, 4))
    else:
        assert max(train) >= 4000


def test_too_few_of_a_class_for_the_tenth(tmp_path: Path) -> None:
    recipe = Recipe(validation=None, svhn="tenth", labels="zero")
    with pytest.raises(DataError, match="class 0 has 40 examples, too few for 1000 of each class"):
        prepare(data_set(examples(UNEVEN)), recipe, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_of_the_training_part_alone(tmp_path: Path) -> None:
    """train and val by train's pixels, train_full and test by train_full's."""
    made = examples(UNEVEN)
    recipe = Recipe(validation=10, normalize=("gcn-released",))
    manifest = prepare(data_set(made), recipe, tmp_path)
    raw = prepare(data_set(made), Recipe(validation=10), tmp_path)
    for fitted, others in (("train", ("train", "val")), ("train_full", ("train_full", "test"))):
        pixels = records(tmp_path, raw, fitted)[0].astype(np.float64)
        mean, std = pixels.mean(axis=0), np.maximum(pixels.std(axis=0), 0.001)
        for name in others:
            wanted = (records(tmp_path, raw, name)[0] - mean) / std
            got, labels = records(tmp_path, manifest, name)
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
            assert labels == records(tmp_path, raw, name)[1]
    assert manifest.means == {}
    assert any("gcn-released" in line for line in manifest.preprocessing)


@pytest.mark.parametrize(("normalize", "value"), [((), 128), (("gcn",), 0)])
def test_only_training_images_have_a_border(
    tmp_path: Path, normalize: tuple[str, ...], value: int
) -> None:
    made = data_set(examples(UNEVEN))
    bare = prepare(made, Recipe(validation=10, normalize=normalize), tmp_path)
    manifest = prepare(made, Recipe(validation=10, normalize=normalize, pad=2), tmp_path)
    for name in ("train", "train_full"):
        padded, inside = records(tmp_path, manifest, name)[0], records(tmp_path, bare, name)[0]
        assert padded.shape[1:] == manifest.databases[name].shape == (3, 10, 10)
        assert np.array_equal(padded[:, :, 2:-2, 2:-2], inside)
        assert (padded[:, :, :2] == value).all()
        assert (padded[:, :, :, -2:] == value).all()
    for name in ("val", "test"):
        assert manifest.databases[name].shape == manifest.shape == (3, 6, 6)
        assert np.array_equal(
            records(tmp_path, manifest, name)[0], records(tmp_path, bare, name)[0]
        )


def test_hdf5_files_hold_the_same_records(tmp_path: Path) -> None:
    made = data_set(examples(UNEVEN))
    manifest = prepare(made, Recipe(validation=10, normalize=("whiten",), hdf5=True), tmp_path)
    for name, database in manifest.databases.items():
        images, labels = records(tmp_path, manifest, name)
        assert database.hdf5 == f"{name}.txt"
        folder = tmp_path / manifest.folder
        (listed,) = (folder / database.hdf5).read_text().split()
        with h5py.File(folder / listed) as file:
            assert np.array_equal(file["data"], images)
            assert np.array_equal(np.ravel(file["label"]), labels)


def test_the_manifest_has_the_moments_of_what_was_written(tmp_path: Path) -> None:
    manifest = prepare(data_set(examples(UNEVEN)), Recipe(validation=10, pad=1), tmp_path)
    for name, database in manifest.databases.items():
        pixels = records(tmp_path, manifest, name)[0].astype(np.float64)
        np.testing.assert_allclose(database.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(database.std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)
        assert database.dtype == "uint8"


def test_original_pixels_as_floats(tmp_path: Path) -> None:
    """lmdb_creator.py:223: the released code writes float records whatever it does to them."""
    made = data_set(examples(UNEVEN))
    floats = prepare(made, Recipe(validation=10, floats=True), tmp_path)
    plain = prepare(made, Recipe(validation=10), tmp_path)
    assert records(tmp_path, floats, "val")[0].dtype == np.float32
    assert np.array_equal(records(tmp_path, floats, "val")[0], records(tmp_path, plain, "val")[0])


def test_only_the_parts_asked_for_are_written(tmp_path: Path) -> None:
    recipe = Recipe(validation=10, parts=("train_full", "test"))
    manifest = prepare(data_set(examples(UNEVEN)), recipe, tmp_path)
    assert list(manifest.databases) == ["train_full", "test"]
    assert list(manifest.means) == ["mean_full"]
    there = {path.name for path in (tmp_path / manifest.folder).iterdir()}
    assert there == {"train_full.lmdb", "test.lmdb", "mean_full.binaryproto", "manifest.json"}
    assert read_manifest(tmp_path / manifest.folder) == manifest


def test_parts_are_the_same_in_any_order_and_number() -> None:
    assert Recipe(parts=("val", "train", "val")) == Recipe(parts=("train", "val"))


def large(side: int, count: int = 40) -> Examples:
    """Grey images 3×side×side, of two classes."""
    images = ArrayImages(np.zeros((count, 3, side, side), np.uint8))
    labels = np.arange(count) % 2
    return Examples(images, labels, images, labels, None, 2)


def test_memory_is_bounded_in_bytes_not_in_images(tmp_path: Path) -> None:
    """40 images of 3×512×512 are 126 MB as float32, and 252 MB as float64."""
    made = large(512)
    recipe = Recipe(validation=2, normalize=("gcn",), parts=("train",))
    tracemalloc.start()
    prepare(data_set(made), recipe, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 350e6


def test_padded_images_count_with_their_border(tmp_path: Path) -> None:
    recipe = Recipe(validation=2, pad=200, parts=("train",))
    tracemalloc.start()
    prepare(data_set(large(200, count=60)), recipe, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 350e6  # all at once have 63 MB, and 500 MB as float64


@pytest.mark.parametrize(
    "changes",
    [{}, {"pad": 1}, {"hdf5": True}, {"floats": True, "hdf5": True}, {"parts": ("val",)}],
)
def test_a_disk_that_is_too_small_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """A byte less than what the records take, and what they take is what was asked for."""
    made, recipe = data_set(large(48)), Recipe(validation=2, **changes)
    asked: list[int] = []
    monkeypatch.setattr("data_prep.prepare.require_space", lambda *given: asked.append(given[1]))
    folder = tmp_path / prepare(made, recipe, tmp_path).folder
    taken = sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.name not in ("lock.mdb", "manifest.json") and path.suffix != ".binaryproto"
    )
    (size,) = asked
    assert taken <= size < 1.1 * taken + 1e6
    monkeypatch.undo()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage(size, 1, size - 1))
    with pytest.raises(DataError, match=rf"other: noise-\w+ needs {size / 1e6:.0f} MB, but"):
        prepare(made, recipe, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_data_set_without_test_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test images"):
        prepare(data_set(examples(UNEVEN, test=0)), Recipe(validation=10), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_field_of_a_recipe_names_the_folder(tmp_path: Path) -> None:
    base: dict[str, Any] = {"validation": 10}
    changes: list[dict[str, Any]] = [
        {}, {"seed": 1}, {"validation": 20}, {"split": "first"}, {"subset": 50},
        {"normalize": ("gcn",)}, {"normalize": ("lcn",)}, {"pad": 1}, {"floats": True},
        {"parts": ("train", "val")}, {"hdf5": True}, {"labels": "minus_one"},
    ]  # fmt: skip
    made = data_set(examples(UNEVEN))
    folders = {prepare(made, Recipe(**(base | change)), tmp_path).folder for change in changes}
    assert len(folders) == len(changes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pad": -1}, "pad -1 is negative"),
        ({"parts": ()}, "no part to write; choose of train, val"),
        ({"svhn": "tenth"}, "the SVHN set tenth has its own validation images"),
        ({"validation": None}, "validation None: choose at least 1"),
        ({"parts": ("train", "dev")}, "part 'dev' is unknown; there are: train, val"),
        ({"parts": ("val", "test"), "pad": 1}, "pad 1: a border is for train and train_full"),
        ({"parts": ("train_full",), "subset": 1}, "subset 1: it thins train, on which val"),
        ({"normalize": ("zca",)}, "unknown normalization 'zca'; choose from mean, gcn"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Recipe(**fields)


def test_padded_records_have_a_mean_image_of_their_size(tmp_path: Path) -> None:
    """Caffe refuses a mean image of another size than the record's; the border's mean is 128."""
    manifest = prepare(data_set(examples(UNEVEN)), Recipe(validation=10, pad=2), tmp_path)
    assert set(manifest.means) == {"mean", "mean_padded", "mean_full", "mean_full_padded"}
    for name, part in (("mean_padded", "train"), ("mean_full_padded", "train_full")):
        content = (tmp_path / manifest.folder / manifest.means[name].path).read_bytes()
        blob = caffe_pb2.BlobProto.FromString(content)
        got = np.array(blob.data).reshape(blob.channels, blob.height, blob.width)
        wanted = records(tmp_path, manifest, part)[0].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
