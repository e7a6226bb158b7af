"""The Data layer: order, threads, crops and flips, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from caffe_torch.log import FatalError
from caffe_torch.net import Net

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
    with pytest.raises(FatalError, match=r"mixed.*another shape"):
        make_net(_text(tmp_path / "mixed", 2)).forward()
    with (
        lmdb.open(str(tmp_path / "encoded")) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"jpg", caffe_pb2.Datum(encoded=True, data=b"x").SerializeToString())
    with pytest.raises(FatalError, match=r"record 'jpg'.*encoded"):
        make_net(_text(tmp_path / "encoded", 1)).forward()
