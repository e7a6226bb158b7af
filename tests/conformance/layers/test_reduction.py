"""Reduction, ArgMax and Softmax beside real Caffe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.layers.judge import Case, Judge, layer, normal

pytestmark = pytest.mark.conformance

IMAGES = (2, 6, 9, 7)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5)
OPERATIONS = ("SUM", "ASUM", "SUMSQ", "MEAN")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("params", ["", "axis: 1", "axis: -1 coeff: -0.3", "axis: 2 coeff: 2"])
def test_reduction(judge: Judge, operation: str, params: str) -> None:
    text = layer("Reduction", f"reduction_param {{ operation: {operation} {params} }}")
    judge.check(Case("Reduction", text, {"x": normal(*IMAGES) + 2}))


@given(SHAPES, st.sampled_from(OPERATIONS), st.integers(-5, 4), st.sampled_from([1, -0.3, 2]))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_reductions_of_any_axes(
    judge: Judge, shape: list[int], operation: str, axis: int, coeff: float
) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    params = f"operation: {operation} axis: {axis} coeff: {coeff}"
    text = layer("Reduction", f"reduction_param {{ {params} }}")
    judge.check(Case("Reduction", text, {"x": normal(*shape) + 2}))


def test_the_sum_of_sizes_has_no_gradient_at_zero(judge: Judge) -> None:
    text = layer("Reduction", "reduction_param { operation: ASUM axis: 1 }")
    judge.check(Case("Reduction", text, {"x": normal(*IMAGES).round().clip(-1, 1)}))


ARGMAX = [
    "",
    "top_k: 5",
    "out_max_val: true",
    "top_k: 3 out_max_val: true",
    "axis: 1",
    "axis: 2 top_k: 4",
    "axis: -1 top_k: 2 out_max_val: true",
    "axis: 0",
]


@pytest.mark.parametrize("params", ARGMAX)
@pytest.mark.parametrize("tied", [False, True])
def test_argmax(judge: Judge, params: str, tied: bool) -> None:
    """Real Caffe has no backward pass."""
    x = normal(*IMAGES).round() if tied else normal(*IMAGES)
    text = layer("ArgMax", f"argmax_param {{ {params} }}")
    judge.check(Case("ArgMax", text, {"x": x}, backward=False))


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 4), (2, 3, 2, 3, 2)])
def test_argmax_of_other_ranks(judge: Judge, shape: tuple[int, ...]) -> None:
    text = layer("ArgMax", "argmax_param { top_k: 3 out_max_val: true }")
    judge.check(Case("ArgMax", text, {"x": normal(*shape)}, backward=False))


@given(SHAPES, st.data(), st.booleans())
@settings(deadline=None, max_examples=15, derandomize=True)
def test_argmaxes_of_any_axis(
    judge: Judge, shape: list[int], data: st.DataObject, values: bool
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    params = f"axis: {axis} top_k: {k} out_max_val: {values}".lower()
    text = layer("ArgMax", f"argmax_param {{ {params} }}")
    judge.check(Case("ArgMax", text, {"x": normal(*shape).round(1)}, backward=False))


@pytest.mark.parametrize("params", ["", "axis: 2", "axis: -1", "axis: 0"])
def test_softmax(judge: Judge, params: str) -> None:
    judge.check(
        Case("Softmax", layer("Softmax", f"softmax_param {{ {params} }}"), {"x": normal(*IMAGES)})
    )


@given(SHAPES, st.integers(-5, 4), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_softmaxes_of_any_axis(judge: Judge, shape: list[int], axis: int, scale: int) -> None:
    """At least two values each: of one, the gradient is 0 and all that is computed is rounding."""
    axis = max(-len(shape), min(axis, len(shape) - 1))
    shape[axis] += 1
    text = layer("Softmax", f"softmax_param {{ axis: {axis} }}")
    judge.check(Case("Softmax", text, {"x": normal(*shape, scale=scale)}))


def test_softmax_of_scores_too_large_for_exp(judge: Judge) -> None:
    x = normal(4, 5, scale=300)
    x[0] = np.float32(1e30)
    judge.check(Case("Softmax", layer("Softmax"), {"x": x}))
