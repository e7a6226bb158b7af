"""What these layers do not take: the fatal line begins with what real Caffe's says."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.log import FatalError
from caffe_torch.net import Net
from tests.conformance.layers.judge import Case, Run, layer
from tests.conformance.layers.record import Record

pytestmark = pytest.mark.conformance

RunReal = Callable[..., subprocess.CompletedProcess[str]]
IMAGES = (2, 6, 9, 7)
VOLUME = (2, 6, 9, 9, 9)


@dataclass(frozen=True)
class Refused:
    """A layer on blobs x, z of these shapes, with `field { params }`."""

    kind: str
    field: str
    params: str
    shapes: tuple[tuple[int, ...], ...] = (IMAGES,)
    tops: str = "y"

    @property
    def prototxt(self) -> str:
        """The net."""
        inputs = {
            name: np.zeros(shape, np.float32)
            for name, shape in zip("xz", self.shapes, strict=False)
        }
        params = f"{self.field} {{ {self.params} }}" if self.field else ""
        text = layer(self.kind, params, " ".join(inputs), self.tops)
        return Case(self.kind, text, inputs, backward=False).prototxt


def _of(kind: str, field: str, *params: str) -> list[Refused]:
    return [Refused(kind, field, text) for text in params]


CASES = [
    *_of(
        "Convolution",
        "convolution_param",
        "num_output: 4 kernel_size: 3 kernel_h: 3 kernel_w: 3",
        "num_output: 4 kernel_size: 3 stride: 3 stride_h: 3",
        "num_output: 4 kernel_size: 3 pad: 3 pad_h: 3",
        "num_output: 4",
        "num_output: 4 kernel_size: 0",
        "num_output: 4 kernel_size: 1 stride: 0",
        "num_output: 4 kernel_size: 1 kernel_size: 1 kernel_size: 1",
        "num_output: 4 kernel_size: 1 stride: 1 stride: 1 stride: 1",
        "num_output: 4 kernel_size: 1 pad: 1 pad: 1 pad: 1",
        "num_output: 4 kernel_size: 1 dilation: 1 dilation: 1 dilation: 1",
        "num_output: 4 kernel_size: 1 group: 5",
        "num_output: 4 kernel_size: 1 group: 3",
        "kernel_size: 1",
        "num_output: 4 kernel_size: 11",
    ),
    Refused("Convolution", "convolution_param", "num_output: 4 kernel_h: 3 kernel_w: 3", (VOLUME,)),
    Refused("Convolution", "convolution_param", "num_output: 4 kernel_size: 1", (IMAGES, IMAGES)),
    Refused(
        "Convolution",
        "convolution_param",
        "num_output: 4 kernel_size: 1",
        (IMAGES, (2, 5, 9, 7)),
        "y y1",
    ),
    Refused("Deconvolution", "convolution_param", "num_output: 4 kernel_size: 1 pad: 9"),
    *_of("Im2col", "convolution_param", "kernel_size: 3 kernel_h: 3", "kernel_size: 1 stride: 0"),
    *_of(
        "Pooling",
        "pooling_param",
        "kernel_size: 3 kernel_h: 3 kernel_w: 3",
        "kernel_h: 3",
        "",
        "global_pooling: true kernel_size: 3",
        "global_pooling: true pad: 1",
        "global_pooling: true stride: 2",
        "kernel_size: 2 pad: 2",
        "kernel_size: 2 pad_h: 1",
        "kernel_size: 2 stride: 1 stride_h: 1 stride_w: 1",
        "kernel_size: 0",
        "kernel_size: 20",
        "pool: STOCHASTIC kernel_size: 2 pad: 1",
    ),
    Refused("Pooling", "pooling_param", "kernel_size: 2", ((2, 6, 9),)),
    Refused("Pooling", "pooling_param", "pool: AVE kernel_size: 2", tops="y y1"),
    *_of("SPP", "spp_param", "pyramid_height: 5"),
    *_of("Embed", "embed_param", "input_dim: 3", "num_output: 3"),
    *_of("Flatten", "flatten_param", "axis: 3 end_axis: 1"),
    Refused("Flatten", "", "", tops="x"),
    Refused("Reshape", "", "", tops="x"),
    *_of(
        "Reshape",
        "reshape_param",
        "shape { dim: -1 dim: -1 }",
        "shape { dim: -2 }",
        "shape { dim: 5 dim: -1 }",
        "shape { dim: 5 }",
        "shape { dim: 0 dim: 0 dim: 0 dim: 0 dim: 0 }",
        "shape { dim: 1 } axis: 5",
        "shape { dim: 1 } axis: -6",
        "shape { dim: 1 } axis: 3 num_axes: 2",
        "shape { dim: 1 } num_axes: -2",
    ),
    Refused("Crop", "crop_param", "axis: 1 offset: 1 offset: 0", (IMAGES, IMAGES)),
    Refused("Crop", "crop_param", "axis: 2 offset: 1", (IMAGES, IMAGES)),
    *_of("Tile", "tile_param", "", "tiles: 0"),
    Refused("BatchReindex", "", "", (IMAGES, (2, 1))),
    Refused("Filter", "", "", (IMAGES, (3,))),
    Refused("Filter", "", "", (IMAGES, (2, 2))),
    Refused("Filter", "", "", (IMAGES, (2,)), "y y1"),
    Refused("Slice", "slice_param", "axis: 1 slice_dim: 1", tops="y y1"),
    Refused("Slice", "slice_param", "slice_dim: 5", tops="y y1"),
    Refused("Slice", "slice_param", "slice_point: 1 slice_point: 2", tops="y y1"),
    Refused("Slice", "slice_param", "slice_point: 2 slice_point: 2", tops="y y1 y2"),
    Refused("Slice", "slice_param", "slice_point: 7", tops="y y1"),
    Refused("Slice", "slice_param", "axis: 2", tops="y y1"),
    Refused("Slice", "slice_param", "axis: 0 slice_point: 1 slice_point: 2", tops="y y1 y2"),
    Refused("Concat", "concat_param", "axis: 1 concat_dim: 1", (IMAGES, IMAGES)),
    Refused("Concat", "concat_param", "concat_dim: 4", (IMAGES, IMAGES)),
    Refused("Concat", "", "", (IMAGES, (2, 6, 8, 7))),
    Refused("Concat", "", "", (IMAGES, (2, 6, 9))),
    Refused("Eltwise", "eltwise_param", "coeff: 1", (IMAGES, IMAGES)),
    Refused("Eltwise", "eltwise_param", "operation: PROD coeff: 1 coeff: 1", (IMAGES, IMAGES)),
    Refused("Eltwise", "", "", (IMAGES, (2, 6, 9, 8))),
    *_of("ArgMax", "argmax_param", "top_k: 0", "top_k: 379", "axis: 1 top_k: 7"),
]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.kind} {case.params or case.shapes} {case.tops}"
)
def test_a_layer_refused(case: Refused, tmp_path: Path, run_real: RunReal) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(case.prototxt)
    log = run_real("time", "-model", str(path), "-iterations", "1", cwd=tmp_path).stderr
    where, said = re.findall(r"^F[\d.: ]+ +\d+ (\S+)\] (.*)$", log, re.M)[0]
    said = re.sub(r" \(0x\w+ vs\. 0x\w+\)", "", said).rstrip(" .;")
    with pytest.raises(FatalError) as failure:
        Net.from_file(str(path), caffe_pb2.TRAIN)
    assert failure.value.where == where
    assert failure.value.message.startswith(said)
    assert "'l'" in failure.value.message


@pytest.mark.parametrize(
    ("params", "advice"),
    [
        ("num_output: 4 kernel_size: 1 group: 0", "correct group"),
        ("num_output: 4 kernel_size: 2 dilation: 0", "Dilation dimensions must be nonzero"),
        ("num_output: 4 kernel_size: 10", "the kernel is larger than the padded input"),
    ],
)
def test_what_real_caffe_does_not_check_is_refused_too(
    tmp_path: Path, params: str, advice: str
) -> None:
    """It divides by zero, reads one place for all taps, or goes on with empty blobs."""
    path = tmp_path / "net.prototxt"
    path.write_text(Refused("Convolution", "convolution_param", params).prototxt)
    with pytest.raises(FatalError, match=f"{advice}.*'l'"):
        Net.from_file(str(path), caffe_pb2.TRAIN)


@pytest.mark.parametrize(
    ("kind", "params", "shapes"),
    [
        ("Embed", "embed_param { input_dim: 3 num_output: 2 }", {"x": (3,)}),
        ("BatchReindex", "", {"x": (3, 2), "z": (2,)}),
        ("Filter", "", {"x": (2, 2), "z": (2,)}),
        ("ArgMax", "", {"x": (3, 4)}),
    ],
)
def test_a_gradient_refused(
    tmp_path: Path,
    pycaffe_run: Run,
    record: Record,
    kind: str,
    params: str,
    shapes: dict[str, tuple[int, ...]],
) -> None:
    """The gradient of an index, or through the place of a maximum."""
    inputs = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    path = tmp_path / "net.prototxt"
    path.write_text(Case(kind, layer(kind, params, " ".join(inputs)), inputs).prototxt)
    with pytest.raises(AssertionError) as died:
        pycaffe_run("net", path, {f"blob/{name}": x for name, x in inputs.items()}, "TRAIN")
    where, said = re.findall(r"F[\d.: ]+ +\d+ (\S+)\] (.*)$", str(died.value), re.M)[0]
    net = Net.from_file(str(path), caffe_pb2.TRAIN)
    y = net.forward(**inputs)["y"]
    with pytest.raises(FatalError) as failure:
        net.backward(y=np.ones_like(y))
    assert failure.value.where == where
    assert failure.value.message.startswith(said.strip())
    assert "'l'" in failure.value.message
    if kind == "ArgMax":
        record.add(kind, "backward", "refused as by real Caffe")
