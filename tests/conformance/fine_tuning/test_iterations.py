"""Fine-tuning iteration by iteration: losses, weights and solver states of both trainers."""

from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.blob import from_proto
from tests.conformance.commands import Both
from tests.conformance.fine_tuning.tasks import (
    CONSTANT,
    FROZEN,
    PRETRAINED,
    Array,
    read_model,
    tuned_net,
    write_model,
)

pytestmark = pytest.mark.conformance

RULES = {
    "SGD": 'type: "SGD" base_lr: 0.02 momentum: 0.9',
    "Adam": 'type: "Adam" base_lr: 0.001 momentum: 0.9 momentum2: 0.999',
}
FIFTY = (
    'net: "net.prototxt" weight_decay: 0.002 lr_policy: "multistep" gamma: 0.3 stepvalue: 20 '
    'stepvalue: 40 display: 1 max_iter: 50 snapshot_prefix: "tuned" random_seed: 1 '
    "solver_mode: CPU "
)


def _history(path: Path) -> list[Array]:
    state = caffe_pb2.SolverState.FromString(path.read_bytes())
    return [from_proto(blob) for blob in state.history]


def _close(ours: Array, theirs: Array, what: str) -> None:
    """Relative distance in the 2-norm at most 1e-4."""
    assert ours.shape == theirs.shape, what
    distance = np.linalg.norm(np.subtract(ours, theirs, dtype=np.float64))
    assert distance <= 1e-4 * np.linalg.norm(theirs.astype(np.float64)), what


@pytest.mark.parametrize("head", ["constant", "copied"])
@pytest.mark.parametrize("rule", RULES)
def test_fifty_iterations(rule: str, head: str, work: Path, both: Both) -> None:
    """A frozen layer, a tuned one and a new one: losses, weights and history agree to 1e-4.

    Both start the new layer alike: from a constant, or from a second caffemodel.
    """
    weights = PRETRAINED
    if head == "copied":
        rng = np.random.default_rng(3)
        blobs = [rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((7, 32), (7,))]
        write_model(work / "head.caffemodel", scores7=blobs)
        weights += ",head.caffemodel"
    arguments = ("train", "-solver", "solver.prototxt", "-weights", weights)
    runs = both(*arguments, net=tuned_net(CONSTANT, first=FROZEN), solver=FIFTY + RULES[rule])
    assert [run.status for run in runs] == [0, 0], runs[0].log[-2000:]
    ours, real = ([float(x) for x in run.said(r"Iter.*\), loss = (\S+)")] for run in runs)
    assert len(real) == 50
    np.testing.assert_allclose(ours, real, rtol=0, atol=1e-4)
    assert real[-1] < 0.5 * real[0], "nothing was learned"
    rates = [run.said(r"Iteration \d+, lr = (\S+)") for run in runs]
    assert rates[0] == rates[1]
    assert len(set(rates[1])) == 3

    start = read_model(work / PRETRAINED)
    mine, other = (read_model(run.folder / "tuned_iter_50.caffemodel") for run in runs)
    assert mine.keys() == other.keys()
    for name, values in mine.items():
        _close(values, other[name], name)
        if name.startswith("conv"):
            np.testing.assert_array_equal(values, start[name])
        elif name in start:
            assert np.abs(values - start[name]).max() > 1e-3
    histories = [_history(run.folder / "tuned_iter_50.solverstate") for run in runs]
    for i, (values, expected) in enumerate(zip(*histories, strict=True)):
        _close(values, expected, f"history {i}")


SOLVER = (
    'net: "net.prototxt" type: "SGD" base_lr: 0.02 momentum: 0.9 weight_decay: 0.05 lr_policy: '
    '"fixed" snapshot_prefix: "tuned" random_seed: 1 solver_mode: CPU max_iter: '
)


@pytest.mark.parametrize("how", ["resumed with lr_mult 0", "below propagate_down: false"])
def test_a_layer_without_gradient_still_moves(how: str, work: Path, both: Both) -> None:
    """By the momentum of before, and by weight decay: in both trainers alike, to 1e-3 of it."""
    arguments = ("train", "-solver", "solver.prototxt", "-weights", PRETRAINED)
    if how.startswith("resumed"):
        begun = both(*arguments, net=tuned_net(CONSTANT), solver=SOLVER + "10")
        start = read_model(begun[1].folder / "tuned_iter_10.caffemodel")
        arguments = (*arguments[:3], "-snapshot", "tuned_iter_10.solverstate")
        net = tuned_net(CONSTANT, first=FROZEN)
    else:
        start = read_model(work / PRETRAINED)
        net = tuned_net(CONSTANT).replace('top: "fc" ', 'top: "fc" propagate_down: false ')
    runs = both(*arguments, net=net, solver=SOLVER + "20")
    ours, real = (
        read_model(run.folder / "tuned_iter_20.caffemodel")["conv/0"].astype(np.float64)
        - start["conv/0"]
        for run in runs
    )
    assert np.abs(real).max() > 1e-4
    assert np.linalg.norm(ours - real) <= 1e-3 * np.linalg.norm(real)
