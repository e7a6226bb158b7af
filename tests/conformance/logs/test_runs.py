"""Whole runs of one smooth net in both programs: the same log, line for line, number for number."""

import numpy as np
import pytest

from tests.conformance.commands import Both, Run
from tests.conformance.logs.compare import same_log
from tests.conformance.logs.normalize import read

pytestmark = pytest.mark.conformance

NET = """
name: "smooth"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 }
  data_param { source: "data/mnist_train_lmdb" batch_size: 16 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 }
  data_param { source: "data/mnist_val_lmdb" batch_size: 20 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 6 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "elu" type: "ELU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"
  include { not_stage: "deploy" } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" type: "SGD" base_lr: 0.05 momentum: 0.9 weight_decay: 0.0005
lr_policy: "step" gamma: 0.5 stepsize: 8 display: 3 max_iter: 18 test_iter: 2 test_interval: 6
snapshot: 9 snapshot_prefix: "work/run" random_seed: 1 solver_mode: CPU
"""
WEIGHTS = ("-weights", "start.caffemodel")
TRAIN = ("train", "-solver", "solver.prototxt")


@pytest.fixture
def start(both: Both) -> bytes:
    """One model that both start from: real Caffe's, after an iteration."""
    once = SOLVER.replace("max_iter: 18", "max_iter: 1").replace("test_iter: 2", "")
    once = once.replace("test_interval: 6", "")
    _, real = both(*TRAIN, files={"net.prototxt": NET, "solver.prototxt": once})
    return (real.folder / "work" / "run_iter_1.caffemodel").read_bytes()


def _run(both: Both, start: bytes, solver: str, *arguments: str, net: str = NET) -> tuple[Run, Run]:
    files = {"net.prototxt": net, "solver.prototxt": solver, "start.caffemodel": start}
    return both(*(arguments or (*TRAIN, *WEIGHTS)), files=files)


SOLVERS = {
    "normal": SOLVER,
    "Adam": SOLVER.replace('"SGD" base_lr: 0.05', '"Adam" base_lr: 0.002'),
    "no display, no test": SOLVER.replace("display: 3", "").replace("test_iter: 2", "").replace(
        "test_interval: 6", ""
    ),
    "no test at the start": SOLVER + "test_initialization: false test_compute_loss: true",
    "averaged": SOLVER + "average_loss: 4 iter_size: 2",
    "clipped": SOLVER + "clip_gradients: 0.5",
    "no final snapshot": SOLVER.replace("snapshot: 9", "snapshot_after_train: false"),
    "no iteration": SOLVER.replace("max_iter: 18", "max_iter: 0"),
    "multistep": SOLVER.replace('"step"', '"multistep" stepvalue: 5 stepvalue: 11'),
    "two test nets": SOLVER + 'test_net: "net.prototxt" test_iter: 1 test_state {} '
    'test_state { stage: "deploy" }',
    "L1": SOLVER + 'regularization_type: "L1"',
    "old solver type": SOLVER.replace('type: "SGD"', "solver_type: NESTEROV"),
    "default snapshot prefix": SOLVER.replace('snapshot_prefix: "work/run"', ""),
    "prefix is a folder": SOLVER.replace('"work/run"', '"work"'),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLVERS)
def test_training(name: str, both: Both, start: bytes) -> None:
    ours, real = _run(both, start, SOLVERS[name])
    same_log(ours, real)
    assert ours.status == 0
    assert name == "no iteration" or "Restarting data" in ours.log  # both went round and round


def test_resumed(both: Both, start: bytes) -> None:
    """Each goes on from a snapshot of its own."""
    _run(both, start, SOLVER)
    longer = SOLVER.replace("max_iter: 18", "max_iter: 24")
    state = ("-snapshot", "work/run_iter_9.solverstate")
    same_log(*_run(both, start, longer, *TRAIN, *state))


def test_fine_tuned_with_a_renamed_layer(both: Both, start: bytes) -> None:
    """The layers that the model does not have start from constants, so that both start alike."""
    filler = 'weight_filler { type: "constant" value: 0.01 }'
    net = NET.replace('name: "fc"', 'name: "new"')
    net = net.replace('num_output: 10 weight_filler { type: "xavier" }', f"num_output: 10 {filler}")
    ours, real = _run(both, start, SOLVER, net=net)
    same_log(ours, real)
    assert "Ignoring source layer fc" in ours.log


def test_weights_from_several_files(both: Both, start: bytes) -> None:
    """As in real Caffe, names stand between commas, and the last file wins."""
    second = start.replace(b"conv", b"cnov")
    files = {"second.caffemodel": second, "net.prototxt": NET, "start.caffemodel": start}
    solver = SOLVER.replace("max_iter: 18", "max_iter: 3")
    weights = "second.caffemodel, start.caffemodel"
    ours, real = both(*TRAIN, "--weights", weights, files={**files, "solver.prototxt": solver})
    same_log(ours, real)
    assert "Finetuning from second.caffemodel" in ours.log
    assert ours.log.count("Ignoring source layer cnov") == 2


@pytest.mark.parametrize("rate", ["1e5", "1e30"])
def test_diverging(rate: str, both: Both, start: bytes) -> None:
    """The lines stay the same, the losses are non-finite or 87.3 in both, and the status is 0."""
    ours, real = _run(both, start, SOLVER.replace("base_lr: 0.05", f"base_lr: {rate}"))
    a, b = read(ours.log), read(real.log)
    assert a.lines == b.lines
    assert ours.status == real.status == 0
    assert not np.isfinite(a.numbers).all() or max(a.numbers) > 80
    np.testing.assert_array_equal(np.isfinite(a.numbers), np.isfinite(b.numbers))


def test_scoring(both: Both, start: bytes) -> None:
    arguments = ("test", "-model", "net.prototxt", "-weights", "start.caffemodel")
    same_log(*_run(both, start, SOLVER, *arguments, "-iterations", "4"))
    same_log(*_run(both, start, SOLVER, *arguments, "-iterations=1", "-stage", "deploy,x"))


@pytest.mark.parametrize("flags", [(), ("-phase", "TEST")])
def test_timing(flags: tuple[str, ...], both: Both, start: bytes) -> None:
    """The initial loss is of weights that each has drawn on its own."""
    arguments = ("time", "-model", "net.prototxt", "-iterations", "2", *flags)
    same_log(*_run(both, start, SOLVER, *arguments), tolerance=2)
