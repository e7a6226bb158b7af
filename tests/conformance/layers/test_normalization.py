"""LRN, MVN, BatchNorm, Scale and Bias beside real Caffe's."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from caffe_torch.solver import Solver
from tests.conformance.layers.judge import Array, Case, Judge, assert_close, layer, normal
from tests.conformance.layers.record import Record
from tests.conformance.layers.test_activation import SHAPES, positive

pytestmark = pytest.mark.conformance

GAUSS = 'filler { type: "gaussian" std: 0.7 }'
SCALAR = "filler { value: 0.6 }"
BIASED = f'{GAUSS} bias_term: true bias_filler {{ type: "gaussian" std: 0.5 }}'
X = normal(3, 4, 5, 2)

CASES = {
    "LRN": "lrn_param { local_size: 3 alpha: 2 beta: 0.75 k: 2 }",
    "LRN default": "",
    "LRN wider than the channels": "lrn_param { local_size: 11 alpha: 0.5 }",
    "LRN within": "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 2 beta: 0.7 }",
    "LRN within default": "lrn_param { norm_region: WITHIN_CHANNEL }",
    "MVN": "",
    "MVN mean": "mvn_param { normalize_variance: false }",
    "MVN items": "mvn_param { across_channels: true }",
    "MVN items' mean": "mvn_param { across_channels: true normalize_variance: false }",
    "MVN eps": "mvn_param { eps: 0.5 }",
    "BatchNorm": "",
    "BatchNorm eps": "batch_norm_param { eps: 0.1 }",
    "BatchNorm named": "param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 0 }",
    "Scale": f"scale_param {{ {GAUSS} }}",
    "Scale default": "",
    "Scale biased": f"scale_param {{ {BIASED} }}",
    "Scale scalar": f"scale_param {{ num_axes: 0 {SCALAR} bias_term: true }}",
    "Scale axes": f"scale_param {{ axis: 1 num_axes: 2 {BIASED} }}",
    "Scale rest": f"scale_param {{ axis: 2 num_axes: -1 {GAUSS} }}",
    "Scale all": f"scale_param {{ axis: 0 num_axes: -1 {BIASED} }}",
    "Scale last": f"scale_param {{ axis: -1 {BIASED} }}",
    "Bias": f"bias_param {{ {GAUSS} }}",
    "Bias default": "",
    "Bias scalar": f"bias_param {{ num_axes: 0 {SCALAR} }}",
    "Bias axes": f"bias_param {{ axis: 1 num_axes: 2 {GAUSS} }}",
    "Bias rest": f"bias_param {{ axis: -2 num_axes: -1 {GAUSS} }}",
}


@pytest.mark.parametrize("name", CASES)
def test_layer(name: str, judge: Judge) -> None:
    kind = name.split()[0]
    judge.check(Case(kind, layer(kind, CASES[name]), {"x": X}))


@pytest.mark.parametrize(("kind", "params"), [("LRN", ""), ("MVN", ""), ("BatchNorm", "")])
def test_in_testing(kind: str, params: str, judge: Judge) -> None:
    judge.check(Case(kind, layer(kind, params), {"x": X}, phase="TEST"))


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize(
    ("params", "shape"),
    [("", (4,)), ("axis: 0", (3, 4)), ("axis: 2", (5, 2)), ("axis: -1", (2,)), ("axis: 3", ())],
)
def test_second_bottom(kind: str, params: str, shape: Sequence[int], judge: Judge) -> None:
    """Both bottoms have a gradient; the second's shape says how many axes it has."""
    text = layer(kind, f"{kind.lower()}_param {{ {params} }}", "x z")
    judge.check(Case(kind, text, {"x": X, "z": normal(*shape, seed=3).reshape(shape)}))


def test_scale_by_a_second_bottom_with_a_bias(judge: Judge) -> None:
    text = layer("Scale", f"scale_param {{ axis: 2 {BIASED} }}", "x z")
    judge.check(Case("Scale", text, {"x": X, "z": normal(5, 2, seed=3)}))


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 4),
    half=st.integers(0, 3),
    within=st.booleans(),
    alpha=st.floats(0.125, 3, width=32),
    beta=st.floats(0.125, 1.5, width=32),
    k=st.floats(0.5, 3, width=32),
)
@settings(deadline=None, max_examples=20)
def test_lrn(
    judge: Judge,
    shape: tuple[int, ...],
    half: int,
    within: bool,
    alpha: float,
    beta: float,
    k: float,
) -> None:
    region = "WITHIN_CHANNEL" if within else "ACROSS_CHANNELS"
    params = f"local_size: {2 * half + 1} alpha: {alpha} beta: {beta} k: {k} norm_region: {region}"
    judge.check(Case("LRN", layer("LRN", f"lrn_param {{ {params} }}"), {"x": normal(*shape)}))


@given(
    shape=SHAPES, across=st.booleans(), variance=st.booleans(), eps=st.floats(2**-10, 1, width=32)
)
@settings(deadline=None, max_examples=20)
def test_mvn(judge: Judge, shape: list[int], across: bool, variance: bool, eps: float) -> None:
    """Any eps: Caffe's gradient takes it for 0 where it differentiates the deviation."""
    params = f"across_channels: {across} normalize_variance: {variance} eps: {eps}".lower()
    # Three values or more a row: of two, normalized, the gradient is a difference near 0.
    x = normal(*shape, 3) if len(shape) < 4 else normal(*shape[:3], 3)
    judge.check(Case("MVN", layer("MVN", f"mvn_param {{ {params} }}"), {"x": x}))


@given(data=st.data(), shape=SHAPES, kind=st.sampled_from(["Scale", "Bias"]))
@settings(deadline=None, max_examples=25)
def test_scale_and_bias_of_any_shape(
    judge: Judge, data: st.DataObject, shape: list[int], kind: str
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    axes = data.draw(st.integers(-1, len(shape) - axis % len(shape)))
    filler = data.draw(st.sampled_from([GAUSS, BIASED])) if kind == "Scale" else GAUSS
    filler = filler if axes else SCALAR
    params = f"{kind.lower()}_param {{ axis: {axis} num_axes: {axes} {filler} }}"
    judge.check(Case(kind, layer(kind, params), {"x": normal(*shape)}))


# The statistics of BatchNorm


def statistics(channels: int) -> list[Array]:
    """Sums as after some batches: of means, of variances, of weights."""
    return [normal(channels, seed=5), positive(channels, seed=6), np.array([2.5], np.float32)]


def check_statistics(
    judge: Judge, record: Record, x: Array, params: str, phase: str, start: list[Array]
) -> Net:
    """A pass from given statistics: values, gradient and the statistics afterwards as Caffe's."""
    case = Case("BatchNorm", layer("BatchNorm", f"batch_norm_param {{ {params} }}"), {"x": x})
    prototxt = judge.folder / "batch_norm.prototxt"
    prototxt.write_text(case.prototxt)
    net = Net.from_file(str(prototxt), getattr(caffe_pb2, phase), runtime=Runtime.create(1))
    arrays = {"blob/x": x, "diff/y": normal(*x.shape, seed=7)}
    for i, values in enumerate(start):
        net.params["l"][i].data[...] = values
        arrays[f"param/l/{i}"] = values
    net.forward(x=x)
    net.backward(y=arrays["diff/y"])
    theirs = judge.run("net", prototxt, arrays, phase)
    assert_close(net.blobs["y"].data, theirs["blob/y"], "values")
    assert_close(net.blobs["x"].diff, theirs["diff/x"], "gradient")
    for i, blob in enumerate(net.params["l"]):
        assert_close(blob.data, theirs[f"param/l/{i}"], f"statistics {i}")
        assert not blob.diff.any()
        assert not theirs[f"pdiff/l/{i}"].any()
    for which in ("forward", "backward"):
        record.add("BatchNorm", which, "real Caffe")
    return net


@pytest.mark.parametrize("params", ["", "use_global_stats: true", "use_global_stats: false"])
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("started", [True, False])
def test_batch_norm_statistics(
    params: str, phase: str, started: bool, judge: Judge, record: Record
) -> None:
    """Each phase from statistics and from none; only the batch's own are added."""
    start = statistics(4) if started else [np.zeros(n, np.float32) for n in (4, 4, 1)]
    net = check_statistics(judge, record, X, params, phase, start)
    by_batch = "false" in params or (phase == "TRAIN" and not params)
    changed = not np.array_equal(net.params["l"][0].data, start[0])
    assert changed == by_batch


# Two equal values of a channel, or one, leave a gradient of nothing but rounding.
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4).filter(
        lambda shape: np.prod(shape) / shape[1] >= 4
    ),
    fraction=st.floats(0, 1, width=32),
    eps=st.floats(2**-13, 1, width=32),
    phase=st.sampled_from(["TRAIN", "TEST"]),
)
@settings(deadline=None, max_examples=25)
def test_batch_norm_of_any_shape(
    judge: Judge, record: Record, shape: list[int], fraction: float, eps: float, phase: str
) -> None:
    params = f"moving_average_fraction: {fraction} eps: {eps}"
    check_statistics(judge, record, normal(*shape), params, phase, statistics(shape[1]))


def test_batch_norm_of_one_value_a_channel(judge: Judge, record: Record) -> None:
    """Batch 1 of a vector: the variance is 0, and its correction m / (m − 1) is left out."""
    net = check_statistics(judge, record, normal(1, 5), "", "TRAIN", statistics(5))
    assert not net.blobs["y"].data.any()


def test_batch_norm_statistics_over_passes(judge: Judge) -> None:
    """Three TRAIN passes, whatever the solver does between them, add three batches."""
    prototxt = judge.folder / "batch_norm.prototxt"
    prototxt.write_text(Case("BatchNorm", layer("BatchNorm"), {"x": X}).prototxt)
    net = Net.from_file(str(prototxt), caffe_pb2.TRAIN, runtime=Runtime.create(1))
    batches = [normal(*X.shape, seed=seed).astype(np.float64) + seed for seed in range(3)]
    expected = np.zeros((2, 4))
    for batch in batches:
        with torch.no_grad():
            net.forward(x=batch.astype(np.float32))
        flat = np.moveaxis(batch, 1, 0).reshape(4, -1)
        expected = 0.999 * expected + [flat.mean(1), flat.var(1, ddof=1)]
    mean, variance, weight = (blob.data for blob in net.params["l"])
    np.testing.assert_allclose([mean, variance], expected, rtol=1e-4, atol=1e-5)
    assert weight == pytest.approx(1 + 0.999 + 0.999**2)


def test_batch_norm_statistics_are_nobodys_to_learn(judge: Judge) -> None:
    """Rates of 0 are added, as the net shows and saves them; others are refused as by Caffe."""
    prototxt = judge.folder / "batch_norm.prototxt"
    prototxt.write_text(Case("BatchNorm", layer("BatchNorm"), {"x": X}).prototxt)
    net = Net.from_file(str(prototxt), caffe_pb2.TRAIN, runtime=Runtime.create(1))
    assert [learned.lr_mult for learned in net.learned] == [0, 0, 0]
    assert [spec.lr_mult for spec in net.to_proto().layer[-1].param] == [0, 0, 0]
    wrong = Case("BatchNorm", layer("BatchNorm", "param { decay_mult: 0 }"), {"x": X})
    with pytest.raises(FatalError, match="Cannot configure batch normalization statistics"):
        judge.check(wrong)
    with pytest.raises(AssertionError, match="Cannot configure batch normalization statistics"):
        judge.run("net", judge.folder / "net.prototxt", {}, "TRAIN")


NET = f"""
layer {{ name: "d" type: "Data" top: "data" top: "label" transform_param {{ scale: 0.004 }}
  data_param {{ source: "lmdb" batch_size: 20 backend: LMDB }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {{
  num_output: 6 kernel_size: 5 stride: 3 bias_term: false weight_filler {{ type: "msra" }} }} }}
layer {{ name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }}
layer {{ name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param {{ {BIASED} }} }}
layer {{ name: "elu" type: "ELU" bottom: "conv" top: "conv" }}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param {{
  num_output: 10 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
"""


@pytest.mark.parametrize("rule", ['type: "SGD" base_lr: 0.02', 'type: "Adam" base_lr: 0.001'])
def test_batch_norm_in_training(
    rule: str, judge: Judge, write_lmdb: Callable[..., None], tmp_path: Path
) -> None:
    """Ten iterations of two passes each: losses, weights and statistics as real Caffe's.

    The statistics have a rate of 0, so that neither decay nor momentum moves them.
    """
    write_lmdb(tmp_path / "lmdb", 60, 0)
    text = f"{rule} momentum: 0.9 weight_decay: 0.01 iter_size: 2 lr_policy: 'fixed' max_iter: 10 "
    text += f"random_seed: 3 snapshot_prefix: 'x' net_param {{ {NET} }}"
    path = tmp_path / "solver.prototxt"
    path.write_text(text.replace('"lmdb"', f'"{tmp_path / "lmdb"}"'))
    solver = Solver.from_file(str(path))
    arrays = {
        f"param/{name}/{i}": blob.data.copy()
        for name, blobs in solver.net.params.items()
        for i, blob in enumerate(blobs)
    }
    losses = []
    for _ in range(10):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    theirs = judge.run("solve", path, arrays, "10", cwd=tmp_path)
    np.testing.assert_allclose(losses, theirs["losses"], rtol=1e-4)
    for name, blobs in solver.net.params.items():
        for i, blob in enumerate(blobs):
            expected = theirs[f"param/{name}/{i}"]
            gap = np.linalg.norm(blob.data - expected)
            assert gap <= 1e-4 * np.linalg.norm(expected), (name, i)
    weight = float(solver.net.params["bn"][2].data[0])
    assert weight == pytest.approx(sum(0.999**i for i in range(20)))
