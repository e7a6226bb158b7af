"""Snapshots in both formats: what goes in comes out, and damage is one clear line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from caffe_torch import snapshots
from caffe_torch.blob import from_proto, to_proto
from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.snapshots import State
from caffe_torch.solver import Solver

NET = """
layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 6 } shape { dim: 4 dim: 3 }
  data_filler { type: "gaussian" } data_filler { type: "gaussian" } } }
layer { name: "LAYER" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" type: "Adam" base_lr: 0.01 lr_policy: "fixed" max_iter: 4 snapshot_prefix: "s"
snapshot_format: HDF5 random_seed: 1
"""
FILES = ("s_iter_2.caffemodel.h5", "s_iter_2.solverstate.h5")


def _solver(extra: str = "") -> Solver:
    param = text_format.Parse(SOLVER, caffe_pb2.SolverParameter())
    param.MergeFrom(text_format.Parse(extra, caffe_pb2.SolverParameter()))
    return Solver(param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a net and an HDF5 snapshot of two iterations."""
    (tmp_path / "net.prototxt").write_text(NET.replace("LAYER", "fc"))
    monkeypatch.chdir(tmp_path)
    solver = _solver()
    solver.step(2)
    solver.snapshot()
    return tmp_path


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    iteration=st.integers(0, 2**31 - 1),
    step=st.integers(0, 1000),
    model=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    history=st.lists(
        arrays.arrays(np.float32, arrays.array_shapes(max_dims=4, max_side=4)), max_size=12
    ),
    end=st.sampled_from(["", ".h5"]),
)
def test_a_state_comes_back(
    tmp_path: Path,
    iteration: int,
    step: int,
    model: str,
    history: list[NDArray[np.float32]],
    end: str,
) -> None:
    path = str(tmp_path / f"a.solverstate{end}")
    snapshots.save(path, State(iteration, model, step, history))
    found = snapshots.load(path)
    assert (found.iteration, found.learned_net, found.step) == (iteration, model, step)
    for values, expected in zip(found.history, history, strict=True):
        np.testing.assert_array_equal(values, expected)


def test_weights_come_back(folder: Path) -> None:
    """Through `copy_from`, which tells the format from the file, whatever its name."""
    solver, other = _solver(), _solver("random_seed: 9")
    solver.net.save_hdf5("weights.bin")
    other.net.copy_from("weights.bin")
    for mine, theirs in zip(solver.net.params["fc"], other.net.params["fc"], strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
    net = Net.from_file("net.prototxt", caffe_pb2.TEST, "weights.bin")
    np.testing.assert_array_equal(net.params["fc"][0].data, solver.net.params["fc"][0].data)


def _without(*names: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        for name in names:
            del file[name]

    return change


def _with(name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


DAMAGE = {
    "no data": (0, _without("data"), "Error reading weights"),
    "data is no group": (0, _with("data", 3.0), "damaged"),
    "a blob too few": (0, _without("data/fc/1"), "Incompatible number of blobs for layer fc"),
    "a blob too many": (0, _with("data/fc/2", [1.0]), "Incompatible number of blobs for layer fc"),
    "another shape": (0, _with("data/fc/1", [1.0, 2.0]), "Source shape is 2.*target shape is 3"),
    "text for numbers": (0, _with("data/fc/1", [b"a", b"b", b"c"]), "Unsupported datatype"),
    "no iteration": (1, _without("iter"), "dataset with name iter"),
    "two iterations": (1, _with("iter", [1, 2]), "dataset with name iter"),
    "no history": (1, _without("history"), "Error reading history"),
    "half a history": (1, _without("history/3"), "Incorrect length of history blobs"),
    "a gap in the history": (1, _without("history/0"), "damaged"),
    "history of another shape": (1, _with("history/0", [1.0]), "shape mismatch"),
    "no such weights": (1, _with("learned_net", b"none.caffemodel.h5"), "none.caffemodel.h5"),
    "a number for the weights": (1, _with("learned_net", 3.0), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_snapshot(name: str, folder: Path) -> None:
    """A fatal error that says what and where; nothing else escapes."""
    which, change, message = DAMAGE[name]
    with h5py.File(FILES[which], "r+") as file:
        change(file)
    with pytest.raises(FatalError, match=message):
        _solver().restore(FILES[1])


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(which=st.integers(0, 1), part=st.floats(0, 0.99))
def test_a_truncated_snapshot(folder: Path, which: int, part: float) -> None:
    """From one byte on: no bytes at all are a model without layers, for Caffe as well."""
    whole = Path(FILES[which]).read_bytes()
    try:
        Path(FILES[which]).write_bytes(whole[: max(1, int(part * len(whole)))])
        with pytest.raises(FatalError):
            _solver().restore(FILES[1])
    finally:
        Path(FILES[which]).write_bytes(whole)


def test_a_failed_snapshot_leaves_the_old_one(folder: Path) -> None:
    """The file gets its name only once it is whole, and no temporary one stays behind."""
    solver = _solver()
    solver.param.snapshot_prefix = "gone/s"
    with pytest.raises(FatalError, match=r"Couldn't open gone/s_iter_0\.caffemodel\.h5 to save"):
        solver.snapshot()
    assert sorted(path.name for path in folder.iterdir()) == ["net.prototxt", *FILES]


def test_hdf5_refuses_a_slash_in_a_layers_name_at_once(folder: Path) -> None:
    """Real Caffe dies of it at the first snapshot, after the training."""
    (folder / "net.prototxt").write_text(NET.replace("LAYER", "block/fc"))
    with pytest.raises(FatalError, match=r"'block/fc' has a / in its name.*BINARYPROTO"):
        _solver()
    assert _solver("snapshot_format: BINARYPROTO").net.params["block/fc"]


def test_a_missing_or_foreign_file(folder: Path) -> None:
    Path("junk.solverstate.h5").write_bytes(b"junk")
    for name in ("none.solverstate.h5", "junk.solverstate.h5"):
        with pytest.raises(FatalError, match=f"Couldn't open solver state file {name}"):
            _solver().restore(name)


@given(st.lists(st.integers(0, 40), min_size=0, max_size=3), st.integers(0, 2**32 - 1))
def test_a_blob_proto_has_the_arrays_values(shape: list[int], seed: int) -> None:
    """The packed bytes are what protobuf itself makes of the same numbers, and read back."""
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    proto = to_proto(array)
    expected = caffe_pb2.BlobProto()
    expected.shape.dim.extend(shape)
    expected.data.extend(array.ravel().tolist())
    assert proto.SerializeToString() == expected.SerializeToString()
    np.testing.assert_array_equal(from_proto(proto), array)
