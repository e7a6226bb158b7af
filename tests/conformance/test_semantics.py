"""What Caffe computes, in closed forms and expected lines: real Caffe and the embedded one alike.

The forms are what docs/caffe-semantics.md says; each test runs both engines against them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch.net import Net
from tests.conformance.commands import Command
from tests.conformance.solvers.runs import Pycaffe, train_ours, train_real

pytestmark = pytest.mark.conformance

Values = NDArray[np.float64]
State = list[Values]
Rule = Callable[[Values, float, State, int], Values]

# The update of a weight

START: Values = np.array([[1.5], [-0.25], [0.75], [-2], [0.5], [0.125], [0]])
# Both rows of y are the weights: the loss is Σ w² / 2 and its gradient w.
SQUARES = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 1 }
  data_filler { value: 1 } } }
layer { name: "t" type: "DummyData" top: "t" dummy_data_param { shape { dim: 2 dim: 7 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 7 bias_term: false } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def sgd(g: Values, rate: float, state: State, t: int) -> Values:
    """The rate is in the history: a lower one acts on what comes, not on what was."""
    state[0] = 0.9 * state[0] + rate * g
    return state[0]


def nesterov(g: Values, rate: float, state: State, t: int) -> Values:
    before, state[0] = state[0], 0.9 * state[0] + rate * g
    return 1.9 * state[0] - 0.9 * before


def adagrad(g: Values, rate: float, state: State, t: int) -> Values:
    state[0] = state[0] + g**2
    return rate * g / (np.sqrt(state[0]) + 0.1)


def rmsprop(g: Values, rate: float, state: State, t: int) -> Values:
    state[0] = 0.8 * state[0] + 0.2 * g**2
    return rate * g / (np.sqrt(state[0]) + 0.1)


def adadelta(g: Values, rate: float, state: State, t: int) -> Values:
    state[0] = 0.9 * state[0] + 0.1 * g**2
    step = g * np.sqrt((state[1] + 0.1) / (state[0] + 0.1))
    state[1] = 0.9 * state[1] + 0.1 * step**2
    return rate * step


def adam(g: Values, rate: float, state: State, t: int) -> Values:
    """ε = 0.1 is added to √v, not to the corrected √(v / (1 − β2^t))."""
    state[0] = 0.9 * state[0] + 0.1 * g
    state[1] = 0.8 * state[1] + 0.2 * g**2
    return rate * np.sqrt(1 - 0.8**t) / (1 - 0.9**t) * state[0] / (np.sqrt(state[1]) + 0.1)


RULES: dict[str, tuple[str, Rule]] = {
    "SGD": ('type: "SGD" momentum: 0.9', sgd),
    "Nesterov": ('type: "Nesterov" momentum: 0.9', nesterov),
    "AdaGrad": ('type: "AdaGrad" delta: 0.1', adagrad),
    "RMSProp": ('type: "RMSProp" rms_decay: 0.8 delta: 0.1', rmsprop),
    "AdaDelta": ('type: "AdaDelta" momentum: 0.9 delta: 0.1', adadelta),
    "Adam": ('type: "Adam" momentum: 0.9 momentum2: 0.8 delta: 0.1', adam),
}


@dataclass(frozen=True)
class Gradient:
    """What becomes of a gradient before the rule gets it."""

    settings: str = ""
    passes: int = 1
    limit: float = np.inf
    l2: float = 0
    l1: float = 0

    def of(self, w: Values) -> Values:
        """The sum of all passes is clipped, then averaged, then regularized."""
        total = self.passes * w
        norm = np.sqrt((total**2).sum())
        total = total * min(1.0, self.limit / norm)
        return total / self.passes + self.l2 * w + self.l1 * np.sign(w)


GRADIENTS = {
    "as it is": Gradient(),
    "L2": Gradient("weight_decay: 0.3", l2=0.3),
    "accumulated": Gradient("iter_size: 3", passes=3),
    "L1": Gradient('weight_decay: 0.3 regularization_type: "L1"', l1=0.3),
    "clipped": Gradient("clip_gradients: 0.5", limit=0.5),
    "clipped before the average and the decay": Gradient(
        "iter_size: 2 clip_gradients: 0.5 weight_decay: 0.3", passes=2, limit=0.5, l2=0.3
    ),
}
CASES = [(rule, gradient) for rule in RULES for gradient in list(GRADIENTS)[:2]]
CASES += [(rule, gradient) for rule in ("SGD", "Adam") for gradient in list(GRADIENTS)[2:]]


def both_trained(
    folder: Path, net: str, settings: str, start: dict[str, Values], n: int, pycaffe: Pycaffe
) -> list[Any]:
    """What n iterations from these parameters leave, in this engine and in real Caffe."""
    path = folder / "solver.prototxt"
    path.write_text(
        f'net_param {{ {net} }} max_iter: {n} snapshot_prefix: "{folder / "solver"}" {settings}'
    )
    values = {key: array.astype(np.float32) for key, array in start.items()}
    return [train_ours(path, n, values), train_real(pycaffe, path, n, values)]


@pytest.mark.parametrize(("rule", "gradient"), CASES)
def test_update_rule(rule: str, gradient: str, tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """Four iterations, the last two at half the rate."""
    settings, update = RULES[rule]
    treated, n = GRADIENTS[gradient], 4
    settings += f' base_lr: 0.2 lr_policy: "step" gamma: 0.5 stepsize: 2 {treated.settings}'
    w, state = START.copy(), [np.zeros_like(START), np.zeros_like(START)]
    for i in range(n):
        w = w - update(treated.of(w), 0.2 if i < 2 else 0.1, state, i + 1)
    start = {"param/fc/0": START}
    for outcome in both_trained(tmp_path, SQUARES, settings, start, n, pycaffe_run):
        np.testing.assert_allclose(outcome.params["param/fc/0"], w, rtol=1e-5, atol=1e-6)


POLICIES: dict[str, tuple[str, Callable[[int], float]]] = {
    "fixed": ("", lambda i: 0.5),
    "step": ("gamma: 0.3 stepsize: 4", lambda i: 0.5 * 0.3 ** (i // 4)),
    "exp": ("gamma: 0.9", lambda i: 0.5 * 0.9**i),
    "inv": ("gamma: 0.1 power: 0.75", lambda i: 0.5 * (1 + 0.1 * i) ** -0.75),
    "multistep": (
        "gamma: 0.3 stepvalue: 3 stepvalue: 7",
        lambda i: 0.5 * 0.3 ** ((i >= 3) + (i >= 7)),
    ),
    "poly": ("power: 1.5", lambda i: 0.5 * (1 - i / 10) ** 1.5),
    "sigmoid": ("gamma: 0.4 stepsize: 5", lambda i: 0.5 / (1 + np.exp(-0.4 * (i - 5)))),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_rate_of_a_policy(policy: str, tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    given, rate = POLICIES[policy]
    settings = f'base_lr: 0.5 lr_policy: "{policy}" {given}'
    start = {"param/fc/0": START}
    for outcome in both_trained(tmp_path, SQUARES, settings, start, 10, pycaffe_run):
        np.testing.assert_allclose(outcome.rates, [rate(i) for i in range(10)], rtol=1e-6)


PLAIN = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 }
  data_filler { value: 1 } } }
layer { name: "t" type: "DummyData" top: "t" dummy_data_param { shape { dim: 2 dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 4 } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def test_without_param_weights_and_biases_learn_and_decay_alike(
    tmp_path: Path, pycaffe_run: Pycaffe
) -> None:
    """Both multipliers are 1. One step of 0.1 with a decay of 0.5, from given values."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(4, 3)), rng.normal(size=4)
    y = w.sum(axis=1) + b  # of either row, and half of each row's share in the gradient
    start = {"param/fc/0": w, "param/fc/1": b}
    settings = 'base_lr: 0.1 lr_policy: "fixed" weight_decay: 0.5'
    for outcome in both_trained(tmp_path, PLAIN, settings, start, 1, pycaffe_run):
        expected = w - 0.1 * (y[:, None] + 0.5 * w)
        np.testing.assert_allclose(outcome.params["param/fc/0"], expected, rtol=1e-5, atol=1e-6)
        expected = b - 0.1 * (y + 0.5 * b)
        np.testing.assert_allclose(outcome.params["param/fc/1"], expected, rtol=1e-5, atol=1e-6)


def test_without_filler_weights_and_biases_are_zero(tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(PLAIN)
    ours = Net.from_file(str(path), caffe_pb2.TRAIN)
    real = pycaffe_run("net", path, {}, "TRAIN")
    for i in range(2):
        assert not ours.params["fc"][i].data.any()
        assert not real[f"param/fc/{i}"].any()


def test_accumulated_gradients_of_a_parameter_layer(tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """A documented deviation: real Caffe keeps the last pass's alone, a third of it here."""
    net = """
    layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 1 dim: 3 } } }
    layer { name: "t" type: "DummyData" top: "t" dummy_data_param { shape { dim: 1 dim: 3 } } }
    layer { name: "l" type: "EuclideanLoss" bottom: "w" bottom: "t" top: "loss" }
    """
    w = np.array([[1.5, -0.25, 0.75]])
    settings = 'base_lr: 0.3 lr_policy: "fixed" iter_size: 3'
    ours, real = both_trained(tmp_path, net, settings, {"param/w/0": w}, 1, pycaffe_run)
    np.testing.assert_allclose(ours.params["param/w/0"], w - 0.3 * w, rtol=1e-5)
    np.testing.assert_allclose(real.params["param/w/0"], w - 0.3 * w / 3, rtol=1e-5)


def test_a_slash_in_a_layers_name_and_hdf5_snapshots(
    tmp_path: Path, embedded: Command, real: Command
) -> None:
    """A documented deviation: refused at the start, where real Caffe dies of its first snapshot."""
    settings = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 2 display: 1 snapshot_format: HDF5'
    net = SCALAR.replace('"fc"', '"a/b"')
    (tmp_path / "solver.prototxt").write_text(f"net_param {{ {net} }} {settings}")
    found = []
    for command in (embedded, real):
        run = command("train", "-solver", "solver.prototxt", cwd=tmp_path)
        assert run.status == -6
        found.append((len(run.said(r"Iteration \d+, lr = (.*)")), run.said("(.*?)", "F")[0]))
    (ours, message), (theirs, expected) = found
    assert (ours, theirs) == (0, 2)
    assert message.startswith(expected.partition(" to solver_iter")[0])


# Scores


def test_of_scores_that_are_not_numbers_all_are_right(tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """No comparison with NaN holds, so nothing is above the label's score."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }'
        'layer { name: "n" type: "Input" top: "n" input_param { shape { dim: 4 } } }'
        'layer { name: "a" type: "Accuracy" bottom: "x" bottom: "n" top: "a" }'
    )
    x, n = np.full((4, 3), np.nan, np.float32), np.array([0, 1, 2, 1], np.float32)
    assert Net.from_file(str(path), caffe_pb2.TEST).forward(x=x, n=n)["a"] == 1
    assert pycaffe_run("forward", path, {"blob/x": x, "blob/n": n}, "TEST")["blob/a"] == 1


# The course of a run

# One weight w, which starts at 2; the loss is w² / 2, and at a rate of 0.1 w falls by a tenth.
SCALAR = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 dim: 1 }
  data_filler { value: 1 } } }
layer { name: "t" type: "DummyData" top: "t" dummy_data_param { shape { dim: 1 dim: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 1 bias_term: false weight_filler { value: 2 } } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
RUN = 'base_lr: 0.1 lr_policy: "fixed" snapshot_prefix: "s" '


def loss(i: int) -> float:
    """The loss of SCALAR after i updates."""
    return (2 * 0.9**i) ** 2 / 2


@pytest.fixture(params=["embedded", "real"])
def train(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Train a net by the command of either engine."""
    command: Command = request.getfixturevalue(request.param)

    def run(settings: str, *arguments: str, net: str = SCALAR) -> Any:
        (tmp_path / "solver.prototxt").write_text(f"net_param {{ {net} }} {RUN} {settings}")
        done = command("train", "-solver", "solver.prototxt", *arguments, cwd=tmp_path)
        assert done.status == 0, done.log[-2000:]
        return done

    return run


@dataclass(frozen=True)
class Course:
    """Iterations at which a run did what."""

    tests: list[int]
    displays: list[int]
    finals: list[int]
    snapshots: list[int]

    @classmethod
    def of(cls, run: Any) -> "Course":
        """What a log tells."""

        def found(pattern: str) -> list[int]:
            return [int(number) for number in run.said(pattern)]

        return cls(
            found(r"Iteration (\d+), Testing net \(#0\)"),
            found(r"Iteration (\d+) \(.*\), loss = .*"),
            found(r"Iteration (\d+), loss = .*"),
            found(r"Snapshotting to binary proto file s_iter_(\d+)\.caffemodel"),
        )


TESTED = "display: 2 test_iter: 1 test_interval: 2"
COURSES = {
    "ends between": (f"{TESTED} max_iter: 5", Course([0, 2, 4], [0, 2, 4], [], [5])),
    "ends at a multiple": (f"{TESTED} max_iter: 4", Course([0, 2, 4], [0, 2], [4], [4])),
    "snapshot is due anyway": (
        f"{TESTED} max_iter: 4 snapshot: 2",
        Course([0, 2, 4], [0, 2], [4], [2, 4]),
    ),
    "no snapshot at the end": (
        f"{TESTED} max_iter: 5 snapshot: 2 snapshot_after_train: false",
        Course([0, 2, 4], [0, 2, 4], [], [2, 4]),
    ),
    "no test at the start": (
        f"{TESTED} max_iter: 4 test_initialization: false",
        Course([2, 4], [0, 2], [4], [4]),
    ),
}


@pytest.mark.parametrize("name", COURSES)
def test_course_of_a_run(name: str, train: Callable[..., Any]) -> None:
    settings, expected = COURSES[name]
    assert Course.of(train(settings)) == expected


def test_a_resumed_run_tests_at_once(train: Callable[..., Any]) -> None:
    """At a multiple of test_interval, also without test_initialization."""
    train(f"{TESTED} max_iter: 4")
    settings = f"{TESTED} max_iter: 7 test_initialization: false"
    resumed = Course.of(train(settings, "-snapshot", "s_iter_4.solverstate"))
    assert resumed == Course([4, 6], [4, 6], [], [7])


def test_average_loss(train: Callable[..., Any]) -> None:
    """The mean of up to three last iterations; the final line's of the last two and one more."""
    run = train("display: 2 average_loss: 3 max_iter: 6")
    shown = [float(x) for x in run.said(r"Iteration \d+(?: \(.*\))?, loss = (\S+)")]
    expected = [np.mean([loss(j) for j in range(max(0, i - 2), i + 1)]) for i in (0, 2, 4, 6)]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)


def test_numbers_have_six_significant_digits(train: Callable[..., Any]) -> None:
    values = {"0.5": "0.5", "1234567": "1.23457e+06", "0.0000123456789": "1.23457e-05",
              "128": "128", "-123456.5": "-123456", "0.1234564": "0.123456"}  # fmt: skip
    tops = "".join(
        f'layer {{ name: "v{i}" type: "DummyData" top: "v{i}" dummy_data_param {{ '
        f"shape {{ dim: 1 }} data_filler {{ value: {value} }} }} }}"
        for i, value in enumerate(values)
    )
    run = train("display: 1 max_iter: 1", net=tops + SCALAR)
    assert run.said(r" +Train net output #\d+: v\d = (\S+)")[: len(values)] == [*values.values()]


def test_order_of_records(train: Callable[..., Any], tmp_path: Path) -> None:
    """By key, on and on, from the first again within a batch, and after a resume.

    Each net has its own place, which no test puts back.
    """
    with (
        lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i in (3, 0, 4, 2, 1):
            datum = caffe_pb2.Datum(channels=1, height=1, width=1, data=b"\1", label=i)
            transaction.put(f"{i:03d}".encode(), datum.SerializeToString())
    net = (
        'layer { name: "d" type: "Data" top: "d" top: "n" data_param { '
        f'source: "{tmp_path / "db"}" batch_size: 2 backend: LMDB }} }}'
        'layer { name: "hide" type: "Silence" bottom: "d" }'
    )
    settings = "display: 1 test_iter: 1 test_interval: 1"

    def labels(run: Any, phase: str) -> list[int]:
        return [int(x) for x in re.findall(rf"{phase} net output #\d+: n = (\d+)", run.log)]

    first = train(f"{settings} max_iter: 3", net=net + SCALAR)
    assert labels(first, "Test") == [0, 1, 2, 3, 4, 0, 1, 2]
    assert labels(first, "Train") == [0, 1, 2, 3, 4, 0]
    arguments = ("-snapshot", "s_iter_3.solverstate")
    resumed = train(f"{settings} max_iter: 5", *arguments, net=net + SCALAR)
    assert labels(resumed, "Train") == [0, 1, 2, 3]
