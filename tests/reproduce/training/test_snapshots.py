"""Snapshots on disk: whole ones, torn ones, and what is removed."""

from pathlib import Path

import pytest

from prototxt_gen import caffe_pb2
from reproduce.training.snapshots import MODEL, Snapshots, is_whole, remove_model, snapshot_bytes


def state(iteration: int) -> bytes:
    message = caffe_pb2.SolverState(iter=iteration, learned_net="x", current_step=0)
    message.history.add(data=[0.5] * 40)
    message.history.add(data=[0.25] * 40)
    return bytes(message.SerializeToString())


def model() -> bytes:
    message = caffe_pb2.NetParameter(name="net")
    message.layer.add(name="ip", type="InnerProduct").blobs.add(data=[1.0] * 40)
    return bytes(message.SerializeToString())


def write(folder: Path, iteration: int, prefix: str = "snapshot_0") -> None:
    (folder / f"{prefix}_iter_{iteration}.caffemodel").write_bytes(model())
    (folder / f"{prefix}_iter_{iteration}.solverstate").write_bytes(state(iteration))


def test_the_newest_stays_alone(tmp_path: Path) -> None:
    for iteration in (9, 10, 100):
        write(tmp_path, iteration)
    write(tmp_path, 5, "snapshot_01")
    newest = Snapshots(tmp_path, "snapshot_0").newest(1000)
    assert newest is not None
    assert newest.iteration == 100
    assert {path.name for path in tmp_path.iterdir()} == {
        "snapshot_0_iter_100.caffemodel",
        "snapshot_0_iter_100.solverstate",
        "snapshot_01_iter_5.caffemodel",
        "snapshot_01_iter_5.solverstate",
    }


def test_none_beyond_the_limit(tmp_path: Path) -> None:
    write(tmp_path, 10)
    write(tmp_path, 20)
    newest = Snapshots(tmp_path, "snapshot_0").newest(10)
    assert newest is not None
    assert newest.iteration == 10
    assert Snapshots(tmp_path, "snapshot_1").newest(10) is None


@pytest.mark.parametrize("kind", ["caffemodel", "solverstate"])
def test_a_missing_file_is_no_snapshot(tmp_path: Path, kind: str) -> None:
    write(tmp_path, 10)
    write(tmp_path, 20)
    (tmp_path / f"snapshot_0_iter_20.{kind}").unlink()
    newest = Snapshots(tmp_path, "snapshot_0").newest(99)
    assert newest is not None
    assert newest.iteration == 10


def test_every_cut_of_a_solver_state_is_seen(tmp_path: Path) -> None:
    """Protobuf accepts a message that ends between two of its fields; a snapshot does not."""
    write(tmp_path, 10)
    snapshot = Snapshots(tmp_path, "snapshot_0").at(10)
    assert is_whole(snapshot)
    whole = snapshot.state.read_bytes()
    for length in range(len(whole)):
        snapshot.state.write_bytes(whole[:length])
        assert not is_whole(snapshot), length


def test_a_state_of_another_iteration_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 10)
    (tmp_path / "snapshot_0_iter_10.solverstate").write_bytes(state(11))
    assert not is_whole(Snapshots(tmp_path, "snapshot_0").at(10))


def test_removing(tmp_path: Path) -> None:
    for iteration in (10, 20, 30):
        write(tmp_path, iteration)
    (tmp_path / "net.prototxt").touch()
    snapshots = Snapshots(tmp_path, "snapshot_0")
    snapshots.remove_before(20)
    assert len(list(tmp_path.iterdir())) == 5
    snapshots.remove_all()
    assert [path.name for path in tmp_path.iterdir()] == ["net.prototxt"]


def test_the_last_whole_one_is_never_removed_for_a_torn_one(tmp_path: Path) -> None:
    write(tmp_path, 10)
    write(tmp_path, 20)
    snapshots = Snapshots(tmp_path, "snapshot_0")
    whole = snapshots.at(20).state.read_bytes()
    snapshots.at(20).state.write_bytes(whole[:-1])
    snapshots.remove_before(20)
    snapshots.remove_before(30)
    assert is_whole(snapshots.at(10))
    snapshots.at(20).state.write_bytes(whole)
    snapshots.remove_before(20)
    assert not snapshots.at(10).state.exists()


def test_sizes_and_torn_ones(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "snapshot_0")
    assert (snapshots.largest(), snapshots.any_torn()) == (0, False)
    write(tmp_path, 10)
    size = len(state(10)) + len(model())
    assert snapshot_bytes(snapshots.at(10)) == snapshots.largest() == size
    assert not snapshots.any_torn()
    snapshots.at(20).model.write_bytes(model()[:5])
    assert snapshot_bytes(snapshots.at(20)) == 5
    assert (snapshots.largest(), snapshots.any_torn()) == (size, True)


def test_a_model_is_removed_alone(tmp_path: Path) -> None:
    for name in (MODEL, "result.json"):
        (tmp_path / name).touch()
    remove_model(tmp_path)
    remove_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
