"""The same training on the CPU and on a GPU; skipped where there is none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import torch
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.runtime import Runtime
from caffe_torch.solver import Solver

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

SOLVER = """
type: "Adam" base_lr: 0.001 momentum: 0.9 lr_policy: "fixed" max_iter: 20 random_seed: 3
snapshot_prefix: "snap"
net_param {
  layer { name: "d" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 }
    data_param { source: "lmdb" batch_size: 10 backend: LMDB } }
  layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
  layer { name: "elu" type: "ELU" bottom: "conv" top: "conv" }
  layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
    pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
  layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
    inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
}
"""


def test_cpu_and_gpu_agree(
    tmp_path: Path,
    write_images: Callable[[Path, NDArray[np.uint8]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
    write_images(tmp_path / "lmdb", images)
    monkeypatch.chdir(tmp_path)
    solvers = []
    for gpu in (None, 0):
        param = text_format.Parse(SOLVER, caffe_pb2.SolverParameter())
        solvers.append(Solver(param, Runtime.create(3, gpu)))
        solvers[-1].step(20)
    solvers[1].snapshot()
    solvers[1].restore("snap_iter_20.solverstate")
    for layer, blobs in solvers[0].net.params.items():
        for mine, theirs in zip(blobs, solvers[1].net.params[layer], strict=True):
            np.testing.assert_allclose(mine.data, theirs.data, atol=1e-4)
