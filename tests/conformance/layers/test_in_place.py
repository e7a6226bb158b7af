"""Layers whose top is their bottom, where real Caffe is right and where it is not.

Each stands behind a learned layer, whose gradient tells of the layer's, and before a loss.
"""

import re

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from tests.conformance.layers.judge import Array, Case, Judge, assert_close, layer, normal

pytestmark = pytest.mark.conformance

GAUSS = 'weight_filler { type: "gaussian" std: 0.6 } bias_term: false'
BELOW = {
    "InnerProduct": f"inner_product_param {{ num_output: 6 {GAUSS} }}",
    "Convolution": f"convolution_param {{ num_output: 4 kernel_size: 2 {GAUSS} }}",
}


def named(name: str, kind: str, params: str, bottoms: str, tops: str) -> str:
    """The text of a layer of this name."""
    return layer(kind, params, bottoms, tops).replace('"l"', f'"{name}"')


def stacked(layers: str, last: str, below: str = "Convolution") -> str:
    """A learned layer with top `h`, the layers, and a loss of the blob `last`."""
    return (
        named("below", below, BELOW[below], "x", "h")
        + layers
        + named("loss", "EuclideanLoss", "", f"{last} z", "loss")
    )


def inputs(below: str = "Convolution") -> dict[str, Array]:
    """What `stacked` reads; small, so that a base of a power or a logarithm stays positive."""
    z = normal(3, 6, seed=2) if below == "InnerProduct" else normal(3, 4, 3, 2, seed=2)
    return {"x": normal(3, 2, 4, 3, scale=0.2), "z": z}


def gradients(net: Net) -> dict[str, Array]:
    """The parameters' gradients."""
    return {
        f"{name}/{i}": blob.diff.copy()
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def assert_training_agrees(net: Net) -> None:
    """A training pass, which overwrites blobs, gives the gradients that `backward` gave."""
    expected = gradients(net)
    net.clear_param_diffs()
    net.forward_backward()
    for key, values in gradients(net).items():
        assert_close(values, expected[key], key, 1e-6)


RIGHT = {
    "ReLU": "",
    "ReLU leaky": "relu_param { negative_slope: 0.1 }",
    "PReLU": 'prelu_param { filler { type: "gaussian" std: 0.5 } }',
    "ELU": "",
    "Sigmoid": "",
    "TanH": "",
    "Exp": "exp_param { base: 2 scale: -0.5 shift: 1.5 }",
    "MVN mean": "mvn_param { normalize_variance: false }",
    "BatchNorm": "",
    "Scale": 'scale_param { filler { type: "gaussian" std: 0.7 } bias_term: true }',
    "Bias": "bias_param { filler { value: 0.5 } }",
}


@pytest.mark.parametrize(
    ("name", "below"),
    [
        (name, below)
        for name in RIGHT
        for below in BELOW
        if (name, below) != ("MVN mean", "InnerProduct")  # one value a channel: its mean is it
    ],
)
def test_in_place(name: str, below: str, judge: Judge, capsys: pytest.CaptureFixture[str]) -> None:
    """As real Caffe in place, without a warning; and so in training."""
    kind = name.split()[0]
    text = stacked(layer(kind, RIGHT[name], "h", "h"), "h", below)
    assert_training_agrees(judge.check(Case(kind, text, inputs(below))))
    assert "works in place" not in capsys.readouterr().err


def test_a_block_in_place(judge: Judge) -> None:
    """Convolution, BatchNorm, Scale, ReLU on one blob, as residual nets write them."""
    block = (
        named("bn", "BatchNorm", "", "h", "h")
        + named("scale", "Scale", "scale_param { bias_term: true }", "h", "h")
        + named("relu", "ReLU", "", "h", "h")
    )
    assert_training_agrees(judge.check(Case("BatchNorm", stacked(block, "h"), inputs())))


WRONG = {
    "Power": "power_param { scale: -2 shift: 0.5 }",
    "Power square": "power_param { power: 2 scale: 0.1 shift: 3 }",
    "BNLL": "",
    "Log": "log_param { scale: 0.01 shift: 2 }",
    "LRN": "",
    "LRN within": "lrn_param { norm_region: WITHIN_CHANNEL alpha: 20 }",
    "MVN": "",
}


@pytest.mark.parametrize("name", WRONG)
def test_in_place_where_real_caffe_is_wrong(
    name: str, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    """Documented deviation: the gradient of the layer with a top of its own, and one line."""
    kind = name.split()[0]
    apart = stacked(layer(kind, WRONG[name], "h", "y"), "y")
    in_place = stacked(layer(kind, WRONG[name], "h", "h"), "h")
    check_against_own_top(kind, apart, in_place, judge)
    lines = re.findall(rf"^W.*{kind} layer l works in place", capsys.readouterr().err, re.M)
    assert len(lines) == 1


# Layers whose gradient reads their output: a Bias in place behind them spoils real Caffe's.
SPOILED = {
    "ELU": "",
    "Sigmoid": "",
    "TanH": "",
    "Exp": "",
    "Power cube": "power_param { power: 3 scale: 0.1 shift: 3 }",
    "LRN": "lrn_param { alpha: 5 }",
    "MVN": "",
    "Softmax": "",
}
UNSPOILED = {
    "ReLU": "",
    "PReLU": "",
    "AbsVal": "",
    "BNLL": "",
    "Log": "log_param { scale: 0.01 shift: 2 }",
    "Power": "power_param { scale: -2 shift: 0.5 }",
    "Power square": "power_param { power: 2 scale: 0.1 shift: 3 }",
    "LRN within": "lrn_param { norm_region: WITHIN_CHANNEL }",
    "MVN mean": "mvn_param { normalize_variance: false }",
    "BatchNorm": "",
    "Scale": "",
    "Bias": "",
}


def with_bias(name: str, params: str, top: str) -> str:
    """The layer, then a Bias in place or with its own top."""
    bias = named("bias", "Bias", "bias_param { num_axes: 0 filler { value: -1.5 } }", "y", top)
    return stacked(layer(name.split()[0], params, "h", "y") + bias, top)


@pytest.mark.parametrize("name", SPOILED)
def test_behind_a_layer_whose_output_real_caffe_needs(
    name: str, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    """Documented deviation: the right gradient, and one line."""
    apart, in_place = (with_bias(name, SPOILED[name], top) for top in ("b", "y"))
    check_against_own_top(name.split()[0], apart, in_place, judge)
    lines = re.findall(r"^W.*Layer bias works in place", capsys.readouterr().err, re.M)
    assert len(lines) == 1


@pytest.mark.parametrize("name", UNSPOILED)
def test_behind_a_layer_whose_output_nobody_needs(
    name: str, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    """As real Caffe, without a warning; and so in training."""
    text = with_bias(name, UNSPOILED[name], "y")
    assert_training_agrees(judge.check(Case(name.split()[0], text, inputs())))
    assert "works in place" not in capsys.readouterr().err


def check_against_own_top(kind: str, apart: str, in_place: str, judge: Judge) -> None:
    """In place our gradients are those of the layer with its own top, and real Caffe's are not."""
    given = inputs()
    expected = gradients(judge.check(Case(kind, apart, given)))
    prototxt = judge.folder / "in_place.prototxt"
    prototxt.write_text(Case(kind, in_place, given).prototxt)
    net = Net.from_file(str(prototxt), caffe_pb2.TRAIN, runtime=Runtime.create(1))
    net.forward(**given)
    net.backward()
    for key, values in gradients(net).items():
        np.testing.assert_array_equal(values, expected[key])
    assert_training_agrees(net)
    arrays = {f"blob/{name}": values for name, values in given.items()}
    arrays |= {
        f"param/{name}/{i}": blob.data
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }
    theirs = judge.run("net", prototxt, arrays, "TRAIN")["pdiff/below/0"]
    right = expected["below/0"]
    assert not np.allclose(theirs, right, rtol=1e-2, atol=1e-2 * np.abs(right).max())
