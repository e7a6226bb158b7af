"""Split, Silence, Concat, Slice and Eltwise beside real Caffe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.layers.judge import Array, Case, Judge, layer, normal

pytestmark = pytest.mark.conformance

IMAGES = (2, 6, 9, 7)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5)
NAMES = ("x", "z", "u")


def inputs(*shapes: tuple[int, ...]) -> dict[str, Array]:
    """Blobs x, z, u of these shapes."""
    return {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(zip(NAMES, shapes))}  # noqa: B905


def test_a_blob_read_twice_is_split_and_its_gradients_add_up(judge: Judge) -> None:
    text = (
        'layer { name: "p" type: "Power" bottom: "x" top: "c" power_param { scale: 2 shift: 1 } }'
        'layer { name: "a" type: "TanH" bottom: "c" top: "a" }'
        'layer { name: "b" type: "ELU" bottom: "c" top: "b" }'
        'layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }'
    )
    judge.check(Case("Split", text, inputs(IMAGES)))


def test_a_split_layer_may_be_written(judge: Judge) -> None:
    judge.check(Case("Split", layer("Split", tops="y y1 y2"), inputs(IMAGES)))


def test_silence_hides_outputs_and_gives_no_gradient(judge: Judge) -> None:
    text = (
        layer("Split", tops="y hidden")
        + 'layer { name: "s" type: "Silence" bottom: "hidden" bottom: "z" }'
    )
    net = judge.check(Case("Silence", text, inputs(IMAGES, IMAGES)))
    assert net.outputs == ["y"]


@pytest.mark.parametrize("params", ["", "axis: 2", "axis: -4", "concat_dim: 1"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_concat(judge: Judge, params: str, n: int) -> None:
    text = layer("Concat", f"concat_param {{ {params} }}", " ".join(NAMES[:n]))
    judge.check(Case("Concat", text, inputs(*[IMAGES] * n)))


@given(SHAPES, st.integers(-5, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_concats_of_any_lengths(
    judge: Judge, shape: list[int], axis: int, lengths: list[int]
) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    shapes = []
    for length in lengths:
        shape[axis] = length
        shapes.append(tuple(shape))
    text = layer("Concat", f"concat_param {{ axis: {axis} }}", " ".join(NAMES[: len(lengths)]))
    judge.check(Case("Concat", text, inputs(*shapes)))


@pytest.mark.parametrize(
    ("params", "tops"),
    [
        ("", "y y1"),
        ("", "y y1 y2"),
        ("slice_point: 1 slice_point: 4", "y y1 y2"),
        ("axis: 2", "y y1 y2"),
        ("axis: -1 slice_point: 3", "y y1"),
        ("slice_dim: 1 slice_point: 5", "y y1"),
        ("axis: 0", "y y1"),
        ("", "y"),
    ],
)
def test_slice(judge: Judge, params: str, tops: str) -> None:
    text = layer("Slice", f"slice_param {{ {params} }}", tops=tops)
    judge.check(Case("Slice", text, inputs(IMAGES)))


@given(SHAPES, st.integers(-5, 4), st.lists(st.integers(1, 3), min_size=2, max_size=4))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_slices_of_any_lengths(
    judge: Judge, shape: list[int], axis: int, lengths: list[int]
) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    shape[axis] = sum(lengths)
    points = " ".join(f"slice_point: {point}" for point in np.cumsum(lengths)[:-1])
    tops = " ".join(["y", "y1", "y2", "y3"][: len(lengths)])
    text = layer("Slice", f"slice_param {{ axis: {axis} {points} }}", tops=tops)
    judge.check(Case("Slice", text, inputs(tuple(shape))))


def test_an_activation_in_place_on_a_slice_leaves_the_whole_as_it_was(judge: Judge) -> None:
    text = layer("Slice", tops="y y1") + 'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }'
    judge.check(Case("Slice", text, inputs(IMAGES)))


ELTWISE = [
    "",
    "operation: SUM coeff: 0.5 coeff: -2 coeff: 1",
    "operation: PROD",
    "operation: PROD stable_prod_grad: false",
    "operation: MAX",
]


@pytest.mark.parametrize("params", ELTWISE)
def test_eltwise(judge: Judge, params: str) -> None:
    text = layer("Eltwise", f"eltwise_param {{ {params} }}", "x z u")
    judge.check(Case("Eltwise", text, inputs(IMAGES, IMAGES, IMAGES)))


@given(SHAPES, st.sampled_from(ELTWISE[:1] + ELTWISE[2:]), st.integers(2, 3))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_eltwises_of_any_shape(judge: Judge, shape: list[int], params: str, n: int) -> None:
    text = layer("Eltwise", f"eltwise_param {{ {params} }}", " ".join(NAMES[:n]))
    judge.check(Case("Eltwise", text, inputs(*[tuple(shape)] * n)))


@pytest.mark.parametrize("params", ELTWISE[2:])
def test_eltwise_at_zeros_and_ties(judge: Judge, params: str) -> None:
    """Values of −1, 0 and 1 only: a maximum has one winner; a divided product's gradient is NaN."""
    values = {name: array.round().clip(-1, 1) for name, array in inputs(*[IMAGES] * 3).items()}
    text = layer("Eltwise", f"eltwise_param {{ {params} }}", "x z u")
    judge.check(Case("Eltwise", text, values))


@pytest.mark.parametrize("name", NAMES)
def test_the_maximum_where_one_is_not_a_number(judge: Judge, name: str) -> None:
    values = inputs(*[IMAGES] * 3)
    values[name][:, ::2] = np.nan
    text = layer("Eltwise", "eltwise_param { operation: MAX }", "x z u")
    judge.check(Case("Eltwise", text, values))
