"""Nets and solvers of these tests, and what a training left behind."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
from numpy.typing import NDArray

from caffe_torch.net import Net
from caffe_torch.solver import Solver

Array = NDArray[np.float32]
Pycaffe = Callable[..., dict[str, Array]]

RECORDS, BATCH = 160, 32
PASS = RECORDS // BATCH

# ELU and average pooling have no ties and no kinks that fp32 noise could tip over.
SMOOTH = """
name: "smooth"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.00390625 mean_value: 100 }
  data_param { source: "%s" batch_size: 32 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 6 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "elu1" type: "ELU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc1" type: "InnerProduct" bottom: "pool" top: "fc1"
  inner_product_param { num_output: 24 weight_filler { type: "xavier" } } }
layer { name: "elu2" type: "ELU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
"""

RULES = {
    "SGD": 'type: "SGD" base_lr: 0.05 momentum: 0.9',
    "Nesterov": 'type: "Nesterov" base_lr: 0.05 momentum: 0.9',
    "AdaGrad": 'type: "AdaGrad" base_lr: 0.02 delta: 1e-6',
    "RMSProp": 'type: "RMSProp" base_lr: 0.002 rms_decay: 0.95 delta: 1e-5',
    "AdaDelta": 'type: "AdaDelta" base_lr: 2 momentum: 0.95 delta: 1e-5',
    "Adam": 'type: "Adam" base_lr: 0.002 momentum: 0.9 momentum2: 0.999',
}
FORMATS = {"BINARYPROTO": "", "HDF5": ".h5"}


@dataclass(frozen=True)
class Outcome:
    """What a training left behind: the loss and the rate of each iteration, and the end."""

    losses: Array
    rates: Array
    params: dict[str, Array]
    history: list[Array]


def write_solver(folder: Path, name: str, settings: str, net: str = "net.prototxt") -> Path:
    """A solver prototxt whose snapshots are `<folder>/<name>_iter_…`."""
    path = folder / f"{name}.prototxt"
    path.write_text(
        f'net: "{folder / net}" {settings} snapshot_prefix: "{folder / name}" random_seed: 1 '
        "solver_mode: CPU"
    )
    return path


def state_path(solver: Path, iteration: int, kind: str = "BINARYPROTO") -> Path:
    """The solverstate that a solver's snapshot wrote."""
    return solver.with_name(f"{solver.stem}_iter_{iteration}.solverstate{FORMATS[kind]}")


def parameters(net: Net) -> dict[str, Array]:
    """A copy of every parameter, named as `pycaffe_run.py` names them."""
    return {
        f"param/{layer}/{i}": blob.data.copy()
        for layer, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def read_history(path: Path) -> list[Array]:
    """The history in a solverstate, read without the code under test."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return [file[f"history/{i}"][...] for i in range(len(file["history"]))]
    state = caffe_pb2.SolverState.FromString(path.read_bytes())
    return [
        np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim)) for blob in state.history
    ]


def train_ours(
    path: Path,
    iterations: int,
    start: dict[str, Array] | None = None,
    resume: Path | None = None,
    kind: str = "BINARYPROTO",
) -> Outcome:
    """Train with the embedded caffe, from given weights or a solverstate, and snapshot."""
    solver = Solver.from_file(str(path))
    if resume:
        solver.restore(str(resume))
    for key, values in (start or {}).items():
        _, layer, i = key.split("/")
        solver.net.params[layer][int(i)].data[...] = values
    losses, rates = [], []
    for _ in range(iterations):
        rates.append(solver.lr)
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    solver.snapshot()
    history = read_history(state_path(path, solver.iter, kind))
    return Outcome(np.array(losses), np.array(rates), parameters(solver.net), history)


def train_real(
    pycaffe: Pycaffe,
    path: Path,
    iterations: int,
    start: dict[str, Array] | None = None,
    resume: Path | None = None,
    kind: str = "BINARYPROTO",
) -> Outcome:
    """Train with real Caffe, from given weights or a solverstate, and snapshot."""
    out = pycaffe("solve", path, start or {}, str(iterations), resume=str(resume or ""))
    before = int(resume.name.split("_iter_")[1].split(".")[0]) if resume else 0
    params = {key: values for key, values in out.items() if key.startswith("param/")}
    history = read_history(state_path(path, before + iterations, kind))
    return Outcome(out["losses"], out["rates"], params, history)


def assert_close(ours: Outcome, real: Outcome) -> None:
    """Each loss within 1e-4; each blob of weights and history within 1e-4 in its 2-norm."""
    np.testing.assert_allclose(ours.rates, real.rates, rtol=1e-6)
    np.testing.assert_allclose(ours.losses, real.losses, rtol=1e-4)
    assert ours.params.keys() == real.params.keys()
    assert len(ours.history) == len(real.history)
    pairs = [(key, ours.params[key], real.params[key]) for key in real.params]
    pairs += [
        (f"history {i}", mine, theirs)
        for i, (mine, theirs) in enumerate(zip(ours.history, real.history, strict=True))
    ]
    for name, mine, theirs in pairs:
        assert mine.shape == theirs.shape, name
        distance = np.linalg.norm(np.subtract(mine, theirs, dtype=np.float64))
        assert distance <= 1e-4 * np.linalg.norm(theirs), f"{name}: {distance}"


_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w.])")
_PREFIX = re.compile(r"^([IWEF])\d{4} [\d:.]+ +\d+ ([\w.]+:\d+\] .*)$", re.M)
_SPEED = re.compile(r"\(\S+ iter/s, \S+ iters\)")


def log_lines(log: str, pattern: str) -> tuple[list[str], Array]:
    """The log's lines that match, without times and speeds: their texts, and their numbers."""
    found = [f"{level} {rest}" for level, rest in _PREFIX.findall(log) if re.search(pattern, rest)]
    lines = [_SPEED.sub("(speed)", line).rstrip() for line in found]
    numbers = [float(x) for line in lines for x in _NUMBER.findall(line)]
    return [_NUMBER.sub("#", line) for line in lines], np.array(numbers)
