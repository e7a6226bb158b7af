"""Tests on the way, averages and debug_info: the log's lines and numbers are real Caffe's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.commands import Command
from tests.conformance.solvers.runs import SMOOTH, Pycaffe, log_lines, write_solver

pytestmark = pytest.mark.conformance

STAGES = "".join(
    f'layer {{ name: "accuracy_{stage}" type: "Accuracy" bottom: "fc2" bottom: "label" '
    f'top: "accuracy_{stage}" include {{ stage: "{stage}" }} }}\n'
    for stage in ("one", "two")
)
# Two layers share their weights, one bias is frozen, one loss counts a tenth.
SHARED = """
name: "shared"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 }
  data_param { source: "%s" batch_size: 32 backend: LMDB } }
layer { name: "fc0" type: "InnerProduct" bottom: "data" top: "fc0" inner_product_param {
  num_output: 16 weight_filler { type: "xavier" } } param { } param { lr_mult: 0 } }
layer { name: "fc1" type: "InnerProduct" bottom: "fc0" top: "fc1" inner_product_param {
  num_output: 16 weight_filler { type: "xavier" } } param { name: "w" } param { name: "b" } }
layer { name: "elu" type: "ELU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" inner_product_param {
  num_output: 16 weight_filler { type: "xavier" } } param { name: "w" } param { name: "b" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
layer { name: "aside" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "aside"
  loss_weight: 0.1 }
"""

TESTED = (
    'type: "SGD" base_lr: 0.05 momentum: 0.9 gamma: 0.5 stepsize: 4 max_iter: 8 '
    "snapshot_after_train: false"
)
# Settings, and how often a net is tested.
CASES = {
    "test nets by stage": (
        "test_interval: 4 test_iter: 5 test_iter: 2 "
        'test_state { stage: "one" } test_state { stage: "two" }',
        6,
    ),
    "no test at the start": ("test_interval: 4 test_iter: 5 test_initialization: false", 2),
    "test loss": ("test_interval: 8 test_iter: 3 test_compute_loss: true", 2),
    "test nets of their own": (
        'test_interval: 8 test_iter: 2 test_iter: 3 test_net: "one.prototxt"',
        4,
    ),
    "mean loss": ("average_loss: 3", 0),
    "mean loss over all": ("average_loss: 20 iter_size: 2", 0),
    "steps at once": ('lr_policy: "multistep" stepvalue: 2 stepvalue: 2 stepvalue: 1', 0),
    "clipped": ("clip_gradients: 0.2", 0),
    "debug_info": ("debug_info: true", 0),
    "debug_info with tests": ("debug_info: true test_interval: 4 test_iter: 1", 3),
    "debug_info, accumulated": ("debug_info: true iter_size: 2", 0),
}
SAID = r"solver\.cpp|net\.cpp:(593|605|621|632|721)"


@pytest.fixture(scope="module")
def start(folder: Path, pycaffe_run: Pycaffe) -> Callable[[str], Path]:
    """Weights of real Caffe's, after one iteration of a net in the folder."""

    def make(net: str) -> Path:
        name = f"start_{net.partition('.')[0]}"
        path = folder / f"{name}_iter_1.caffemodel"
        if not path.exists():
            rule = 'base_lr: 0.01 lr_policy: "fixed" max_iter: 1'
            pycaffe_run("solve", write_solver(folder, name, rule, net), {}, "1")
        return path

    return make


@pytest.mark.parametrize("net", ["staged.prototxt", "shared.prototxt"])
@pytest.mark.parametrize("case", CASES)
def test_log(
    case: str,
    net: str,
    folder: Path,
    start: Callable[[str], Path],
    embedded: Command,
    real: Command,
) -> None:
    """Line by line, numbers within 1e-4: the solver's and, with debug_info, the nets'."""
    texts = {"staged.prototxt": SMOOTH + STAGES, "shared.prototxt": SHARED}
    for name in (net, "one.prototxt"):
        (folder / name).write_text(texts[net] % (folder / "train_lmdb"))
    settings, tests = CASES[case]
    display = 1 if case == "debug_info with tests" else 2
    if "lr_policy" not in settings:
        settings += ' lr_policy: "step"'
    path = write_solver(folder, "logged", f"{TESTED} display: {display} {settings}", net)
    logs = []
    for command in (embedded, real):
        run = command("train", "-solver", str(path), "-weights", str(start(net)), cwd=folder)
        assert run.status == 0, run.log[-2000:]
        logs.append(log_lines(run.log, SAID))
    (ours, our_numbers), (theirs, their_numbers) = logs
    assert ours == theirs
    np.testing.assert_allclose(our_numbers, their_numbers, rtol=1e-4, atol=1e-9)
    assert sum("Testing net" in line for line in theirs) == tests
    assert any("All net params" in line for line in theirs) == ("debug_info" in case)


OLD_BATCH_NORM = """
name: "old" force_backward: true
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 }
  data_param { source: "%s" batch_size: 32 backend: LMDB } }
layer { name: "norm" type: "BatchNorm" bottom: "data" top: "norm"
  param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }
layer { name: "fc" type: "InnerProduct" bottom: "norm" top: "fc" inner_product_param {
  num_output: 10 weight_filler { type: "xavier" } } param { } param { lr_mult: 0 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def test_all_nets_are_upgraded_before_the_first_test_net_is_made(
    folder: Path, start: Callable[[str], Path], embedded: Command, real: Command
) -> None:
    """Line by line; and with force_backward, debug_info has frozen parameters' gradients too."""
    for name in ("old.prototxt", "older.prototxt"):
        (folder / name).write_text(OLD_BATCH_NORM % (folder / "train_lmdb"))
    settings = (
        f'{TESTED} display: 2 lr_policy: "step" debug_info: true '
        'test_interval: 8 test_iter: 1 test_iter: 1 test_net: "older.prototxt"'
    )
    path = write_solver(folder, "upgraded", settings, "old.prototxt")
    logs = []
    for command in (embedded, real):
        weights = str(start("old.prototxt"))
        run = command("train", "-solver", str(path), "-weights", weights, cwd=folder)
        assert run.status == 0, run.log[-2000:]
        logs.append(log_lines(run.log, rf"{SAID}|upgrade_proto\.cpp"))
    (ours, our_numbers), (theirs, their_numbers) = logs
    assert ours == theirs
    # BatchNorm's gradients are small differences of large sums.
    np.testing.assert_allclose(our_numbers, their_numbers, rtol=1e-3, atol=1e-9)
    assert sum("upgrade batch norm" in line for line in theirs) >= 3
