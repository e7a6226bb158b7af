"""Caffe's own nets load as they are: the shapes and counts that real Caffe has, and its values.

Only what they read is replaced, in the text that both programs get: a data layer becomes an Input
layer of its tops' shapes, and batches are cut to two images.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.net import Net
from tests.conformance.commands import Command
from tests.conformance.logs.normalize import read

pytestmark = pytest.mark.conformance

PyCaffe = Callable[..., dict[str, NDArray[np.float32]]]
BATCH = 2
# (file, the shape of an image; none where the file has its own Input layer, number of parameters)
TRAINED = {
    "LeNet": ("examples/mnist/lenet_train_test.prototxt", (1, 28, 28), 431_080),
    "cifar10_quick": ("examples/cifar10/cifar10_quick_train_test.prototxt", (3, 32, 32), 145_578),
    "cifar10_full": ("examples/cifar10/cifar10_full_train_test.prototxt", (3, 32, 32), 89_578),
    "cifar10_full_sigmoid": (
        "examples/cifar10/cifar10_full_sigmoid_train_test.prototxt", (3, 32, 32), 89_578,
    ),
    "cifar10_full_sigmoid_bn": (
        "examples/cifar10/cifar10_full_sigmoid_train_test_bn.prototxt", (3, 32, 32), 89_709,
    ),
    "AlexNet": ("models/bvlc_alexnet/train_val.prototxt", (3, 227, 227), 60_965_224),
    "CaffeNet": ("models/bvlc_reference_caffenet/train_val.prototxt", (3, 227, 227), 60_965_224),
    "GoogLeNet": ("models/bvlc_googlenet/train_val.prototxt", (3, 224, 224), 13_378_280),
}  # fmt: skip
DEPLOYED = {
    "LeNet": "examples/mnist/lenet.prototxt",
    "cifar10_quick": "examples/cifar10/cifar10_quick.prototxt",
    "cifar10_full": "examples/cifar10/cifar10_full.prototxt",
    "AlexNet": "models/bvlc_alexnet/deploy.prototxt",
    "CaffeNet": "models/bvlc_reference_caffenet/deploy.prototxt",
    "GoogLeNet": "models/bvlc_googlenet/deploy.prototxt",
    "R-CNN": "models/bvlc_reference_rcnn_ilsvrc13/deploy.prototxt",
}


def _net(path: Path, image: tuple[int, ...] | None) -> Any:
    """The net of a file, with Input in place of Data and small batches."""
    net = text_format.Parse(path.read_text(), caffe_pb2.NetParameter())
    for layer in net.layer:
        for field in ("data_param", "transform_param"):
            if layer.type == "Data":
                layer.ClearField(field)
        if layer.type == "Data":
            assert image is not None
            layer.type = "Input"
            for shape in ((BATCH, *image), (BATCH,))[: len(layer.top)]:
                layer.input_param.shape.add(dim=shape)
        elif layer.type == "Input":
            layer.input_param.shape[0].dim[0] = BATCH
    return net


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_training_net_is_built_as_real_caffe_builds_it(
    name: str, phase: str, caffe_doc: Path, tmp_path: Path, embedded: Command, real: Command
) -> None:
    """Every line on the way is the same: layers, splits, shapes, memory, who needs a gradient."""
    file, image, _ = TRAINED[name]
    (tmp_path / "net.prototxt").write_text(str(_net(caffe_doc / file, image)))
    arguments = ("time", "-model", "net.prototxt", "-iterations", "0", "-phase", phase)
    logs = [read(run(*arguments, cwd=tmp_path).log.partition("Performing")[0]).lines
            for run in (embedded, real)]  # fmt: skip
    assert logs[0] == logs[1]
    assert sum("Top shape" in line for line in logs[0]) > 8


@pytest.mark.parametrize("name", TRAINED)
def test_parameters_of_a_training_net(
    name: str, caffe_doc: Path, tmp_path: Path, pycaffe_run: PyCaffe
) -> None:
    """The shapes that pycaffe shows; as many values as the nets are known to have."""
    file, image, count = TRAINED[name]
    path = tmp_path / "net.prototxt"
    path.write_text(str(_net(caffe_doc / file, image)))
    net = Net.from_file(str(path), caffe_pb2.TRAIN)
    ours = {f"param/{layer}/{i}": blob.shape
            for layer, blobs in net.params.items() for i, blob in enumerate(blobs)}  # fmt: skip
    theirs = pycaffe_run("net", path, {}, "TRAIN")
    assert ours == {key: x.shape for key, x in theirs.items() if key.startswith("param/")}
    assert sum(blob.count for blobs in net.params.values() for blob in blobs) == count


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_deployed_net_has_real_caffes_shapes_parameters_and_outputs(
    name: str, caffe_doc: Path, tmp_path: Path, pycaffe_run: PyCaffe
) -> None:
    """Both are given the same weights and images, and compute the same."""
    path = tmp_path / "net.prototxt"
    path.write_text(str(_net(caffe_doc / DEPLOYED[name], None)))
    net = Net.from_file(str(path), caffe_pb2.TEST)
    (data,) = net.inputs
    rng = np.random.default_rng(0)
    images = rng.normal(0, 40, net.blobs[data].shape).astype(np.float32)
    arrays = {f"blob/{data}": images}
    for layer, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            fan_in = max(int(np.prod(blob.shape[1:])), 1)
            blob.data[...] = rng.standard_normal(blob.shape, np.float32) / np.sqrt(fan_in)
            arrays[f"param/{layer}/{i}"] = np.array(blob.data)
    outputs = net.forward(**{data: images})
    theirs = pycaffe_run("forward", path, arrays, "TEST")
    shapes = {f"blob/{key}": blob.shape for key, blob in net.blobs.items()}
    assert shapes == {key: x.shape for key, x in theirs.items() if key.startswith("blob/")}
    for key, values in outputs.items():
        expected = theirs[f"blob/{key}"]
        np.testing.assert_allclose(values, expected, atol=2e-5 * np.abs(expected).max())
