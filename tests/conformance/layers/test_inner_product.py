"""InnerProduct, Embed and Parameter beside real Caffe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_torch.log import FatalError
from tests.conformance.layers.judge import Case, Judge, layer, normal
from tests.conformance.layers.unforced import UnforcedCase

pytestmark = pytest.mark.conformance

GAUSS = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "gaussian" std: 0.5 }'


def product(a: str, b: str, top: str) -> str:
    """The text of a layer that multiplies two blobs."""
    params = "eltwise_param { operation: PROD }"
    return layer("Eltwise", params, f"{a} {b}", top).replace('"l"', '"product"')


def inner_product(params: str, shape: tuple[int, ...]) -> Case:
    """A case with random weights."""
    text = layer("InnerProduct", f"inner_product_param {{ {params} {GAUSS} }}")
    return Case("InnerProduct", text, {"x": normal(*shape)})


@pytest.mark.parametrize(
    "params",
    [
        "num_output: 5",
        "num_output: 5 bias_term: false",
        "num_output: 5 transpose: true",
        "num_output: 5 axis: 2",
        "num_output: 5 axis: -1",
        "num_output: 5 axis: -2 transpose: true",
        "num_output: 5 axis: 0",
    ],
)
def test_inner_product(judge: Judge, params: str) -> None:
    judge.check(inner_product(params, (2, 6, 9, 7)))


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    axis=st.integers(-5, 4),
    outputs=st.integers(2, 6),
    transpose=st.booleans(),
    bias=st.booleans(),
)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_inner_products_of_any_shape(
    judge: Judge, shape: list[int], axis: int, outputs: int, transpose: bool, bias: bool
) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    params = f"num_output: {outputs} axis: {axis} transpose: {transpose} bias_term: {bias}".lower()
    judge.check(inner_product(params, tuple(shape)))


def test_two_layers_learn_one_matrix(judge: Judge) -> None:
    shared = 'param { name: "w" } param { name: "b" } '
    shared += f"inner_product_param {{ num_output: 12 {GAUSS} }}"
    first = layer("InnerProduct", shared, tops="h")
    second = layer("InnerProduct", shared, "h").replace('name: "l"', 'name: "m"')
    judge.check(Case("InnerProduct", first + second, {"x": normal(3, 2, 6)}))


# Embed: real Caffe aborts where a gradient to the indices is asked for.


def embed(params: str, shape: tuple[int, ...], rows: int) -> Case:
    """Rows of random weights, times z, summed: a weight's gradient is the sum of its z's."""
    outputs = 4
    text = layer(
        "Embed", f"embed_param {{ input_dim: {rows} num_output: {outputs} {params} {GAUSS} }}",
        tops="e",
    )  # fmt: skip
    text += product("e", "z", "p")
    text += 'layer { name: "s" type: "Reduction" bottom: "p" top: "loss" loss_weight: 0.7 }'
    index = np.random.default_rng(0).integers(0, rows, shape).astype(np.float32)
    return UnforcedCase("Embed", text, {"x": index, "z": normal(*shape, outputs) + 2})


@pytest.mark.parametrize("params", ["", "bias_term: false"])
@pytest.mark.parametrize("shape", [(6,), (2, 1), (3, 2, 4)])
def test_embed(judge: Judge, params: str, shape: tuple[int, ...]) -> None:
    judge.check(embed(params, shape, 5))


def test_an_index_is_cut_to_an_integer(judge: Judge) -> None:
    case = embed("", (3, 2), 5)
    case.inputs["x"][...] += np.float32(0.75)
    judge.check(case)


@pytest.mark.parametrize("index", [-1, 5, np.nan])
def test_an_index_without_a_row_is_told(judge: Judge, index: float) -> None:
    """Real Caffe reads past its weights."""
    case = embed("", (3, 2), 5)
    case.inputs["x"][1, 0] = index
    with pytest.raises(FatalError, match=r"indices run from .*, but layer 'l' has rows 0 to 4"):
        judge.check(case)


def test_a_parameter_layer_gives_a_learned_blob(judge: Judge) -> None:
    """Its blob is that of the layer above, by name, which a filler has filled."""
    text = layer(
        "InnerProduct",
        f'param {{ name: "w" }} inner_product_param {{ num_output: 5 {GAUSS} }}',
        tops="h",
    )
    text += 'layer { name: "w" type: "Parameter" top: "w" param { name: "w" } '
    text += "parameter_param { shape { dim: 5 dim: 6 } } }"
    text += product("w", "z", "y")
    text += 'layer { name: "q" type: "Reduction" bottom: "h" top: "y1" }'
    judge.check(Case("Parameter", text, {"x": normal(2, 6) + 2, "z": normal(5, 6)}))
