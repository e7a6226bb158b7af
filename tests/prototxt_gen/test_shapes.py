"""Caffe's shape and parameter arithmetic."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prototxt_gen.notation import parse
from prototxt_gen.shapes import (
    GapForm,
    Padding,
    ShapeError,
    convolution_size,
    costs,
    pooling_size,
    total_cost,
)


@given(st.integers(1, 64), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4))
def test_pooling_covers_the_image_and_convolution_stays_inside(
    size: int, kernel: int, stride: int, pad: int
) -> None:
    if kernel > size + 2 * pad or pad >= kernel:
        return
    inside = convolution_size(size, kernel, stride, pad)
    assert (inside - 1) * stride + kernel <= size + 2 * pad < inside * stride + kernel
    out = pooling_size(size, kernel, stride, pad)
    last_start = (out - 1) * stride - pad
    if stride <= kernel:
        assert last_start < size  # the last window has at least one pixel of the image
    if pad == 0:
        assert out == math.ceil((size - kernel) / stride) + 1


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "out"),
    [(32, 3, 2, 16), (16, 5, 3, 5), (28, 5, 3, 9), (9, 2, 2, 5)],
)
def test_pooling_rounds_up(size: int, kernel: int, stride: int, out: int) -> None:
    assert pooling_size(size, kernel, stride) == out


def test_parameters_and_macs_of_a_small_chain_by_hand() -> None:
    cost = total_cost(parse("[C(4,3,1), P(2,2), FC(5), SM(2)]"), (1, 6, 6))
    assert cost.weights == 4 * 9 + 5 * 4 * 9 + 2 * 5
    assert cost.biases == 4 + 5 + 2
    assert cost.macs == 4 * 9 * 36 + 5 * 36 + 10


def test_global_average_pooling_in_both_forms() -> None:
    chain = parse("[C(4,1,1), GAP(10), SM(10)]")
    paper = total_cost(chain, (1, 8, 8), gap=GapForm.PAPER)
    released = total_cost(chain, (1, 8, 8), gap=GapForm.RELEASED)
    assert paper.parameters == 8 + 50
    assert released.parameters == 8 + 50 + 110


def test_a_layer_that_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"P\(5,3\) does not fit its input of 4×3×3"):
        list(costs(parse("[C(4,3,1), P(5,3), SM(10)]"), (1, 5, 5), Padding.VALID))


def test_every_row_of_the_published_tables_has_its_exact_count(reference: Path) -> None:
    with (reference / "paper" / "table_params.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 30
    for row in rows:
        first_mnist = row["dataset"] == "mnist" and row["source"] == "v1"
        image = (1, 28, 28) if row["dataset"] == "mnist" else (3, 32, 32)
        padding = Padding.VALID if first_mnist else Padding.SAME
        cost = total_cost(parse(row["arch"]), image, padding, GapForm.RELEASED)
        assert cost.parameters == int(row["exact_caffe_total(weights+bias,ceil)"]), row["arch"]
