"""Where trajectories may part (ReLU, max pooling, dropout): accuracy over seeds agrees."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.conformance, pytest.mark.slow]

NET = """
name: "kinked"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.0078125 mean_value: 120 }
  data_param { source: "train_lmdb" batch_size: 50 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.0078125 mean_value: 120 }
  data_param { source: "val_lmdb" batch_size: 100 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 12 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 3 stride: 3 } }
layer { name: "drop1" type: "Dropout" bottom: "pool" top: "pool"
  dropout_param { dropout_ratio: 0.2 } }
layer { name: "fc1" type: "InnerProduct" bottom: "pool" top: "fc1" inner_product_param {
  num_output: 32 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "drop2" type: "Dropout" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" inner_product_param {
  num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc2" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SEEDS = range(1, 7)


def test_accuracy_over_seeds(
    tmp_path: Path,
    write_lmdb: Callable[..., None],
    run_ours: Callable[..., subprocess.CompletedProcess[str]],
    run_real: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """Mean accuracies in mid-training differ by less than their sampling error allows."""
    write_lmdb(tmp_path / "train_lmdb", 2000, 1, noise=80)
    write_lmdb(tmp_path / "val_lmdb", 1000, 2, noise=80)
    (tmp_path / "net.prototxt").write_text(NET)
    accuracies: list[list[float]] = []
    for run in (run_ours, run_real):
        accuracies.append([])
        for seed in SEEDS:
            (tmp_path / "solver.prototxt").write_text(
                'net: "net.prototxt" type: "Adam" base_lr: 0.003 momentum: 0.9 lr_policy: "fixed" '
                "test_iter: 10 test_interval: 150 test_initialization: false max_iter: 150 "
                f"snapshot_after_train: false random_seed: {seed} solver_mode: CPU"
            )
            done = run("train", "-solver", "solver.prototxt", cwd=tmp_path)
            assert done.returncode == 0, done.stderr[-1000:]
            found = re.findall(r"accuracy = ([\d.]+)", done.stderr)
            accuracies[-1].append(float(found[-1]))
    ours, real = (np.array(values) for values in accuracies)
    assert 0.3 < real.mean() < 0.99, f"the task says nothing at {real}"
    error = np.sqrt((ours.var(ddof=1) + real.var(ddof=1)) / len(SEEDS))
    assert abs(ours.mean() - real.mean()) < 4 * error + 0.005, f"ours {ours}, real {real}"
