"""Caffe's record format against protobuf, and against real Caffe's own tools and layers."""

import os
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_prep.errors import DataError
from data_prep.idx import encode_idx
from data_prep.lmdb_writer import Chunk, encode_datums, read_lmdb, write_lmdb, write_mean
from prototxt_gen import caffe_pb2

SHAPES = st.tuples(*[st.integers(1, size) for size in (3, 3, 5, 40)])
IMAGES = st.one_of(
    [hnp.arrays(dtype, SHAPES) for dtype in (np.dtype(np.uint8), np.dtype(np.float32))]
)


def examples(count: int, shape: tuple[int, int, int], dtype: str = "uint8") -> Chunk:
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, *shape)).astype(dtype)
    if dtype == "float32":
        images = images / np.float32(7) - 3
    return images, rng.integers(0, 10, count).astype(np.uint8)


def raw_records(folder: Path) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


@given(IMAGES, st.data())
def test_a_record_is_protobufs_serialization(images: Any, data: st.DataObject) -> None:
    count = len(images)
    labels = np.array(
        data.draw(st.lists(st.integers(0, 2**31 - 1), min_size=count, max_size=count))
    )
    for image, label, record in zip(images, labels, encode_datums(images, labels), strict=True):
        channels, height, width = image.shape
        datum = caffe_pb2.Datum(channels=channels, height=height, width=width, label=int(label))
        if image.dtype == np.uint8:
            datum.data = image.tobytes()
        else:
            datum.float_data.extend(image.ravel().tolist())
        assert record == datum.SerializeToString(deterministic=True)


def test_records_are_numbered_across_chunks_and_transactions(tmp_path: Path) -> None:
    images, labels = examples(25, (2, 3, 4))
    chunks = [
        (images[:11], labels[:11]),
        (images[11:11], labels[11:11]),
        (images[11:], labels[11:]),
    ]
    assert write_lmdb(tmp_path / "db", chunks, batch=4) == 25
    records = list(read_lmdb(tmp_path / "db"))
    assert [key for key, _ in records] == [b"%08d" % number for number in range(25)]
    assert [datum.label for _, datum in records] == labels.tolist()
    assert b"".join(datum.data for _, datum in records) == images.tobytes()


def test_the_map_grows_from_one_page(tmp_path: Path) -> None:
    """A map of 32 KiB cannot hold 3 MB of records; nothing is lost or written twice."""
    chunk = examples(1000, (3, 32, 32))
    write_lmdb(tmp_path / "small", [chunk], map_size=1 << 15)
    write_lmdb(tmp_path / "large", [chunk])
    assert raw_records(tmp_path / "small") == raw_records(tmp_path / "large")


def test_memory_is_bounded_by_a_chunk(tmp_path: Path) -> None:
    """64 chunks of 3 MB pass through; no more than a few are ever held."""

    def chunks() -> Iterator[Chunk]:
        for _ in range(64):
            yield np.zeros((1000, 3, 32, 32), np.uint8), np.zeros(1000, np.uint8)

    tracemalloc.start()
    try:
        assert write_lmdb(tmp_path / "db", chunks()) == 64_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [examples(3, (1, 2, 2))])
    before = raw_records(tmp_path / "db")
    with pytest.raises(DataError, match="already exists"):
        write_lmdb(tmp_path / "db", [examples(5, (1, 2, 2))])
    assert raw_records(tmp_path / "db") == before


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.zeros((2, 3, 4), np.uint8), np.zeros(2, int), "N×C×H×W"),
        (np.zeros((2, 1, 3, 4), np.uint8), np.zeros(3, int), "one label per image"),
        (np.zeros((2, 1, 3, 4), np.float64), np.zeros(2, int), "float64"),
        (np.zeros((2, 1, 3, 4), np.uint8), np.array([0, -1]), "label -1 is negative"),
    ],
)
def test_arrays_that_are_no_examples_are_refused(
    tmp_path: Path, images: Any, labels: Any, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        write_lmdb(tmp_path / "db", [(images, labels)])


def test_a_mean_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image to average"):
        write_mean(tmp_path / "mean", [np.zeros((0, 1, 2, 2), np.uint8)])
    assert not (tmp_path / "mean").exists()


def caffe_tool(prefix: Path, name: str) -> list[str]:
    """The command of another program of real Caffe's package, started as its wrapper does."""
    system = prefix / "lib" / "x86_64-linux-gnu"
    libraries = prefix / "usr" / "lib" / "x86_64-linux-gnu"
    path = f"{libraries}/openblas-pthread:{system}:{libraries}:{prefix}/usr/lib"
    loader = str(system / "ld-linux-x86-64.so.2")
    return [loader, "--library-path", path, str(prefix / "usr" / "bin" / name)]


def run(command: list[str], folder: Path) -> None:
    environment = os.environ | {"GLOG_logtostderr": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.conformance
def test_records_equal_those_of_caffes_convert_mnist_data(
    tmp_path: Path, caffe_prefix: Path
) -> None:
    images, labels = examples(300, (1, 28, 28))
    (tmp_path / "images").write_bytes(encode_idx(images[:, 0]))  # type: ignore[arg-type]
    (tmp_path / "labels").write_bytes(encode_idx(labels))  # type: ignore[arg-type]
    run([*caffe_tool(caffe_prefix, "convert_mnist_data"), "images", "labels", "theirs"], tmp_path)
    write_lmdb(tmp_path / "ours", [(images, labels)], batch=100)
    assert raw_records(tmp_path / "ours") == raw_records(tmp_path / "theirs")


@pytest.mark.conformance
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_the_mean_file_equals_that_of_caffes_compute_image_mean(
    tmp_path: Path, caffe_prefix: Path, shape: tuple[int, int, int]
) -> None:
    images, labels = examples(777, shape)
    write_lmdb(tmp_path / "db", [(images, labels)])
    run([*caffe_tool(caffe_prefix, "compute_image_mean"), "db", "theirs"], tmp_path)
    write_mean(tmp_path / "ours", [images[:500], images[500:]])
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


PYCAFFE = """
import sys
import caffe
import numpy as np

net = caffe.Net("net.prototxt", caffe.TEST)
out = net.forward()
blob = caffe.proto.caffe_pb2.BlobProto()
blob.ParseFromString(open("mean.binaryproto", "rb").read())
np.savez("seen.npz", data=net.blobs["data"].data, label=net.blobs["label"].data,
         mean=caffe.io.blobproto_to_array(blob))
"""

NET = """
layer {{
  name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ {transform} }}
  data_param {{ source: "db" batch_size: {count} backend: LMDB }}
}}
"""


@pytest.mark.conformance
@pytest.mark.parametrize("mean_file", [False, True])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 28, 28), "uint8"), ((3, 32, 32), "uint8"), ((3, 32, 32), "float32")],
)
def test_real_caffe_sees_the_same_pixels_and_labels(
    tmp_path: Path, pycaffe: Path, shape: tuple[int, int, int], dtype: str, mean_file: bool
) -> None:
    images, labels = examples(150, shape, dtype)
    write_lmdb(tmp_path / "db", [(images, labels)], batch=40)
    write_mean(tmp_path / "mean.binaryproto", [images])
    transform = 'mean_file: "mean.binaryproto"' if mean_file else ""
    (tmp_path / "net.prototxt").write_text(NET.format(transform=transform, count=len(images)))
    run([str(pycaffe), "-c", PYCAFFE], tmp_path)
    with np.load(tmp_path / "seen.npz") as seen:
        mean = images.astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(seen["mean"], mean[None], rtol=1e-6)
        expected = images.astype(np.float32)
        if mean_file:
            expected = expected - seen["mean"].astype(np.float32)
        assert np.array_equal(seen["data"], expected)
        assert np.array_equal(seen["label"].ravel(), labels)
