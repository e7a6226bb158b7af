"""Each data set as it is prepared, trained on by real Caffe and by the embedded one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import scipy.io
from numpy.typing import NDArray

from caffe_torch.net import Net
from data_prep.datasets import locate, locate_files
from data_prep.lmdb_writer import read_lmdb
from data_prep.manifest import Manifest
from data_prep.prepare import prepare
from data_prep.recipes import recipe
from prototxt_gen.notation import parse
from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.nets import PreparedData, exploration_plan
from reproduce.search.space import SearchSpace
from tests.data_prep.official_files import FILES, cifar10, cifar100, mnist

pytestmark = pytest.mark.conformance
Command = Callable[..., subprocess.CompletedProcess[str]]
PycaffeRun = Callable[..., dict[str, NDArray[np.float32]]]
Floats = NDArray[np.float32]

SOLVER = """
net: "net.prototxt" type: "Adam" base_lr: 0.001 momentum: 0.9 momentum2: 0.999 delta: 1e-8
lr_policy: "fixed" display: 1 max_iter: 3 test_iter: 1 test_interval: 3 test_initialization: false
random_seed: 1 solver_mode: CPU snapshot_after_train: false
"""


def small(name: str, preset: str) -> Experiment:
    """The experiment with 100 validation images and batches that the small files have."""
    experiment = load_experiment(experiment_path(name), "paper", DEFAULT_SEED, preset)
    data = experiment.data.model_copy(update={"validation": 100})
    training = experiment.exploration.model_copy(update={"batch": 20})
    return experiment.model_copy(update={"data": data, "exploration": training})


@pytest.mark.parametrize("engine", ["run_real", "run_ours"])
@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_a_net_of_the_search_trains_on_it(
    name: Any, preset: str, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    experiment = small(name, preset)
    (tmp_path / "files").mkdir()
    FILES[name](tmp_path / "files")
    recipe = experiment.data.recipe(DEFAULT_SEED, None)
    files = locate(name, recipe, data_dir=tmp_path / "files", cache=tmp_path / "cache")
    manifest = prepare(files, recipe, tmp_path / "data")
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    data = PreparedData.beside(run_folder, tmp_path / "data", manifest)
    space = SearchSpace(experiment.space.rules(experiment.data))
    plan = exploration_plan(experiment, space, data, parse("[C(64,3,1), SM(10)]"), 1)
    (run_folder / "net.prototxt").write_text(plan.net)
    (run_folder / "solver.prototxt").write_text(SOLVER)
    run: Command = request.getfixturevalue(engine)
    done = run("train", "-solver", "solver.prototxt", cwd=run_folder)
    assert done.returncode == 0, done.stderr[-1500:]
    losses = [float(loss) for loss in re.findall(r"Iteration \d+.*, loss = (\S+)", done.stderr)]
    assert len(losses) == 4
    assert all(0 < loss < 1000 for loss in losses)
    (accuracy,) = re.findall(r"accuracy = (\S+)", done.stderr)
    assert 0 <= float(accuracy) <= 1


def svhn_by_class(folder: Path) -> None:
    """1,100 of each class in train, 250 in extra: a flat grey, 20 units brighter by class."""
    for name, of_each in (("train", 1100), ("test", 3), ("extra", 250)):
        labels = (np.arange(10 * of_each) % 10 + 1).astype(np.uint8)
        images = np.broadcast_to(labels * 20, (32, 32, 3, len(labels)))
        content = {"X": images, "y": labels.reshape(-1, 1)}
        scipy.io.savemat(folder / f"{name}_32x32.mat", content, do_compression=True)


# A net for images of any size, run in the prepared folder.
SIMPLE = """
{train}
{test}
layer {{ name: "scale" type: "Power" bottom: "data" top: "x" power_param {{ scale: 0.01 }} }}
layer {{ name: "pool" type: "Pooling" bottom: "x" top: "pool"
  pooling_param {{ pool: AVE global_pooling: true }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param {{ num_output: {classes} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include {{ phase: TEST }} }}
"""
DATA = """layer {{ name: "data" type: "Data" top: "data" top: "label" {more}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""
HDF5 = """layer {{ name: "data" type: "HDF5Data" top: "data" top: "label" {more}
  hdf5_data_param {{ source: "{source}" batch_size: {batch} }} }}"""


def train_in(folder: Path, run: Command, train: str, test: str, classes: int) -> None:
    """Three iterations and a test in the prepared folder, which end well."""
    net = SIMPLE.format(train=train, test=test, classes=classes)
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(SOLVER)
    done = run("train", "-solver", "solver.prototxt", cwd=folder)
    assert done.returncode == 0, done.stderr[-1500:]
    losses = re.findall(r"Iteration \d+.*, loss = (\S+)", done.stderr)
    assert len(losses) == 4
    assert all(0 < float(loss) < 1000 for loss in losses)
    assert re.findall(r"accuracy = (\S+)", done.stderr)


def small_set(name: str, tmp_path: Path) -> tuple[Path, Manifest]:
    """A data set as the paper has it, but for the LCN, which would take a while."""
    files = tmp_path / "files"
    files.mkdir()
    if name == "idx":
        mnist(files)
        kinds = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        first, second, third, fourth = (files / f"{kind}-ubyte" for kind in kinds)
        chosen = replace(recipe("idx"), validation=100)
        data = locate_files((first, second, third, fourth), None)
    elif name == "cifar100":
        cifar100(files)
        chosen = replace(recipe("cifar100"), validation=100)
        data = locate("cifar100", chosen, data_dir=files, cache=tmp_path)
    else:
        svhn_by_class(files)
        part: Any = name.removeprefix("svhn ")
        chosen = replace(recipe("svhn", svhn=part), normalize=(), parts=("train", "val"))
        data = locate("svhn", chosen, data_dir=files, cache=tmp_path)
    manifest = prepare(data, chosen, tmp_path / "data")
    return tmp_path / "data" / manifest.folder, manifest


@pytest.mark.parametrize("name", ["cifar100", "idx", "svhn extended", "svhn tenth"])
def test_both_train_in_the_prepared_folder(
    name: str, tmp_path: Path, run_real: Command, run_ours: Command
) -> None:
    folder, manifest = small_set(name, tmp_path)
    records = {part: database.records for part, database in manifest.databases.items()}
    if name == "svhn extended":
        assert records == {"train": 11_000 + 2_500 - 6_000, "val": 6_000}
    if name == "svhn tenth":
        assert records == {"train": 7_000, "val": 3_000}
    layers = [
        DATA.format(source=f"{part}.lmdb", batch=20, more=f"include {{ phase: {phase} }}")
        for part, phase in (("train", "TRAIN"), ("val", "TEST"))
    ]
    for run in (run_real, run_ours):
        train_in(folder, run, *layers, manifest.classes)


def stored(folder: Path, manifest: Manifest, part: str) -> Floats:
    """A database's original pixels, read without Caffe."""
    shape = manifest.databases[part].shape
    pixels = [
        np.frombuffer(datum.data, np.uint8) for _, datum in read_lmdb(folder / f"{part}.lmdb")
    ]
    return np.array(pixels).reshape(-1, *shape).astype(np.float32)


def seen(run: PycaffeRun, folder: Path, layer: str) -> Floats:
    """What real Caffe's data layer gives in TEST, in the prepared folder."""
    (folder / "data.prototxt").write_text(layer)
    return run("net", folder / "data.prototxt", {}, "TEST", cwd=folder)["blob/data"]


def mean_image(path: Path) -> Floats:
    blob = caffe_pb2.BlobProto.FromString(path.read_bytes())
    return np.array(blob.data, np.float32).reshape(blob.channels, blob.height, blob.width)


def test_hdf5_files_and_a_border(
    tmp_path: Path,
    pycaffe_run: PycaffeRun,
    run_real: Command,
    run_ours: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--hdf5 --pad 5` on original pixels: both forms as they are read, with the means they need.

    The border is in train's records and mean alone: `crop_size` cuts windows of the image's size.
    """
    files = tmp_path / "files"
    files.mkdir()
    cifar10(files)
    chosen = replace(recipe("cifar10"), validation=100, normalize=(), pad=5, hdf5=True)
    data = locate("cifar10", chosen, data_dir=files, cache=tmp_path)
    manifest = prepare(data, chosen, tmp_path / "data")
    folder = tmp_path / "data" / manifest.folder
    train, val = (stored(folder, manifest, part) for part in ("train", "val"))
    assert (train.shape, val.shape) == ((100, 3, 42, 42), (100, 3, 32, 32))

    for part, images in (("train", train), ("val", val)):
        layer = HDF5.format(source=f"{part}.txt", batch=100, more="")
        assert np.array_equal(seen(pycaffe_run, folder, layer), images)
        monkeypatch.chdir(folder)
        ours = Net.from_file("data.prototxt", caffe_pb2.TEST).forward()["data"]
        assert np.array_equal(ours, images)

    inner = (..., slice(5, -5), slice(5, -5))
    padded, plain = (mean_image(folder / f"{name}.binaryproto") for name in ("mean_padded", "mean"))
    assert np.array_equal(padded[inner], plain)
    assert np.allclose(padded, train.astype(np.float64).mean(axis=0), rtol=1e-6)
    crop = 'transform_param {{ crop_size: 32 mean_file: "{}.binaryproto" }}'
    for part, name, images in (("train", "mean_padded", train[inner]), ("val", "mean", val)):
        layer = DATA.format(source=f"{part}.lmdb", batch=100, more=crop.format(name))
        assert np.array_equal(seen(pycaffe_run, folder, layer), images - plain)

    augmented = crop.format("mean_padded").replace("crop_size", "mirror: true crop_size")
    sets = (("train", "TRAIN", augmented), ("val", "TEST", crop.format("mean")))
    layers = [
        DATA.format(source=f"{part}.lmdb", batch=20, more=f"include {{ phase: {phase} }} {more}")
        for part, phase, more in sets
    ]
    for run in (run_real, run_ours):
        train_in(folder, run, *layers, manifest.classes)
    hdf5 = [
        HDF5.format(source=f"{part}.txt", batch=20, more=f"include {{ phase: {phase} }}")
        for part, phase, _ in sets
    ]
    for run in (run_real, run_ours):
        train_in(folder, run, *hdf5, manifest.classes)
