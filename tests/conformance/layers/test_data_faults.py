"""What is wrong with data, in real Caffe's words, and what to do about it in ours."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.log import FatalError
from caffe_torch.net import Net
from tests.conformance.layers.datasets import (
    data,
    encoded,
    file_datum,
    hdf5_data,
    image_data,
    pixels,
    raw,
    write_hdf5,
    write_lmdb,
    write_mean,
)
from tests.conformance.layers.judge import Run

pytestmark = pytest.mark.conformance
Command = Callable[..., subprocess.CompletedProcess[str]]
FATAL = re.compile(r"F\d{4} [\d:.]+ +\d+ (\S+)\] (.*?) *$", re.M)


def memory(param: str) -> str:
    return (
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" '
        f"memory_data_param {{ {param} }} }}"
    )


def dummy(param: str) -> str:
    return (
        'layer { name: "data" type: "DummyData" top: "a" top: "b" '
        f"dummy_data_param {{ {param} }} }}"
    )


def output(file: str, rows: int) -> str:
    """Input blobs with 2 rows and `rows` rows, written to a file."""
    shapes = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ dim: {n} dim: 3 }} }} }}"
        for name, n in (("x", 2), ("y", rows))
    )
    return (
        f'{shapes} layer {{ name: "data" type: "HDF5Output" bottom: "x" bottom: "y" '
        f'hdf5_output_param {{ file_name: "{file}" }} }}'
    )


def transform(param: str) -> str:
    return f"transform_param {{ {param} }}"


def prepare(folder: Path) -> None:
    """Good and bad files of every kind; all images are 3×6×7 but for those named otherwise."""
    good = [pixels(3, 6, 7, seed=i) for i in range(2)]
    write_lmdb(folder / "good", map(raw, good))
    write_lmdb(folder / "empty", [])
    write_lmdb(folder / "junk", [b"\xff\xff no record"])
    write_lmdb(folder / "junk later", [raw(good[0]), b"\xff\xff no record"])
    write_lmdb(folder / "nothing", [caffe_pb2.Datum()])
    write_lmdb(folder / "lower", map(raw, (good[0], pixels(3, 5, 7))))
    write_lmdb(folder / "wider", map(raw, (good[0], pixels(3, 6, 9))))
    write_lmdb(folder / "grey", map(raw, (good[0], pixels(1, 6, 7))))
    colour = [encoded(pixels(6, 7, 3)), encoded(pixels(6, 7)), encoded(pixels(8, 7, 3))]
    write_lmdb(folder / "png", [file_datum(colour[0])])
    write_lmdb(folder / "png grey", map(file_datum, colour[:2]))
    write_lmdb(folder / "png higher", map(file_datum, colour[::2]))
    datum = caffe_pb2.Datum(channels=3, height=6, width=7)
    write_lmdb(folder / "none", [datum])
    datum.data = b"123"
    write_lmdb(folder / "short", [datum])
    write_lmdb(folder / "undecodable", [file_datum(b"no image")])
    whole = (folder / "good" / "data.mdb").read_bytes()
    (folder / "cut").mkdir()
    (folder / "cut" / "data.mdb").write_bytes(whole[:-4096])
    (folder / "text").write_text("not a folder")
    (folder / "no lmdb").mkdir()
    (folder / "no lmdb" / "data.mdb").write_bytes(b"nothing of the kind " * 1000)
    write_mean(folder / "mean grey", np.zeros((1, 6, 7)))
    write_mean(folder / "mean lower", np.zeros((3, 5, 7)))
    write_mean(folder / "mean wider", np.zeros((3, 6, 9)))

    values = np.ones((4, 2, 3), np.float32)
    write_hdf5(folder / "good.h5", data=values, label=np.arange(4))
    write_hdf5(folder / "rows.h5", data=values, label=np.arange(3))
    write_hdf5(folder / "half.h5", data=values)
    write_hdf5(folder / "scalar.h5", data=np.float32(1), label=np.arange(4))
    write_hdf5(folder / "words.h5", data=np.array([b"a", b"b"]), label=np.arange(2))
    (folder / "cut.h5").write_bytes((folder / "good.h5").read_bytes()[:900])
    for name in ("good", "rows", "half", "scalar", "words", "cut", "missing"):
        (folder / f"{name}.txt").write_text(f"{name}.h5\n")
    (folder / "then missing.txt").write_text("good.h5 missing.h5")
    write_hdf5(folder / "wide.h5", data=np.ones((4, 2, 5)), label=np.arange(4))
    (folder / "two shapes.txt").write_text("good.h5 wide.h5")
    (folder / "empty.txt").write_text("")

    (folder / "good.png").write_bytes(colour[0])
    (folder / "higher.png").write_bytes(colour[2])
    (folder / "bad.png").write_bytes(b"no image")
    for name in ("good", "bad", "gone"):
        (folder / f"{name} image.txt").write_text(f"{name}.png 1\n")
    (folder / "bad later.txt").write_text("good.png 0\nbad.png 1\n")
    (folder / "sizes.txt").write_text("good.png 0\nhigher.png 1\n")


SHAPE = "shape { dim: 2 }"
FAULTS = {
    # name: (the layer, what our line names besides)
    "no LMDB": (data("gone", 2), "'gone'"),
    "a file for an LMDB": (data("text", 2), "'text'"),
    "another file for an LMDB": (data("no lmdb", 2), "'no lmdb'"),
    "first record no Datum": (data("junk", 2), "record '000000'.*is not a Datum"),
    "empty Datum": (data("nothing", 2), "record '000000'"),
    "lower record": (data("lower", 2), "record '000001'"),
    "wider record": (data("wider", 2), "record '000001'"),
    "record of other channels": (data("grey", 2), "record '000001'"),
    "encoded record of other channels": (data("png grey", 2), "record '000001'"),
    "higher encoded record": (data("png higher", 2), "record '000001'"),
    "record lower than the crop": (data("lower", 2, transform("crop_size: 6")), "'000001'"),
    "no batch size": (data("good", 0), "batch_size"),
    "crop higher than the image": (data("good", 2, transform("crop_size: 7")), "crop_size"),
    "crop higher than the file": (data("png", 2, transform("crop_size: 7")), "crop_size"),
    "no mean file": (data("good", 2, transform('mean_file: "gone"')), "readable file"),
    "mean file of text": (data("good", 2, transform('mean_file: "text"')), "text"),
    "mean of other channels": (data("good", 2, transform('mean_file: "mean grey"')), "mean_file"),
    "mean of another height": (data("good", 2, transform('mean_file: "mean lower"')), "mean_file"),
    "mean of another width": (data("good", 2, transform('mean_file: "mean wider"')), "mean_file"),
    "mean of a crop": (
        data("good", 2, transform('crop_size: 5 mean_file: "mean lower"')),
        "mean_file",
    ),
    "two mean values": (data("good", 2, transform("mean_value: 1 mean_value: 2")), "there are 2"),
    "two mean values for a file": (
        data("png", 2, transform("mean_value: 1 mean_value: 2")),
        "there are 2",
    ),
    "mean file and value": (
        data("good", 2, transform('mean_file: "mean" mean_value: 1')),
        "remove one",
    ),
    "grey and colour": (data("png", 2, transform("force_color: true force_gray: true")), "remove"),
    "no list of HDF5 files": (hdf5_data("gone.txt", 2), "hdf5_data_param.source"),
    "empty list of HDF5 files": (hdf5_data("empty.txt", 2), "empty.txt"),
    "no HDF5 file": (hdf5_data("missing.txt", 2), "missing.txt"),
    "no second HDF5 file": (hdf5_data("then missing.txt", 6), "then missing.txt"),
    "truncated HDF5 file": (hdf5_data("cut.txt", 2), "cut.txt"),
    "no such data set": (hdf5_data("half.txt", 2), "half.h5"),
    "data sets of other lengths": (hdf5_data("rows.txt", 2), "rows.h5"),
    "a single number": (hdf5_data("scalar.txt", 2), "scalar.h5"),
    "words": (hdf5_data("words.txt", 2), "words.h5"),
    "HDF5 transformed": (
        hdf5_data("good.txt", 2).replace(
            "hdf5_data_param", transform("scale: 2 ") + "hdf5_data_param"
        ),
        "Remove transform_param",
    ),
    "no list of images": (image_data("gone.txt", 2), "cannot be read"),
    "empty list of images": (image_data("empty.txt", 2), "path label"),
    "no image": (image_data("gone image.txt", 2), "line 1 of 'gone image.txt'"),
    "unreadable image": (image_data("bad image.txt", 2), "line 1 of 'bad image.txt'"),
    "unreadable image later": (image_data("bad later.txt", 2), "line 2 of 'bad later.txt'"),
    "images of two sizes": (image_data("sizes.txt", 2), "higher.png"),
    "one side to resize to": (image_data("good image.txt", 2, "new_width: 3"), "new_height"),
    "no batch of images": (image_data("good image.txt", 0), "batch size"),
    "crop larger than the images": (
        image_data("good image.txt", 2, "", transform("crop_size: 9")),
        "crop_size",
    ),
    "no arrays": (memory("batch_size: 2 channels: 1 height: 1 width: 1"), "set_input_arrays"),
    "memory without a width": (memory("batch_size: 2 channels: 1 height: 1"), "width"),
    "no shape": (dummy(""), "shape"),
    "three shapes": (dummy(SHAPE * 3), "specified 3"),
    "three fillers": (dummy(SHAPE + "data_filler { }" * 3), "3 data fillers"),
    "legacy fields and a shape": (dummy(f"num: 1 {SHAPE}"), "legacy"),
    "no width": (dummy("num: 1 channels: 1 height: 1"), "'width'"),
    "three heights": (dummy("num: 1 channels: 1 height: 1 height: 2 height: 3 width: 1"), "height"),
    "folder of the output missing": (output("gone/out.h5", 2), "file_name"),
    "outputs of other lengths": (output("out.h5", 3), "numbers of rows"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared files."""
    path = tmp_path_factory.mktemp("faults")
    prepare(path)
    return path


def fault_of_ours(folder: Path, monkeypatch: pytest.MonkeyPatch, passes: int = 1) -> FatalError:
    """The failure of building the folder's net in TEST and running it."""
    monkeypatch.chdir(folder)
    try:
        net = Net.from_file("net.prototxt", caffe_pb2.TEST)
        for _ in range(passes):
            net.forward()
    except FatalError as failure:
        return failure
    pytest.fail("nothing was refused")


@pytest.mark.parametrize("name", FAULTS)
def test_both_end_with_the_same_line(
    name: str, folder: Path, pycaffe_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Place and message are Caffe's; ours goes on with the layer and what to look at."""
    text, names = FAULTS[name]
    path = folder / "net.prototxt"
    path.write_text(text)
    with pytest.raises(AssertionError) as died:
        pycaffe_run("forward", path, {}, "TEST", cwd=folder)
    where, message = FATAL.findall(str(died.value))[0]
    ours = fault_of_ours(folder, monkeypatch)
    assert ours.where == where
    assert ours.message.startswith(message)
    assert re.search(names, ours.message)
    assert "data" in ours.message.removeprefix(message) or "file" in ours.message
    assert "\n" not in ours.message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (data("junk later", 2), "'000001'.*is not a Datum"),
        (data("short", 2), "'000000'.*has 3 values"),
        (data("none", 2), "'000000'.*has 0 values"),
        (data("empty", 2), "'empty'.*is empty; write its records"),
        (data("undecodable", 2), "'000000'.*no image"),
        (data("cut", 2), "truncated.*copy or write the LMDB again"),
        (hdf5_data("two shapes.txt", 9), "wide.h5.*one shape"),
        (data("good", 2).replace("backend: LMDB", ""), "data_param.backend: LMDB"),
    ],
)
def test_what_real_caffe_does_not_check(
    text: str, names: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads past the end of memory, ends by SIGBUS, or goes on with what lay there before."""
    (folder / "net.prototxt").write_text(text)
    failure = fault_of_ours(folder, monkeypatch)
    assert re.search(names, failure.message)
    assert "data" in failure.message
    assert "\n" not in failure.message


def test_hdf5_output_is_written_once(
    folder: Path, run_real: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pass fails in the words of `caffe test`; what the first wrote stays."""
    text = output("once.h5", 2)
    (folder / "net.prototxt").write_text(text)
    empty = caffe_pb2.NetParameter(name="empty")
    (folder / "empty.caffemodel").write_bytes(empty.SerializeToString())
    arguments = ("-model", "net.prototxt", "-weights", "empty.caffemodel", "-iterations", "2")
    done = run_real("test", *arguments, cwd=folder)
    where, message = FATAL.findall(done.stderr)[0]
    failure = fault_of_ours(folder, monkeypatch, passes=2)
    assert failure.where == where == "hdf5.cpp:124"
    assert failure.message.startswith(message)
    assert "one iteration" in failure.message
    with h5py.File("once.h5") as file:
        assert {name: values.shape for name, values in file.items()} == {
            "data": (2, 3, 1, 1),
            "label": (2, 3, 1, 1),
        }
