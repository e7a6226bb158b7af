"""HDF5 files and image files beside real Caffe's reading and writing of them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from PIL import Image

from caffe_torch.net import Net
from tests.conformance.layers.both import Both
from tests.conformance.layers.datasets import (
    encoded,
    hdf5_data,
    image_data,
    pixels,
    smooth,
    write_hdf5,
)
from tests.conformance.layers.judge import REAL, Run
from tests.conformance.layers.record import Record

pytestmark = pytest.mark.conformance


@pytest.fixture
def both(pycaffe_run: Run, tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> Both:
    """Both engines, in a folder of the test's own, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    return Both(pycaffe_run, tmp_path, record)


# HDF5


@pytest.mark.parametrize("batch", [1, 5, 8, 21])
def test_rows_of_hdf5_files_one_after_the_other(batch: int, both: Both) -> None:
    """Files of 5 and 3 rows; names stand in lines, or between blanks."""
    values = pixels(8, 2, 3, 4).astype(np.float32) / 7
    write_hdf5(both.folder / "a.h5", data=values[:5], label=np.arange(5.0))
    write_hdf5(both.folder / "b.h5", data=values[5:], label=np.arange(5, 8))
    (both.folder / "list.txt").write_text("a.h5\n\n b.h5")
    ours = both.same("HDF5Data", hdf5_data("list.txt", batch))
    assert np.array_equal(ours["data"], np.resize(values, (batch, 2, 3, 4)))
    assert np.array_equal(ours["label"], np.resize(np.arange(8), batch))


@pytest.mark.parametrize("kind", ["uint8", "int8", "int32", "int64", "float16", "float64"])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3, 4, 5)])
def test_hdf5_numbers_of_any_type_and_rank(kind: str, shape: tuple[int, ...], both: Both) -> None:
    values: Any = (pixels(4, *shape).astype(np.float64) * 1.7 - 60).astype(kind)
    write_hdf5(both.folder / "a.h5", x=values, second=np.arange(4))
    (both.folder / "list.txt").write_text("a.h5")
    both.same("HDF5Data", hdf5_data("list.txt", 6, tops="second x"))


def test_shuffled_hdf5_files(both: Both) -> None:
    """Within a pass each file's rows stand together, files and rows in any order, none twice."""
    for name, rows in (("a", range(5)), ("b", range(5, 9)), ("c", range(9, 15))):
        write_hdf5(both.folder / f"{name}.h5", label=np.array(rows, np.float32))
    (both.folder / "list.txt").write_text("a.h5\nb.h5\nc.h5\n")
    groups = {frozenset(range(5)), frozenset(range(5, 9)), frozenset(range(9, 15))}
    for side in both(hdf5_data("list.txt", 15 * 40, "shuffle: true", tops="label")):
        passes = side["label"].reshape(40, 15)
        firsts = set()
        for rows in passes:
            at = 0
            found = set()
            while at < 15:
                size = next(len(g) for g in groups if rows[at] in g)
                found.add(frozenset(rows[at : at + size].astype(int)))
                at += size
            assert found == groups
            firsts.add(tuple(rows[:2]))
        assert len(firsts) > 15
    both.record.add("HDF5Data", "forward", "the orders that shuffling may have")


def test_hdf5_output_writes_what_caffe_writes(both: Both) -> None:
    values = pixels(4, 2, 3, 1).astype(np.float32)
    write_hdf5(both.folder / "a.h5", data=values, label=np.arange(4.0))
    (both.folder / "list.txt").write_text("a.h5")
    text = hdf5_data("list.txt", 4) + (
        'layer { name: "out" type: "HDF5Output" bottom: "data" bottom: "label" '
        'hdf5_output_param { file_name: "out.h5" } }'
    )
    path = both.folder / "net.prototxt"
    path.write_text(text)
    written = []
    both.run("forward", path, {}, "TEST", cwd=both.folder)
    for _ in range(2):
        with h5py.File("out.h5") as file:
            written.append({name: np.array(file[name]) for name in file})
        Net.from_file("net.prototxt", caffe_pb2.TEST).forward()
    real, ours = written
    assert {name: x.shape for name, x in ours.items()} == {
        "data": (4, 2, 3, 1),
        "label": (4, 1, 1, 1),
    }
    for name, expected in real.items():
        assert ours[name].dtype == expected.dtype
        assert np.array_equal(ours[name], expected)
    both.record.add("HDF5Output", "forward", REAL)


# ImageData


def write_images(folder: Path, files: dict[str, bytes]) -> None:
    """The files, and `list.txt` of them with labels 10, 11, …"""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    lines = [f"{name} {10 + i}\n" for i, name in enumerate(files)]
    (folder / "list.txt").write_text("".join(lines))


@pytest.mark.parametrize("color", ["true", "false"])
def test_png_files(color: str, both: Both) -> None:
    """Grey, colour, palette, alpha and 16-bit files become what `is_color` says."""
    image = pixels(8, 11, 3)
    palette = Image.fromarray(image).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    palette.save(both.folder / "palette.png")
    deep = (pixels(8, 11).astype(np.uint16) << 8) + pixels(8, 11, seed=3)
    Image.fromarray(deep).save(both.folder / "deep.png")
    files = {
        "colour.png": encoded(image),
        "grey image.png": encoded(pixels(8, 11, seed=1)),
        "alpha.png": encoded(pixels(8, 11, 4, seed=2)),
        "bits.png": encoded(pixels(8, 11) > 127),
        "bitmap.bmp": encoded(pixels(8, 11, 3, seed=4), "BMP"),
        "palette.png": (both.folder / "palette.png").read_bytes(),
        "deep.png": (both.folder / "deep.png").read_bytes(),
    }
    write_images(both.folder, files)
    ours = both.same("ImageData", image_data("list.txt", 9, f"is_color: {color}"))
    assert list(ours["label"]) == [10, 11, 12, 13, 14, 15, 16, 10, 11]
    if color == "true":
        assert np.array_equal(ours["data"][0], image[:, :, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("color", ["true", "false"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_files(subsampling: int, color: str, both: Both) -> None:
    files = {
        "a.jpg": encoded(smooth(32, 40), "JPEG", quality=90, subsampling=subsampling),
        "b.jpg": encoded(smooth(32, 40, 3)[:, ::-1], "JPEG", quality=40, subsampling=subsampling),
        "c.jpg": encoded(smooth(32, 40, 1)[:, :, 0], "JPEG"),
    }
    write_images(both.folder, files)
    both.same("ImageData", image_data("list.txt", 3, f"is_color: {color}"))


@pytest.mark.parametrize(
    ("height", "width"), [(16, 20), (8, 10), (31, 41), (64, 80), (7, 40), (32, 13), (1, 1)]
)
@pytest.mark.parametrize("color", ["true", "false"])
def test_resized_images(height: int, width: int, color: str, both: Both) -> None:
    """Larger, smaller, halved, and along one side: every byte is OpenCV's."""
    write_images(
        both.folder, {"noise.png": encoded(pixels(32, 40, 3)), "waves.png": encoded(smooth(32, 40))}
    )
    more = f"new_height: {height} new_width: {width} is_color: {color}"
    both.same("ImageData", image_data("list.txt", 2, more))


def test_images_under_a_root_folder_cropped_and_scaled(both: Both) -> None:
    write_images(both.folder, {"set/a.png": encoded(pixels(9, 9, 3)), "set/b.png": encoded(
        pixels(12, 8, 3, seed=1))})  # fmt: skip
    (both.folder / "list.txt").write_text("a.png 3\nb.png -2\n")
    transform = "transform_param { crop_size: 5 mean_value: 1 mean_value: 2 mean_value: 4.5 }"
    ours = both.same("ImageData", image_data("list.txt", 2, 'root_folder: "set/"', transform))
    assert list(ours["label"]) == [3, -2]


def test_shuffled_images(both: Both) -> None:
    """Each pass has every image once, in an order of its own."""
    write_images(both.folder, {f"{i}.png": encoded(pixels(2, 2, seed=i)) for i in range(6)})
    for side in both(image_data("list.txt", 6 * 30, "shuffle: true")):
        passes = side["label"].reshape(30, 6)
        assert all(sorted(labels) == [10, 11, 12, 13, 14, 15] for labels in passes)
        assert len({tuple(labels) for labels in passes}) > 20
    both.record.add("ImageData", "forward", "the orders that shuffling may have")


def test_images_skipped_at_the_start(both: Both) -> None:
    """Up to rand_skip − 1, in both engines."""
    write_images(both.folder, {f"{i}.png": encoded(pixels(2, 2, seed=i)) for i in range(9)})
    text = image_data("list.txt", 9, "rand_skip: 4")
    starts: list[set[float]] = [set(), set()]
    for _ in range(12):
        for seen, side in zip(starts, both(text), strict=True):
            labels = side["label"]
            assert list(labels) == [10 + (labels[0] - 10 + i) % 9 for i in range(9)]
            seen.add(float(labels[0]))
    for seen in starts:
        assert len(seen) > 1
        assert seen <= {10, 11, 12, 13}
    both.record.add("ImageData", "forward", "the starts that skipping may have")
