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
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caffe_torch import export, export_layers
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
            assert process.poll() is None, "an earlier net ended real Caffe"
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
    "scale": DataSource("", "test.lmdb", test_batch=5, scale=1 / 256),
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
    net = learned_net(prototxt)
    export.export(request(prototxt))
    found = predict(tmp_path / "net.onnx", images)
    judged = tmp_path / "judged.prototxt"
    judged.write_text(prototxt.read_text() + PROB)
    expected = run_caffe(judged, parameters(net))["prob"].reshape(5, -1)
    assert informative(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
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
    published = text_format.Parse(text, caffe_pb2.NetParameter())
    scores = next(x.bottom[0] for x in published.layer if x.type == "SoftmaxWithLoss")
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
    for layer in (layer for layer in net.layers if layer.blobs):
        expected = layer.blobs[0].data
        expected = expected.T if layer.param.inner_product_param.transpose else expected
        np.testing.assert_array_equal(state[f"{layer.name}.weight"].numpy(), expected)
        assert (f"{layer.name}.bias" in state) == (len(layer.blobs) == 2)
        if len(layer.blobs) == 2:
            bias = state[f"{layer.name}.bias"].numpy()
            np.testing.assert_array_equal(bias, layer.blobs[1].data)


@pytest.mark.slow
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


def data_net(folder: Path, transform: str, phase: str = "TEST") -> Path:
    """A small net with a Data layer, and a caffemodel beside it; its database may be missing."""
    source = str(folder / "test.lmdb")
    layers = (
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param '
        '{ num_output: 4 kernel_size: 3 } } layer { name: "scores" type: "InnerProduct" '
        'bottom: "c" top: "scores" inner_product_param { num_output: 3 } } '
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" '
        'top: "loss" }'
    )
    prototxt = folder / "net.prototxt"
    crop = re.search(r"crop_size: (\d+)", transform)
    side = int(crop[1]) if crop else 6
    deploy = folder / "deploy.prototxt"
    deploy.write_text(training_net(layers.split('layer { name: "loss"')[0], (3, side, side)))
    learned_net(deploy)
    deploy.with_suffix(".caffemodel").rename(folder / "net.caffemodel")
    prototxt.write_text(
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }} '
        f'transform_param {{ {transform} }} data_param {{ source: "{source}" batch_size: 2 '
        f"backend: LMDB }} }} {layers}"
    )
    return prototxt


CHANNELS = "mean_value: 100 mean_value: 120 mean_value: 90 scale: 0.02 crop_size: 5"


def test_what_the_data_layer_does_is_baked_in_or_left_out_and_always_told(
    tmp_path: Path, write_images: WriteImages
) -> None:
    """Centre crop of 5 in 6×6 starts at pixel 0: (x − mean)·scale in numpy is the oracle."""
    prototxt = data_net(tmp_path, CHANNELS)
    images = np.random.default_rng(1).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    write_images(tmp_path / "test.lmdb", images)
    raw = images.astype(np.float32)
    mean = np.array([100, 120, 90], np.float32).reshape(3, 1, 1)
    ready = ((raw - mean) * np.float32(0.02))[:, :, :5, :5]
    export.export(request(prototxt))
    bare = request(
        prototxt, transform=False, onnx=str(tmp_path / "bare.onnx"), state_dict="bare.pt"
    )
    export.export(replace(bare, state_dict=str(tmp_path / "bare.pt")))
    baked = predict(tmp_path / "net.onnx", raw)
    assert informative(baked)
    np.testing.assert_allclose(baked, predict(tmp_path / "bare.onnx", ready), rtol=0, atol=1e-6)
    words = "crop_size 5, mean_value 100, mean_value 120, mean_value 90, scale 0.0199999996"
    for file, part in (("net", "part of the model"), ("bare", "left to the caller")):
        notes = {
            note.key: note.value for note in onnx.load(tmp_path / f"{file}.onnx").metadata_props
        }
        assert notes == {"net": "", "transform_param": words, "transform": part}
    keys = {"c.weight", "c.bias", "scores.weight", "scores.bias"}
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    assert set(state) == keys | {"data.mean", "data.scale"}
    np.testing.assert_array_equal(state["data.mean"].numpy(), mean)
    assert state["data.scale"].item() == np.float32(0.02)
    assert set(torch.load(tmp_path / "bare.pt", weights_only=True)) == keys


def test_without_a_database_the_size_comes_from_the_mean_file_or_the_flag(tmp_path: Path) -> None:
    mean = np.random.default_rng(2).uniform(0, 9, (1, 3, 6, 6)).astype(np.float32)
    (tmp_path / "mean").write_bytes(to_proto(mean).SerializeToString())
    with_file = data_net(tmp_path, f'mean_file: "{tmp_path}/mean"')
    export.export(request(with_file))
    images = np.random.default_rng(3).uniform(0, 255, (2, 3, 6, 6)).astype(np.float32)
    expected = predict(tmp_path / "net.onnx", images)
    without = data_net(tmp_path, "")
    with pytest.raises(FatalError, match=r"size of an image is not known: give --shape C,H,W"):
        export.export(request(without))
    export.export(request(without, shape=(3, 6, 6)))
    found = predict(tmp_path / "net.onnx", images - mean[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_mirroring_data_layer_is_exported_without_and_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export.export(request(data_net(tmp_path, "mirror: true"), shape=(3, 6, 6)))
    assert re.search(
        r"W.*layer 'data' mirrors at random; the export never", capsys.readouterr().err
    )
    images = random_images((3, 6, 6), 2)
    first, second = (predict(tmp_path / "net.onnx", images) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_deploy_net_keeps_its_own_output_and_the_files_phase_is_chosen(tmp_path: Path) -> None:
    layers = (
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 4 } } "
        'layer { name: "p" type: "Softmax" bottom: "fc" top: "answer" include { phase: TEST } } '
        'layer { name: "q" type: "ReLU" bottom: "fc" top: "rectified" include { phase: TRAIN } }'
    )
    prototxt = tmp_path / "net.prototxt"
    head = 'input: "data" input_shape { dim: 1 dim: 2 dim: 5 dim: 5 }'
    prototxt.write_text(head + layers)
    net = learned_net(prototxt)
    images = random_images((2, 5, 5))
    scores = images.reshape(3, -1) @ net.params["fc"][0].data.T + net.params["fc"][1].data
    for phase, name, expected in (
        (caffe_pb2.TEST, "answer", np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)),
        (caffe_pb2.TRAIN, "rectified", scores.clip(min=0)),
    ):
        export.export(request(prototxt, phase=phase))
        assert [out.name for out in onnx.load(tmp_path / "net.onnx").graph.output] == [name]
        found = predict(tmp_path / "net.onnx", images)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_documented_state_dict_example_predicts_as_the_onnx_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_images: WriteImages
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pixels(tmp_path, 1, write_images)
    arguments = NETS["VALID, ELU, FC"]
    prototxt = Path(write_net(tmp_path, *arguments, PIXELS["mean image"], 1))
    learned_net(prototxt)
    export.export(request(prototxt, state_dict="model.pt"))
    page = (REPOSITORY / "docs/export.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, torch.Tensor] = {}
    exec(example, names)  # noqa: S102
    found = names["predictions"].numpy()
    assert informative(found)
    expected = predict(tmp_path / "net.onnx", names["images"].numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_every_layer_that_the_documentation_names_and_no_other_is_translated() -> None:
    page = (REPOSITORY / "docs/export.md").read_text()
    (listed,) = re.findall(r"Layers: (.*?)\. ", page.replace("\n", " "))
    assert set(listed.split(", ")) == set(export_layers.TRANSLATIONS) - {"Split"}


INPUT = (
    'layer { name: "data" type: "Input" top: "data" '
    "input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } } "
)
FC = (
    'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "scores" '
    "inner_product_param { num_output: 3 } } "
)
BAD_NETS = {
    "type": (
        'layer { name: "drawn" type: "Drawn" bottom: "data" top: "x" } ' + FC,
        r"Unknown layer type: Drawn .*'drawn'",
    ),
    "stochastic": (
        'layer { name: "odd" type: "Pooling" bottom: "data" top: "x" pooling_param '
        "{ pool: STOCHASTIC kernel_size: 2 } } " + FC,
        "layer 'odd' cannot be exported to ONNX: it is a stochastic pooling",
    ),
    "places": (
        'layer { name: "odd" type: "Pooling" bottom: "data" top: "x" top: "places" pooling_param '
        '{ kernel_size: 2 } } layer { name: "s" type: "Silence" bottom: "places" } ' + FC,
        "layer 'odd' cannot be exported to ONNX: it is a pooling with a second top",
    ),
    "channels": (
        'layer { name: "odd" type: "Convolution" bottom: "data" top: "x" convolution_param '
        "{ num_output: 2 kernel_size: 2 axis: 2 } } " + FC,
        "layer 'odd' cannot be exported to ONNX: it is a convolution whose channels are not axis 1",
    ),
    "batch": (
        'layer { name: "mix" type: "Softmax" bottom: "data" top: "x" softmax_param { axis: 0 } } '
        + FC,
        "layer 'mix' cannot be exported to ONNX: it is over axis 0, which mixes the images",
    ),
    "outside": (
        'layer { name: "far" type: "Pooling" bottom: "data" top: "x" pooling_param '
        "{ kernel_size: 1 stride: 2 } } " + FC,
        "layer 'far' cannot be exported to ONNX: it is a pooling with a window wholly outside",
    ),
    "two outputs": (
        (FC + FC.replace("fc", "fd").replace("scores", "t")).replace('"x"', '"data"'),
        r"not one output blob \(found: 'scores', 't'\)",
    ),
    "two losses": (
        FC.replace('"x"', '"data"')
        + "".join(
            f'layer {{ name: "l{i}" type: "SoftmaxWithLoss" bottom: "scores" bottom: "data" }} '
            for i in (1, 2)
        ),
        r"has 2 SoftmaxWithLoss layers \('l1', 'l2'\)",
    ),
    "nothing": (
        'layer { name: "d" type: "Dropout" bottom: "data" top: "x" }',
        "the net computes nothing: its output 'x' is its input",
    ),
    "over the input": (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }',
        "writes its prediction over its input blob 'data'",
    ),
    "two inputs": (
        INPUT.replace('"data"', '"e"') +
        'layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "e" top: "x" } ' + FC,
        "must depend on one input blob, .* and depends on: 'data', 'e'",
    ),
}  # fmt: skip


def test_a_kernel_larger_than_its_image_sees_zeros_behind_it(tmp_path: Path) -> None:
    """By less than a stride, as Caffe allows."""
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(
        INPUT
        + 'layer { name: "c" type: "Convolution" bottom: "data" top: "x" convolution_param '
        + "{ num_output: 4 kernel_size: 8 stride: 3 } } "
        + FC
    )
    net = learned_net(prototxt)
    export.export(request(prototxt))
    images = np.random.default_rng(0).normal(size=(1, 2, 6, 6)).astype(np.float32)
    expected = net.forward(data=images)["scores"]
    found = predict(tmp_path / "net.onnx", images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BAD_NETS)
def test_a_net_that_cannot_be_exported_is_refused_by_name(name: str, tmp_path: Path) -> None:
    layers, message = BAD_NETS[name]
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(INPUT + layers)
    if "SoftmaxWithLoss" in layers or name == "type":
        prototxt.with_suffix(".caffemodel").write_bytes(b"")
    else:
        learned_net(prototxt)
    before = set(tmp_path.iterdir())
    with pytest.raises(FatalError, match=message):
        export.export(request(prototxt))
    assert set(tmp_path.iterdir()) == before


def test_a_layer_without_a_translation_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prototxt = data_net(tmp_path, "")
    monkeypatch.delitem(export_layers.TRANSLATIONS, "Convolution")
    with pytest.raises(FatalError, match="layer 'c' cannot be exported to ONNX: it is of type Con"):
        export.export(request(prototxt, shape=(3, 6, 6)))


def test_bad_requests_are_refused_and_leave_earlier_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prototxt = data_net(tmp_path, "crop_size: 4")
    good = request(prototxt, shape=(3, 6, 6))
    for path in (good.onnx, good.state_dict):
        Path(path).write_text("earlier")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other = caffe_pb2.NetParameter()
    other.layer.add(name="c", type="Convolution")
    (other_file := tmp_path / "other.caffemodel").write_bytes(other.SerializeToString())
    before[other_file] = other_file.read_bytes()
    cases: list[tuple[dict[str, object], str]] = [
        ({"onnx": "", "state_dict": ""}, "nothing to write: give --onnx FILE"),
        ({"onnx": good.state_dict}, "are the same file"),
        ({"onnx": str(tmp_path)}, "cannot write .*: it is a folder"),
        ({"state_dict": str(tmp_path / "no" / "x.pt")}, "cannot write .*x.pt"),
        ({"model": str(tmp_path / "no.prototxt")}, "File not found: .*no.prototxt"),
        ({"weights": str(tmp_path / "no.caffemodel")}, "File not found: .*no.caffemodel"),
        ({"weights": str(prototxt)}, "Failed to parse NetParameter"),
        ({"weights": str(other_file)}, "has no weights for layer 'c'"),
        ({"shape": (3, 3, 6)}, "crops to 4×4, but an image is 3×6"),
        ({"shape": (3, 6)}, "--shape 3,6: an image has three"),
        ({"shape": (1, 6, 6)}, "shape mismatch"),
        ({"phase": caffe_pb2.TRAIN}, "no layer makes the blob 'data'"),
    ]
    for changes, message in cases:
        with pytest.raises(FatalError, match=message):
            export.export(replace(good, **changes))  # type: ignore[arg-type]
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(FatalError, match=rf"--onnx needs the package {package}: pip"):
                export.export(good)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    prototxt = data_net(tmp_path, "")
    weights = prototxt.with_suffix(".caffemodel")
    param = caffe_pb2.NetParameter.FromString(weights.read_bytes())
    next(layer for layer in param.layer if layer.name == "c").blobs[0].data[3] = float("nan")
    weights.write_bytes(param.SerializeToString())
    with pytest.raises(FatalError, match=r"holds c\.weight that are not finite"):
        export.export(request(prototxt, shape=(3, 6, 6)))


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("_run_onnx", lambda *_: np.full((8, 3), 1 / 3, np.float32)),
        ("_load", lambda net, made, _: (net.params["c"][1].data.fill(9), made)[1]),
        ("_load", lambda net, made, _: replace(made, pixels=replace(made.pixels, scale=0.5))),
    ],
)
def test_files_that_predict_otherwise_are_not_kept(
    part: str, wrong: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prototxt = data_net(tmp_path, "")
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(export, part, wrong)
    with pytest.raises(FatalError, match=r"is not kept: .* differs .* more than 1e-05"):
        export.export(request(prototxt, shape=(3, 6, 6)))
    assert set(tmp_path.iterdir()) == before


@given(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=4))
def test_a_shape_reads_back(dims: list[int]) -> None:
    assert export.parse_shape(",".join(map(str, dims))) == tuple(dims)


@given(st.text(min_size=1).filter(lambda text: not re.fullmatch(r"[0-9]+(,[0-9]+)*", text)))
def test_other_shapes_are_refused(text: str) -> None:
    with pytest.raises(FatalError, match="give positive sizes C,H,W"):
        export.parse_shape(text)


def test_the_command(tmp_path: Path) -> None:
    """It writes, says so, and dies as the other commands where it cannot."""
    data_net(tmp_path, "scale: 0.5")
    command = [sys.executable, "-m", "caffe_torch", "export", "-model", "net.prototxt"]
    command += ["-weights", "net.caffemodel", "-onnx", "out.onnx", "-state_dict", "out.pt"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = run("-shape", "3,6,6")
    assert done.returncode == 0, done.stderr
    differences = re.findall(r"differs from this engine by at most (\S+)", done.stderr)
    assert len(differences) == 2
    assert all(float(text) <= 1e-5 for text in differences)
    assert re.search(
        r"Wrote out\.onnx: input data Nx3x6x6, raw, transform_param \(scale 0\.5\) is part of the "
        r"file; output prob Nx3\n",
        done.stderr,
    )
    assert predict(tmp_path / "out.onnx", random_images((3, 6, 6))).shape == (3, 3)
    refused = run("-shape", "3,6")
    assert refused.returncode == -signal.SIGABRT
    assert [line for line in refused.stderr.splitlines() if line.startswith("F")]
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("kind", ["onnx", "state_dict"])
def test_a_full_disk_is_one_line_and_keeps_the_earlier_files(kind: str, tmp_path: Path) -> None:
    prototxt = data_net(tmp_path, "")
    made = request(prototxt, shape=(3, 6, 6))
    export.export(made)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / f"{Path(getattr(made, kind)).name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(FatalError, match=r"cannot write .*net\.\w+: No space left on device"):
        export.export(made)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
