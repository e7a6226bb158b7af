"""Data layers: order, threads, memory, crops and flips, and what they refuse."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
import torch
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_torch.layers.feed import CACHE
from caffe_torch.log import FatalError
from caffe_torch.net import Net
from caffe_torch.runtime import Runtime

Write = Callable[[Path, NDArray[np.uint8]], None]


def _text(source: Path, batch: int, transform: str = "", name: str = "d") -> str:
    return (
        f'layer {{ name: "{name}" type: "Data" top: "{name}data" top: "{name}label" data_param '
        f'{{ source: "{source}" batch_size: {batch} backend: LMDB }} '
        f"transform_param {{ {transform} }} }}"
    )


def _images(n: int, channels: int = 1, side: int = 6) -> NDArray[np.uint8]:
    shape = (n, channels, side, side)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def test_batches_follow_each_other_and_wrap(
    tmp_path: Path, write_images: Write, make_net: Callable[..., Net]
) -> None:
    images = _images(7)
    write_images(tmp_path / "lmdb", images)
    net = make_net(_text(tmp_path / "lmdb", 5))
    seen = np.concatenate([net.forward()["ddata"].copy() for _ in range(6)])
    np.testing.assert_array_equal(seen, np.resize(images, (30, 1, 6, 6)).astype(np.float32))


def test_two_layers_read_one_lmdb_each_at_its_own_pace(
    tmp_path: Path, write_images: Write, make_net: Callable[..., Net]
) -> None:
    write_images(tmp_path / "lmdb", _images(6))
    source = tmp_path / "lmdb"
    net = make_net(_text(source, 2, name="a") + _text(source, 3, name="b"))
    for i in range(4):
        out = net.forward()
        assert list(out["alabel"]) == [(2 * i + k) % 6 for k in range(2)]
        assert list(out["blabel"]) == [(3 * i + k) % 6 for k in range(3)]


def test_an_unwritable_folder_can_be_read(
    tmp_path: Path, write_images: Write, make_net: Callable[..., Net]
) -> None:
    folder = tmp_path / "lmdb"
    write_images(folder, _images(3))
    (folder / "lock.mdb").unlink()
    folder.chmod(0o500)
    make_net(_text(folder, 2)).forward()
    assert not (folder / "lock.mdb").exists()
    folder.chmod(0o700)


def test_training_crops_at_random_and_flips_in_both_phases(
    tmp_path: Path, write_images: Write, make_net: Callable[..., Net]
) -> None:
    """Every crop is one of the image's, all positions and both directions occur."""
    images = _images(1)
    write_images(tmp_path / "lmdb", images)
    places: set[tuple[int, int, bool]] = set()
    text = _text(tmp_path / "lmdb", 400, "crop_size: 4 mirror: true")
    windows = {
        images[0, :, t : t + 4, s : s + 4][:, :, ::step].tobytes(): (t, s, step < 0)
        for t in range(3)
        for s in range(3)
        for step in (1, -1)
    }
    for crop in make_net(text).forward()["ddata"]:
        places.add(windows[crop.astype(np.uint8).tobytes()])
    assert len(places) == 18
    tested = make_net(text, caffe_pb2.TEST).forward()["ddata"]
    kinds = {windows[crop.astype(np.uint8).tobytes()] for crop in tested}
    assert kinds == {(1, 1, False), (1, 1, True)}


def test_refuses_what_it_cannot_read(
    tmp_path: Path, write_images: Write, make_net: Callable[..., Net]
) -> None:
    with pytest.raises(FatalError, match="No such file or directory"):
        make_net(_text(tmp_path / "nope", 2))
    with lmdb.open(str(tmp_path / "empty")):
        pass
    with pytest.raises(FatalError, match="is empty"):
        make_net(_text(tmp_path / "empty", 2))
    write_images(tmp_path / "mixed", _images(2))
    with (
        lmdb.open(str(tmp_path / "mixed")) as environment,
        environment.begin(write=True) as transaction,
    ):
        odd = caffe_pb2.Datum(channels=1, height=2, width=2, data=b"1234")
        transaction.put(b"000001", odd.SerializeToString())
    net = make_net(_text(tmp_path / "mixed", 2))
    for _ in range(2):  # and again where it is asked again
        with pytest.raises(FatalError, match=r"'000001' of the LMDB .*mixed.* shape \(1, 2, 2\)"):
            net.forward()


# Records in memory


@pytest.fixture(params=["0", "1", ""])
def cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """CAFFE_TORCH_CACHE_MB: nothing is kept, a small set is, or the variable is not set."""
    monkeypatch.delenv(CACHE, raising=False)
    if request.param:
        monkeypatch.setenv(CACHE, request.param)
    return str(request.param)


def _is_in_memory(net: Net) -> bool:
    layer: Any = net.layers[0]
    return bool(layer._feed.in_memory)


@pytest.mark.parametrize("batch", [1, 3, 7, 16])
def test_batches_are_the_same_whether_records_are_kept_or_not(
    cache: str, batch: int, tmp_path: Path, write_images: Write, make_net: Callable[..., Net],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In order and round, with a log line at each end of the set, over several passes."""
    images = _images(7)
    write_images(tmp_path / "lmdb", images)
    net = make_net(_text(tmp_path / "lmdb", batch, "mean_value: 3 scale: 0.5"))
    expected = (np.resize(images, (batch * 12, 1, 6, 6)).astype(np.float32) - 3) * 0.5
    for i in range(12):
        out = net.forward()
        np.testing.assert_array_equal(out["ddata"], expected[i * batch : (i + 1) * batch])
        assert list(out["dlabel"]) == [(i * batch + k) % 7 for k in range(batch)]
        restarts = capfd.readouterr().err.count("Restarting data prefetching from start.")
        assert restarts == (i + 1) * batch // 7 - i * batch // 7
    assert _is_in_memory(net) == (cache != "0")


def test_draws_are_the_same_whether_records_are_kept_or_not(
    tmp_path: Path,
    write_images: Write,
    make_net: Callable[..., Net],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_images(tmp_path / "lmdb", _images(5))
    text = _text(tmp_path / "lmdb", 4, "crop_size: 3 mirror: true")
    seen = []
    for megabytes in ("0", "1"):
        monkeypatch.setenv(CACHE, megabytes)
        net = make_net(text, seed=3)
        seen.append(np.stack([net.forward()["ddata"].copy() for _ in range(6)]))
        assert _is_in_memory(net) == (megabytes == "1")
    np.testing.assert_array_equal(*seen)


def test_what_is_written_into_a_batch_does_not_reach_the_kept_records(
    tmp_path: Path, write_images: Write, make_net: Callable[..., Net]
) -> None:
    images = _images(2)
    write_images(tmp_path / "lmdb", images)
    net = make_net(_text(tmp_path / "lmdb", 2))
    for _ in range(4):
        out = net.forward()
        np.testing.assert_array_equal(out["ddata"], images)
        assert list(out["dlabel"]) == [0, 1]
        net.blobs["ddata"].data[...] = -1
        net.blobs["dlabel"].data[...] = -1


def test_a_set_larger_than_the_bound_is_read_again(
    tmp_path: Path,
    write_images: Write,
    make_net: Callable[..., Net],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two sets of 0.6 MiB, and room for 1 MiB: the second stays on disk until the first is gone."""
    monkeypatch.setenv(CACHE, "1")
    write_images(tmp_path / "lmdb", np.resize(_images(600, 1, 32), (600, 1, 32, 32)))
    text = _text(tmp_path / "lmdb", 300)
    nets = [make_net(text) for _ in range(2)]
    for net in nets:
        for _ in range(4):
            net.forward()
    assert [_is_in_memory(net) for net in nets] == [True, False]
    del nets, net
    gc.collect()
    third = make_net(text)
    for _ in range(4):
        third.forward()
    assert _is_in_memory(third)


def test_the_reading_thread_ends_when_all_is_in_memory(
    tmp_path: Path, write_images: Write, make_net: Callable[..., Net]
) -> None:
    write_images(tmp_path / "lmdb", _images(4))
    before = threading.active_count()
    net = make_net(_text(tmp_path / "lmdb", 2))
    for _ in range(9):
        net.forward()
    assert threading.active_count() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("transform", ["", "mean_value: 3 scale: 0.5 crop_size: 4 mirror: true"])
def test_batches_on_a_gpu_are_those_of_the_cpu(
    transform: str, tmp_path: Path, write_images: Write
) -> None:
    """Read, and then cut out of the records on the device; drawn from the same stream."""
    write_images(tmp_path / "lmdb", _images(7))
    param = text_format.Parse(_text(tmp_path / "lmdb", 3, transform), caffe_pb2.NetParameter())
    param.state.phase = caffe_pb2.TRAIN
    seen = []
    for gpu in (None, 0):
        net = Net(param, Runtime.create(3, gpu=gpu))
        seen.append(np.stack([net.forward()["ddata"].copy() for _ in range(9)]))
        assert _is_in_memory(net)
        assert net.layers[0]._feed._images.is_cuda == (gpu == 0)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*seen)


def test_the_bound_is_a_number(
    tmp_path: Path,
    write_images: Write,
    make_net: Callable[..., Net],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CACHE, "much")
    write_images(tmp_path / "lmdb", _images(4))
    with pytest.raises(FatalError, match=r"CAFFE_TORCH_CACHE_MB is a whole number.*'much'"):
        make_net(_text(tmp_path / "lmdb", 2)).forward()
