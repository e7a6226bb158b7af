"""Operations that are written with several of Caffe's layers compute what they are meant to.

The oracle is numpy in float64.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch.net import Net
from prototxt_gen.zoo.dropconnect import drop_connect, local
from prototxt_gen.zoo.highway import highway_layer
from prototxt_gen.zoo.maxout import connect, convolve
from prototxt_gen.zoo.pooling import learned_pool
from prototxt_gen.zoo.recurrent import recurrent_layer
from prototxt_gen.zoo.residual import halve
from prototxt_gen.zoo.stack import Stack, gaussian

Array = NDArray[np.float64]
SHAPE = (2, 4, 7, 6)


def computed(
    compose: Callable[[Stack], object], folder: Path
) -> tuple[Array, Array, dict[str, list[Array]]]:
    """(images, values, weights) of a net of one operation; weights and biases are random."""
    param = caffe_pb2.NetParameter()
    data = param.layer.add(name="data", type="Input", top=("data",))
    data.input_param.shape.add(dim=SHAPE)
    stack = Stack(param, gaussian(0.5))
    compose(stack)
    path = folder / "net.prototxt"
    path.write_text(str(param))
    net = Net.from_file(str(path), caffe_pb2.TEST)
    rng = np.random.default_rng(0)
    fixed = {layer.name for layer in param.layer if layer.param and not layer.param[0].lr_mult}
    for name, blobs in net.params.items():
        for blob in () if name in fixed else blobs:
            blob.data[...] = rng.normal(0, 0.5, blob.shape)
    images = rng.normal(0, 1, SHAPE)
    net.forward(data=images.astype(np.float32))
    values = net.blobs[stack.top].data.astype(np.float64)
    weights = {
        name: [np.array(blob.data, np.float64) for blob in blobs]
        for name, blobs in net.params.items()
    }
    return images, values, weights


def close(values: Array, expected: Array) -> None:
    np.testing.assert_allclose(values, expected, atol=2e-5 * np.abs(expected).max())


def patches(images: Array, size: int, pad: int) -> Array:
    """N×C×H×W×size×size: what each place's filter sees."""
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))


def convolved(images: Array, weights: Array, pad: int = 1) -> Array:
    return np.einsum("nchwij,fcij->nfhw", patches(images, weights.shape[-1], pad), weights)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def channelwise(bias: Array) -> Array:
    return bias[:, None, None]


def test_a_local_layer_has_its_own_filters_at_every_place(tmp_path: Path) -> None:
    images, values, weights = computed(lambda net: local(net, "x", 5), tmp_path)
    own = weights["x_weighted"][0].reshape(5, 4, 3, 3, 7, 6)
    expected = np.einsum("nchwij,fcijhw->nfhw", patches(images, 3, 1), own) + weights["x"][0]
    close(values, np.maximum(expected, 0))


def test_drop_connect_tests_with_the_mean_weights(tmp_path: Path) -> None:
    images, values, weights = computed(lambda net: drop_connect(net, "x", 3, 0.5), tmp_path)
    expected = images.reshape(2, -1) @ weights["x_weighted"][0].T + weights["x"][0]
    close(values, np.maximum(expected, 0))


def test_drop_connect_drops_each_weight_of_each_image_by_itself(tmp_path: Path) -> None:
    """Half of the products are zero, the rest doubled, and not the same for two images."""
    param = caffe_pb2.NetParameter()
    param.layer.add(name="data", type="Input", top=("data",)).input_param.shape.add(dim=(2, 400))
    drop_connect(Stack(param, gaussian(1)), "x", 50, 0.5)
    (tmp_path / "net.prototxt").write_text(str(param))
    net = Net.from_file(str(tmp_path / "net.prototxt"), caffe_pb2.TRAIN)
    net.forward(data=np.ones((2, 400), np.float32))
    kept = net.blobs["x_weighted_drop"].data
    weights = np.array(net.params["x_weighted"][0].data)
    assert kept.shape == (2, 50, 400)
    for mask in kept != 0:
        assert abs(mask.mean() - 0.5) < 0.02  # 20,000 draws: five standard errors
    assert abs(((kept[0] != 0) == (kept[1] != 0)).mean() - 0.5) < 0.02
    np.testing.assert_allclose(kept, np.where(kept != 0, 2 * weights, 0), rtol=1e-6)


@pytest.mark.parametrize("tree", [True, False])
def test_learned_pooling_sees_the_windows_that_pooling_sees(tmp_path: Path, tree: bool) -> None:
    images, values, weights = computed(lambda net: learned_pool(net, "x", 4, tree=tree), tmp_path)
    gate = weights["x_gate_windows"][0][0, 0]
    expected = np.empty((2, 4, 3, 3))  # ⌈(7 − 3) / 2⌉ + 1 and ⌈(6 − 3) / 2⌉ + 1
    for row, column in np.ndindex(3, 3):
        window = images[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        seen = (slice(0, window.shape[2]), slice(0, window.shape[3]))
        opened = sigmoid((window * gate[seen]).sum((2, 3)))
        if tree:
            leaves = weights["x_leaves_windows"][0][:, 0]
            left, right = ((window * leaf[seen]).sum((2, 3)) for leaf in leaves)
        else:
            left, right = window.max((2, 3)), window.mean((2, 3))
        expected[:, :, row, column] = opened * left + (1 - opened) * right
    close(values, expected)


def test_a_highway_layer_passes_on_what_its_gate_holds_back(tmp_path: Path) -> None:
    images, values, weights = computed(lambda net: highway_layer(net, "x", 4), tmp_path)
    (w, b), (w_gate, b_gate) = weights["x_transform"], weights["x_gate"]
    transform = np.maximum(convolved(images, w) + channelwise(b), 0)
    gate = sigmoid(convolved(images, w_gate) + channelwise(b_gate))
    close(values, gate * transform + (1 - gate) * images)


def test_a_maxout_unit_is_the_largest_of_its_pieces(tmp_path: Path) -> None:
    images, values, weights = computed(lambda net: convolve(net, "x", 3, 3, 1), tmp_path)
    w, b = weights["x_pieces"]
    linear = convolved(images, w) + channelwise(b)
    close(values, np.maximum(linear[:, :3], linear[:, 3:]))
    images, values, weights = computed(lambda net: connect(net, "x", 3), tmp_path)
    w, b = weights["x_pieces"]
    close(values, (images.reshape(2, -1) @ w.T + b).reshape(2, 5, 3).max(1))


def test_shortcut_a_takes_every_second_place_and_adds_channels_of_zeros(tmp_path: Path) -> None:
    images, values, _ = computed(lambda net: halve(net, "x", "data"), tmp_path)
    half = images[:, :, ::2, ::2]
    close(values, np.concatenate([half, np.zeros_like(half)], axis=1))


def test_a_recurrent_layer_reads_its_own_output_three_times(tmp_path: Path) -> None:
    """Of sixteen maps, each is normalized with its two neighbours."""
    images, values, weights = computed(lambda net: recurrent_layer(net, "x", 16), tmp_path)
    recur = [weights[f"x_recur_{t}"][0] for t in (1, 2, 3)]
    assert (recur[0] == recur[1]).all()
    assert (recur[0] == recur[2]).all()
    w, b = weights["x_feed"]
    feed = convolved(images, w) + channelwise(b)

    def normalized(x: Array) -> Array:
        squares = np.pad(np.maximum(x, 0) ** 2, ((0, 0), (1, 1), (0, 0), (0, 0)))
        around = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
        return np.maximum(x, 0) / (1 + 0.001 / 3 * around) ** 0.75

    state = normalized(feed)
    for _ in range(3):
        state = normalized(feed + convolved(state, recur[0]))
    close(values, state)
