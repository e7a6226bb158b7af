"""The elementwise layers beside real Caffe's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from tests.conformance.layers.judge import Array, Case, Judge, layer, normal
from tests.conformance.layers.record import Record

pytestmark = pytest.mark.conformance

LEARNED = 'filler { type: "gaussian" std: 0.5 }'
SHARED = "filler { value: -0.4 } channel_shared: true"


def away_from(point: float, values: Array, gap: float = 0.05) -> Array:
    """The values, moved out of a neighbourhood of a kink."""
    return (values + np.where(values >= point, gap, -gap)).astype(np.float32)


def positive(*shape: int, seed: int = 0) -> Array:
    """Values in 0.1…2."""
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


CASES = {
    "ReLU": ("", away_from(0, normal(2, 3, 5, 4))),
    "ReLU leaky": ("relu_param { negative_slope: 0.1 }", away_from(0, normal(2, 3, 5, 4))),
    "ReLU falling": ("relu_param { negative_slope: -0.3 }", away_from(0, normal(2, 3, 5, 4))),
    "PReLU": ("", away_from(0, normal(3, 4, 5, 2))),
    "PReLU learned": (f"prelu_param {{ {LEARNED} }}", away_from(0, normal(3, 4, 5, 2))),
    "PReLU shared": (
        f"prelu_param {{ {SHARED} }}",
        away_from(0, normal(3, 4, 5, 2)),
    ),
    "PReLU of vectors": (f"prelu_param {{ {LEARNED} }}", away_from(0, normal(3, 4))),
    "PReLU at zero": ("", np.zeros((2, 3), np.float32)),
    "ELU": ("", normal(2, 6, 9, 7)),
    "ELU alpha": ("elu_param { alpha: 0.3 }", normal(2, 6, 9, 7)),
    "ELU negative alpha": ("elu_param { alpha: -0.4 }", normal(2, 6, 9, 7)),
    "Sigmoid": ("", normal(2, 3, 5, 4, scale=3)),
    "Sigmoid saturated": ("", normal(2, 3, scale=200)),
    "TanH": ("", normal(2, 3, 5, 4, scale=3)),
    "AbsVal": ("", away_from(0, normal(2, 3, 5, 4))),
    "BNLL": ("", normal(2, 3, 5, 4, scale=3)),
    "BNLL far out": ("", normal(2, 30, scale=40)),
    "Power": ("power_param { power: 1 scale: 2 shift: 0.5 }", normal(2, 6, 9, 7)),
    "Power square": ("power_param { power: 2 scale: 0.5 shift: 3 }", normal(2, 6, 9, 7)),
    "Power cube": ("power_param { power: 3 scale: -0.5 }", away_from(0, normal(2, 6, 9, 7))),
    "Power fraction": ("power_param { power: 0.7 scale: 0.1 shift: 2 }", normal(2, 6, 9, 7)),
    "Power inverse": ("power_param { power: -1 }", positive(2, 6, 9)),
    "Power constant": ("power_param { power: 3 scale: 0 shift: 2 }", normal(2, 6, 9, 7)),
    "Power of nothing": ("power_param { power: 0 scale: 2 shift: 2 }", normal(2, 6, 9, 7)),
    "Exp": ("", normal(2, 3, 5, 4)),
    "Exp base": ("exp_param { base: 2 scale: -0.5 shift: 1.5 }", normal(2, 3, 5, 4)),
    "Exp shift": ("exp_param { shift: -2 }", normal(2, 3, 5, 4)),
    "Log": ("", positive(2, 3, 5, 4)),
    "Log base": ("log_param { base: 10 scale: 2 shift: 0.5 }", positive(2, 3, 5, 4)),
    "Log small base": ("log_param { base: 0.5 scale: -1 shift: 3 }", positive(2, 3, 5, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_layer(name: str, judge: Judge) -> None:
    params, x = CASES[name]
    kind = name.split()[0]
    judge.check(Case(kind, layer(kind, params), {"x": x}))


NUMBER = st.floats(0.125, 2, width=32)
PARAMETERS = {
    "ReLU": st.floats(-1, 1, width=32).map(lambda a: f"relu_param {{ negative_slope: {a} }}"),
    "PReLU": st.sampled_from([f"prelu_param {{ {text} }}" for text in (LEARNED, SHARED)]),
    "ELU": st.floats(-2, 2, width=32).map(lambda a: f"elu_param {{ alpha: {a} }}"),
    "Sigmoid": st.just(""),
    "TanH": st.just(""),
    "AbsVal": st.just(""),
    "BNLL": st.just(""),
    "Power": st.builds(
        "power_param {{ power: {} scale: {} shift: {} }}".format,
        st.sampled_from([-1, 0, 0.5, 1, 1.7, 2, 3]), NUMBER, NUMBER,
    ),
    "Exp": st.builds(
        "exp_param {{ base: {} scale: {} shift: {} }}".format,
        st.sampled_from([-1, 0.5, 2, 10]), st.floats(-1, 1, width=32), st.floats(-1, 1, width=32),
    ),
    "Log": st.builds(
        "log_param {{ base: {} scale: {} shift: {} }}".format,
        st.sampled_from([-1, 0.5, 2, 10]), NUMBER, NUMBER,
    ),
}  # fmt: skip
SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4)


@pytest.mark.parametrize("kind", PARAMETERS)
@given(data=st.data(), shape=SHAPES)
@settings(deadline=None, max_examples=15)
def test_layer_of_any_shape(kind: str, judge: Judge, data: st.DataObject, shape: list[int]) -> None:
    params = data.draw(PARAMETERS[kind])
    x = positive(*shape) if kind in ("Power", "Log") else away_from(0, normal(*shape))
    judge.check(Case(kind, layer(kind, params), {"x": x}))


@given(shape=SHAPES, threshold=st.floats(-1, 1, width=32))
@settings(deadline=None, max_examples=10)
def test_threshold(judge: Judge, shape: list[int], threshold: float) -> None:
    x = away_from(threshold, normal(*shape))
    text = layer("Threshold", f"threshold_param {{ threshold: {threshold} }}")
    judge.check(Case("Threshold", text, {"x": x}, backward=False))


def test_threshold_refuses_a_gradient(judge: Judge, record: Record) -> None:
    """As real Caffe, which ends there."""
    case = Case("Threshold", layer("Threshold"), {"x": normal(2, 3)})
    with pytest.raises(FatalError, match=r"Not Implemented Yet.*layer 'l'"):
        judge.check(case)
    prototxt = judge.folder / "net.prototxt"
    with pytest.raises(AssertionError, match="Not Implemented Yet"):
        judge.run("net", prototxt, {"blob/x": case.inputs["x"]}, "TRAIN")
    record.add("Threshold", "backward", "refused as by real Caffe")


def test_absval_refuses_to_work_in_place(judge: Judge) -> None:
    """As real Caffe, which ends there."""
    case = Case("AbsVal", layer("AbsVal", tops="x"), {"x": normal(2, 3)})
    with pytest.raises(FatalError, match="AbsVal Layer does not allow in-place computation"):
        judge.check(case)
    with pytest.raises(AssertionError, match="AbsVal Layer does not allow in-place computation"):
        judge.run("net", judge.folder / "net.prototxt", {}, "TRAIN")


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.9])
def test_dropout_in_testing(ratio: float, judge: Judge) -> None:
    text = layer("Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}")
    judge.check(Case("Dropout", text, {"x": normal(2, 6, 9, 7)}, phase="TEST"))


def test_dropout_of_nothing_in_training(judge: Judge) -> None:
    text = layer("Dropout", "dropout_param { dropout_ratio: 0 }")
    judge.check(Case("Dropout", text, {"x": normal(2, 6, 9, 7)}))


@pytest.mark.parametrize("top", ["x", "y"])
@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.85])
def test_dropout_in_training(ratio: float, top: str, judge: Judge, record: Record) -> None:
    """Real Caffe and this engine drop the same share, within 5 deviations, scale by the same
    factor, and pass the gradient through the same mask."""
    x = np.ones((100, 300), np.float32)
    params = f"dropout_param {{ dropout_ratio: {ratio} }}"
    lower = layer("Power", bottoms="x", tops="h").replace('"l"', '"below"')
    text = lower + layer("Dropout", params, "h", top.replace("x", "h"))
    case = Case("Dropout", text, {"x": x})
    prototxt = judge.folder / "dropout.prototxt"
    prototxt.write_text(case.prototxt)
    net = Net.from_file(str(prototxt), 0, runtime=Runtime.create(1))
    (name,) = net.forward(x=x)
    dy = normal(100, 300, seed=4)
    ours = net.blobs[name].data.copy()
    net.backward(**{name: dy})
    np.testing.assert_allclose(net.blobs["x"].diff, ours * dy, rtol=1e-6)
    theirs = judge.run("net", prototxt, {"blob/x": x, f"diff/{name}": dy}, "TRAIN")
    np.testing.assert_allclose(theirs["diff/x"], theirs[f"blob/{name}"] * dy, rtol=1e-6)
    deviation = np.sqrt(ratio * (1 - ratio) / x.size)
    for values in (ours, theirs[f"blob/{name}"]):
        assert (values == 0).mean() == pytest.approx(ratio, abs=5 * deviation)
        assert np.unique(values[values > 0]) == pytest.approx(1 / (1 - ratio), rel=1e-6)
    record.add("Dropout", "forward", "distribution of the masks")
    record.add("Dropout", "backward", "the mask of the forward pass")
