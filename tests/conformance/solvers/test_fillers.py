"""Fillers: our draws and real Caffe's against the definition, and against each other.

Kolmogorov-Smirnov tests over 300,000 values, refused below p = 1e-6: a false alarm in a million,
while a standard deviation wrong by 5 % is found every time.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray
from scipy import stats

from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime
from tests.conformance.solvers.runs import Array, Pycaffe

pytestmark = pytest.mark.conformance

Shape = tuple[int, ...]
Values = NDArray[Any]

ALARM = 1e-6
# Weights of an inner product (outputs, inputs), and of a convolution.
SHAPES: dict[str, Shape] = {"ip": (500, 600), "conv": (240, 50, 5, 5)}


def _fan(shape: Shape, norm: str) -> float:
    fan_in, fan_out = np.prod(shape[1:]), np.prod(shape) / shape[1]
    return float({"in": fan_in, "out": fan_out, "average": (fan_in + fan_out) / 2}[norm])


def _xavier(norm: str) -> Callable[[Shape], Any]:
    """Uniform with variance 1 / fan: the bound is the deviation times the root of 3."""
    return lambda shape: stats.uniform(-(b := np.sqrt(3 / _fan(shape, norm))), 2 * b)


def _msra(norm: str) -> Callable[[Shape], Any]:
    """Normal with variance 2 / fan."""
    return lambda shape: stats.norm(0, np.sqrt(2 / _fan(shape, norm)))


NORMS = {
    "in": "",
    "out": "variance_norm: FAN_OUT",
    "average": "variance_norm: AVERAGE",
}
FILLERS: dict[str, tuple[str, Callable[[Shape], Any]]] = {
    "uniform": ('type: "uniform" min: -0.2 max: 0.6', lambda shape: stats.uniform(-0.2, 0.8)),
    "gaussian": ('type: "gaussian" mean: 0.1 std: 0.05', lambda shape: stats.norm(0.1, 0.05)),
    **{f"xavier {n}": (f'type: "xavier" {NORMS[n]}', _xavier(n)) for n in NORMS},
    **{f"msra {n}": (f'type: "msra" {NORMS[n]}', _msra(n)) for n in NORMS},
}


def _fit(values: Values, cdf: Callable[..., Any]) -> float:
    """The probability of so large a distance from a distribution, if the values are drawn so."""
    return float(stats.kstest(values.ravel(), cdf, method="asymp").pvalue)


def _alike(ours: Values, real: Values) -> float:
    """The same for the distance between two samples."""
    return float(stats.ks_2samp(ours.ravel(), real.ravel(), method="asymp").pvalue)


def _net(folder: Path, filler: str, shape: Shape) -> Path:
    """A net whose layer `l` has a weight blob of this shape, filled so."""
    weights = f"num_output: {shape[0]} bias_term: false weight_filler {{ {filler} }}"
    if len(shape) == 2:
        layer = f'type: "InnerProduct" inner_product_param {{ {weights} }}'
        dims: Shape = (1, shape[1])
    else:
        size = f"kernel_h: {shape[2]} kernel_w: {shape[3]}"
        layer = f'type: "Convolution" convolution_param {{ {weights} {size} }}'
        dims = (1, *shape[1:])
    bottom = " ".join(f"dim: {dim}" for dim in dims)
    path = folder / "net.prototxt"
    path.write_text(
        f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {bottom} }} }} }} '
        f'layer {{ name: "l" bottom: "x" top: "y" {layer} }}'
    )
    return path


def _draw_ours(path: Path, seed: int = 7) -> Array:
    net = Net.from_file(str(path), caffe_pb2.TEST, runtime=Runtime.create(seed))
    return net.params["l"][0].data.copy()


def _draw_real(path: Path, pycaffe: Pycaffe) -> Array:
    return pycaffe("net", path, {}, "TEST")["param/l/0"]


def _both(folder: Path, filler: str, shape: Shape, pycaffe: Pycaffe) -> tuple[Array, Array]:
    path = _net(folder, filler, shape)
    ours, real = _draw_ours(path), _draw_real(path, pycaffe)
    assert ours.shape == real.shape == shape
    return ours, real


@pytest.mark.parametrize("blob", SHAPES)
@pytest.mark.parametrize("name", FILLERS)
def test_distribution(name: str, blob: str, tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """Ours fits the definition, so does real Caffe's, and the two fit each other."""
    filler, definition = FILLERS[name]
    ours, real = _both(tmp_path, filler, SHAPES[blob], pycaffe_run)
    expected = definition(SHAPES[blob])
    assert _fit(ours, expected.cdf) > ALARM
    assert _fit(real, expected.cdf) > ALARM
    assert _alike(ours, real) > ALARM
    for factor in (0.95, 1.05):  # what the two tests would say of such a deviation
        wrong = expected.mean() + factor * (ours - expected.mean())
        assert _fit(wrong, expected.cdf) < ALARM
    assert _alike(wrong, real) < ALARM


def test_draws_are_independent(tmp_path: Path) -> None:
    """Neighbours in a row and in a column are uncorrelated, within five deviations."""
    values = _draw_ours(_net(tmp_path, 'type: "gaussian" std: 1', SHAPES["ip"])).astype(np.float64)
    for a, b in ((values[1:], values[:-1]), (values[:, 1:], values[:, :-1])):
        assert abs(np.mean(a * b)) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize("blob", SHAPES)
def test_sparse_gaussian(blob: str, tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """A value is kept with probability sparse / outputs: a binomial number of normal draws."""
    shape, sparse = SHAPES[blob], 50
    ours, real = _both(tmp_path, f'type: "gaussian" std: 2 sparse: {sparse}', shape, pycaffe_run)
    kept = []
    for values in (ours, real):
        kept.append(values[values != 0])
        count = stats.binomtest(len(kept[-1]), values.size, sparse / shape[0])
        assert count.pvalue > ALARM
        wrong = stats.binomtest(len(kept[-1]), values.size, 1.05 * sparse / shape[0])
        assert wrong.pvalue < ALARM
        assert _fit(kept[-1], stats.norm(0, 2).cdf) > ALARM
    assert _alike(*kept) > ALARM


def _share_of_two(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distribution function of u / (u + v), for u and v uniform in 0..1."""
    x = np.clip(x, 0, 1)
    with np.errstate(divide="ignore"):
        return np.where(x <= 0.5, x / (2 * (1 - x)), 1 - (1 - x) / (2 * x))


def test_positive_unitball(tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """Rows sum to 1; of a row of two, a value is distributed as u / (u + v)."""
    firsts = []
    for values in _both(tmp_path, 'type: "positive_unitball"', (200_000, 2), pycaffe_run):
        assert (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-6)
        firsts.append(values[:, 0].astype(np.float64))
        assert _fit(firsts[-1], _share_of_two) > ALARM
        assert _fit(firsts[-1], stats.uniform().cdf) < ALARM
    assert _alike(*firsts) > ALARM


def test_positive_unitball_of_a_convolution(tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """Every output's values sum to 1, over all the other axes; both draw alike."""
    ours, real = _both(tmp_path, 'type: "positive_unitball"', SHAPES["conv"], pycaffe_run)
    for values in (ours, real):
        np.testing.assert_allclose(values.sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    assert _alike(ours, real) > ALARM


EXACT = {
    "constant": ('type: "constant" value: 0.3', (5, 7)),
    "constant by default": ("", (3, 2, 2, 2)),
    "bilinear even": ('type: "bilinear"', (3, 2, 4, 4)),
    "bilinear odd": ('type: "bilinear"', (3, 2, 5, 5)),
    "bilinear one": ('type: "bilinear"', (2, 2, 1, 1)),
    "gaussian, nothing kept": ('type: "gaussian" sparse: 0', (4, 5)),
}


@pytest.mark.parametrize("name", EXACT)
def test_filler_without_chance(name: str, tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    filler, shape = EXACT[name]
    ours, real = _both(tmp_path, filler, shape, pycaffe_run)
    np.testing.assert_allclose(ours, real, rtol=1e-6)


def test_a_seed_fixes_the_draws(tmp_path: Path) -> None:
    path = _net(tmp_path, 'type: "xavier"', SHAPES["conv"])
    np.testing.assert_array_equal(_draw_ours(path, 3), _draw_ours(path, 3))
    assert not np.array_equal(_draw_ours(path, 3), _draw_ours(path, 4))


ONE_NUMBER = (
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } } '
    'layer { name: "l" type: "Scale" bottom: "x" top: "y" scale_param { num_axes: 0 '
    'filler { type: "KIND" } } }'
)


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "constant"])
def test_a_blob_without_axes_is_filled(kind: str, tmp_path: Path, pycaffe_run: Pycaffe) -> None:
    """One number, such as a Scale with num_axes 0."""
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(ONE_NUMBER.replace("KIND", kind))
    net = Net.from_file(str(prototxt), caffe_pb2.TEST, runtime=Runtime.create(1))
    theirs = pycaffe_run("net", prototxt, {}, "TEST")["param/l/0"]
    assert theirs.shape == net.params["l"][0].shape == ()
    assert np.isfinite(net.params["l"][0].data)


@pytest.mark.parametrize("kind", ["xavier", "msra", "positive_unitball"])
def test_a_blob_without_axes_has_no_outputs_to_count(
    kind: str, tmp_path: Path, run_real: Callable[..., Any]
) -> None:
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(ONE_NUMBER.replace("KIND", kind))
    told = "axis_index < num_axes() (0 vs. 0) axis 0 out of range for 0-D Blob"
    done = run_real("time", "-model", "net.prototxt", "-iterations", "1", cwd=tmp_path)
    assert told in done.stderr
    with pytest.raises(FatalError, match=re.escape(told)):
        Net.from_file(str(prototxt), caffe_pb2.TEST)
