"""Pooling and SPP beside real Caffe; stochastic pooling, which it has on a GPU only, by itself."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import torch
from google.protobuf import text_format
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from tests.conformance.layers.judge import Array, Case, Judge, assert_close, layer, normal
from tests.conformance.layers.record import Record

pytestmark = pytest.mark.conformance

IMAGES = (2, 6, 9, 7)
POOLINGS = [
    "kernel_size: 2 stride: 2",
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 2 pad: 1",
    "kernel_size: 3 stride: 2 pad: 2",
    "kernel_size: 2 stride: 2 pad: 1",
    "kernel_size: 5 stride: 3",
    "kernel_size: 4 stride: 1 pad: 3",
    "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0",
    "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 5 pad_h: 1 pad_w: 0",
    "kernel_size: 9 stride: 3",
    "kernel_size: 1 stride: 2",
    "kernel_size: 2 stride: 2 round_mode: FLOOR",
    "kernel_size: 3 stride: 2 pad: 2 round_mode: FLOOR",
    "global_pooling: true",
]


def pooling(params: str, shape: tuple[int, ...], tops: str = "y") -> Case:
    """A case on normal values, among which no two are equal."""
    text = layer("Pooling", f"pooling_param {{ {params} }}", tops=tops)
    return Case("Pooling", text, {"x": normal(*shape)})


@pytest.mark.parametrize("params", POOLINGS)
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_pooling(judge: Judge, pool: str, params: str) -> None:
    judge.check(pooling(f"pool: {pool} {params}", IMAGES))


def test_the_average_of_a_window_wholly_outside_is_undefined(judge: Judge) -> None:
    judge.check(pooling("pool: AVE kernel_size: 2 stride: 3", IMAGES))


def test_a_maximum_of_nothing_has_no_gradient(judge: Judge) -> None:
    """Values as in real Caffe, whose gradient of such windows goes to memory before the channel."""
    kept = pooling("pool: MAX kernel_size: 1 stride: 2", (1, 2, 6, 6))
    net = judge.check(replace(kept, backward=False))
    assert net.blobs["y"].data.shape == (1, 2, 4, 4)
    forced = Net(text_format.Parse(kept.prototxt, caffe_pb2.NetParameter()), Runtime.create(1))
    forced.forward(x=kept.inputs["x"])
    gradient = normal(1, 2, 4, 4, seed=3)
    forced.backward(y=gradient)
    expected = np.zeros((1, 2, 6, 6), np.float32)
    expected[:, :, ::2, ::2] = gradient[:, :, :3, :3]
    np.testing.assert_array_equal(forced.blobs["x"].diff, expected)


@pytest.mark.parametrize("params", POOLINGS)
def test_a_second_top_has_the_places_of_the_maxima(judge: Judge, params: str) -> None:
    judge.check(pooling(f"pool: MAX {params}", IMAGES, tops="y places"))


@pytest.mark.parametrize("params", ["kernel_size: 2 stride: 2", "kernel_size: 4 stride: 1 pad: 3"])
@pytest.mark.parametrize("tops", ["y", "y places"])
def test_a_maximum_passes_over_nan(judge: Judge, params: str, tops: str) -> None:
    """Every window here has a number, which gets the gradient."""
    case = pooling(f"pool: MAX {params}", (2, 3, 6, 6), tops)
    case.inputs["x"][:, :, 1::2, 1::3] = np.nan
    judge.check(case)


@pytest.mark.parametrize("tops", ["y", "y places"])
def test_the_maximum_of_nothing_but_nan_is_the_lowest_float(judge: Judge, tops: str) -> None:
    case = pooling("pool: MAX kernel_size: 2 stride: 2", (2, 3, 6, 6), tops)
    case.inputs["x"][:, 1] = np.nan
    case.inputs["x"][0, 0, 0] = -np.inf
    judge.check(Case(case.type, case.text, case.inputs, backward=False))


def test_of_equal_values_the_first_gets_the_gradient(judge: Judge) -> None:
    case = pooling("pool: MAX kernel_size: 3 stride: 2", IMAGES)
    case.inputs["x"][...] = np.sign(case.inputs["x"])
    judge.check(case)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    """A pooling_param and its bottom's shape, without windows wholly outside the image.

    For such a window real Caffe writes MAX's gradient out of bounds.
    """
    params, lengths = "", []
    floor = draw(st.booleans())
    kernels = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    pads = [draw(st.integers(0, kernel - 1)) for kernel in kernels]
    for side, kernel, pad in zip("hw", kernels, pads, strict=True):
        stride = draw(st.integers(1, 4))
        length = draw(st.integers(max(1, kernel - 2 * pad), kernel + 6))
        reach = (length + 2 * pad - kernel) / stride
        last = (math.floor(reach) if floor else math.ceil(reach)) * stride - pad
        assume(last < length or (any(pads) and last - stride < length))
        params += f"kernel_{side}: {kernel} stride_{side}: {stride} pad_{side}: {pad} "
        lengths.append(length)
    if floor:
        params += "round_mode: FLOOR"
    return params, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *lengths)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@given(drawn=geometries(), places=st.booleans())
@settings(deadline=None, max_examples=20, derandomize=True)
def test_poolings_of_any_geometry(
    judge: Judge, pool: str, drawn: tuple[str, tuple[int, ...]], places: bool
) -> None:
    params, shape = drawn
    tops = "y places" if places and pool == "MAX" else "y"
    judge.check(pooling(f"pool: {pool} {params}", shape, tops))


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("height", "shape"), [(1, IMAGES), (2, IMAGES), (3, (2, 3, 12, 7)), (2, (1, 2, 2, 3))]
)
def test_spp(judge: Judge, pool: str, height: int, shape: tuple[int, ...]) -> None:
    text = layer("SPP", f"spp_param {{ pool: {pool} pyramid_height: {height} }}")
    judge.check(Case("SPP", text, {"x": normal(*shape)}))


# Stochastic pooling


def stochastic(tmp_path: Path, x: Array, params: str, phase: str, gpu: int | None = None) -> Net:
    """A net that pools these values, after both passes; the top's gradient is 1, 2, 3, …."""
    text = layer("Pooling", f"pooling_param {{ pool: STOCHASTIC {params} }}")
    path = tmp_path / "net.prototxt"
    path.write_text(Case("Pooling", text, {"x": x}).prototxt)
    net = Net.from_file(str(path), getattr(caffe_pb2, phase), runtime=Runtime.create(7, gpu=gpu))
    y = net.forward(x=x)["y"]
    net.backward(y=np.arange(1, y.size + 1, dtype=np.float32).reshape(y.shape))
    return net


def windows(x: Array, kernel: int, stride: int) -> list[tuple[int, int, slice, slice]]:
    """Each window's place in the top and its rows and columns in the image, cut at its end."""
    sizes = [math.ceil((length - kernel) / stride) + 1 for length in x.shape[2:]]
    return [
        (i, j, slice(i * stride, i * stride + kernel), slice(j * stride, j * stride + kernel))
        for i in range(sizes[0])
        for j in range(sizes[1])
    ]


DEVICES = [
    None,
    pytest.param(0, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")),
]


@pytest.mark.parametrize("gpu", DEVICES)
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_stochastic_pooling_takes_a_value_as_often_as_it_is_large(
    tmp_path: Path, record: Record, kernel: int, stride: int, gpu: int | None
) -> None:
    """χ² of 20,000 draws in each window, at a probability of 1e-6; a 0 is never taken."""
    image = np.random.default_rng(0).permutation(20).astype(np.float32).reshape(4, 5)
    x = np.broadcast_to(image, (100, 200, 4, 5)).copy()
    net = stochastic(tmp_path, x, f"kernel_size: {kernel} stride: {stride}", "TRAIN", gpu)
    y = net.blobs["y"].data
    for i, j, rows, columns in windows(x, kernel, stride):
        values = image[rows, columns].ravel()
        seen = np.array([(y[:, :, i, j] == value).sum() for value in values])
        assert seen.sum() == 20_000
        expected = 20_000 * values / values.sum()
        assert (seen[expected == 0] == 0).all()
        possible = expected > 0
        chi2 = ((seen - expected)[possible] ** 2 / expected[possible]).sum()
        freedom = possible.sum() - 1
        limit = freedom + 2 * math.sqrt(freedom * 13.8) + 2 * 13.8  # Laurent and Massart's bound
        assert chi2 <= limit, (i, j, chi2)
    record.add("Pooling", "forward", "distribution test of STOCHASTIC")
    if gpu is not None:
        record.add("Pooling", "GPU", "distribution test of STOCHASTIC")


@pytest.mark.parametrize("gpu", DEVICES)
def test_the_gradient_of_stochastic_pooling_goes_to_the_value_taken(
    tmp_path: Path, record: Record, gpu: int | None
) -> None:
    x = np.abs(normal(3, 2, 7, 6))
    net = stochastic(tmp_path, x, "kernel_size: 3 stride: 2", "TRAIN", gpu)
    y, expected = net.blobs["y"].data, np.zeros_like(x)
    gradient = np.arange(1, y.size + 1, dtype=np.float32).reshape(y.shape)
    for i, j, rows, columns in windows(x, 3, 2):
        here = x[:, :, rows, columns] == y[:, :, i : i + 1, j : j + 1]
        assert (here.sum((2, 3)) == 1).all()
        expected[:, :, rows, columns] += here * gradient[:, :, i : i + 1, j : j + 1]
    np.testing.assert_array_equal(net.blobs["x"].diff, expected)
    record.add("Pooling", "backward", "closed form of STOCHASTIC")


@pytest.mark.parametrize("gpu", DEVICES)
def test_stochastic_pooling_tests_with_the_expected_value(
    tmp_path: Path, record: Record, gpu: int | None
) -> None:
    """Σx² / Σx and its derivative (2x − Σx² / Σx) / Σx, in float64; 0 for a window of zeros."""
    x = np.abs(normal(3, 2, 7, 6))
    x[0, 0] = 0
    net = stochastic(tmp_path, x, "kernel_size: 3 stride: 2", "TEST", gpu)
    shape = net.blobs["y"].shape
    values, expected = np.zeros(shape), np.zeros(x.shape)
    gradient = np.arange(1, values.size + 1).reshape(shape)
    for i, j, rows, columns in windows(x, 3, 2):
        window = x[:, :, rows, columns].astype(np.float64)
        total = window.sum((2, 3))
        total[total == 0] = np.inf
        mean = (window**2).sum((2, 3)) / total
        values[:, :, i, j] = mean
        slopes = (2 * window - mean[..., None, None]) / total[..., None, None]
        expected[:, :, rows, columns] += slopes * gradient[:, :, i, j, None, None]
    assert_close(net.blobs["y"].data, values.astype(np.float32), "values")
    assert_close(net.blobs["x"].diff, expected.astype(np.float32), "gradient")
    record.add("Pooling", "forward", "closed form of STOCHASTIC")
