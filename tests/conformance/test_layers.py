"""Every layer of this engine against real Caffe: values and gradients."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.net import Net

pytestmark = pytest.mark.conformance

IMAGES = "2 6 9 7"
GAUSS = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "gaussian" std: 0.5 }'

CONVOLUTIONS = [
    "num_output: 4 kernel_size: 3",
    "num_output: 4 kernel_size: 3 stride: 2 pad: 1",
    "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0",
    "num_output: 4 kernel_size: 3 kernel_size: 2 stride: 2 stride: 1 pad: 1 pad: 0",
    "num_output: 4 kernel_size: 2 dilation: 2",
    "num_output: 4 kernel_size: 2 dilation: 2 dilation: 3 pad: 2",
    "num_output: 6 kernel_size: 3 group: 3",
    "num_output: 6 kernel_size: 3 group: 2 bias_term: false",
    "num_output: 3 kernel_size: 1",
    "num_output: 3 kernel_h: 9 kernel_w: 7",
]
POOLINGS = [
    "kernel_size: 2 stride: 2",
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 2 pad: 1",
    "kernel_size: 3 stride: 2 pad: 2",
    "kernel_size: 2 stride: 2 pad: 1",
    "kernel_size: 5 stride: 3",
    "kernel_size: 4 stride: 1 pad: 3",
    "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0",
    "kernel_size: 9 stride: 3",
    "kernel_size: 1 stride: 2",
    "kernel_size: 2 stride: 3",
    "global_pooling: true",
]
INNER = [
    "num_output: 5",
    "num_output: 5 bias_term: false",
    "num_output: 5 transpose: true",
    "num_output: 5 axis: 2",
    "num_output: 5 axis: -1",
]


def _layer(kind: str, params: str = "", bottoms: str = 'bottom: "x"') -> str:
    return f'layer {{ name: "l" type: "{kind}" {bottoms} top: "y" {params} }}'


def _cases() -> dict[str, str]:
    """Each case's layers, on the input blobs x and z (2 6 9 7) and label (2)."""
    both = 'bottom: "x" bottom: "z"'
    cases = {f"Convolution {p}": f"convolution_param {{ {p} {GAUSS} }}" for p in CONVOLUTIONS}
    cases |= {
        f"Pooling {pool} {p}": f"pooling_param {{ pool: {pool} {p} }}"
        for pool in ("MAX", "AVE")
        for p in POOLINGS
        # A window wholly outside makes real Caffe's MAX write its gradient out of bounds.
        if not (pool == "MAX" and p == "kernel_size: 2 stride: 3")
    }
    cases |= {f"InnerProduct {p}": f"inner_product_param {{ {p} {GAUSS} }}" for p in INNER}
    cases |= {
        "ReLU": "",
        "ReLU leaky": "relu_param { negative_slope: 0.1 }",
        "ELU": "",
        "ELU alpha": "elu_param { alpha: 0.3 }",
        "Softmax": "",
        "Softmax axis": "softmax_param { axis: 2 }",
        "Power": "power_param { power: 1 scale: 2 shift: 0.5 }",
        "Power square": "power_param { power: 2 scale: 0.5 shift: 3 }",
        "Power fraction": "power_param { power: 0.7 scale: 0.1 shift: 2 }",
        "Power constant": "power_param { power: 3 scale: 0 shift: 2 }",
        "Flatten": "",
        "Flatten axes": "flatten_param { axis: 2 end_axis: 3 }",
        "LRN": "lrn_param { local_size: 3 alpha: 2 beta: 0.75 k: 2 }",
        "LRN within": "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 2 beta: 0.7 }",
        "Dropout": "",
    }
    texts = {name: _layer(name.split()[0], params) for name, params in cases.items()}
    two = {
        "Concat": "",
        "Concat axis": "concat_param { axis: 2 }",
        "Eltwise sum": "",
        "Eltwise coeff": "eltwise_param { operation: SUM coeff: 0.5 coeff: -2 }",
        "Eltwise prod": "eltwise_param { operation: PROD }",
        "Eltwise max": "eltwise_param { operation: MAX }",
    }
    texts |= {name: _layer(name.split()[0], params, both) for name, params in two.items()}
    convolution = _layer("Convolution", f"convolution_param {{ {CONVOLUTIONS[1]} {GAUSS} }}")
    texts["Split"] = (
        convolution.replace('top: "y"', 'top: "c"')
        + 'layer { name: "a" type: "ReLU" bottom: "c" top: "a" }'
        + 'layer { name: "b" type: "ELU" bottom: "c" top: "b" }'
        + 'layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }'
    )
    texts["in place"] = convolution + "".join(
        f'layer {{ name: "{kind}" type: "{kind}" bottom: "y" top: "y" }}' for kind in ("ReLU",)
    )
    texts["shared parameters"] = (
        _layer("InnerProduct", 'param { name: "w" } param { name: "b" }'
               f"inner_product_param {{ num_output: 378 {GAUSS} }}").replace('"y"', '"h"')
        + 'layer { name: "m" type: "InnerProduct" bottom: "h" top: "y" param { name: "w" } '
        + f'param {{ name: "b" }} inner_product_param {{ num_output: 378 {GAUSS} }} }}'
    )  # fmt: skip
    return texts


LOSSES = {
    "VALID": "",
    "ignored": "loss_param { ignore_label: 3 }",
    "FULL": "loss_param { ignore_label: 3 normalization: FULL }",
    "BATCH_SIZE": "loss_param { ignore_label: 3 normalization: BATCH_SIZE }",
    "NONE": "loss_param { normalization: NONE }",
    "normalize": "loss_param { normalize: false }",
    "weighted": "loss_weight: 0.3",
}


def _compare(ours: NDArray[np.float32], theirs: NDArray[np.float32], what: str) -> None:
    """The largest difference is at most 1e-5 of the largest value; NaN is where it should be."""
    assert ours.shape == theirs.shape, what
    finite = np.isfinite(theirs)
    assert (np.isfinite(ours) == finite).all(), what
    scale = np.abs(theirs[finite]).max(initial=0)
    assert np.abs(ours[finite] - theirs[finite]).max(initial=0) <= 1e-5 * scale, what


def _check(
    tmp_path: Path,
    pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]],
    text: str,
    inputs: dict[str, NDArray[np.float32]],
    phase: str = "TRAIN",
) -> Net:
    prototxt = tmp_path / "net.prototxt"
    header = 'name: "case" force_backward: true '
    for name, values in inputs.items():
        dims = " ".join(f"dim: {dim}" for dim in values.shape)
        header += f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        header += f"input_param {{ shape {{ {dims} }} }} }} "
    prototxt.write_text(header + text)
    net = Net.from_file(str(prototxt), getattr(caffe_pb2, phase))
    arrays = {f"blob/{name}": values for name, values in inputs.items()}
    for layer, blobs in net.params.items():
        arrays |= {f"param/{layer}/{i}": blob.data for i, blob in enumerate(blobs)}
    outputs = net.forward(**inputs)
    rng = np.random.default_rng(1)
    tops = {
        name: rng.normal(size=values.shape).astype(np.float32)
        for name, values in outputs.items()
        if name == "y"
    }
    arrays |= {f"diff/{name}": values for name, values in tops.items()}
    net.backward(**tops)
    theirs = pycaffe_run("net", prototxt, arrays, phase)
    for name, blob in net.blobs.items():
        _compare(blob.data, theirs[f"blob/{name}"], f"values of {name}")
    for name in inputs:
        if name != "label":
            _compare(net.blobs[name].diff, theirs[f"diff/{name}"], f"gradient of {name}")
    for layer, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            _compare(blob.diff, theirs[f"pdiff/{layer}/{i}"], f"gradient of {layer}/{i}")
    return net


def _inputs(*names: str, classes: int = 6) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    shape = tuple(map(int, IMAGES.split()))
    values = {name: rng.normal(size=shape).astype(np.float32) for name in ("x", "z")}
    values["scores"] = rng.normal(size=(8, classes)).astype(np.float32) * 3
    values["label"] = np.array([0, 3, 5, 3, 1, 2, 4, 3], dtype=np.float32)
    return {name: values[name] for name in names}


@pytest.mark.parametrize("name", _cases())
def test_layer(
    name: str, tmp_path: Path, pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]]
) -> None:
    text = _cases()[name]
    inputs = _inputs(*(["x", "z"] if '"z"' in text else ["x"]))
    _check(tmp_path, pycaffe_run, text, inputs, "TEST" if name == "Dropout" else "TRAIN")


@pytest.mark.parametrize("name", LOSSES)
def test_softmax_with_loss(
    name: str, tmp_path: Path, pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]]
) -> None:
    layer = 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" '
    text = f'{layer} top: "loss" {LOSSES[name]} }}'
    _check(tmp_path, pycaffe_run, text, _inputs("scores", "label"))


def test_softmax_with_loss_of_confident_mistakes(
    tmp_path: Path, pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]]
) -> None:
    """The loss stops at −log of the smallest float, 87.3365, and the gradient does not."""
    inputs = _inputs("scores", "label")
    inputs["scores"] *= 300
    layer = (
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }'
    )
    net = _check(tmp_path, pycaffe_run, layer, inputs)
    assert 0 < net.blobs["loss"].data < 87.3366


def test_softmax_with_loss_over_images(
    tmp_path: Path, pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]]
) -> None:
    inputs = _inputs("x")
    inputs["label"] = np.random.default_rng(2).integers(0, 6, (2, 1, 9, 7)).astype(np.float32)
    layer = 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "label" top: "loss" }'
    _check(tmp_path, pycaffe_run, layer, inputs)


@pytest.mark.parametrize("params", ["", "top_k: 2", "ignore_label: 3", "top_k: 3 ignore_label: 1"])
@pytest.mark.parametrize("tie", [False, True])
def test_accuracy(
    params: str,
    tie: bool,
    tmp_path: Path,
    pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]],
) -> None:
    inputs = _inputs("scores", "label")
    if tie:
        inputs["scores"] = inputs["scores"].round()
    layer = 'layer { name: "l" type: "Accuracy" bottom: "scores" bottom: "label" top: "accuracy" '
    text = f'{layer} top: "classes" accuracy_param {{ {params} }} }}'
    prototxt = tmp_path / "net.prototxt"
    parsed = text_format.Parse(text, caffe_pb2.NetParameter())
    for name, values in inputs.items():
        layer_param = parsed.layer.add(name=name, type="Input", top=[name])
        layer_param.input_param.shape.add().dim.extend(values.shape)
    layers = sorted(parsed.layer, key=lambda item: item.type != "Input")
    ordered = caffe_pb2.NetParameter(layer=layers)
    prototxt.write_text(text_format.MessageToString(ordered))
    net = Net.from_file(str(prototxt), caffe_pb2.TEST)
    ours = net.forward(**inputs)
    arrays = {f"blob/{name}": values for name, values in inputs.items()}
    theirs = pycaffe_run("net", prototxt, arrays, "TEST")
    for name, values in ours.items():
        _compare(values, theirs[f"blob/{name}"], name)
