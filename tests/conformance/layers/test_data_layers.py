"""Each data layer's tops beside real Caffe's, on the same files."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.net import Net
from tests.conformance.commands import Command
from tests.conformance.layers.both import Both
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
from tests.conformance.layers.judge import REAL, Run
from tests.conformance.layers.record import Record

pytestmark = pytest.mark.conformance


@pytest.fixture
def both(pycaffe_run: Run, tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> Both:
    """Both engines, in a folder of the test's own, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    return Both(pycaffe_run, tmp_path, record)


# Data


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("batch", [1, 4, 17])
def test_records_in_key_order_and_round(kind: str, batch: int, both: Both) -> None:
    """A batch longer than the set goes round it more than once."""
    images = pixels(7, 3, 4, 5).astype(kind) - (0 if kind == "uint8" else np.float32(99.25))
    write_lmdb(both.folder / "db", [raw(image, i * 3) for i, image in enumerate(images)])
    ours = both.same("Data", data("db", batch))
    assert np.array_equal(ours["data"], np.resize(images, (batch, 3, 4, 5)).astype(np.float32))


def test_bytes_and_floats_in_one_set(both: Both) -> None:
    images = [pixels(1, 2, 3), np.full((1, 2, 3), 0.5, np.float32), pixels(1, 2, 3, seed=1)]
    write_lmdb(both.folder / "db", map(raw, images))
    both.same("Data", data("db", 5))


@pytest.mark.parametrize("force", ["", "force_color: true", "force_gray: true"])
@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 3), (9, 12, 4)])
def test_encoded_records(shape: tuple[int, ...], force: str, both: Both) -> None:
    """PNG in grey, colour, and colour with an alpha channel; channels in the order B, G, R."""
    files = [encoded(pixels(*shape, seed=i)) for i in range(3)]
    write_lmdb(both.folder / "db", [file_datum(file, i) for i, file in enumerate(files)])
    both.same("Data", data("db", 4, f"transform_param {{ {force} }}"))


def test_images_in_grey_and_colour_are_made_alike(both: Both) -> None:
    files = [encoded(pixels(6, 7, 3)), encoded(pixels(6, 7))]
    write_lmdb(both.folder / "db", map(file_datum, files))
    for force in ("force_color", "force_gray"):
        both.same("Data", data("db", 2, f"transform_param {{ {force}: true }}"))


def test_records_of_several_sizes_in_a_crop(both: Both) -> None:
    """Each image's own centre."""
    images = [pixels(3, 5, 9), pixels(3, 8, 6, seed=1), pixels(3, 4, 4, seed=2)]
    write_lmdb(both.folder / "db", map(raw, images))
    both.same("Data", data("db", 5, "transform_param { crop_size: 4 scale: 0.5 }"))
    write_lmdb(both.folder / "png", [file_datum(encoded(x.transpose(1, 2, 0))) for x in images])
    both.same("Data", data("png", 5, "transform_param { crop_size: 4 mean_value: 3.5 }"))


def test_a_batch_of_one_takes_the_size_of_its_record(both: Both) -> None:
    images = [pixels(3, 5, 9), pixels(3, 8, 6, seed=1)]
    write_lmdb(both.folder / "db", map(raw, images))
    both.same("Data", data("db", 1))
    net = Net.from_file("net.prototxt", caffe_pb2.TEST)
    assert [net.forward()["data"].shape for _ in range(3)] == [
        (1, 3, 5, 9),
        (1, 3, 8, 6),
        (1, 3, 5, 9),
    ]


def test_rand_skip_is_read_by_neither(both: Both) -> None:
    """The field is in Caffe 1.0's schema; its data layer begins with the first record."""
    write_lmdb(both.folder / "db", [raw(pixels(1, 2, 2), i) for i in range(50)])
    for _ in range(3):
        ours = both.same("Data", data("db", 2).replace("backend", "rand_skip: 40 backend"), "TRAIN")
        assert list(ours["label"]) == [0, 1]


# Values that are given, or made

MEMORY = """
layer { name: "data" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 } }
"""
MEMORY_SCRIPT = """
import sys
import caffe
import numpy as np
given = np.load("in.npz")
net = caffe.Net("net.prototxt", caffe.TEST)
net.set_input_arrays(given["data"], given["label"])
out = {}
for i in range(5):
    net.forward()
    for name, blob in net.blobs.items():
        out["%s%d" % (name, i)] = blob.data.copy()
np.savez("out.npz", **out)
"""


def test_arrays_in_memory(both: Both, pycaffe: Path) -> None:
    """Batches in a circle, of the shapes that pycaffe shows."""
    values = pixels(6, 3, 4, 5).astype(np.float32) / 3
    labels = np.arange(6, dtype=np.float32)
    (both.folder / "net.prototxt").write_text(MEMORY)
    np.savez("in.npz", data=values, label=labels)
    subprocess.run([str(pycaffe), "-c", MEMORY_SCRIPT], check=True, capture_output=True)
    net = Net.from_file("net.prototxt", caffe_pb2.TEST)
    layer: Any = net.layers[0]
    layer.set_arrays(values, labels)
    with np.load("out.npz") as out:
        assert len(out.files) == 10
        for i in range(5):
            net.forward()
            for name, blob in net.blobs.items():
                assert blob.data.shape == out[f"{name}{i}"].shape
                assert np.array_equal(blob.data, out[f"{name}{i}"])
    both.record.add("MemoryData", "forward", REAL)


SHAPE = "shape { dim: 2 dim: 3 }"


@pytest.mark.parametrize(
    "param",
    [
        SHAPE,
        f"{SHAPE} shape {{ dim: 4 }}",
        "num: 2 channels: 3 height: 1 width: 2",
        "num: 2 num: 1 channels: 3 height: 1 width: 2 width: 5",
        f"{SHAPE} data_filler {{ value: 2.5 }}",
        f"{SHAPE} data_filler {{ value: 2.5 }} data_filler {{ }}",
    ],
)
def test_constant_values_in_every_form(param: str, both: Both) -> None:
    text = (
        f'layer {{ name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param {{ {param} }} }}'
    )
    both.same("DummyData", text)


def test_drawn_values_are_drawn_for_each_pass(both: Both) -> None:
    """Gaussian values as the filler says, others on the next pass; a constant stays."""
    text = (
        'layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { '
        'shape { dim: 20000 } data_filler { type: "gaussian" mean: 3 std: 2 } '
        "data_filler { value: 7 } } }"
    )
    for side in both(text):
        assert abs(side["a"].mean() - 3) < 0.1
        assert abs(side["a"].std() - 2) < 0.1
    net = Net.from_file("net.prototxt", caffe_pb2.TEST)
    first, second = (net.forward()["a"].copy() for _ in range(2))
    assert not np.array_equal(first, second)
    assert (net.blobs["b"].data == 7).all()
    both.record.add("DummyData", "forward", "mean and deviation of the filler")


@pytest.mark.parametrize("shapes", [SHAPE, f"{SHAPE} shape {{ }}"])
def test_inputs_keep_what_they_are_given(shapes: str, both: Both) -> None:
    """One shape for both tops, or one each; () is a scalar."""
    path = both.folder / "net.prototxt"
    path.write_text(
        f'layer {{ name: "in" type: "Input" top: "a" top: "b" input_param {{ {shapes} }} }}'
    )
    net = Net.from_file(str(path), caffe_pb2.TEST)
    given = {n: np.array(pixels(*blob.shape), np.float32) for n, blob in net.blobs.items()}
    net.forward(**given)
    out = both.run("forward", path, {f"blob/{n}": x for n, x in given.items()}, "TEST")
    for name, values in given.items():
        assert net.blobs[name].data.shape == out[f"blob/{name}"].shape == values.shape
        assert np.array_equal(net.blobs[name].data, out[f"blob/{name}"])
    both.record.add("Input", "forward", REAL)


# What they log

LINE = re.compile(
    r"^[IWE]\d{4} [\d:.]+ +\d+ "
    r"((?:db_lmdb|data_layer|data_transformer|hdf5|hdf5_data_layer|hdf5_output_layer|"
    r"image_data_layer|io)\.cpp:\d+\] .*?) *$",
    re.M,
)


@pytest.mark.parametrize(
    "text",
    [
        data("db", 3, 'transform_param { mean_file: "mean" crop_size: 2 }'),
        data("db", 2, "transform_param { force_gray: true }"),
        hdf5_data("list.txt", 5),
        image_data("images.txt", 1, "shuffle: true"),
        image_data("images.txt", 1, "rand_skip: 1", 'transform_param { mean_file: "mean" }'),
    ],
)
def test_setting_up_is_logged_as_caffe_does(
    text: str, both: Both, real: Command, embedded: Command
) -> None:
    """The data layers' own lines in the log of `caffe test`, in order; those of passes aside."""
    folder = both.folder
    write_lmdb(folder / "db", [raw(pixels(1, 4, 4), i) for i in range(4)])
    write_mean(folder / "mean", np.zeros((1, 4, 4)))
    write_hdf5(folder / "a.h5", data=np.ones((3, 2)), label=np.arange(3))
    (folder / "list.txt").write_text("a.h5\na.h5\n")
    (folder / "a.png").write_bytes(encoded(pixels(4, 4)))
    (folder / "images.txt").write_text("a.png 0\n")
    if text.startswith('layer { name: "data" type: "ImageData"'):
        text = text.replace("source", "is_color: false source")
    (folder / "net.prototxt").write_text(text)
    empty = caffe_pb2.NetParameter(name="empty")
    (folder / "empty.caffemodel").write_bytes(empty.SerializeToString())
    arguments = ("-model", "net.prototxt", "-weights", "empty.caffemodel", "-iterations", "1")
    logs = []
    for command in (real, embedded):
        run = command("test", *arguments, cwd=folder)
        assert run.status == 0, run.log[-2000:]
        before = run.log.split("Network initialization done.")[0]
        lines = LINE.findall(before)
        logs.append([x for x in lines if "Restarting" not in x and "only for encoded" not in x])
        if "force_gray" in text:
            assert "force_color and force_gray only for encoded datum" in run.log
    assert logs[0] == logs[1]
    assert logs[0]
