"""Old prototxts and models: upgraded, logged and built as real Caffe does it."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.net import Net
from tests.conformance.commands import Command, Run
from tests.conformance.legacy.nets import DATA, INPUT, NETS, REFUSED, V0_NET, V1_NET, v0, v1
from tests.conformance.logs.normalize import read

pytestmark = pytest.mark.conformance


def _built(run: Run) -> list[str]:
    """The log up to the first pass: every upgrade, the upgraded net, every layer's shapes."""
    return read(run.log.partition("Performing Forward")[0]).lines


@pytest.mark.parametrize("name", NETS)
def test_the_upgraded_net_is_real_caffes(
    name: str, tmp_path: Path, embedded: Command, real: Command
) -> None:
    (tmp_path / "net.prototxt").write_text(NETS[name])
    arguments = ("time", "-model", "net.prototxt", "-iterations", "1")
    ours, theirs = embedded(*arguments, cwd=tmp_path), real(*arguments, cwd=tmp_path)
    assert _built(ours) == _built(theirs)
    assert ours.status == 0, ours.log[-1000:]
    assert theirs.status == 0 or "Not Implemented Yet" in theirs.log  # ArgMax's backward pass


@pytest.mark.parametrize("name", DATA)
def test_data_layers_with_transformations_of_their_own(
    name: str, tmp_path: Path, embedded: Command, real: Command
) -> None:
    """The sources do not exist; what counts is the net that is logged before they are opened."""
    (tmp_path / "net.prototxt").write_text(DATA[name])
    runs = [run("time", "-model", "net.prototxt", cwd=tmp_path) for run in (embedded, real)]
    dumps = [run.log.partition("Initializing net")[2].partition("\nI")[0] for run in runs]
    assert "transform_param" in dumps[0]
    assert dumps[0] == dumps[1]
    upgrades = [[x for x in _built(run) if "upgrade_proto.cpp" in x] for run in runs]
    assert upgrades[0] == upgrades[1] != []


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_upgraded(
    name: str, tmp_path: Path, embedded: Command, real: Command
) -> None:
    (tmp_path / "net.prototxt").write_text(REFUSED[name])
    arguments = ("time", "-model", "net.prototxt")
    ours, theirs = embedded(*arguments, cwd=tmp_path), real(*arguments, cwd=tmp_path)
    assert ours.status == theirs.status == -signal.SIGABRT
    expected = read(theirs.log).fatal.partition("(known types")[0].rstrip()
    assert read(ours.log).fatal.startswith(expected)
    assert "Traceback" not in ours.log


@pytest.mark.parametrize("net", [V0_NET, V1_NET], ids=["V0", "V1"])
def test_values_and_parameters_of_an_old_net(
    net: str,
    tmp_path: Path,
    pycaffe_run: Callable[..., dict[str, NDArray[np.float32]]],
) -> None:
    """The same parameters, blob for blob, and with them the same outputs."""
    path = tmp_path / "net.prototxt"
    path.write_text(net)
    ours = Net.from_file(str(path), caffe_pb2.TEST)
    x = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    arrays = {"blob/x": x}
    for layer, blobs in ours.params.items():
        arrays |= {f"param/{layer}/{i}": blob.data for i, blob in enumerate(blobs)}
    outputs = ours.forward(x=x)
    theirs = pycaffe_run("net", path, arrays, "TEST")
    expected = {key for key in theirs if key.startswith("param/")}
    assert {key for key in arrays if key.startswith("param/")} == expected
    for name, values in outputs.items():
        np.testing.assert_allclose(values, theirs[f"blob/{name}"], rtol=1e-5, atol=1e-6)


PRESENT = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 dim: 5
  dim: 5 } data_filler { type: "constant" value: 0.7 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 5 } }
"""
OLD_LAYERS = {
    "V0": v0("conv", "conv", "x", "conv", "num_output: 4 kernelsize: 3")
    + v0("ip", "innerproduct", "conv", "ip", "num_output: 5")
    + v0("other", "relu", "ip", "y"),
    "V1": v1("conv", "CONVOLUTION", "x", "conv")
    + v1("ip", "INNER_PRODUCT", "conv", "ip")
    + v1("other", "RELU", "ip", "y"),
}


@pytest.mark.parametrize("schema", OLD_LAYERS)
@pytest.mark.parametrize("legacy_shape", [True, False])
def test_an_old_caffemodel(
    schema: str, legacy_shape: bool, tmp_path: Path, embedded: Command, real: Command
) -> None:
    """A binary model of old layers, its blobs with num, channels, height, width or a shape."""
    model = text_format.Parse(INPUT + OLD_LAYERS[schema], caffe_pb2.NetParameter())
    shapes = {"conv": [(4, 3, 3, 3), (1, 1, 1, 4)], "ip": [(1, 1, 5, 36), (1, 1, 1, 5)]}
    rng = np.random.default_rng(3)
    for connection in model.layers:
        layer = connection.layer if schema == "V0" else connection
        for shape in shapes.get(layer.name, []):
            blob = layer.blobs.add(data=rng.normal(size=int(np.prod(shape))).tolist())
            if legacy_shape:
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(x for i, x in enumerate(shape) if x != 1 or i == 3)
    (tmp_path / "old.caffemodel").write_bytes(model.SerializeToString())
    (tmp_path / "net.prototxt").write_text(PRESENT)
    arguments = ("test", "-model", "net.prototxt", "-weights", "old.caffemodel", "-iterations", "1")
    ours, theirs = (read(run(*arguments, cwd=tmp_path).log) for run in (embedded, real))
    assert ours.lines == theirs.lines
    assert len(ours.numbers) == 1 + 2 * 2 * 5
    np.testing.assert_allclose(ours.numbers, theirs.numbers, rtol=1e-4, atol=1e-5)
