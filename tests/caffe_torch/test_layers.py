"""Layers against closed forms; tests/conformance compares all of them with real Caffe."""

import math
import re
from collections.abc import Callable

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caffe_torch.log import FatalError
from caffe_torch.net import Net

X = 'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {} }} }} }} '


def _input(*shape: int) -> str:
    return X.format(" ".join(f"dim: {dim}" for dim in shape))


def test_dropout_keeps_the_mean_in_training_and_does_nothing_in_testing(
    make_net: Callable[..., Net],
) -> None:
    text = _input(1000, 100) + (
        'layer { name: "d" type: "Dropout" bottom: "x" top: "y" '
        "dropout_param { dropout_ratio: 0.3 } }"
    )
    x = np.ones((1000, 100), np.float32)
    y = make_net(text).forward(x=x)["y"]
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    deviation = math.sqrt(0.3 * 0.7 / y.size)
    assert (y == 0).mean() == pytest.approx(0.3, abs=5 * deviation)
    tested = make_net(text, caffe_pb2.TEST).forward(x=x)["y"]
    np.testing.assert_array_equal(tested, x)


ELU_DROPOUT = (
    "force_backward: true "
    + _input(4, 50)
    + 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param '
    '{ num_output: 40 weight_filler { type: "xavier" } } } '
    'layer { name: "elu" type: "ELU" bottom: "fc" top: "fc" } '
    'layer { name: "drop" type: "Dropout" bottom: "fc" top: "TOP" } '
    'layer { name: "out" type: "InnerProduct" bottom: "TOP" top: "y" inner_product_param '
    '{ num_output: 3 weight_filler { type: "xavier" } } }'
)


def test_dropout_in_place_on_an_elu_has_the_gradient_of_dropout_with_its_own_top(
    make_net: Callable[..., Net], capsys: pytest.CaptureFixture[str]
) -> None:
    """Documented deviation: real Caffe gets this wrong; one line says so."""
    x = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    gradients = []
    for top in ("fc", "drop"):
        net = make_net(ELU_DROPOUT.replace("TOP", top), seed=3)
        net.forward(x=x)
        net.backward(y=np.ones((4, 3), np.float32))
        gradients.append((net.blobs["x"].diff.copy(), net.params["fc"][0].diff.copy()))
        warnings = re.findall(r"^W.*Layer drop works in place.*ELU", capsys.readouterr().err, re.M)
        assert len(warnings) == (top == "fc")
    for ours, expected in zip(*gradients, strict=True):
        np.testing.assert_array_equal(ours, expected)


@given(st.integers(1, 20), st.integers(1, 7), st.integers(1, 5), st.integers(0, 6), st.booleans())
def test_pooling_sizes_and_values(
    length: int, kernel: int, stride: int, pad: int, largest: bool
) -> None:
    """Caffe's size rule, and each window's value taken directly, along one axis."""
    assume(pad < kernel)
    windows = math.ceil((length + 2 * pad - kernel) / stride) + 1
    if pad and (windows - 1) * stride >= length + pad:
        windows -= 1
    assume(windows > 0)
    text = _input(1, 1, length, 1) + (
        f'layer {{ name: "p" type: "Pooling" bottom: "x" top: "y" pooling_param {{ '
        f"pool: {'MAX' if largest else 'AVE'} kernel_h: {kernel} kernel_w: 1 "
        f"stride_h: {stride} stride_w: 1 pad_h: {pad} pad_w: 0 }} }}"
    )
    x = np.random.default_rng(length).normal(size=length).astype(np.float32)
    y = _build(text).forward(x=x.reshape(1, 1, length, 1))["y"]
    assert y.shape == (1, 1, windows, 1)
    for i in range(windows):
        start = i * stride - pad
        end = min(start + kernel, length + pad)
        inside = x[max(start, 0) : min(end, length)]
        if len(inside):
            expected = inside.max() if largest else inside.sum() / (end - start)
            assert y[0, 0, i, 0] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def _build(text: str) -> Net:
    from google.protobuf import text_format

    from caffe_torch.runtime import Runtime

    param = text_format.Parse(text, caffe_pb2.NetParameter())
    return Net(param, Runtime.create(1))


LOSS = (
    _input(2, 3)
    + _input(2).replace('"x"', '"n"')
    + 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "n" top: "loss" } '
    'layer { name: "a" type: "Accuracy" bottom: "x" bottom: "n" top: "accuracy" }'
)


def test_a_net_of_nans_scores_one_and_equal_scores_score_zero(
    make_net: Callable[..., Net],
) -> None:
    net = make_net(LOSS)
    labels = np.array([0, 2], np.float32)
    nans = net.forward(x=np.full((2, 3), np.nan, np.float32), n=labels)
    assert np.isnan(nans["loss"])
    assert nans["accuracy"] == 1
    equal = net.forward(x=np.zeros((2, 3), np.float32), n=labels)
    assert equal["loss"] == pytest.approx(math.log(3))
    assert equal["accuracy"] == 0


def test_a_label_out_of_range_is_told(make_net: Callable[..., Net]) -> None:
    with pytest.raises(FatalError, match=r"labels run from 0 to 3, but layer 'l' has 3 classes"):
        make_net(LOSS).forward(x=np.zeros((2, 3), np.float32), n=np.array([0, 3], np.float32))


def test_gradients_add_up_until_cleared(make_net: Callable[..., Net]) -> None:
    text = _input(2, 3) + _input(2).replace('"x"', '"n"')
    text += 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param '
    text += '{ num_output: 3 weight_filler { type: "xavier" } } } '
    text += 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "y" bottom: "n" top: "loss" }'
    net = make_net(text)
    net.forward(x=np.eye(2, 3, dtype=np.float32), n=np.array([0, 1], np.float32))
    net.backward()
    once = net.params["fc"][0].diff.copy()
    net.backward()
    np.testing.assert_allclose(net.params["fc"][0].diff, 2 * once)
    net.clear_param_diffs()
    assert not net.params["fc"][0].diff.any()
    assert once.any()
