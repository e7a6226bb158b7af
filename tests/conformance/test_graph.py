"""How layers are wired: shared parameters, weights of losses, which gradients are computed.

Real pycaffe is given the same weights and inputs; parameters' gradients and, where they are asked
for, the inputs' must agree to 1e-5 of the largest value.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch.net import Net
from tests.conformance.commands import Command
from tests.conformance.fine_tuning.tasks import read_model
from tests.conformance.logs.normalize import read

pytestmark = pytest.mark.conformance

Array = NDArray[np.float32]
PyCaffe = Callable[..., dict[str, Array]]
X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 6 } } }\n'
N = 'layer { name: "n" type: "Input" top: "n" input_param { shape { dim: 4 } } }\n'
WIDE = X.replace("dim: 6", "dim: 2 dim: 5 dim: 5")


def _layer(kind: str, name: str, bottoms: str, tops: str, rest: str = "") -> str:
    ends = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {rest} }}\n'


def _inner(name: str, bottom: str, top: str, rest: str = "", outputs: int = 6) -> str:
    filler = 'weight_filler { type: "xavier" } bias_filler { type: "uniform" min: -1 max: 1 }'
    inner = f"inner_product_param {{ num_output: {outputs} {filler} }}"
    return _layer("InnerProduct", name, bottom, top, f"{inner} {rest}")


def _softmax(name: str, scores: str, rest: str = "") -> str:
    return _layer("SoftmaxWithLoss", name, f"{scores} n", name, rest)


CONV = (
    'convolution_param { num_output: 3 kernel_size: 5 weight_filler { type: "xavier" } '
    'bias_filler { type: "constant" } }'
)
CASES = {
    "parameters shared by name": X + N
    + _inner("a", "x", "h", 'param { name: "w" } param { name: "b" }')
    + _layer("TanH", "t", "h", "h")
    + _inner("b", "h", "y", 'param { name: "w" } param { name: "b" }') + _softmax("l", "y"),
    "one layer's own two parameters shared": X + N
    + _inner("a", "x", "h", 'param { name: "w" } param { name: "b" }')
    + _inner("b", "h", "g", 'param { name: "w" }')
    + _inner("c", "g", "y", 'param { name: "other" } param { name: "b" }') + _softmax("l", "y"),
    "a shared parameter that one layer does not learn": X + N
    + _inner("a", "x", "h", 'param { name: "w" }') + _layer("Sigmoid", "s", "h", "s")
    + _inner("b", "s", "y", 'param { name: "w" lr_mult: 0 }') + _softmax("l", "y"),
    "PERMISSIVE: other shapes of as many values": X + N
    + _inner("a", "x", "h", 'param { name: "w" }')
    + _layer("Reshape", "r", "h", "r", "reshape_param { shape { dim: 8 dim: 3 } }")
    + _inner("b", "r", "q", 'param { name: "w" share_mode: PERMISSIVE }', 12)
    + _layer("Reshape", "s", "q", "s", "reshape_param { shape { dim: 4 dim: 24 } }")
    + _inner("c", "s", "y") + _softmax("l", "y"),
    "PERMISSIVE: a convolution and an inner product": WIDE + N
    + _layer("Convolution", "a", "x", "a", CONV + ' param { name: "w" }')
    + _inner("b", "x", "b", 'param { name: "w" share_mode: PERMISSIVE }', 3)
    + _layer("Flatten", "f", "a", "f")
    + _layer("Eltwise", "e", "f b", "y") + _softmax("l", "y"),
    "loss_weight": X + N + _inner("a", "x", "y") + _softmax("l", "y", "loss_weight: 2.5"),
    "a negative loss_weight": X + N + _inner("a", "x", "y") + _softmax("l", "y", "loss_weight: -1"),
    "a loss of weight 0": X + N + _inner("a", "x", "y") + _softmax("l", "y", "loss_weight: 0")
    + _inner("b", "x", "z") + _softmax("m", "z"),
    "two losses of one blob": X + N + _inner("a", "x", "y") + _softmax("l", "y")
    + _softmax("m", "y", "loss_weight: 0.25"),
    "losses on the way": X + N + _inner("a", "x", "h") + _softmax("l", "h", "loss_weight: 0.3")
    + _layer("TanH", "t", "h", "t") + _inner("b", "t", "y") + _softmax("m", "y"),
    "any blob may be a loss": X + _inner("a", "x", "h", "loss_weight: 0.5")
    + _layer("TanH", "t", "h", "t", "loss_weight: 3"),
    "the sum of losses": X + N + _inner("a", "x", "y") + _softmax("l", "y", "loss_weight: 0")
    + _inner("b", "x", "z") + _softmax("m", "z", "loss_weight: 0")
    + _layer("Eltwise", "e", "l m", "e", "loss_weight: 1 eltwise_param { coeff: 1 coeff: 2 }"),
    "propagate_down: false": X + N + _inner("a", "x", "h") + _layer("TanH", "t", "h", "t")
    + _inner("b", "t", "y", "propagate_down: false") + _softmax("l", "y"),
    "propagate_down of one of two": X + N + _inner("a", "x", "g") + _inner("b", "x", "h")
    + _layer("Eltwise", "e", "g h", "y", "propagate_down: true propagate_down: false")
    + _softmax("l", "y"),
    "a frozen layer under a learning one": X + N
    + _inner("a", "x", "h", "param { lr_mult: 0 } param { lr_mult: 0 }")
    + _layer("TanH", "t", "h", "t") + _inner("b", "t", "y") + _softmax("l", "y"),
    "a frozen layer above a learning one": X + N + _inner("a", "x", "h")
    + _layer("TanH", "t", "h", "t")
    + _inner("b", "t", "y", "param { lr_mult: 0 } param { lr_mult: 0 }") + _softmax("l", "y"),
    "a blob that three layers read": X + N + _inner("a", "x", "h") + _layer("TanH", "t", "h", "t")
    + _layer("Sigmoid", "s", "h", "s") + _layer("Eltwise", "e", "t s h", "y") + _softmax("l", "y"),
    "in-place tops": X + N + _inner("a", "x", "h") + _layer("ReLU", "r", "h", "h")
    + _layer("TanH", "t", "h", "h")
    + _inner("b", "h", "y") + _softmax("l", "y"),
    "an in-place top that two layers read": X + N + _inner("a", "x", "h")
    + _layer("TanH", "r", "h", "h") + _inner("b", "h", "g") + _layer("Eltwise", "e", "g h", "y")
    + _softmax("l", "y"),
    "a layer that no loss needs": X + N + _inner("a", "x", "h") + _inner("b", "h", "side")
    + _layer("Silence", "hush", "side", "") + _inner("c", "h", "y") + _softmax("l", "y"),
}  # fmt: skip


def _compare(
    text: str, folder: Path, pycaffe_run: PyCaffe, inputs_too: bool = False
) -> tuple[Net, dict[str, NDArray[np.float32]]]:
    path = folder / "net.prototxt"
    path.write_text(text)
    net = Net.from_file(str(path), caffe_pb2.TRAIN)
    rng = np.random.default_rng(7)
    inputs = {"x": rng.normal(size=net.blobs["x"].shape).astype(np.float32)}
    if "n" in net.blobs:
        inputs["n"] = np.array([0, 2, 1, 1], dtype=np.float32)
    arrays = {f"blob/{name}": values for name, values in inputs.items()}
    for layer, blobs in net.params.items():
        arrays |= {f"param/{layer}/{i}": blob.data for i, blob in enumerate(blobs)}
    arrays = {key: np.array(values) for key, values in arrays.items()}
    net.forward(**inputs)
    net.backward()
    theirs = pycaffe_run("net", path, arrays, "TRAIN")
    compared = {f"pdiff/{layer}/{i}": blob
                for layer, blobs in net.params.items() for i, blob in enumerate(blobs)}  # fmt: skip
    if inputs_too:
        compared["diff/x"] = net.blobs["x"]
    for key, blob in compared.items():
        expected = theirs[key]
        scale = max(float(np.abs(expected).max()), 1e-3)
        np.testing.assert_allclose(blob.diff, expected, atol=1e-5 * scale, err_msg=key)
    for name, blob in net.blobs.items():
        np.testing.assert_allclose(blob.data, theirs[f"blob/{name}"], rtol=1e-5, atol=1e-6)
    return net, theirs


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str, tmp_path: Path, pycaffe_run: PyCaffe) -> None:
    _, theirs = _compare(CASES[name], tmp_path, pycaffe_run)
    learned = [key for key in theirs if key.startswith("pdiff/")]
    assert any(np.abs(theirs[key]).max() > 1e-4 for key in learned)


@pytest.mark.parametrize(
    "name",
    ["loss_weight", "losses on the way", "in-place tops", "a frozen layer under a learning one",
     "a blob that three layers read"],
)  # fmt: skip
def test_force_backward_reaches_the_inputs(name: str, tmp_path: Path, pycaffe_run: PyCaffe) -> None:
    net, _ = _compare("force_backward: true\n" + CASES[name], tmp_path, pycaffe_run, True)
    assert np.abs(net.blobs["x"].diff).max() > 1e-4


def test_without_force_backward_inputs_have_no_gradient(
    tmp_path: Path, pycaffe_run: PyCaffe
) -> None:
    net, theirs = _compare(CASES["loss_weight"], tmp_path, pycaffe_run, True)
    assert not net.blobs["x"].diff.any()
    assert not theirs["diff/x"].any()


TRAINED = [
    "parameters shared by name",
    "a shared parameter that one layer does not learn",
    "PERMISSIVE: other shapes of as many values",
    "PERMISSIVE: a convolution and an inner product",
    "losses on the way",
    "propagate_down of one of two",
]
STEPS = """
net: "net.prototxt" type: "SGD" base_lr: 0.1 momentum: 0.9 weight_decay: 0.01 lr_policy: "fixed"
display: 1 max_iter: 6 snapshot_prefix: "{}" random_seed: 1 solver_mode: CPU
"""


@pytest.mark.parametrize("name", TRAINED)
def test_training_from_one_model(
    name: str, tmp_path: Path, embedded: Command, real: Command
) -> None:
    """Six steps: the same losses and, in the snapshot, the same parameters of every layer."""
    wide = "dim: 2 dim: 5 dim: 5" if WIDE in CASES[name] else "dim: 6"
    constant = "data_filler { type: 'constant' value: 0.7 }"
    data = (
        f'layer {{ name: "x" type: "DummyData" top: "x" top: "n" dummy_data_param {{ '
        f"shape {{ dim: 4 {wide} }} shape {{ dim: 4 }} {constant} {constant[:-6]} 2 }} }} }}\n"
    )
    text = data + CASES[name].replace(X, "").replace(WIDE, "").replace(N, "")
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    Net.from_file(str(path), caffe_pb2.TRAIN).save(str(tmp_path / "start.caffemodel"))
    logs, models = [], []
    for program, command in (("ours", embedded), ("theirs", real)):
        (tmp_path / "solver.prototxt").write_text(STEPS.format(program))
        arguments = ("train", "-solver", "solver.prototxt", "-weights", "start.caffemodel")
        run = command(*arguments, cwd=tmp_path)
        assert run.status == 0, run.log[-2000:]
        logs.append(read(run.log).numbers)
        models.append(read_model(tmp_path / f"{program}_iter_6.caffemodel"))
    assert logs[0][0] != logs[0][-1]
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-4, atol=1e-6)
    assert models[0].keys() == models[1].keys()
    for key, values in models[1].items():
        assert models[0][key].shape == values.shape
        np.testing.assert_allclose(models[0][key], values, atol=1e-4 * np.abs(values).max())


RULES = X + "".join(
    _layer("TanH", f"l{i}", "x", f"l{i}", rule)
    for i, rule in enumerate([
        "include { phase: TRAIN }", "include { phase: TEST }", "exclude { phase: TRAIN }",
        "include { min_level: 1 }", "include { max_level: 1 }",
        "include { min_level: 1 max_level: 3 }",
        'include { stage: "a" }', 'include { stage: "a" stage: "b" }', 'exclude { stage: "b" }',
        'include { not_stage: "a" }', 'include { stage: "a" not_stage: "c" }',
        'include { phase: TEST stage: "a" }', 'exclude { stage: "a" } exclude { min_level: 5 }',
        'include { stage: "c" } include { phase: TRAIN min_level: 2 }',
        "include { }", "exclude { }",
    ])
)  # fmt: skip
STATES = [
    (),
    ("-level", "1"),
    ("-level=2", "-stage=a"),
    ("-level=-1", "-stage", "a,b"),
    ("-stage", "c", "-phase", "TEST"),
    ("-level", "5", "-stage", "b,c", "-phase", "TEST"),
]


@pytest.mark.parametrize("state", STATES, ids=" ".join)
def test_rules_of_phase_level_and_stage(
    state: tuple[str, ...], tmp_path: Path, embedded: Command, real: Command
) -> None:
    """The same layers stay, and each that goes is told with the same reason."""
    (tmp_path / "net.prototxt").write_text(RULES)
    arguments = ("time", "-model", "net.prototxt", "-iterations", "1", *state)
    ours, theirs = embedded(*arguments, cwd=tmp_path), real(*arguments, cwd=tmp_path)
    assert read(ours.log).lines == read(theirs.log).lines
    assert ours.status == theirs.status == 0


def test_elu_with_dropout_in_place_is_right_here_and_wrong_in_real_caffe(
    tmp_path: Path, pycaffe_run: PyCaffe, embedded: Command
) -> None:
    """The documented deviation: the gradient of the chain rule, and a warning.

    Real Caffe's ELU takes Dropout's output, doubled or zero, for its own.
    """
    chain = X + N + _inner("a", "x", "h") + _layer("ELU", "e", "h", "h")
    dropout = "dropout_param { dropout_ratio: 0.5 }"
    tail = _inner("b", "h", "y") + _softmax("l", "y")
    in_place = chain + _layer("Dropout", "d", "h", "h", dropout) + tail
    path = tmp_path / "net.prototxt"
    path.write_text(in_place)
    net = Net.from_file(str(path), caffe_pb2.TRAIN)
    x = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32) * 3
    n = np.array([0, 2, 1, 1], dtype=np.float32)
    arrays = {"blob/x": x, "blob/n": n}
    for layer, blobs in net.params.items():
        arrays |= {f"param/{layer}/{i}": np.array(blob.data) for i, blob in enumerate(blobs)}
    before = x @ arrays["param/a/0"].T + arrays["param/a/1"]

    def by_the_chain_rule(dropped: Array, scores: Array) -> Array:
        above = _softmax_of(scores)
        above[np.arange(4), n.astype(int)] -= 1
        behind = (above / 4) @ arrays["param/b/0"] * (dropped != 0) * 2
        return (behind * np.where(before > 0, 1, np.exp(np.minimum(before, 0)))).T @ x

    net.forward(x=x, n=n)
    net.backward()
    right = by_the_chain_rule(net.blobs["h"].data, net.blobs["y"].data)
    np.testing.assert_allclose(net.params["a"][0].diff, right, rtol=1e-4, atol=1e-6)
    theirs = pycaffe_run("net", path, arrays, "TRAIN")
    right = by_the_chain_rule(theirs["blob/h"], theirs["blob/y"])
    assert np.abs(theirs["pdiff/a/0"] - right).max() > 0.05 * np.abs(right).max()

    assert _warned(in_place, tmp_path, embedded) == [
        "d works in place on the output of ELU layer e"
    ]
    apart = chain + _layer("Dropout", "d", "h", "g", dropout) + tail.replace('"h"', '"g"')
    assert _warned(apart, tmp_path, embedded) == []


def _warned(text: str, folder: Path, embedded: Command) -> list[str]:
    """What a net's in-place layers are warned of."""
    (folder / "warned.prototxt").write_text(text)
    run = embedded("time", "-model", "warned.prototxt", "-iterations", "1", cwd=folder)
    assert run.status == 0
    return run.said(r"Layer (\w+ works in place on the output of \w+ layer \w+), which.*", "W")


BEHIND_RELU = {
    "Power": ("power_param { scale: 2 shift: 0.5 }", True),
    "Sigmoid": ("", True),
    "TanH": ("", False),
    "ELU": ("", False),
}


@pytest.mark.parametrize("kind", BEHIND_RELU)
def test_what_behind_an_in_place_relu_makes_real_caffe_wrong(
    kind: str, tmp_path: Path, pycaffe_run: PyCaffe, embedded: Command
) -> None:
    """There, ours has the gradients of the chain with tops of their own, and warns."""
    rest, spoils = BEHIND_RELU[kind]
    head, tail = X + N + _inner("a", "x", "h"), _inner("b", "h", "y") + _softmax("l", "y")
    in_place = head + _layer("ReLU", "r", "h", "h") + _layer(kind, "p", "h", "h", rest) + tail
    apart = head + _layer("ReLU", "r", "h", "g") + _layer(kind, "p", "g", "f", rest)
    apart += tail.replace('"h"', '"f"')
    net, separate = _compare(apart, tmp_path, pycaffe_run)
    path = tmp_path / "in_place.prototxt"
    path.write_text(in_place)
    ours = Net.from_file(str(path), caffe_pb2.TRAIN)
    arrays = {f"blob/{name}": np.array(net.blobs[name].data) for name in ("x", "n")}
    for layer, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            arrays[f"param/{layer}/{i}"] = np.array(blob.data)
            ours.params[layer][i].data[...] = blob.data
    ours.forward(x=arrays["blob/x"], n=arrays["blob/n"])
    ours.backward()
    right = separate["pdiff/a/0"]
    np.testing.assert_allclose(ours.params["a"][0].diff, right, atol=1e-5 * np.abs(right).max())
    theirs = pycaffe_run("net", path, arrays, "TRAIN")["pdiff/a/0"]
    assert bool(np.abs(theirs - right).max() > 0.05 * np.abs(right).max()) == spoils
    assert bool(_warned(in_place, tmp_path, embedded)) == spoils


def _softmax_of(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
