"""The published nets by their published solvers: the same layers as their files, and they train."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format

from data_prep.datasets import locate
from data_prep.prepare import prepare
from prototxt_gen.notation import parse
from prototxt_gen.solver import solver_text
from reproduce.experiments.schema import Experiment
from reproduce.nets import PreparedData, TrialPlan, final_plan
from reproduce.paper import NETS
from reproduce.published_experiments import file_experiment, published_experiment
from reproduce.published_solvers import FILES, PublishedFile
from reproduce.training.log_parser import Finished, LearningRate, TrainLoss, parse_events

IMAGES = {"mnist": (60000, 10000), "cifar10": (50000, 10000), "svhn": (604388, 26032)}
MNIST = [file for file in FILES if file.name.startswith("mnist")]
TYPES = ("Convolution", "Pooling", "InnerProduct", "Dropout", "ReLU", "SoftmaxWithLoss")


def real_data(file: PublishedFile) -> Any:
    """As many images as the real data set has, of which nothing is read."""
    train, test = IMAGES[file.name.partition("_")[0]]
    side = 28 if file.name.startswith("mnist") else 32
    databases = {
        name: SimpleNamespace(records=count, shape=(1, side, side), path=f"{name}.lmdb")
        for name, count in (("train_full", train), ("test", test))
    }
    return SimpleNamespace(
        path=lambda name: f"../../data/{name}",
        records=lambda name: databases[name].records,
        manifest=SimpleNamespace(databases=databases, means={}),
    )


def plan_of(experiment: Experiment, data: Any) -> TrialPlan:
    (section,) = experiment.published
    return final_plan(experiment, data, parse(section.net.notation), section, None)


def layers(net_text: str) -> list[tuple[Any, ...]]:
    """What a net's layers do, whatever they are called."""
    found: list[tuple[Any, ...]] = []
    for layer in text_format.Parse(net_text, caffe_pb2.NetParameter()).layer:
        conv, pool, dot = layer.convolution_param, layer.pooling_param, layer.inner_product_param
        what: tuple[Any, ...] = ()
        if layer.type == "Convolution":
            pad, stride = list(conv.pad) or [0], list(conv.stride) or [1]
            what = (conv.num_output, list(conv.kernel_size), pad, stride, conv.weight_filler.type)
        elif layer.type == "Pooling":
            what = (pool.pool, pool.kernel_size, pool.stride)
        elif layer.type == "InnerProduct":
            what = (dot.num_output, dot.weight_filler.type)
        elif layer.type == "Dropout":
            what = (layer.dropout_param.dropout_ratio,)
        if layer.type in TYPES:
            found.append((layer.type, *what))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_row_is_trained_as_its_published_file_says(file: PublishedFile, reference: Path) -> None:
    """From its notation: the file's layers, dropout included; the solver's own iterations."""
    text = (reference / "published" / "prototxt" / f"{file.name}.prototxt").read_text()
    for net in file.nets:
        plan = plan_of(published_experiment(net, "released", 1, None), real_data(file))
        assert layers(plan.net) == layers(text)
        if file.solver is None:
            continue
        path = reference / "published" / "solver" / f"{file.name}_solver.prototxt"
        theirs = text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())
        scheme = plan.recipe.scheme(0, plan.recipe.max_iter)
        ours = text_format.Parse(
            solver_text(scheme, net="n", snapshot_prefix="s"), caffe_pb2.SolverParameter()
        )
        for name in (
            "type", "base_lr", "momentum", "momentum2", "delta", "weight_decay", "lr_policy",
            "gamma", "stepsize", "stepvalue", "max_iter", "test_interval", "snapshot",
        ):  # fmt: skip
            assert getattr(ours, name) == getattr(theirs, name), name
        data = text_format.Parse(plan.net, caffe_pb2.NetParameter()).layer[0]
        assert data.data_param.batch_size == file.batch
        assert data.transform_param.mirror == file.mirror


@pytest.mark.parametrize("file", MNIST, ids=lambda file: file.name)
def test_a_file_is_trained_as_its_row(file: PublishedFile, reference: Path) -> None:
    """`train-published mnist_2.prototxt` and `mnist/thesis-2`: the same solver, the same layers."""
    path = reference / "published" / "prototxt" / f"{file.name}.prototxt"
    by_file = file_experiment(path, "released", 1, None)
    by_row = published_experiment(file.nets[0], "released", 1, None)
    assert by_file.published[0].net == by_row.published[0].net
    one, other = (plan_of(experiment, real_data(file)) for experiment in (by_file, by_row))
    assert one.recipe == other.recipe
    assert layers(one.net) == layers(other.net)
    assert "Convolution1" in one.net


def test_the_rest_of_svhns_test_images_is_tested_too() -> None:
    """The file's 260 batches of 100 leave out 32 of 26,032."""
    (file,) = [file for file in FILES if file.name == "svhn_2"]
    experiment = published_experiment("svhn/v1-3", "released", 1, None)
    plan = plan_of(experiment, real_data(file))
    assert plan.recipe.test_iter * experiment.published[0].test_batch == 26032
    assert "all 26,032 test images" in experiment.unstated["published.solver"]
    assert "in place of test_iter 260" in experiment.unstated["published.solver"]


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("net", [net.id for net in NETS])
def test_no_two_layers_of_a_net_make_the_same_blob(net: str, preset: str) -> None:
    """Caffe takes no net with two; two dropout layers may have the same ratio."""
    if net.startswith("mnist/v1-"):
        preset = "paper"
    experiment = published_experiment(net, preset, 1, None)
    data_set = net.partition("/")[0]
    data = real_data(next(file for file in FILES if file.name.startswith(data_set)))
    data.manifest.means = {"mean_full": SimpleNamespace(path="mean.binaryproto")}
    parsed = text_format.Parse(plan_of(experiment, data).net, caffe_pb2.NetParameter())
    made = [x.top[0] for x in parsed.layer[2:] if list(x.top) != list(x.bottom)]
    assert len(set(made)) == len(made)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> tuple[Path, PreparedData]:
    """A run's folder, and few digits prepared for it as the preset `released` prepares them."""
    folder = tmp_path_factory.mktemp("run")
    experiment = published_experiment("mnist/thesis-1", "released", 1, None)
    recipe = replace(experiment.data.recipe(1, None), validation=100)
    manifest = prepare(locate("mnist", recipe, data_dir=digits, cache=folder), recipe, folder)
    return folder, PreparedData.beside(folder, folder, manifest)


def start(caffe: list[str], few: tuple[Path, PreparedData], file: PublishedFile) -> Path:
    """Two iterations of two images and a test, by the net's own solver; returns the log."""
    folder, data = few
    experiment = published_experiment(file.nets[0], "released", 1, None)
    (section,) = experiment.published
    small = section.model_copy(update={"batch": 2, "test_batch": 2})
    plan = final_plan(experiment, data, parse(section.net.notation), small, None)
    scheme = replace(plan.recipe.scheme(0, 2), test_iter=1, test_interval=2, snapshot=0, display=1)
    (folder / f"{file.name}.prototxt").write_text(plan.net)
    text = solver_text(scheme, net=f"{file.name}.prototxt", snapshot_prefix=file.name)
    text += "snapshot_after_train: false\n"
    (folder / f"{file.name}_solver.prototxt").write_text(text)
    log = folder / f"{file.name}.log"
    with log.open("w") as out:
        subprocess.run(
            [*caffe, "train", f"--solver={file.name}_solver.prototxt"],
            cwd=folder,
            env={**os.environ, "GLOG_logtostderr": "1", "OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
            check=True,
        )
    return log


def check_started(log: Path, file: PublishedFile) -> None:
    events = list(parse_events(log))
    assert file.solver is not None
    losses = [event.loss for event in events if isinstance(event, TrainLoss)]
    assert len(losses) >= 2
    assert all(loss < 100 for loss in losses)  # not nan either; ln 10 is a guess's
    rates = [event.value for event in events if isinstance(event, LearningRate)]
    assert rates[0] == pytest.approx(file.solver.base_lr)
    assert any(isinstance(event, Finished) for event in events)


@pytest.mark.slow
@pytest.mark.parametrize("file", MNIST, ids=lambda file: file.name)
def test_every_published_mnist_net_starts_by_its_own_solver(
    file: PublishedFile, few: tuple[Path, PreparedData]
) -> None:
    check_started(start([sys.executable, "-m", "caffe_torch"], few, file), file)


@pytest.mark.slow
@pytest.mark.conformance
@pytest.mark.parametrize("file", MNIST, ids=lambda file: file.name)
def test_real_caffe_starts_every_published_mnist_net(
    file: PublishedFile, few: tuple[Path, PreparedData], real_caffe: Path
) -> None:
    check_started(start([str(real_caffe)], few, file), file)
