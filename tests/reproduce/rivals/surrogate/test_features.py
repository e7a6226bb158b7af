"""An architecture as numbers, against numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    Dropout,
    Layer,
    Pooling,
    Softmax,
    parse,
)
from reproduce.rivals.surrogate.features import DEPTH, LOG_PARAMETERS, coverage, features

LAYERS: st.SearchStrategy[Layer] = st.one_of(
    st.builds(Convolution, st.sampled_from([64, 512]), st.sampled_from([1, 3, 5]), st.just(1)),
    st.just(Pooling(2, 2)),
)


def test_depth_and_parameters_of_a_net_counted_by_hand() -> None:
    row = features(parse("[C(64,3,1), P(2,2), FC(128), SM(10)]"))
    parameters = (64 * 3 * 9 + 64) + (128 * 64 * 16 * 16 + 128) + (10 * 128 + 10)
    assert row[DEPTH] == 3
    assert row[LOG_PARAMETERS] == pytest.approx(math.log(parameters))


@pytest.mark.parametrize(
    ("size", "image", "share"),
    [(1, 1, 1.0), (3, 1, 1 / 3), (5, 1, 1 / 5), (3, 2, 2 / 3), (3, 3, 7 / 9), (5, 2, 2 / 5)],
)
def test_the_share_of_a_padded_kernel_that_lies_on_the_image(
    size: int, image: int, share: float
) -> None:
    assert coverage(size, image) == pytest.approx(share)


@given(st.lists(LAYERS, max_size=5), st.data())
def test_features_are_finite_as_many_for_every_net_and_the_same_with_dropout(
    layers: list[Layer], data: st.DataObject
) -> None:
    row = features(Architecture((*layers, Softmax(10))))
    assert np.isfinite(row).all()
    assert row.shape == features(parse("[SM(10)]")).shape
    at = data.draw(st.integers(0, len(layers)))
    dropped = Architecture((*layers[:at], Dropout(1, 2), *layers[at:], Softmax(10)))
    np.testing.assert_array_equal(features(dropped), row)


def test_nets_of_the_same_layers_in_another_order_differ() -> None:
    one = features(parse("[C(64,3,1), C(512,5,1), C(128,1,1), P(2,2), C(64,3,1), SM(10)]"))
    other = features(parse("[C(64,3,1), P(2,2), C(512,5,1), C(128,1,1), C(64,3,1), SM(10)]"))
    assert (one != other).any()
