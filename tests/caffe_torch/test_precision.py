"""`--precision bf16` and `tf32`: float32's results within their rounding, and nothing silent.

bfloat16 keeps 8 significant bits: a rounding moves a value by at most 2⁻⁹ (0.2 %) of itself. Over
the few layers here that stays below 2 % of a loss and 5 % of a gradient's 2-norm.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import torch
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from caffe_torch.solver import Solver

LOSS, GRADIENT = 0.02, 0.05

LAYERS = """
  layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    convolution_param { num_output: 12 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
  layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
  layer { name: "scale" type: "Scale" bottom: "conv" top: "conv"
    scale_param { bias_term: true } }
  layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
  layer { name: "lrn" type: "LRN" bottom: "conv" top: "lrn" }
  layer { name: "pool" type: "Pooling" bottom: "lrn" top: "pool"
    pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
  layer { name: "more" type: "Convolution" bottom: "pool" top: "more"
    convolution_param { num_output: 12 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
  layer { name: "sum" type: "Eltwise" bottom: "pool" bottom: "more" top: "sum" }
  layer { name: "elu" type: "ELU" bottom: "sum" top: "sum" }
  layer { name: "average" type: "Pooling" bottom: "sum" top: "average"
    pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
  layer { name: "fc" type: "InnerProduct" bottom: "average" top: "fc"
    inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = (
    """
type: "Adam" base_lr: 0.003 momentum: 0.9 lr_policy: "fixed" max_iter: 100 random_seed: 3
snapshot_prefix: "snap"
net_param {
  layer { name: "d" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 }
    data_param { source: "lmdb" batch_size: 20 backend: LMDB } }
"""
    + LAYERS
    + "}"
)


def _patterns(count: int, seed: int) -> NDArray[np.uint8]:
    """Ten patterns 1×8×8 with noise, in turn."""
    patterns = np.random.default_rng(0).integers(0, 200, (10, 1, 8, 8))
    noise = np.random.default_rng(seed).integers(0, 56, (count, 1, 8, 8))
    return (patterns[np.arange(count) % 10] + noise).astype(np.uint8)


@pytest.fixture
def trained(
    tmp_path: Path,
    write_images: Callable[[Path, NDArray[np.uint8]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Solver]:
    """A solver on the patterns after some iterations: (precision, iterations, gpu) → Solver."""
    write_images(tmp_path / "lmdb", _patterns(100, 1))
    monkeypatch.chdir(tmp_path)

    def train(precision: str, iterations: int, gpu: int | None = None) -> Solver:
        param = text_format.Parse(SOLVER, caffe_pb2.SolverParameter())
        solver = Solver(param, Runtime.create(3, gpu, precision))
        solver.step(iterations)
        return solver

    return train


def _first_step(precision: str, gpu: int | None = None) -> tuple[float, list[torch.Tensor]]:
    shapes = 'layer { name: "i" type: "Input" top: "data" top: "label" input_param { '
    shapes += "shape { dim: 20 dim: 1 dim: 8 dim: 8 } shape { dim: 20 } } }"
    param = text_format.Parse(shapes + LAYERS, caffe_pb2.NetParameter())
    param.state.phase = caffe_pb2.TRAIN
    net = Net(param, Runtime.create(3, gpu, precision))
    net.blobs["data"].data[...] = _patterns(20, 1) * 0.004
    net.blobs["label"].data[...] = np.arange(20) % 10
    loss = float(net.forward_backward())
    return loss, [p.blob.gradient for p in net.learned if p.blob.gradient is not None]


def _assert_equivalent(precision: str, gpu: int | None, share: float) -> None:
    loss, gradients = _first_step("fp32", gpu)
    other, reduced = _first_step(precision, gpu)
    assert other != loss, "nothing was rounded"
    assert other == pytest.approx(loss, rel=LOSS * share)
    assert len(gradients) == len(reduced) > 5
    largest = max(float(g.norm()) for g in gradients)
    for mine, expected in zip(reduced, gradients, strict=True):
        assert mine.dtype == torch.float32
        assert float((mine - expected).norm()) <= GRADIENT * share * largest


def test_bf16_computes_the_loss_and_gradients_of_fp32_within_its_rounding() -> None:
    _assert_equivalent("bf16", None, 1)


def test_bf16_trains_to_the_accuracy_of_fp32(trained: Callable[..., Solver]) -> None:
    """100 iterations; then both nets, in float32, on 500 images that neither has seen."""
    wrong = {}
    images = _patterns(500, 2) * np.float32(0.004)
    for precision in ("fp32", "bf16"):
        solver = trained(precision, 100)
        for learned in solver.net.learned:
            assert learned.blob.tensor.dtype == torch.float32
        net = solver.net
        errors = 0
        for start in range(0, 500, 20):
            net.blobs["data"].data[...] = images[start : start + 20]
            scores = net.forward(start="conv", end="fc")["fc"]
            errors += int((scores.argmax(axis=1) != np.arange(20) % 10).sum())
        wrong[precision] = errors / 500
    assert wrong["fp32"] < 0.1
    assert abs(wrong["bf16"] - wrong["fp32"]) < 0.05


def test_a_snapshot_of_bf16_is_float32_and_goes_on_in_fp32(
    trained: Callable[..., Solver],
) -> None:
    solver = trained("bf16", 5)
    solver.snapshot()
    other = trained("fp32", 0)
    other.restore("snap_iter_5.solverstate")
    for name, blobs in solver.net.params.items():
        for mine, theirs in zip(blobs, other.net.params[name], strict=True):
            np.testing.assert_array_equal(mine.data, theirs.data)


@pytest.mark.parametrize(
    ("precision", "told"),
    [("fp16", "it is one of fp32, tf32, bf16"), ("tf32", "only NVIDIA GPUs since Ampere")],
)
def test_a_precision_that_is_not_there_is_refused(precision: str, told: str) -> None:
    with pytest.raises(FatalError, match=told):
        Runtime.create(1, None, precision)


def test_the_log_names_the_precision(
    tmp_path: Path, write_images: Callable[[Path, NDArray[np.uint8]], None]
) -> None:
    write_images(tmp_path / "lmdb", _patterns(20, 1))
    (tmp_path / "solver.prototxt").write_text(SOLVER.replace("max_iter: 100", "max_iter: 1"))
    command = [sys.executable, "-m", "caffe_torch", "train", "-solver=solver.prototxt"]
    done = subprocess.run(
        [*command, "-precision", "bf16"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "thread(s), precision bf16." in done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "share"), [("tf32", 0.1), ("bf16", 1)])
def test_precisions_on_a_gpu(precision: str, share: float) -> None:
    _assert_equivalent(precision, 0, share)
