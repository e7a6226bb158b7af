"""The rivals' nets: real Caffe builds them as the embedded engine does, and both train them alike.

Dropout would draw different units in the two programs; the nets that train here have so low a
ratio that nothing is dropped.
"""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from prototxt_gen.net import DataSource
from prototxt_gen.zoo import NETS
from tests.conformance.commands import Command
from tests.conformance.logs.normalize import read

pytestmark = pytest.mark.conformance

PyCaffe = Callable[..., dict[str, NDArray[np.float32]]]
IMAGE = (3, 32, 32)
BATCH = 4
STEPS = """
net: "net.prototxt" type: "SGD" base_lr: {} momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed"
display: 1 max_iter: {} random_seed: 1 solver_mode: CPU
snapshot_after_train: false snapshot_prefix: "unused"
"""
RATE = 0.0003
# A ReLU or a maximum that rounding decides moves gradients by percents where a small batch is
# normalized, in either program when its images change by 1e-7: small steps keep the losses close.
NORMALIZED_RATE = 0.000001
# Through 333 units a change of images by 1e-7 changes the first loss by 1e-3: they start shorter.
SHORT = 0.05
LARGE = ("resnet1001", "elu")
NOTHING_DROPPED = 1e-7


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", NETS)
def test_a_net_is_built_as_real_caffe_builds_it(
    name: str, phase: str, tmp_path: Path, embedded: Command, real: Command
) -> None:
    """Every line on the way is the same: layers, splits, blobs' shapes, who needs a gradient."""
    (tmp_path / "net.prototxt").write_text(str(NETS[name].build(10, IMAGE)))
    arguments = ("time", "-model", "net.prototxt", "-iterations", "0", "-phase", phase)
    logs = [read(run(*arguments, cwd=tmp_path).log.partition("Performing")[0]).lines
            for run in (embedded, real)]  # fmt: skip
    assert logs[0] == logs[1]
    assert sum("Top shape" in line for line in logs[0]) > 20


@pytest.mark.parametrize("name", NETS)
def test_parameters_have_real_caffes_shapes(
    name: str, tmp_path: Path, pycaffe_run: PyCaffe
) -> None:
    (tmp_path / "net.prototxt").write_text(str(NETS[name].build(10, IMAGE)))
    (tmp_path / "solver.prototxt").write_text(STEPS.format(RATE, 1))
    theirs = pycaffe_run("solve", tmp_path / "solver.prototxt", {}, "0", cwd=tmp_path)
    net = Net.from_file(str(tmp_path / "net.prototxt"), caffe_pb2.TRAIN)
    ours = {f"param/{layer}/{i}": blob.shape
            for layer, blobs in net.params.items() for i, blob in enumerate(blobs)}  # fmt: skip
    assert ours == {key: x.shape for key, x in theirs.items() if key.startswith("param/")}


def _write_images(path: Path) -> None:
    """One batch of noise, so that every iteration reads the same."""
    rng = np.random.default_rng(0)
    with (
        lmdb.open(str(path), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for label in range(BATCH):
            channels, height, width = IMAGE
            pixels = rng.integers(0, 256, IMAGE, dtype=np.uint8).tobytes()
            datum = caffe_pb2.Datum(
                channels=channels, height=height, width=width, data=pixels, label=label
            )
            transaction.put(f"{label:08d}".encode(), datum.SerializeToString())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in NETS]
)
def test_both_train_a_net_from_the_same_weights_alike(
    name: str, tmp_path: Path, embedded: Command, real: Command
) -> None:
    """Two updates on one batch: the losses before, between and after."""
    _write_images(tmp_path / "images.lmdb")
    data = DataSource("images.lmdb", "images.lmdb", BATCH, BATCH, scale=1 / 128)
    net = NETS[name].build(10, IMAGE, data)
    for layer in net.layer:
        if layer.type == "Dropout":
            layer.dropout_param.dropout_ratio = NOTHING_DROPPED
    (tmp_path / "net.prototxt").write_text(str(net))
    normalized = any(layer.type == "BatchNorm" for layer in net.layer)
    rate = NORMALIZED_RATE if normalized else RATE
    (tmp_path / "input.prototxt").write_text(str(NETS[name].build(10, IMAGE)))
    runtime = Runtime.create(seed=1)
    start = Net.from_file(str(tmp_path / "input.prototxt"), caffe_pb2.TRAIN, runtime=runtime)
    for layer_name in start.params:
        if layer_name.startswith("stage") and layer_name.endswith("conv3"):
            start.params[layer_name][0].data[...] *= SHORT
    start.save(str(tmp_path / "start.caffemodel"))
    (tmp_path / "solver.prototxt").write_text(STEPS.format(rate, 2))
    arguments = ("train", "-solver", "solver.prototxt", "-weights", "start.caffemodel")
    losses = []
    for command in (embedded, real):
        run = command(*arguments, cwd=tmp_path)
        assert run.status == 0, run.log[-2000:]
        losses.append([float(x) for x in run.said(r"Iteration \d+(?: \(.*\))?, loss = (\S+)")])
    print(f"{name}: {losses}")
    assert len(losses[0]) == 3
    assert len(set(losses[0])) == 3  # each update changed it
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
