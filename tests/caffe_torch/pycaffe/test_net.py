"""What the embedded pycaffe adds to or keeps from the engine's nets and solvers."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from caffe_torch.log import FatalError
from caffe_torch.net import Net as EngineNet
from caffe_torch.shim import caffe
from caffe_torch.solver import Solver as EngineSolver

NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 4 dim: 2 dim: 6 dim: 6 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param {
  num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
DATA = np.random.default_rng(0).normal(size=(4, 2, 6, 6)).astype(np.float32)
LABELS = np.array([0, 1, 4, 2], dtype=np.float32)


@pytest.fixture(autouse=True)
def _as_at_the_start() -> Iterator[None]:
    yield
    caffe.set_mode_cpu()
    caffe.set_random_seed(-1)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the working one, with a net and a solver of it."""
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" snapshot_prefix: "n" '
        "random_seed: 3"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_seed_repeats_the_fillers_draws(files: Path) -> None:
    drawn = []
    for seed in (5, 5, 6):
        caffe.set_random_seed(seed)
        nets = [caffe.Net("net.prototxt", caffe.TRAIN) for _ in range(2)]
        drawn.append([net.params["conv"][0].data.copy() for net in nets])
    assert (drawn[0][0] == drawn[1][0]).all()
    assert (drawn[0][1] == drawn[1][1]).all()
    assert (drawn[0][0] != drawn[0][1]).any()  # one stream, which goes on
    assert (drawn[0][0] != drawn[2][0]).any()


def test_the_solver_trains_as_the_engines_own_does(files: Path) -> None:
    """Same seed, same weights after five steps, though one shows each blob's gradient."""
    shown, plain = caffe.get_solver("solver.prototxt"), EngineSolver.from_file("solver.prototxt")
    for solver in (shown, plain):
        solver.net.blobs["data"].data[...] = DATA
        solver.net.blobs["label"].data[...] = LABELS
        solver.step(5)
    for name, blobs in plain.net.params.items():
        for ours, theirs in zip(shown.net.params[name], blobs, strict=True):
            np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-5, atol=1e-7)
    assert isinstance(shown.net, caffe.Net)
    assert np.abs(shown.net.blobs["conv"].diff).max() > 0


def test_parameters_are_contiguous_views(files: Path) -> None:
    """So that a write to any of numpy's views of them arrives."""
    net = caffe.Net("net.prototxt", caffe.TEST)
    weights = net.params["conv"][0]
    assert weights.data.flags.c_contiguous
    weights.data.reshape(-1)[...] = 0
    net.params["conv"][1].data[...] = 2
    net.blobs["data"].data[...] = DATA
    assert (net.forward(end="conv")["conv"] == 2).all()


def test_arrays_that_were_read_before_show_what_came_later(files: Path) -> None:
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    scores, gradient, update = (
        net.blobs["ip"].data,
        net.blobs["conv"].diff,
        net.params["ip"][0].diff,
    )
    net.forward(data=DATA, label=LABELS)
    net.backward()
    assert scores is not net.blobs["ip"].data
    np.testing.assert_array_equal(scores, net.blobs["ip"].data)
    np.testing.assert_array_equal(gradient, net.blobs["conv"].diff)
    np.testing.assert_array_equal(update, net.params["ip"][0].diff)
    assert all(np.abs(array).max() > 0 for array in (scores, gradient, update))


def test_they_do_so_after_many_steps_too(files: Path) -> None:
    solver = caffe.SGDSolver("solver.prototxt")
    blob, weights = solver.net.blobs["ip"], solver.net.params["ip"][0]
    held = [blob.data, blob.diff, weights.data, weights.diff]
    solver.net.blobs["data"].data[...] = DATA
    solver.net.blobs["label"].data[...] = LABELS
    solver.step(4)
    for array, now in zip(held, (blob.data, blob.diff, weights.data, weights.diff), strict=True):
        assert np.abs(array).max() > 0
        np.testing.assert_array_equal(array, now)


def test_gradients_agree_with_finite_differences(files: Path) -> None:
    """In the place of an independent judge: central differences of the loss, in the scores."""
    (files / "net.prototxt").write_text("force_backward: true\n" + NET)
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.forward(data=DATA, label=LABELS)
    net.backward()
    found = net.blobs["ip"].diff.copy()
    scores = net.blobs["ip"].data.astype(np.float64)
    exact = np.exp(scores - scores.max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    exact[np.arange(4), LABELS.astype(int)] -= 1
    np.testing.assert_allclose(found, exact / 4, atol=1e-6)
    step = 1e-2
    for index in [(0, 0, 0, 0), (3, 1, 5, 5), (2, 0, 3, 1)]:
        losses = []
        for sign in (1, -1):
            moved = DATA.copy()
            moved[index] += sign * step
            losses.append(float(net.forward(data=moved, label=LABELS)["loss"]))
        net.forward(data=DATA, label=LABELS)
        net.backward()
        slope = (losses[0] - losses[1]) / (2 * step)
        assert net.blobs["data"].diff[index] == pytest.approx(slope, abs=2e-3)


def test_backward_before_forward(files: Path) -> None:
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    with pytest.raises(RuntimeError, match="layer 'loss' before forward"):
        net.backward()


def test_a_net_and_its_graph_are_freed(files: Path) -> None:
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.forward(data=DATA, label=LABELS)
    net.backward()
    gone = weakref.ref(net.blobs["conv"])
    del net
    assert gone() is None


@pytest.mark.parametrize(
    "arguments",
    [(), (0, 0, (), None, None), ("weights",), ("weights", 0, 0)],
    ids=["no phase", "too many", "weights alone", "too many after weights"],
)
def test_wrong_arguments_are_told(arguments: tuple[object, ...], files: Path) -> None:
    with pytest.raises(TypeError, match=r"Net takes \(network_file, phase"):
        caffe.Net("net.prototxt", *arguments)


def test_stages_and_levels(files: Path) -> None:
    rule = 'include { stage: "deep" min_level: 2 }'
    (files / "net.prototxt").write_text(NET.replace('type: "ReLU"', f'type: "ReLU" {rule}'))
    deep = caffe.Net("net.prototxt", caffe.TEST, level=2, stages=["deep"])
    assert "relu" in deep.layer_dict
    assert "relu" not in caffe.Net("net.prototxt", caffe.TEST, 2, ["shallow"]).layer_dict
    assert "relu" not in caffe.Net("net.prototxt", caffe.TEST, stages=["deep"]).layer_dict


def test_the_layer_types_are_the_engines() -> None:
    types = caffe.layer_type_list()
    assert types == sorted(types)
    assert {"Convolution", "Input", "SoftmaxWithLoss"} <= set(types)


def test_one_device_and_one_process() -> None:
    caffe.set_solver_count(1)
    with pytest.raises(FatalError, match=r"set_solver_count\(2\)"):
        caffe.set_solver_count(2)
    assert (caffe.solver_count(), caffe.solver_rank(), caffe.has_nccl()) == (1, 0, False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none(files: Path) -> None:
    """Told when a net is built, as by a Caffe built for the CPU."""
    caffe.set_device(0)
    caffe.set_mode_gpu()
    with pytest.raises(FatalError, match="Cannot use GPU"):
        caffe.Net("net.prototxt", caffe.TEST)
    caffe.set_mode_cpu()
    assert isinstance(caffe.Net("net.prototxt", caffe.TEST), EngineNet)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_what_the_cpu_does(files: Path) -> None:
    """Values, gradients, and what is written to arrays on the host."""
    results = []
    for gpu in (False, True):
        if gpu:
            caffe.set_mode_gpu()
        net = caffe.Net("net.prototxt", caffe.TRAIN)
        for i, blobs in enumerate(net.params.values()):
            for blob in blobs:
                draws = np.random.default_rng(i).normal(size=blob.data.shape)
                blob.data[...] = draws.astype(np.float32) / 5
        scores = net.forward(data=DATA, label=LABELS, blobs=["ip"])["ip"].copy()
        net.backward()
        results.append((scores, net.blobs["conv"].diff, net.params["conv"][0].diff))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_log_can_be_made_quiet(
    files: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOG_minloglevel", "0")
    caffe.log("a message")
    assert capfd.readouterr().err.endswith("] a message\n")
    caffe.init_log(2)
    caffe.Net("net.prototxt", caffe.TEST)
    assert capfd.readouterr().err == ""
