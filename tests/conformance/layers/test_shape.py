"""Flatten, Reshape, Crop, Tile, BatchReindex and Filter beside real Caffe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_torch.log import FatalError
from tests.conformance.layers.judge import Case, Judge, layer, normal
from tests.conformance.layers.unforced import UnforcedCase

pytestmark = pytest.mark.conformance

IMAGES = (2, 6, 9, 7)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@pytest.mark.parametrize(
    "params", ["", "axis: 2 end_axis: 3", "axis: 0", "axis: -3 end_axis: -2", "axis: 2 end_axis: 1"]
)
def test_flatten(judge: Judge, params: str) -> None:
    text = layer("Flatten", f"flatten_param {{ {params} }}")
    judge.check(Case("Flatten", text, {"x": normal(*IMAGES)}))


@pytest.mark.parametrize(
    "params",
    [
        "shape { dim: 0 dim: -1 }",
        "shape { dim: -1 }",
        "shape { dim: 1 dim: 0 dim: 0 dim: -1 dim: 7 }",
        "shape { dim: 3 dim: 2 } axis: 1 num_axes: 1",
        "shape { dim: -1 dim: 3 } axis: 2 num_axes: 1",
        "shape { dim: -1 } axis: -3 num_axes: 2",
        "shape { dim: 1 } axis: -1",
        "shape { dim: 1 } axis: 2 num_axes: 0",
        "shape { dim: 0 dim: -1 } axis: 1",
    ],
)
def test_reshape(judge: Judge, params: str) -> None:
    text = layer("Reshape", f"reshape_param {{ {params} }}")
    judge.check(Case("Reshape", text, {"x": normal(*IMAGES)}))


@given(SHAPES, st.data())
@settings(deadline=None, max_examples=15, derandomize=True)
def test_reshapes_of_any_axes(judge: Judge, shape: list[int], data: st.DataObject) -> None:
    """Some axes become one dimension, written as a number, as −1 or, for one axis, as 0."""
    start = data.draw(st.integers(0, len(shape)))
    axes = data.draw(st.integers(0, len(shape) - start))
    product = int(np.prod(shape[start : start + axes], dtype=int))
    dims = [product, -1] + [0] * (axes == 1)
    dim = data.draw(st.sampled_from(dims))
    axis = data.draw(st.sampled_from([start, start - len(shape) - 1]))
    params = f"shape {{ dim: {dim} }} axis: {axis} num_axes: {axes}"
    text = layer("Reshape", f"reshape_param {{ {params} }}")
    net = judge.check(Case("Reshape", text, {"x": normal(*shape)}))
    assert net.blobs["y"].shape == (*shape[:start], product, *shape[start + axes :])


@pytest.mark.parametrize(
    ("params", "like"),
    [
        ("", (2, 6, 4, 5)),
        ("offset: 2", (1, 1, 4, 5)),
        ("offset: 5 offset: 0", (2, 6, 4, 5)),
        ("axis: 1 offset: 1 offset: 2 offset: 3", (2, 3, 4, 2)),
        ("axis: 0 offset: 0", (1, 2, 3, 4)),
        ("axis: -1 offset: 3", (1, 1, 1, 4)),
    ],
)
def test_crop(judge: Judge, params: str, like: tuple[int, ...]) -> None:
    text = layer("Crop", f"crop_param {{ {params} }}", "x z")
    judge.check(Case("Crop", text, {"x": normal(*IMAGES), "z": normal(*like)}))


@given(SHAPES, st.data())
@settings(deadline=None, max_examples=15, derandomize=True)
def test_crops_of_any_part(judge: Judge, shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    like = [data.draw(st.integers(1, length)) for length in shape]
    offsets = [data.draw(st.integers(0, a - b)) for a, b in zip(shape, like, strict=True)]
    offsets = offsets[axis % len(shape) :]
    given_offsets = " ".join(f"offset: {offset}" for offset in offsets)
    text = layer("Crop", f"crop_param {{ axis: {axis} {given_offsets} }}", "x z")
    judge.check(Case("Crop", text, {"x": normal(*shape), "z": normal(*like)}))


@pytest.mark.parametrize(
    "params", ["tiles: 3", "tiles: 2 axis: 0", "tiles: 4 axis: -1", "tiles: 1"]
)
def test_tile(judge: Judge, params: str) -> None:
    text = layer("Tile", f"tile_param {{ {params} }}")
    judge.check(Case("Tile", text, {"x": normal(*IMAGES)}))


@given(SHAPES, st.integers(-5, 4), st.integers(1, 4))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_tiles_of_any_axis(judge: Judge, shape: list[int], axis: int, tiles: int) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    text = layer("Tile", f"tile_param {{ axis: {axis} tiles: {tiles} }}")
    judge.check(Case("Tile", text, {"x": normal(*shape)}))


# Real Caffe aborts where a gradient to an index or a selection is asked for.

WEIGHTS = (
    'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { '
    'num_output: 3 weight_filler { type: "gaussian" std: 0.5 } } } '
)
SQUARES = (
    'layer { name: "s" type: "Reduction" bottom: "y" top: "loss" loss_weight: 0.7 '
    "reduction_param { operation: SUMSQ } }"
)


@pytest.mark.parametrize("index", [[3, 0, 0, 2, 3, 3], [1], [0, 1, 2, 3]])
def test_batch_reindex(judge: Judge, index: list[int]) -> None:
    text = WEIGHTS + layer("BatchReindex", "", "fc i") + SQUARES
    inputs = {"x": normal(4, 5), "i": np.array(index, np.float32)}
    judge.check(UnforcedCase("BatchReindex", text, inputs))


@pytest.mark.parametrize(("index", "words"), [(-1, "negative"), (4, "greater than batch size")])
def test_an_index_without_an_item_is_told(judge: Judge, index: int, words: str) -> None:
    text = WEIGHTS + layer("BatchReindex", "", "fc i") + SQUARES
    inputs = {"x": normal(4, 5), "i": np.array([0, index], np.float32)}
    with pytest.raises(FatalError, match=rf"Index specified .* was {words}.*'l'"):
        judge.check(UnforcedCase("BatchReindex", text, inputs))


@pytest.mark.parametrize("chosen", [[1, 0, 1, 1], [0, 0, 0, 2], [1, 1, 1, 1], [-1, 0, 0.5, 0]])
@pytest.mark.parametrize("shape", [(4,), (4, 1, 1)])
def test_filter(judge: Judge, chosen: list[float], shape: tuple[int, ...]) -> None:
    text = WEIGHTS + layer("Filter", "", "fc z i", "y other") + SQUARES
    selection = np.array(chosen, np.float32).reshape(shape)
    judge.check(
        UnforcedCase("Filter", text, {"x": normal(4, 5), "z": normal(4, 2, 3), "i": selection})
    )
