"""transform_param beside real Caffe: exactly, or where it draws, the same distribution."""

import subprocess
from pathlib import Path

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from scipy import stats

from caffe_torch.net import Net
from tests.conformance.layers.datasets import (
    data,
    encoded,
    file_datum,
    image_data,
    pixels,
    raw,
    write_lmdb,
    write_mean,
)
from tests.conformance.layers.judge import REAL, Array, Run
from tests.conformance.layers.record import Record

pytestmark = pytest.mark.conformance

SHAPE = (3, 9, 7)
UNLIKELY = 1e-5  # p-values below have one fair test in a hundred thousand


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are named relative to the test's folder."""
    monkeypatch.chdir(tmp_path)


def theirs_and_ours(run: Run, text: str, phase: str) -> list[Array]:
    """The blob `data` after a pass of real Caffe and of this engine, in the working folder."""
    path = Path.cwd() / "net.prototxt"
    path.write_text(text)
    theirs = run("forward", path, {}, phase, cwd=Path.cwd())["blob/data"]
    ours = Net.from_file(str(path), getattr(caffe_pb2, phase)).forward()["data"]
    return [theirs, ours]


def write_sets(count: int) -> dict[str, str]:
    """The same images as bytes, as floats, encoded, and as files: a layer's text of each."""
    images = [pixels(*SHAPE, seed=i) for i in range(count)]
    files = [encoded(image[::-1].transpose(1, 2, 0)) for image in images]
    write_lmdb(Path("bytes"), map(raw, images))
    write_lmdb(Path("floats"), [raw(image.astype(np.float32)) for image in images])
    write_lmdb(Path("files"), map(file_datum, files))
    for i, content in enumerate(files):
        Path(f"{i}.png").write_bytes(content)
    Path("list.txt").write_text("".join(f"{i}.png 0\n" for i in range(count)))
    layers = {name: data(name, count, "TRANSFORM") for name in ("bytes", "floats", "files")}
    return layers | {"list": image_data("list.txt", count, "", "TRANSFORM")}


TRANSFORMS = [
    "",
    "scale: 0.00390625",
    "mean_value: 100.3",
    "mean_value: 10 mean_value: 20.5 mean_value: 30 scale: 0.017",
    'mean_file: "mean" scale: 3',
    "crop_size: 7",
    "crop_size: 4 mean_value: 3 scale: 0.1",
    'crop_size: 5 mean_file: "mean"',
    'crop_size: 6 mean_file: "mean" scale: 0.5',
]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", ["bytes", "floats", "files", "list"])
def test_without_draws_every_value_is_the_same(
    kind: str, transform: str, pycaffe_run: Run, record: Record
) -> None:
    """In TEST; odd and even margins; the mean image is cropped as the image is."""
    text = write_sets(4)[kind]
    write_mean(Path("mean"), np.random.default_rng(1).uniform(0, 255, SHAPE).astype(np.float32))
    text = text.replace("TRANSFORM", f"transform_param {{ {transform} }}")
    theirs, ours = theirs_and_ours(pycaffe_run, text, "TEST")
    assert ours.shape == theirs.shape
    assert np.array_equal(ours, theirs)
    record.add("ImageData" if kind == "list" else "Data", "forward", REAL)


def windows(crop: int, mirror: bool, mean: Array | None) -> dict[bytes, tuple[int, int, bool]]:
    """Each window of image 0 as a batch would hold it: top, left, and whether it is flipped."""
    image = pixels(*SHAPE, seed=0).astype(np.float32)
    less = image if mean is None else image - mean
    found = {}
    for top in range(SHAPE[1] - crop + 1):
        for left in range(SHAPE[2] - crop + 1):
            window = less[:, top : top + crop, left : left + crop]
            found[window.tobytes()] = (top, left, False)
            if mirror:
                found[np.ascontiguousarray(window[:, :, ::-1]).tobytes()] = (top, left, True)
    return found


@pytest.mark.parametrize("kind", ["bytes", "files", "list"])
@pytest.mark.parametrize("mean_file", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_training_crops_at_random(
    kind: str, mirror: bool, mean_file: bool, pycaffe_run: Run, record: Record
) -> None:
    """Each output is a window less the mean under it; all are equally likely (χ²), in both."""
    text = write_sets(1)[kind].replace("batch_size: 1", "batch_size: 3000")
    mean = np.random.default_rng(1).integers(0, 255, SHAPE).astype(np.float32)
    write_mean(Path("mean"), mean)
    transform = f"crop_size: 4 mirror: {str(mirror).lower()}"
    transform += ' mean_file: "mean"' if mean_file else ""
    places = windows(4, mirror, mean if mean_file else None)
    text = text.replace("TRANSFORM", f"transform_param {{ {transform} }}")
    for batch in theirs_and_ours(pycaffe_run, text, "TRAIN"):
        drawn = [places[np.ascontiguousarray(values).tobytes()] for values in batch]
        counts = [drawn.count(place) for place in places.values()]
        assert stats.chisquare(counts).pvalue > UNLIKELY
    name = "ImageData" if kind == "list" else "Data"
    record.add(name, "forward", "χ² of crops and flips")


@pytest.mark.parametrize("kind", ["bytes", "list"])
@pytest.mark.parametrize("crop", [0, 4])
def test_mirror_flips_at_random_in_test_too(kind: str, crop: int, pycaffe_run: Run) -> None:
    """Half of the images, each independently of the one before; the crop stays in the centre."""
    text = write_sets(1)[kind].replace("batch_size: 1", "batch_size: 2000")
    transform = f"transform_param {{ mirror: true crop_size: {crop} }}"
    image = pixels(*SHAPE, seed=0).astype(np.float32)
    if crop:
        image = image[:, 2:6, 1:5]
    for batch in theirs_and_ours(pycaffe_run, text.replace("TRANSFORM", transform), "TEST"):
        flipped = np.array([np.array_equal(values, image[:, :, ::-1]) for values in batch])
        same = np.array([np.array_equal(values, image) for values in batch])
        assert (flipped ^ same).all()
        assert stats.binomtest(int(flipped.sum()), len(flipped)).pvalue > UNLIKELY
        changes = int((flipped[1:] ^ flipped[:-1]).sum())
        assert stats.binomtest(changes, len(flipped) - 1).pvalue > UNLIKELY


def test_crops_of_one_batch_do_not_depend_on_each_other(pycaffe_run: Run) -> None:
    """An image's row says nothing on its column, nor on the next image's (χ² of the tables)."""
    text = write_sets(1)["bytes"].replace("batch_size: 1", "batch_size: 3000")
    places = windows(5, False, None)
    text = text.replace("TRANSFORM", "transform_param { crop_size: 5 }")
    for batch in theirs_and_ours(pycaffe_run, text, "TRAIN"):
        drawn = [places[np.ascontiguousarray(values).tobytes()] for values in batch]
        tops, lefts, _ = (np.array(side) for side in zip(*drawn, strict=True))
        for a, b in ((tops, lefts), (tops[1:], tops[:-1]), (lefts[1:], lefts[:-1])):
            table = np.zeros((a.max() + 1, b.max() + 1))
            np.add.at(table, (a, b), 1)
            assert stats.chi2_contingency(table).pvalue > UNLIKELY


def tool(real_caffe: Path, name: str, *arguments: str) -> None:
    """Run one of Caffe's other programs, in the working folder, as `caffe` is run."""
    script = real_caffe.read_text().replace('/usr/bin/caffe"', f'/usr/bin/{name}"')
    subprocess.run(["/bin/sh", "-c", script, str(real_caffe), *arguments], check=True)


def test_files_of_caffes_own_tools(pycaffe_run: Run, real_caffe: Path, record: Record) -> None:
    """LMDBs that convert_imageset wrote, raw and encoded, and compute_image_mean's file."""
    names = []
    for i in range(6):
        Path(f"{i}.png").write_bytes(encoded(pixels(9, 7, 3, seed=i)))
        names.append(f"{i}.png {i}\n")
    Path("list.txt").write_text("".join(names))
    tool(real_caffe, "convert_imageset", "--backend=lmdb", "./", "list.txt", "raw")
    kind = "--encode_type=png"
    tool(
        real_caffe, "convert_imageset", kind, "--encoded", "--backend=lmdb", "./", "list.txt", "png"
    )
    tool(real_caffe, "compute_image_mean", "--backend=lmdb", "raw", "mean.binaryproto")
    images = np.stack([pixels(9, 7, 3, seed=i)[:, :, ::-1].transpose(2, 0, 1) for i in range(6)])
    for source in ("raw", "png"):
        text = data(source, 6, 'transform_param { mean_file: "mean.binaryproto" }')
        theirs, ours = theirs_and_ours(pycaffe_run, text, "TEST")
        assert np.array_equal(ours, theirs)
        np.testing.assert_allclose(ours, images - images.mean(axis=0), atol=1e-4)
        record.add("Data", "forward", REAL)
