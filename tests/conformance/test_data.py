"""What the writers wrote, as real Caffe and the embedded one read it: pixels, means, training."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch.net import Net
from data_prep.hdf5_writer import write_hdf5
from data_prep.lmdb_writer import Chunk, write_lmdb, write_mean

pytestmark = pytest.mark.conformance

PycaffeRun = Callable[..., dict[str, NDArray[np.float32]]]
Command = Callable[..., subprocess.CompletedProcess[str]]
Floats = NDArray[np.float32]

LMDB = 'type: "Data" data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }}'
HDF5 = 'type: "HDF5Data" hdf5_data_param {{ source: "{source}" batch_size: {batch} }}'
LAYER = 'layer {{ name: "data" top: "data" top: "label" {source} {transform} }}'


def examples(count: int, shape: tuple[int, int, int], dtype: str) -> Chunk:
    """Random pixels: all bytes, or floats of many magnitudes and both signs."""
    rng = np.random.default_rng(count)
    images: Any = rng.integers(0, 256, (count, *shape)).astype(dtype)
    if dtype == "float32":
        scales = np.float32(10) ** rng.integers(-30, 30, images.shape)
        images = ((images - 100) * scales).astype(np.float32)
    return images, rng.integers(0, 100, count).astype(np.uint8)


def in_pieces(chunk: Chunk, *bounds: int) -> list[Chunk]:
    """The chunk cut at the bounds."""
    parts = zip((0, *bounds), (*bounds, len(chunk[1])), strict=True)
    return [(chunk[0][start:stop], chunk[1][start:stop]) for start, stop in parts]


def seen_by_real_caffe(run: PycaffeRun, folder: Path, layer: str) -> tuple[Floats, Floats]:
    """Data and label of one forward pass in TEST, run in the folder."""
    net = folder / "net.prototxt"
    net.write_text(layer)
    out = run("net", net, {}, "TEST", cwd=folder)
    return out["blob/data"], out["blob/label"]


def seen_by_ours(monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[Any, Any]:
    """The same of the embedded engine, after `seen_by_real_caffe` wrote the net."""
    monkeypatch.chdir(folder)
    out = Net.from_file("net.prototxt", caffe_pb2.TEST).forward()
    return out["data"], out["label"]


@pytest.mark.parametrize("mean_file", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 5, 7)])
def test_both_see_the_pixels_of_an_lmdb(
    shape: tuple[int, int, int],
    dtype: str,
    mean_file: bool,
    tmp_path: Path,
    pycaffe_run: PycaffeRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every value exactly, and less the mean image where there is one."""
    images, labels = examples(150, shape, dtype)
    write_lmdb(tmp_path / "db", in_pieces((images, labels), 40, 41), transaction_bytes=10_000)
    write_mean(tmp_path / "mean.binaryproto", [images])
    layer = LAYER.format(
        source=LMDB.format(source="db", batch=len(images)),
        transform='transform_param { mean_file: "mean.binaryproto" }' if mean_file else "",
    )
    real = seen_by_real_caffe(pycaffe_run, tmp_path, layer)
    ours = seen_by_ours(monkeypatch, tmp_path)
    expected = images.astype(np.float64)
    if mean_file:
        expected = expected - expected.mean(axis=0)
    size = np.abs(images.astype(np.float64)).max(axis=0)  # beside which float32 rounds the mean
    for data, label in (real, ours):
        assert (np.abs(data - expected) <= (2e-7 * size if mean_file else 0)).all()
        assert np.array_equal(label, labels)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("per_file", [None, 150, 37])
def test_both_see_the_pixels_of_hdf5_files(
    per_file: int | None,
    dtype: str,
    tmp_path: Path,
    pycaffe_run: PycaffeRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch goes through all files, in order, and on from the first again."""
    images, labels = examples(150, (3, 5, 7), dtype)
    pieces = in_pieces((images, labels), 30, 100)
    write_hdf5(tmp_path, "train", pieces, records_per_file=per_file)
    source = HDF5.format(source="train.txt", batch=170)
    layer = LAYER.format(source=source, transform="")
    real = seen_by_real_caffe(pycaffe_run, tmp_path, layer)
    for data, label in (real, seen_by_ours(monkeypatch, tmp_path)):
        assert np.array_equal(data, np.concatenate([images, images[:20]]).astype(np.float32))
        assert label.shape == (170,)
        assert np.array_equal(label, np.concatenate([labels, labels[:20]]))


def test_with_a_prefix_both_find_hdf5_files_from_elsewhere(
    tmp_path: Path, pycaffe_run: PycaffeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = examples(9, (1, 2, 3), "uint8")
    (tmp_path / "set").mkdir()
    write_hdf5(tmp_path / "set", "val", [(images, labels)], records_per_file=4, prefix="set/")
    source = HDF5.format(source="set/val.txt", batch=9)
    layer = LAYER.format(source=source, transform="")
    real = seen_by_real_caffe(pycaffe_run, tmp_path, layer)
    for data, label in (real, seen_by_ours(monkeypatch, tmp_path)):
        assert np.array_equal(data, images.astype(np.float32))
        assert np.array_equal(label, labels)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_centre_crop_of_padded_images_is_the_image(
    dtype: str, tmp_path: Path, pycaffe_run: PycaffeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padded by 5 on each side for translations, then `crop_size: 32`."""
    images, labels = examples(20, (3, 32, 32), dtype)
    padded: Any = np.pad(images, ((0, 0), (0, 0), (5, 5), (5, 5)), constant_values=1)
    write_lmdb(tmp_path / "db", [(padded, labels)])
    source = LMDB.format(source="db", batch=20)
    layer = LAYER.format(source=source, transform="transform_param { crop_size: 32 }")
    real = seen_by_real_caffe(pycaffe_run, tmp_path, layer)
    for data, label in (real, seen_by_ours(monkeypatch, tmp_path)):
        assert np.array_equal(data, images)
        assert np.array_equal(label, labels)


NET = """
{layers}
layer {{ name: "scale" type: "Power" bottom: "data" top: "x"
  power_param {{ scale: 0.02 shift: -2.5 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param {{ num_output: 10 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include {{ phase: TEST }} }}
"""
SOLVER = """
net: "net.prototxt" type: "SGD" base_lr: 0.01 lr_policy: "fixed" display: 1 max_iter: 60
test_iter: 10 test_interval: 60 random_seed: 1 solver_mode: CPU snapshot_after_train: false
"""


def patterns(count: int, seed: int) -> Chunk:
    """Ten noisy patterns 3×8×8 that a linear net can tell apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    centres = np.random.default_rng(0).integers(60, 196, (10, 3, 8, 8))
    images = centres[labels] + rng.normal(0, 30, (count, 3, 8, 8))
    return images.clip(0, 255).astype(np.uint8), labels


def write_sets(folder: Path, kind: str) -> None:
    """train (250 examples) and val (100) in one of the written forms, and a net on them."""
    layers = []
    for phase, name, count in (("TRAIN", "train", 250), ("TEST", "val", 100)):
        images, labels = patterns(count, count)
        if kind == "hdf5":
            write_hdf5(folder, name, [(images, labels)], records_per_file=64)
            source = HDF5.format(source=f"{name}.txt", batch=10)
        else:
            pixels = images if kind == "uint8" else images.astype(np.float32)
            write_lmdb(folder / name, [(pixels, labels)])
            source = LMDB.format(source=name, batch=10)
        transform = f"include {{ phase: {phase} }}"
        layers.append(LAYER.format(source=source, transform=transform))
    (folder / "net.prototxt").write_text(NET.format(layers="\n".join(layers)))
    (folder / "solver.prototxt").write_text(SOLVER)


def softmax_regression(steps: int) -> list[float]:
    """The losses of that training in float64, from weights of zero, as equations have them."""
    images, labels = patterns(250, 250)
    x = np.column_stack([0.02 * images.reshape(250, -1) - 2.5, np.ones(250)])
    weights = np.zeros((x.shape[1], 10))
    losses = []
    for step in range(steps):
        batch = np.arange(10 * step, 10 * step + 10) % 250
        odds = np.exp(x[batch] @ weights)
        p = odds / odds.sum(axis=1, keepdims=True)
        losses.append(float(-np.log(p[np.arange(10), labels[batch]]).mean()))
        weights -= 0.01 * x[batch].T @ (p - np.eye(10)[labels[batch]]) / 10
    return losses


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        ("run_real", "uint8"),
        ("run_real", "float32"),
        ("run_real", "hdf5"),
        ("run_ours", "uint8"),
        ("run_ours", "float32"),
        ("run_ours", "hdf5"),
    ],
)
def test_training_from_every_written_form_is_the_equations(
    engine: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """`caffe train` reads the records, in order and round and round: every loss is as computed."""
    write_sets(tmp_path, kind)
    run: Command = request.getfixturevalue(engine)
    done = run("train", "-solver", "solver.prototxt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]
    found = re.findall(r"Iteration (\d+).*, loss = (\S+)", done.stderr)
    assert [int(number) for number, _ in found] == list(range(61))
    expected = softmax_regression(61)
    assert expected[-1] < 0.2 * expected[0]
    np.testing.assert_allclose([float(loss) for _, loss in found], expected, rtol=1e-4)
    accuracies = [float(value) for value in re.findall(r"accuracy = (\S+)", done.stderr)]
    assert accuracies[-1] > 0.9
