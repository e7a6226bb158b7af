"""Solvers, fillers and snapshots against real Caffe, on one LMDB."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch import prototext
from caffe_torch.blob import from_proto
from caffe_torch.net import Net
from caffe_torch.solver import Solver

pytestmark = pytest.mark.conformance

Run = Callable[..., dict[str, NDArray[np.float32]]]

# ELU and average pooling have no ties and no kinks that fp32 noise could tip over.
SMOOTH = """
name: "smooth"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.00390625 mean_value: 100 }
  data_param { source: "train_lmdb" batch_size: 64 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 8 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "elu1" type: "ELU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc1" type: "InnerProduct" bottom: "pool" top: "fc1"
  inner_product_param { num_output: 32 weight_filler { type: "xavier" } } }
layer { name: "elu2" type: "ELU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
"""
RECORDS = 640

SOLVERS = {
    "SGD": 'type: "SGD" base_lr: 0.05 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed"',
    "SGD plain": 'type: "SGD" base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 15',
    "SGD L1": 'type: "SGD" base_lr: 0.05 momentum: 0.5 weight_decay: 0.0005 '
    'regularization_type: "L1" lr_policy: "inv" gamma: 0.01 power: 0.75',
    "SGD clipped": 'type: "SGD" base_lr: 0.1 momentum: 0.9 clip_gradients: 0.5 lr_policy: "exp" '
    "gamma: 0.99",
    "SGD accumulated": 'type: "SGD" base_lr: 0.05 momentum: 0.9 iter_size: 3 weight_decay: 0.001 '
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 10 stepvalue: 30',
    "Adam": 'type: "Adam" base_lr: 0.002 momentum: 0.9 momentum2: 0.999 weight_decay: 0.0005 '
    'lr_policy: "step" gamma: 0.5 stepsize: 20',
    "Adam delta": 'type: "Adam" base_lr: 0.002 momentum: 0.8 momentum2: 0.99 delta: 0.001 '
    'lr_policy: "poly" power: 0.5',
    "Nesterov": 'type: "Nesterov" base_lr: 0.03 momentum: 0.9 weight_decay: 0.0005 '
    'lr_policy: "sigmoid" gamma: 0.1 stepsize: 20',
    "AdaGrad": 'type: "AdaGrad" base_lr: 0.01 delta: 1e-6 weight_decay: 0.0005 lr_policy: "fixed"',
    "RMSProp": 'type: "RMSProp" base_lr: 0.002 rms_decay: 0.95 delta: 1e-5 lr_policy: "fixed"',
    "AdaDelta": 'type: "AdaDelta" base_lr: 1 momentum: 0.95 delta: 1e-5 lr_policy: "fixed"',
}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, write_lmdb: Callable[[Path, int, int], None]
) -> Path:
    """A working folder with the net and its data set."""
    path = tmp_path_factory.mktemp("solvers")
    write_lmdb(path / "train_lmdb", RECORDS, 1)
    (path / "net.prototxt").write_text(SMOOTH)
    return path


def _write_solver(folder: Path, name: str, settings: str) -> str:
    path = folder / f"{name.replace(' ', '_')}.prototxt"
    prefix = folder / name.replace(" ", "_")
    path.write_text(
        f'net: "net.prototxt" {settings} max_iter: 50 snapshot_prefix: "{prefix}" '
        "random_seed: 1 solver_mode: CPU"
    )
    return str(path)


def _params(net: Net) -> dict[str, NDArray[np.float32]]:
    return {
        f"param/{layer}/{i}": blob.data.copy()
        for layer, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def _history(path: Path) -> list[NDArray[np.float32]]:
    state = prototext.read_binary(str(path), caffe_pb2.SolverState(), "")
    return [from_proto(blob) for blob in state.history]


def _close(ours: Any, theirs: Any, what: str) -> None:
    """Relative distance in the 2-norm at most 1e-4."""
    assert np.shape(ours) == np.shape(theirs), what
    distance = np.linalg.norm(np.subtract(ours, theirs, dtype=np.float64))
    assert distance <= 1e-4 * np.linalg.norm(theirs), what


def _train(solver: Solver, iterations: int) -> list[float]:
    losses = []
    for _ in range(iterations):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    return losses


@pytest.mark.parametrize("name", SOLVERS)
def test_fifty_iterations(
    name: str, folder: Path, pycaffe_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same weights, on the same batches: losses, weights and history agree."""
    monkeypatch.chdir(folder)
    path = _write_solver(folder, name, SOLVERS[name])
    solver = Solver.from_file(path)
    start = _params(solver.net)
    theirs = pycaffe_run("solve", Path(path), start, "50", cwd=folder)
    history = _history(folder / f"{name.replace(' ', '_')}_iter_50.solverstate")
    losses = _train(solver, 50)
    solver.snapshot()
    np.testing.assert_allclose(losses, theirs["losses"], rtol=1e-4, atol=1e-5)
    assert losses[-1] < losses[0]
    for key, values in _params(solver.net).items():
        _close(values, theirs[key], key)
    ours = _history(folder / f"{name.replace(' ', '_')}_iter_50.solverstate")
    assert len(ours) == len(history)
    for i, (mine, other) in enumerate(zip(ours, history, strict=True)):
        _close(mine, other, f"history {i}")


@pytest.mark.parametrize("name", ["SGD", "Adam", "SGD accumulated", "AdaDelta"])
def test_resuming_is_as_if_never_stopped(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2n iterations equal n, snapshot, restore, n: bit for bit, for n a number of whole passes."""
    monkeypatch.chdir(folder)
    passes = 2 * RECORDS // 64
    path = _write_solver(folder, name, SOLVERS[name])
    whole = Solver.from_file(path)
    whole.step(2 * passes)
    first = Solver.from_file(path)
    first.step(passes)
    first.snapshot()
    second = Solver.from_file(path)
    second.restore(f"{name.replace(' ', '_')}_iter_{passes}.solverstate")
    assert second.iter == passes
    second.step(passes)
    for key, values in _params(second.net).items():
        np.testing.assert_array_equal(values, _params(whole.net)[key], err_msg=key)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_real_caffe_resumes_ours_and_we_its(
    name: str, folder: Path, pycaffe_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From either one's snapshot, ten more iterations end with the same weights in both."""
    monkeypatch.chdir(folder)
    path = _write_solver(folder, name, SOLVERS[name])
    stem = name.replace(" ", "_")
    writer = Solver.from_file(path)
    writer.step(10)
    writer.snapshot()
    for made_by in ("us", "real Caffe"):
        if made_by == "real Caffe":
            pycaffe_run("solve", Path(path), {}, "10", cwd=folder)
        snapshot = f"{stem}_iter_10.solverstate"
        ours = Solver.from_file(path)
        ours.restore(snapshot)
        ours.step(10)
        theirs = pycaffe_run("solve", Path(path), {}, "10", resume=snapshot, cwd=folder)
        for key, values in _params(ours.net).items():
            _close(values, theirs[key], f"{key}, snapshot by {made_by}")


FILLERS = {
    "constant": 'type: "constant" value: 0.3',
    "uniform": 'type: "uniform" min: -0.2 max: 0.6',
    "gaussian": 'type: "gaussian" mean: 0.1 std: 0.05',
    "gaussian sparse": 'type: "gaussian" std: 1 sparse: 10',
    "xavier": 'type: "xavier"',
    "xavier out": 'type: "xavier" variance_norm: FAN_OUT',
    "xavier average": 'type: "xavier" variance_norm: AVERAGE',
    "msra": 'type: "msra"',
    "msra out": 'type: "msra" variance_norm: FAN_OUT',
    "positive_unitball": 'type: "positive_unitball"',
    "bilinear": 'type: "bilinear"',
}


@pytest.mark.parametrize("shape", ["conv", "odd conv", "fc"])
@pytest.mark.parametrize("name", FILLERS)
def test_filler(name: str, shape: str, tmp_path: Path, pycaffe_run: Run) -> None:
    """The distributions agree: quantiles, mean and deviation within sampling error."""
    if name == "bilinear" and shape == "fc":
        pytest.skip("the bilinear filler takes 4-d blobs")
    filler = f"weight_filler {{ {FILLERS[name]} }}"
    layer = {
        "conv": "type: 'Convolution' convolution_param "
        f"{{ num_output: 60 kernel_size: 4 {filler} }}",
        "odd conv": "type: 'Convolution' convolution_param "
        f"{{ num_output: 60 kernel_size: 5 {filler} }}",
        "fc": f"type: 'InnerProduct' inner_product_param {{ num_output: 60 {filler} }}",
    }[shape]
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 20 dim: 6 '
        f"dim: 6 }} }} }} layer {{ name: 'l' bottom: 'x' top: 'y' {layer} }}"
    )
    ours = Net.from_file(str(prototxt), caffe_pb2.TEST).params["l"][0].data
    theirs = pycaffe_run("net", prototxt, {}, "TEST")["param/l/0"]
    assert ours.shape == theirs.shape
    if name in ("constant", "bilinear"):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        return
    spread = theirs.std()
    n = theirs.size
    assert abs(ours.mean() - theirs.mean()) < 6 * spread / np.sqrt(n)
    assert abs(ours.std() / spread - 1) < 6 / np.sqrt(n) * (3 if "sparse" in name else 1)
    quantiles = np.linspace(0.01, 0.99, 25)
    distance = np.abs(np.quantile(ours, quantiles) - np.quantile(theirs, quantiles))
    assert "sparse" in name or distance.max() < 0.12 * spread
    if name == "positive_unitball":
        np.testing.assert_allclose(ours.reshape(60, -1).sum(axis=1), 1, rtol=1e-5)
    if "gaussian" not in name and "msra" not in name:
        bound = np.abs(theirs).max()
        assert np.abs(ours).max() == pytest.approx(bound, rel=0.2 if "unit" in name else 0.01)
    if "sparse" in name:
        assert (ours == 0).mean() == pytest.approx((theirs == 0).mean(), abs=0.02)
