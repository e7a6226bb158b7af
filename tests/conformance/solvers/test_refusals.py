"""Solvers and fillers that Caffe refuses: our fatal line is Caffe's, with what to do behind it."""

import re
from pathlib import Path

import pytest

from tests.conformance.commands import Command

pytestmark = pytest.mark.conformance

FIXED = 'lr_policy: "fixed"'
NET = 'net: "net.prototxt"'
SOLVERS = {
    "no rate policy": NET,
    "unknown rate policy": f'{NET} lr_policy: "cosine"',
    "step without stepsize": f'{NET} lr_policy: "step" gamma: 0.1',
    "step, negative gamma": f'{NET} lr_policy: "step" gamma: -1 stepsize: 2',
    "exp, negative gamma": f'{NET} lr_policy: "exp" gamma: -0.1',
    "inv, negative gamma": f'{NET} lr_policy: "inv" gamma: -0.1',
    "multistep, negative gamma": f'{NET} lr_policy: "multistep" gamma: -0.1 stepvalue: 1',
    "sigmoid, negative gamma": f'{NET} lr_policy: "sigmoid" gamma: -0.1 stepsize: 2',
    "sigmoid without stepsize": f'{NET} lr_policy: "sigmoid" gamma: 0.1',
    "unknown type": f'{NET} {FIXED} type: "LBFGS"',
    "AdaGrad with momentum": f'{NET} {FIXED} type: "AdaGrad" momentum: 0.5',
    "RMSProp with momentum": f'{NET} {FIXED} type: "RMSProp" momentum: 0.5',
    "RMSProp, decay 1": f'{NET} {FIXED} type: "RMSProp" rms_decay: 1',
    "RMSProp, negative decay": f'{NET} {FIXED} type: "RMSProp" rms_decay: -0.5',
    "unknown regularization": f'{NET} {FIXED} weight_decay: 0.1 regularization_type: "L3"',
    "average_loss 0": f"{NET} {FIXED} average_loss: 0",
    "no net": FIXED,
    "two training nets": f'{NET} {FIXED} train_net: "net.prototxt"',
    "no test_iter": f'{NET} {FIXED} test_net: "net.prototxt" test_interval: 1',
    "too many test_iter": f'{FIXED} train_net: "net.prototxt" test_net: "net.prototxt" '
    "test_iter: 1 test_iter: 1 test_interval: 1",
    "no test_interval": f"{NET} {FIXED} test_iter: 1",
    "too many test_state": f'{NET} {FIXED} test_iter: 1 test_interval: 1 test_state {{ stage: "a" '
    '} test_state { stage: "b" }',
}
FILLERS = {
    "unknown filler": 'type: "normal"',
    "sparse constant": 'type: "constant" sparse: 3',
    "sparse uniform": 'type: "uniform" sparse: 3',
    "sparse xavier": 'type: "xavier" sparse: 3',
    "sparse msra": 'type: "msra" sparse: 3',
    "sparse unitball": 'type: "positive_unitball" sparse: 3',
    "sparse bilinear": 'type: "bilinear" sparse: 3',
    "sparse below -1": 'type: "gaussian" sparse: -2',
    "sparse beyond the outputs": 'type: "gaussian" sparse: 9',
    "no deviation": 'type: "gaussian" std: 0',
    "negative deviation": 'type: "gaussian" std: -1',
    "empty interval": 'type: "uniform" min: 2 max: 1',
    "bilinear, not square": 'type: "bilinear"',
}
CASES = SOLVERS | FILLERS
NET_TEXT = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param {
  shape { dim: 2 dim: 3 dim: 6 dim: 6 } data_filler { type: "constant" value: 1 } } }
layer { name: "y" type: "Convolution" bottom: "x" top: "y" convolution_param {
  num_output: 4 kernel_h: 3 kernel_w: WIDTH weight_filler { FILLER } } }
layer { name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 }
"""


def _fatal(log: str) -> tuple[str, str]:
    """The source position and the message of the fatal line."""
    lines = re.findall(r"^F\d{4} [\d:.]+ +\d+ ([\w.]+:\d+)\] (.*)$", log, re.M)
    assert len(lines) == 1, log[-2000:]
    return lines[0][0], lines[0][1].strip()


@pytest.mark.parametrize("name", CASES)
def test_refused_as_caffe_does(name: str, tmp_path: Path, embedded: Command, real: Command) -> None:
    """Same status, same source position; our message begins with Caffe's."""
    filler = FILLERS.get(name, 'type: "xavier"')
    width = "2" if name == "bilinear, not square" else "3"
    net = NET_TEXT.replace("FILLER", filler).replace("WIDTH", width)
    (tmp_path / "net.prototxt").write_text(net)
    settings = SOLVERS.get(name, f"{NET} {FIXED}")
    (tmp_path / "solver.prototxt").write_text(
        f"{settings} base_lr: 0.01 max_iter: 1 snapshot_after_train: false"
    )
    found = []
    for command in (embedded, real):
        run = command("train", "-solver", "solver.prototxt", cwd=tmp_path)
        assert run.status == -6
        found.append(_fatal(run.log))
    (ours_where, ours), (real_where, theirs) = found
    assert ours_where == real_where
    known = theirs.partition(" (known")[0]
    assert ours.startswith(known), f"ours: {ours}\nreal: {theirs}"
