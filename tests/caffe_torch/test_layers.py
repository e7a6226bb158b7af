"""Layers against closed forms; tests/conformance compares all of them with real Caffe."""

import math
import re
from collections.abc import Callable

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from hypothesis import assume, given, settings
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
@settings(deadline=None)
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


GAUSS = 'weight_filler { type: "gaussian" }'
FOLLOWED = {
    "Convolution": ("", f"convolution_param {{ num_output: 4 kernel_size: 3 {GAUSS} }}"),
    "Convolution of an axis": (
        "", f"convolution_param {{ axis: 2 num_output: 4 kernel_size: 3 {GAUSS} }}"
    ),
    "Deconvolution": ("", f"convolution_param {{ num_output: 4 kernel_size: 3 {GAUSS} }}"),
    "Im2col": ("", "convolution_param { kernel_size: 3 }"),
    "Pooling MAX": ("", "pooling_param { kernel_size: 3 stride: 2 }"),
    "Pooling AVE": ("", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
    "Pooling AVE padded": ("", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }"),
    "Pooling STOCHASTIC": ("", "pooling_param { pool: STOCHASTIC kernel_size: 3 }"),
    "SPP": ("", "spp_param { pyramid_height: 1 }"),
    "InnerProduct": ("", f"inner_product_param {{ num_output: 4 {GAUSS} }}"),
    "InnerProduct of an axis": ("", f"inner_product_param {{ axis: 2 num_output: 4 {GAUSS} }}"),
    "Tile": ("", "tile_param { tiles: 1 }"),
    "Concat": ("", ""),
    "Concat of two": ("z", ""),
    "Slice": ("", ""),
    "Split": ("", ""),
    "Flatten": ("", ""),
    "Reshape": ("", "reshape_param { shape { dim: -1 } }"),
    "Crop": ("z", "crop_param { axis: 3 }"),
    "Eltwise SUM": ("z", ""),
    "Eltwise MAX": ("z", "eltwise_param { operation: MAX }"),
    "Eltwise PROD": ("z", "eltwise_param { operation: PROD }"),
    "Eltwise divided PROD": ("z", "eltwise_param { operation: PROD stable_prod_grad: false }"),
    "Reduction": ("", "reduction_param { axis: 2 }"),
    "Softmax": ("", ""),
    "ReLU": ("", ""),
    "PReLU": ("", ""),
    "ELU": ("", ""),
    "Sigmoid": ("", ""),
    "TanH": ("", ""),
    "AbsVal": ("", ""),
    "BNLL": ("", ""),
    "Exp": ("", "exp_param { shift: -1 }"),
    "Log": ("", "log_param { scale: 0.01 shift: 2 }"),
    "Power": ("", "power_param { scale: 2 shift: 1 }"),
    "Power square": ("", "power_param { power: 2 shift: 1 }"),
    "LRN": ("", ""),
    "LRN within": ("", "lrn_param { norm_region: WITHIN_CHANNEL }"),
    "MVN": ("", ""),
    "MVN mean": ("", "mvn_param { normalize_variance: false }"),
    "BatchNorm": ("", ""),
    "BatchNorm of past batches": ("", "batch_norm_param { use_global_stats: true }"),
    "Scale": ("", 'scale_param { filler { type: "gaussian" } }'),
    "Scale with bias": ("", "scale_param { bias_term: true bias_filler { value: 0.5 } }"),
    "Scale by a bottom": ("z", "scale_param { axis: 0 }"),
    "Bias": ("", "bias_param { filler { value: 0.5 } }"),
    "Bias by a bottom": ("z", "bias_param { axis: 0 }"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLLOWED)
def test_a_relu_in_place_changes_no_gradient(kind: str, make_net: Callable[..., Net]) -> None:
    """In training, where it writes over what no gradient reads; the layer's bottom is kept."""
    other, params = FOLLOWED[kind]
    bottoms = 'bottom: "a"' + (' bottom: "z"' if other else "")
    text = (
        _input(2, 3, 8, 7)
        + _input(2, 3, 8, 7).replace('"x"', '"z"')
        + 'layer { name: "scale" type: "Convolution" bottom: "x" top: "a" convolution_param '
        f"{{ num_output: 3 kernel_size: 1 {GAUSS} }} }} "
        f'layer {{ name: "l" type: "{kind.split()[0]}" {bottoms} top: "y" {params} }} '
        'layer { name: "relu" type: "ReLU" bottom: "y" top: "TOP" } '
        'layer { name: "loss" type: "Reduction" bottom: "TOP" top: "loss" loss_weight: 1 '
        "reduction_param { operation: SUMSQ } }"
    )
    gradients = []
    for top in ("y", "r"):
        net = make_net(text.replace("TOP", top), seed=3)
        for name in "xz":
            net.blobs[name].data[...] = np.random.default_rng(0).normal(size=(2, 3, 8, 7)) + 1
        net.forward_backward()
        gradients.append([blob.diff.copy() for blobs in net.params.values() for blob in blobs])
        np.testing.assert_array_equal(net.blobs["x"].data, net.blobs["z"].data)
    assert any(gradient.any() for gradient in gradients[0])
    for ours, expected in zip(*gradients, strict=True):
        np.testing.assert_array_equal(ours, expected)


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


LABELLED = [
    "SoftmaxWithLoss", "InfogainLoss", "MultinomialLogisticLoss", "HingeLoss", "Accuracy"
]  # fmt: skip


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize(
    ("label", "told"),
    [
        (3, r"labels run from 0 to 3, but layer 'l' has 3 classes"),
        (-1, r"labels run from -1 to 0, but layer 'l' has 3 classes"),
        (1.5, r"labels are whole numbers, but one is 1\.5 \(layer 'l'\)"),
        (np.nan, r"labels are whole numbers, but one is nan \(layer 'l'\)"),
    ],
)
def test_a_label_that_is_no_class_is_told(
    kind: str, label: float, told: str, make_net: Callable[..., Net]
) -> None:
    """On the CPU, where real Caffe reads beyond its memory."""
    text = _labelled(kind)
    with pytest.raises(FatalError, match=told):
        make_net(text).forward(n=np.array([0, label], np.float32))


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "InfogainLoss", "Accuracy"])
def test_an_ignored_label_need_not_be_a_class(kind: str, make_net: Callable[..., Net]) -> None:
    """The other labels must be."""
    group = "accuracy_param" if kind == "Accuracy" else "loss_param"
    net = make_net(_labelled(kind, f"{group} {{ ignore_label: -1 }}"))
    net.forward(n=np.array([0, -1], np.float32))
    with pytest.raises(FatalError, match="labels run from 0 to 7"):
        net.forward(n=np.array([7, -1], np.float32))


def _labelled(kind: str, params: str = "") -> str:
    """A layer over two rows of three scores, blob x, and two labels, blob n."""
    matrix = 'bottom: "m" ' if kind == "InfogainLoss" else ""
    return (
        _input(2, 3)
        + _input(2).replace('"x"', '"n"')
        + _input(3, 3).replace('"x"', '"m"')
        + f'layer {{ name: "l" type: "{kind}" bottom: "x" bottom: "n" {matrix} top: "y" {params} }}'
    )


REFUSED = {
    "Euclidean sizes": ("EuclideanLoss", (4, 3), (4, 2), "Inputs must have the same dimension"),
    "Euclidean items": ("EuclideanLoss", (4, 3), (2, 3), "the same first dimension"),
    "sigmoid count": ("SigmoidCrossEntropyLoss", (4, 3), (4,), "must have the same count"),
    "hinge axes": ("HingeLoss", (4, 1, 1, 1, 3), (4,), "Blobs with > 4 axes"),
    "multinomial labels": ("MultinomialLogisticLoss", (4, 3), (4, 2), r"bottom\[1\]->channels"),
    "softmax labels": ("SoftmaxWithLoss", (4, 3), (4, 2), "softmax axis == 1"),
    "no infogain matrix": ("InfogainLoss", (4, 3), (4,), "matrix source must be specified"),
    "scale of another size": ("Scale", (4, 3), (4,), r"bottom\[0\]->shape\(1\) and scale"),
    "bias beyond the axes": ("Bias", (4, 3), (3, 1), "bias blob's shape extends past"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bottoms_that_do_not_fit_are_refused(case: str, make_net: Callable[..., Net]) -> None:
    """In real Caffe's words, with the layer's name."""
    kind, first, second, told = REFUSED[case]
    text = _input(*first) + _input(*second).replace('"x"', '"z"')
    text += f'layer {{ name: "l" type: "{kind}" bottom: "x" bottom: "z" top: "y" }}'
    with pytest.raises(FatalError, match=rf"{told}.*'l'"):
        make_net(text)


CONTRASTIVE = {
    "channels": ((4, 3), (4, 2), (4,), r"bottom\[0\]->channels"),
    "height": ((4, 3, 2), (4, 3, 2), (4,), r"bottom\[0\]->height"),
    "labels": ((4, 3), (4, 3), (4, 2), r"bottom\[2\]->channels"),
    "too few labels": ((4, 3), (4, 3), (3,), "a label for each pair"),
}


@pytest.mark.parametrize("case", CONTRASTIVE)
def test_pairs_that_do_not_fit_are_refused(case: str, make_net: Callable[..., Net]) -> None:
    *shapes, told = CONTRASTIVE[case]
    inputs = [
        _input(*shape).replace('"x"', f'"{n}"') for n, shape in zip("xzn", shapes, strict=True)
    ]
    text = "".join(inputs) + 'layer { name: "l" type: "ContrastiveLoss" bottom: "x" bottom: "z" '
    with pytest.raises(FatalError, match=rf"{told}.*'l'"):
        make_net(text + 'bottom: "n" top: "y" }')


@pytest.mark.parametrize(
    ("kind", "params", "told"),
    [
        ("Exp", "exp_param { base: 0 }", "base must be strictly positive"),
        ("Log", "log_param { base: -2 }", "base must be strictly positive"),
        ("Log", "log_param { base: 1 }", "Inf result"),
        ("Dropout", "dropout_param { dropout_ratio: 1 }", "dropout_ratio"),
        ("LRN", "lrn_param { local_size: 4 }", "only supports odd values for local_size"),
        ("Scale", "scale_param { num_axes: -2 }", "num_axes must be non-negative, or -1"),
        ("Bias", "bias_param { axis: 1 num_axes: 2 }", "bias blob's shape extends past"),
        ("InfogainLoss", 'bottom: "x" infogain_loss_param { source: "none" }', "none"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    kind: str, params: str, told: str, make_net: Callable[..., Net]
) -> None:
    text = f'{_input(4, 3)} layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {params} }}'
    with pytest.raises(FatalError, match=told):
        make_net(text)


def test_prelu_needs_channels(make_net: Callable[..., Net]) -> None:
    text = _input(5) + 'layer { name: "l" type: "PReLU" bottom: "x" top: "y" }'
    with pytest.raises(FatalError, match=r"Number of axes of bottom blob must be >=2.*'l'"):
        make_net(text)


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
