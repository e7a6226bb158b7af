"""`caffe-torch export`: what is written predicts as real Caffe and as this engine do."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caffe_torch import export
from caffe_torch.blob import to_proto
from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.net import Activation, DataSource, NetStyle, net_text
from prototxt_gen.notation import parse
from prototxt_gen.shapes import GapForm, Padding, convolution_size, pooling_size

REPOSITORY = Path(__file__).resolve().parents[2]
Values = NDArray[np.float32]
RunCaffe = Callable[[Path, dict[str, Values]], dict[str, Values]]
SCORES = "scores"
PROB = f'layer {{ name: "prob" type: "Softmax" bottom: "{SCORES}" top: "prob" }}'


@pytest.fixture(scope="module")
def run_caffe(pycaffe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunCaffe]:
    """Run real Caffe's TEST net in its prototxt's folder: (prototxt, arrays) → blobs by name."""
    folder = tmp_path_factory.mktemp("pycaffe")
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [str(pycaffe), str(REPOSITORY / "tests/conformance/pycaffe_run.py")],
            env={**os.environ, "GLOG_logtostderr": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):

        def run(prototxt: Path, arrays: dict[str, Values]) -> dict[str, Values]:
            assert process.stdin is not None
            assert process.stdout is not None
            source, target = folder / "in.npz", folder / "out.npz"
            np.savez(source, **arrays)  # type: ignore[arg-type]
            paths = [str(path) for path in (prototxt.parent, prototxt, source, target)]
            print(json.dumps(["net", *paths, "TEST"]), file=process.stdin, flush=True)
            assert process.stdout.readline() == "done\n", (folder / "log").read_text()[-3000:]
            with np.load(target) as out:
                blobs = {key: values for key, values in out.items() if key.startswith("blob/")}
            return {key.removeprefix("blob/"): values for key, values in blobs.items()}

        yield run
        process.kill()


def learned_net(prototxt: Path, seed: int = 0, gain: float = 1.5) -> Net:
    """The TEST net with random weights whose size keeps a signal's; saved as a caffemodel."""
    net = Net.from_file(str(prototxt), caffe_pb2.TEST, runtime=Runtime.create(seed))
    rng = np.random.default_rng(seed)
    for blobs in net.params.values():
        for blob in blobs:
            fan_in = np.prod(blob.shape[1:]) if len(blob.shape) > 1 else 100
            blob.data[...] = rng.normal(scale=gain / np.sqrt(fan_in), size=blob.shape)
    net.save(str(prototxt.with_suffix(".caffemodel")))
    return net


def parameters(net: Net) -> dict[str, Values]:
    """A net's parameters, as `run_caffe` takes them."""
    return {
        f"param/{layer}/{i}": blob.data
        for layer, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def request(prototxt: Path, **changes: object) -> export.Request:
    """A request to write both files beside the prototxt."""
    plain = export.Request(
        model=str(prototxt),
        weights=str(prototxt.with_suffix(".caffemodel")),
        onnx=str(prototxt.with_suffix(".onnx")),
        state_dict=str(prototxt.with_suffix(".pt")),
        phase=caffe_pb2.TEST,
        level=0,
        stages=[""],
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def predict(file: Path, images: Values) -> Values:
    """What onnxruntime computes from a file's one input to its one output."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (source,), (target,) = session.get_inputs(), session.get_outputs()
    assert source.shape[0] == target.shape[0] == "N"
    return np.asarray(session.run([target.name], {source.name: images})[0], np.float32)


def informative(predictions: Values) -> bool:
    """Whether predictions are probabilities that depend on the image: else equality is cheap."""
    sums = np.allclose(predictions.sum(axis=1), 1, atol=1e-5)
    return sums and float(np.ptp(predictions, axis=0).max()) > 1e-3


WriteImages = Callable[[Path, NDArray[np.uint8]], None]
PIXELS = {
    "as stored": DataSource("", "test.lmdb", test_batch=5),
    "mean image": DataSource("", "test.lmdb", test_batch=5, mean_file="mean", scale=1 / 256),
    "mean image, crop": DataSource(
        "", "test.lmdb", test_batch=5, mean_file="mean", scale=0.017, crop_size=25
    ),
}
NETS = {
    "VALID, ELU, FC": (
        "[C(240,7,1), P(3,2), C(120,5,2), FC(50), SM(10)]",
        NetStyle(Padding.VALID, Activation.ELU),
    ),
    "SAME, P(5,3), two FC": (
        "[C(16,3,1), C(24,5,1), P(5,3), C(32,3,1), P(3,2), FC(64), FC(32), SM(10)]",
        NetStyle(),
    ),
    "GAP of the paper": (
        "[C(16,3,1), P(5,3), C(24,1,1), P(2,2), GAP(10), SM(10)]",
        NetStyle(activation=Activation.ELU),
    ),
    "GAP of the released code": (
        "[C(16,5,1), P(3,2), C(24,3,1), GAP(10), SM(10)]",
        NetStyle(gap=GapForm.RELEASED),
    ),
}


def write_net(folder: Path, notation: str, style: NetStyle, data: DataSource, channels: int) -> str:
    """Write the generator's prototxt for images of 28×28 before cropping; return its path."""
    side = data.crop_size or 28
    architecture = place_dropout(parse(notation), DropoutRule.PAPER)
    text = net_text(architecture, (channels, side, side), data, style, "net")
    prototxt = folder / "net.prototxt"
    prototxt.write_text(text)
    return str(prototxt)


def write_pixels(folder: Path, channels: int, write_images: WriteImages) -> Values:
    """Write five random images and a random mean image; return the images."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (5, channels, 28, 28), dtype=np.uint8)
    write_images(folder / "test.lmdb", images)
    mean = rng.uniform(50, 200, (1, channels, 28, 28)).astype(np.float32)
    (folder / "mean").write_bytes(to_proto(mean).SerializeToString())
    return images.astype(np.float32)


@pytest.mark.conformance
@pytest.mark.parametrize("data", PIXELS)
@pytest.mark.parametrize("name", NETS)
def test_searched_nets_predict_as_real_caffe_from_the_database(
    name: str,
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_images: WriteImages,
    run_caffe: RunCaffe,
) -> None:
    """Raw images into the ONNX file; the LMDB with mean, scale and crop into real Caffe."""
    monkeypatch.chdir(tmp_path)
    channels = 1 if "VALID" in name else 3
    images = write_pixels(tmp_path, channels, write_images)
    prototxt = Path(write_net(tmp_path, *NETS[name], PIXELS[data], channels))
    net = learned_net(prototxt, gain=0.02 if data == "as stored" else 1.5)
    export.export(request(prototxt))
    found = predict(tmp_path / "net.onnx", images)
    judged = tmp_path / "judged.prototxt"
    judged.write_text(prototxt.read_text() + PROB)
    expected = run_caffe(judged, parameters(net))["prob"].reshape(5, -1)
    assert informative(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["mnist_2", "mnist_8", "cifar10_2", "svhn_3"])
def test_published_prototxts_predict_as_real_caffe_without_their_databases(
    name: str, tmp_path: Path, reference: Path, run_caffe: RunCaffe
) -> None:
    channels, side = (1, 28) if "mnist" in name else (3, 32)
    text = (reference / "published/prototxt" / f"{name}.prototxt").read_text()
    layers = text.split("layer {")[3:]  # behind the two Data layers
    shapes = f"shape {{ dim: 2 dim: {channels} dim: {side} dim: {side} }} shape {{ dim: 2 }}"
    head = 'layer { name: "data" type: "Input" top: "data" top: "label" input_param { '
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(head + shapes + "} }" + "".join("layer {" + layer for layer in layers))
    net = learned_net(prototxt)
    scores = next(node.bottoms[0] for node in net.nodes if node.layer.type == "Split")
    judged = tmp_path / "judged.prototxt"
    judged.write_text(prototxt.read_text() + PROB.replace(SCORES, scores))
    prototxt.write_text(text)
    export.export(request(prototxt, shape=(channels, side, side)))
    images = np.random.default_rng(6).normal(size=(2, channels, side, side)).astype(np.float32)
    arrays = parameters(net) | {"blob/data": images, "blob/label": np.zeros(2, np.float32)}
    expected = run_caffe(judged, arrays)["prob"]
    assert informative(expected)
    found = predict(tmp_path / "net.onnx", images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@st.composite
def nets(draw: st.DrawFn) -> tuple[str, tuple[int, int, int]]:
    """Layers from blob "data" to blob "scores", and (C, H, W) of an image."""
    image = draw(st.tuples(st.integers(1, 3), st.integers(4, 11), st.integers(4, 11)))
    (channels, *sides), top, text = image, "data", ""

    def add(kind: str, params: str = "", bottoms: tuple[str, ...] = (), place: bool = False) -> str:
        nonlocal text
        number = text.count("layer {")
        names = bottoms or (top,)
        made = names[0] if place else f"b{number}"
        reads = " ".join(f'bottom: "{name}"' for name in names)
        text += f'layer {{ name: "l{number}" type: "{kind}" {reads} top: "{made}" {params} }}\n'
        return made

    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["conv", "conv", "MAX", "AVE", "one", "one", "two"]))
        kernel = draw(st.integers(1, min(*sides, 5)))
        stride = draw(st.integers(1, kernel))
        pad = draw(st.integers(0, kernel - 1))
        place = top != "data" and draw(st.booleans())
        if kind == "conv":
            group = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
            channels = group * draw(st.integers(1, 4))
            bias = draw(st.sampled_from(["", "bias_term: false"]))
            geometry = f"kernel_size: {kernel} stride: {stride} pad: {pad} group: {group} {bias}"
            top = add("Convolution", f"convolution_param {{ num_output: {channels} {geometry} }}")
            sides = [convolution_size(side, kernel, stride, pad) for side in sides]
        elif kind in ("MAX", "AVE"):
            geometry = f"kernel_size: {kernel} stride: {stride} pad: {pad}"
            top = add("Pooling", f"pooling_param {{ pool: {kind} {geometry} }}")
            sides = [pooling_size(side, kernel, stride, pad) for side in sides]
        elif kind == "one":
            one, params = draw(
                st.sampled_from(
                    [
                        ("ReLU", ""),
                        ("ReLU", "relu_param { negative_slope: 0.2 }"),
                        ("ELU", ""),
                        ("ELU", "elu_param { alpha: 0.4 }"),
                        ("Dropout", ""),
                        ("Power", "power_param { scale: -0.5 shift: 0.3 }"),
                        ("Power", "power_param { scale: 0 shift: 0.5 power: 3 }"),
                        ("LRN", "lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 k: 1.5 }"),
                        ("LRN", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"),
                    ]
                )
            )
            top = add(one, params, place=place and one != "LRN")
        else:
            branches = (add("ReLU"), add("ELU"), add("Power", "power_param { scale: 0.7 }"))
            join = draw(
                st.sampled_from(
                    ["Concat", "Concat 2", "MAX", "PROD", "SUM", "SUM coeff: 2 coeff: -1 coeff: 1"]
                )
            )
            if join.startswith("Concat"):
                axis = 2 if join.endswith("2") else 1
                top = add("Concat", f"concat_param {{ axis: {axis} }}", branches)
                channels, sides = (
                    (3 * channels, sides) if axis == 1 else (channels, [3 * sides[0], sides[1]])
                )
            else:
                top = add("Eltwise", f"eltwise_param {{ operation: {join} }}", branches)
    end = draw(st.sampled_from(["fc", "fc transposed", "fc rows", "GAP", "global max"]))
    if end in ("GAP", "global max"):
        top = add("Convolution", "convolution_param { num_output: 4 kernel_size: 1 }")
        pool = "AVE" if end == "GAP" else "MAX"
        top = add("Pooling", f"pooling_param {{ pool: {pool} global_pooling: true }}")
        add("Flatten")
    else:
        if end == "fc rows":
            top = add("InnerProduct", "inner_product_param { num_output: 3 axis: 2 }")
            top = add("InnerProduct", "inner_product_param { num_output: 2 axis: -1 }")
        transposed = "transpose: true" if end == "fc transposed" else ""
        add("InnerProduct", f"inner_product_param {{ num_output: 4 {transposed} }}")
    last = f'top: "b{text.count("layer {") - 1}"'
    return last.join(text.rsplit(last, 1)).replace(last, f'top: "{SCORES}"'), image


def training_net(layers: str, image: tuple[int, int, int], batch: int = 3) -> str:
    """A net with an input for images and labels, a loss and an accuracy around the layers."""
    dims = " ".join(f"dim: {dim}" for dim in (batch, *image))
    return (
        'layer { name: "data" type: "Input" top: "data" top: "label" input_param { '
        f"shape {{ {dims} }} shape {{ dim: {batch} }} }} }}\n{layers}"
        f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{SCORES}" bottom: "label" '
        f'top: "loss" }} layer {{ name: "accuracy" type: "Accuracy" bottom: "{SCORES}" '
        'bottom: "label" top: "accuracy" }\n'
    )


def random_images(image: tuple[int, int, int], batch: int = 3) -> Values:
    return np.random.default_rng(7).normal(size=(batch, *image)).astype(np.float32)


SHARED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SHARED
@given(nets(), st.integers(0, 99))
def test_random_nets_predict_as_this_engine(
    tmp_path: Path, case: tuple[str, tuple[int, int, int]], seed: int
) -> None:
    """The whole training net, unpruned, against both files."""
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(training_net(*case))
    net = learned_net(prototxt, seed)
    export.export(request(prototxt))
    images = random_images(case[1])
    net.forward(data=images)
    scores = net.blobs[SCORES].data.astype(np.float64)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    found = predict(tmp_path / "net.onnx", images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    assert {key.rsplit(".", 1)[0] for key in state} == set(net.params)
    for layer, blobs in net.params.items():
        transposed = "transpose: true" in prototxt.read_text() and blobs[0] is net.params[layer][0]
        weight = state[f"{layer}.weight"].numpy()
        if transposed and weight.shape != blobs[0].shape:
            weight = weight.T
        np.testing.assert_array_equal(weight, blobs[0].data)
        if len(blobs) > 1:
            np.testing.assert_array_equal(state[f"{layer}.bias"].numpy(), blobs[1].data)


@pytest.mark.conformance
@SHARED
@given(nets(), st.integers(0, 99))
def test_random_nets_predict_as_real_caffe(
    tmp_path: Path, run_caffe: RunCaffe, case: tuple[str, tuple[int, int, int]], seed: int
) -> None:
    prototxt, judged = tmp_path / "net.prototxt", tmp_path / "judged.prototxt"
    prototxt.write_text(training_net(*case))
    net = learned_net(prototxt, seed)
    export.export(request(prototxt, state_dict=""))
    images = random_images(case[1])
    judged.write_text(prototxt.read_text() + PROB)
    arrays = parameters(net) | {"blob/data": images, "blob/label": np.zeros(3, np.float32)}
    expected = run_caffe(judged, arrays)["prob"]
    found = predict(tmp_path / "net.onnx", images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
