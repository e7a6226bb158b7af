"""Solvers: learning rates in closed form, repeatable logs, snapshots; the rest in conformance."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.learning_rate import LearningRate
from caffe_torch.log import FatalError
from caffe_torch.signals import Action
from caffe_torch.solver import Solver

NET = """
name: "tiny"
layer { name: "d" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 }
  data_param { source: "lmdb" batch_size: 10 backend: LMDB } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1"
  inner_product_param { num_output: 20 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "drop" type: "Dropout" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
  inner_product_param { num_output: 10 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" type: "Adam" base_lr: 0.01 lr_policy: "fixed" display: 1 max_iter: 8
test_iter: 2 test_interval: 4 snapshot_prefix: "snap" random_seed: 5
"""


@pytest.fixture
def folder(
    tmp_path: Path,
    write_images: Callable[[Path, NDArray[np.uint8]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The working folder, with an LMDB and a net."""
    images = np.random.default_rng(0).integers(0, 256, (30, 1, 6, 6), dtype=np.uint8)
    write_images(tmp_path / "lmdb", images)
    (tmp_path / "net.prototxt").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _solver(settings: str = "", requested: Callable[[], Action] | None = None) -> Solver:
    param = text_format.Parse(SOLVER, caffe_pb2.SolverParameter())
    param.MergeFrom(text_format.Parse(settings, caffe_pb2.SolverParameter()))
    return Solver(param, requested=requested) if requested else Solver(param)


def _measurements(log: str) -> list[str]:
    """The log without time stamps and speeds."""
    log = re.sub(r"\(\S+ iter/s, \S+ iters\)", "", log)
    return [line.split("] ", 1)[-1] for line in log.splitlines()]


RATES = {
    'lr_policy: "fixed"': lambda i: 0.1,
    'lr_policy: "step" gamma: 0.5 stepsize: 7': lambda i: 0.1 * 0.5 ** (i // 7),
    'lr_policy: "exp" gamma: 0.9': lambda i: 0.1 * 0.9**i,
    'lr_policy: "inv" gamma: 0.1 power: 0.75': lambda i: 0.1 * (1 + 0.1 * i) ** -0.75,
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 11': lambda i: (
        0.1 * 0.5 ** ((i >= 3) + (i >= 11))
    ),
    'lr_policy: "poly" power: 2 max_iter: 20': lambda i: 0.1 * (1 - i / 20) ** 2,
    'lr_policy: "sigmoid" gamma: 0.3 stepsize: 8': lambda i: 0.1 / (1 + math.exp(-0.3 * (i - 8))),
}


@pytest.mark.parametrize("policy", RATES)
def test_learning_rate(policy: str) -> None:
    rate = LearningRate(text_format.Parse(f"base_lr: 0.1 {policy}", caffe_pb2.SolverParameter()))
    for i in range(20):
        assert rate(i) == pytest.approx(RATES[policy](i), rel=1e-5)


def test_the_same_seed_gives_the_same_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = []
    for seed in (5, 5, 6):
        _solver(f"random_seed: {seed}").solve()
        logs.append(_measurements(capsys.readouterr().err))
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_displayed_loss_is_the_mean_of_the_last_average_loss(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _solver("average_loss: 3 test_interval: 100").step(8)
    log = capsys.readouterr().err
    shown = [float(x) for x in re.findall(r"iters\), loss = (\S+)", log)]
    single = [float(x) for x in re.findall(r"Train net output #0: loss = (\S+)", log)]
    means = [np.mean(single[max(0, i - 2) : i + 1]) for i in range(8)]
    np.testing.assert_allclose(shown, means, rtol=1e-4)


def test_display_at_intervals_shows_the_same_means(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses are fetched from the device only where they are displayed."""
    shown = []
    for display in (1, 4):
        _solver(f"average_loss: 3 test_interval: 100 display: {display}").step(8)
        found = re.findall(r"Iteration (\d+) .*iters\), loss = (\S+)", capsys.readouterr().err)
        shown.append(dict(found))
    assert shown[1] == {i: shown[0][i] for i in ("0", "4")}


def test_a_stop_request_snapshots_and_ends(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = iter([Action.NONE] * 7 + [Action.STOP] + [Action.NONE] * 9)
    solver = _solver("test_interval: 100", lambda: next(requests))
    solver.solve()
    assert 0 < solver.iter < 8
    assert "Optimization stopped early." in capsys.readouterr().err
    assert (folder / f"snap_iter_{solver.iter}.solverstate").is_file()


def test_a_resumed_solver_refuses_another_solvers_state(folder: Path) -> None:
    solver = _solver()
    solver.step(1)
    solver.snapshot()
    with pytest.raises(FatalError, match="Incorrect length of history blobs"):
        _solver('type: "SGD"').restore("snap_iter_1.solverstate")


def test_weights_named_by_the_solver_are_loaded(folder: Path) -> None:
    solver = _solver()
    solver.net.save("start.caffemodel")
    other = _solver('weights: "start.caffemodel" random_seed: 77')
    for layer, blobs in solver.net.params.items():
        for mine, theirs in zip(blobs, other.net.params[layer], strict=True):
            np.testing.assert_array_equal(mine.data, theirs.data)


def test_parameters_can_be_written_through_their_arrays(folder: Path) -> None:
    """As in pycaffe: `data` is the parameter itself, and the next pass uses it."""
    solver = _solver("test_interval: 100")
    for blobs in solver.net.params.values():
        for blob in blobs:
            blob.data[...] = 0
    solver.net.forward()
    assert solver.net.blobs["loss"].data == pytest.approx(math.log(10), rel=1e-6)
