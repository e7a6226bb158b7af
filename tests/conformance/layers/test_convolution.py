"""Convolution, Deconvolution and Im2col beside real Caffe."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conformance.layers.judge import Case, Judge, layer, normal

pytestmark = pytest.mark.conformance

GAUSS = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "gaussian" std: 0.5 }'
IMAGES = (2, 6, 9, 7)

CONVOLUTIONS = {
    "num_output: 4 kernel_size: 3": IMAGES,
    "num_output: 4 kernel_size: 3 stride: 2 pad: 1": IMAGES,
    "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0": IMAGES,
    "num_output: 4 kernel_size: 3 kernel_size: 2 stride: 2 stride: 1 pad: 1 pad: 0": IMAGES,
    "num_output: 4 kernel_size: 2 dilation: 2": IMAGES,
    "num_output: 4 kernel_size: 2 dilation: 2 dilation: 3 pad: 2": IMAGES,
    "num_output: 6 kernel_size: 3 group: 3": IMAGES,
    "num_output: 6 kernel_size: 3 group: 2 bias_term: false": IMAGES,
    "num_output: 6 kernel_size: 2 group: 6": IMAGES,
    "num_output: 3 kernel_size: 1": IMAGES,
    "num_output: 3 kernel_h: 9 kernel_w: 7": IMAGES,
    "num_output: 3 kernel_size: 3 pad: 1 force_nd_im2col: true": IMAGES,
    "num_output: 3 kernel_size: 3 pad: 1 axis: -3": IMAGES,
    "num_output: 3 kernel_size: 3 axis: 0 ": IMAGES,
    "num_output: 3 kernel_size: 3 stride: 2 axis: 2": IMAGES,
    "num_output: 3 kernel_size: 3 axis: 3": IMAGES,
    "num_output: 3 kernel_size: 3 pad: 2 dilation: 2": (2, 4, 11),
    "num_output: 4 kernel_size: 2 stride: 2 pad: 1 group: 2": (2, 4, 5, 4, 3),
    "num_output: 2 kernel_size: 10 stride: 5": IMAGES,
    "num_output: 2 kernel_size: 7 stride: 3 pad: 1": (2, 3, 4, 8),
}
DECONVOLUTIONS = {
    "num_output: 4 kernel_size: 3": IMAGES,
    "num_output: 4 kernel_size: 3 stride: 2 pad: 1": IMAGES,
    "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0": IMAGES,
    "num_output: 4 kernel_size: 2 dilation: 2 dilation: 3 pad: 2": IMAGES,
    "num_output: 6 kernel_size: 3 group: 3": IMAGES,
    "num_output: 4 kernel_size: 3 group: 2 stride: 3 bias_term: false": IMAGES,
    "num_output: 3 kernel_size: 1 stride: 3": IMAGES,
    "num_output: 3 kernel_size: 3 stride: 2 axis: 2": IMAGES,
    "num_output: 3 kernel_size: 3 axis: 3": IMAGES,
    "num_output: 3 kernel_size: 4 pad: 2 dilation: 2": (2, 4, 11),
    "num_output: 4 kernel_size: 2 stride: 2 pad: 1 group: 2": (2, 4, 5, 4, 3),
}


def convolution(kind: str, params: str, shape: tuple[int, ...]) -> Case:
    """A case with random weights."""
    text = layer(kind, f"convolution_param {{ {params} {GAUSS} }}")
    return Case(kind, text, {"x": normal(*shape)})


@pytest.mark.parametrize("params", CONVOLUTIONS)
def test_convolution(judge: Judge, params: str) -> None:
    judge.check(convolution("Convolution", params, CONVOLUTIONS[params]))


@pytest.mark.parametrize("params", DECONVOLUTIONS)
def test_deconvolution(judge: Judge, params: str) -> None:
    judge.check(convolution("Deconvolution", params, DECONVOLUTIONS[params]))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_several_bottoms_share_the_parameters(judge: Judge, kind: str) -> None:
    params = f"convolution_param {{ num_output: 4 kernel_size: 3 stride: 2 {GAUSS} }}"
    text = layer(kind, params, "x z", "y y1")
    judge.check(Case(kind, text, {"x": normal(2, 3, 7, 6), "z": normal(2, 3, 7, 6, seed=1)}))


def test_a_relu_works_in_place_on_a_convolution(judge: Judge) -> None:
    case = convolution("Convolution", "num_output: 4 kernel_size: 3 stride: 2 pad: 1", IMAGES)
    relu = 'layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }'
    judge.check(Case(case.type, case.text + relu, case.inputs))


@pytest.mark.parametrize("factor", [2, 3])
def test_a_bilinear_deconvolution_interpolates(judge: Judge, factor: int) -> None:
    """FCN's upsampling: each channel by itself; inside, a linear slope stays one."""
    size, pad = 2 * factor - factor % 2, (factor - 1 + 1) // 2
    params = (
        f"num_output: 3 group: 3 kernel_size: {size} stride: {factor} pad: {pad} bias_term: false "
        'weight_filler { type: "bilinear" }'
    )
    text = layer("Deconvolution", f"convolution_param {{ {params} }}")
    slope = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 3, 8, 8)).copy()
    net = judge.check(Case("Deconvolution", text, {"x": slope}))
    steps = np.diff(net.blobs["y"].data[0, 0, 2 * factor, 2 * factor : -2 * factor])
    np.testing.assert_allclose(steps, 1 / factor, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ("kernel_size: 3", IMAGES),
        ("kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0", IMAGES),
        ("kernel_size: 2 dilation: 3 pad: 1", IMAGES),
        ("kernel_size: 2 stride: 2 axis: 2", IMAGES),
        ("kernel_size: 3 pad: 1", (2, 4, 6)),
        ("kernel_size: 8 stride: 2", IMAGES),
    ],
)
def test_im2col(judge: Judge, params: str, shape: tuple[int, ...]) -> None:
    text = layer("Im2col", f"convolution_param {{ {params} }}")
    judge.check(Case("Im2col", text, {"x": normal(*shape)}))


@st.composite
def geometries(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    """A convolution_param and its bottom's shape, any of which may be the smallest there is."""
    params, lengths = "", []
    for _ in range(draw(st.sampled_from([2, 2, 1, 3]))):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        pad, dilation = draw(st.integers(0, 3)), draw(st.integers(1, 3))
        params += f"kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} "
        extent = dilation * (kernel - 1) + 1
        lengths.append(draw(st.integers(max(1, extent - 2 * pad), extent + 4)))
    group = draw(st.integers(1, 3))
    channels = group * draw(st.integers(1, 2))
    outputs = group * draw(st.integers(2, 3))
    bias = "" if draw(st.booleans()) else "bias_term: false"
    params += f"num_output: {outputs} group: {group} {bias}"
    return params, (draw(st.integers(1, 2)), channels, *lengths)


@given(geometries())
@settings(deadline=None, max_examples=20, derandomize=True)
def test_convolutions_of_any_geometry(judge: Judge, drawn: tuple[str, tuple[int, ...]]) -> None:
    judge.check(convolution("Convolution", *drawn))


def _deconvolved(params: str, lengths: tuple[int, ...]) -> list[int]:
    values = [int(word) for word in params.split("num_output")[0].split() if word.isdigit()]
    rows = zip(lengths, values[::4], values[1::4], values[2::4], values[3::4], strict=True)
    return [s * (length - 1) + d * (k - 1) + 1 - 2 * p for length, k, s, p, d in rows]


@given(geometries())
@settings(deadline=None, max_examples=20, derandomize=True)
def test_deconvolutions_of_any_geometry(judge: Judge, drawn: tuple[str, tuple[int, ...]]) -> None:
    params, shape = drawn
    assume(min(_deconvolved(params, shape[2:])) > 0)
    judge.check(convolution("Deconvolution", params, shape))
