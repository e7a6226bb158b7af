"""Caffe's record format against protobuf, and against real Caffe's own tools."""

import os
import re
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_prep.errors import DataError
from data_prep.idx import encode_idx
from data_prep.lmdb_writer import (
    Chunk,
    disk_bytes,
    encode_datums,
    read_lmdb,
    write_lmdb,
    write_mean,
)
from prototxt_gen import caffe_pb2

SHAPES = st.tuples(*[st.integers(1, size) for size in (3, 3, 5, 40)])
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
IMAGES = st.one_of(hnp.arrays(np.uint8, SHAPES), hnp.arrays(np.float32, SHAPES, elements=FINITE))


def packed_datum() -> Any:
    """The Datum message with [packed = true] on its float_data: another serializer's schema."""
    file = descriptor_pb2.FileDescriptorProto(name="packed.proto", package="packed")
    caffe_pb2.Datum.DESCRIPTOR.CopyToProto(file.message_type.add())
    (floats,) = (field for field in file.message_type[0].field if field.name == "float_data")
    floats.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("packed.Datum"))


PackedDatum = packed_datum()


def examples(count: int, shape: tuple[int, int, int], dtype: str = "uint8") -> Chunk:
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, *shape)).astype(dtype)
    if dtype == "float32":
        images = images / np.float32(7) - 3
    return images, rng.integers(0, 10, count).astype(np.uint8)


def raw_records(folder: Path) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


@st.composite
def chunks_of_examples(draw: st.DrawFn) -> Chunk:
    images = draw(IMAGES)
    labels = st.lists(st.integers(0, 2**24), min_size=len(images), max_size=len(images))
    return images, np.array(draw(labels), draw(st.sampled_from(["int32", "int64", "uint32"])))


@given(chunks_of_examples())
def test_a_record_is_protobufs_serialization(chunk: Chunk) -> None:
    """uint8 in `data`, float32 in `float_data` as with [packed = true]; byte for byte."""
    images, labels = chunk
    for image, label, record in zip(images, labels, encode_datums(images, labels), strict=True):
        channels, height, width = image.shape
        datum = PackedDatum(channels=channels, height=height, width=width, label=int(label))
        if image.dtype == np.uint8:
            datum.data = image.tobytes()
        else:
            datum.float_data.extend(image.ravel().tolist())
        assert record == datum.SerializeToString(deterministic=True)


@given(chunks_of_examples())
def test_protobufs_parser_of_caffes_schema_reads_every_record(chunk: Chunk) -> None:
    """Caffe's schema has float_data unpacked; its parser takes both forms."""
    images, labels = chunk
    for image, label, record in zip(images, labels, encode_datums(images, labels), strict=True):
        datum = caffe_pb2.Datum.FromString(record)
        assert (datum.channels, datum.height, datum.width) == image.shape
        assert datum.label == label
        if image.dtype == np.uint8:
            assert datum.data == image.tobytes()
            assert not datum.float_data
        else:
            assert np.array(datum.float_data, np.float32).tobytes() == image.tobytes()
            assert not datum.HasField("data")


@given(chunks_of_examples(), st.data())
def test_chunks_and_transactions_leave_no_trace(chunk: Chunk, data: st.DataObject) -> None:
    """However the examples come and are grouped, the records are those of one chunk."""
    images, labels = chunk
    cuts = sorted(data.draw(st.lists(st.integers(0, len(images)), max_size=3)))
    bounds = list(pairwise([0, *cuts, len(images)]))
    size = data.draw(st.integers(1, 3000))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        cut = [(images[start:stop], labels[start:stop]) for start, stop in bounds]
        assert write_lmdb(path, cut, transaction_bytes=size) == len(images)
        values = [value for _, value in raw_records(path)]
        keys = [key for key, _ in raw_records(path)]
    assert values == list(encode_datums(images, labels))
    assert keys == [b"%08d" % number for number in range(len(images))]


def test_images_that_are_views_are_written_as_they_look() -> None:
    images, labels = examples(4, (3, 6, 5))
    turned = images.transpose(0, 1, 3, 2)[::-1, :, ::2]
    assert not turned.flags.c_contiguous
    assert list(encode_datums(turned, labels)) == list(encode_datums(turned.copy(), labels))


def test_records_are_numbered_across_chunks_and_transactions(tmp_path: Path) -> None:
    images, labels = examples(25, (2, 3, 4))
    chunks = [
        (images[:11], labels[:11]),
        (images[11:11], labels[11:11]),
        (images[11:], labels[11:]),
    ]
    assert write_lmdb(tmp_path / "db", chunks, transaction_bytes=4 * 24) == 25
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


def test_memory_is_bounded_where_one_chunk_is_large(tmp_path: Path) -> None:
    """100 MB of records in one chunk: they are never all encoded at once."""
    chunk = np.zeros((100, 1, 500, 500), np.float32), np.zeros(100, np.uint8)
    tracemalloc.start()
    try:
        write_lmdb(tmp_path / "db", [chunk])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6  # numpy.isfinite's 25 MB of booleans for the chunk


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
        (np.zeros((2, 1, 3, 4), np.float16), np.zeros(2, int), "float16"),
        (np.zeros((2, 1, 3, 4), ">f4"), np.zeros(2, int), ">f4"),
        (np.zeros((2, 1, 0, 4), np.uint8), np.zeros(2, int), "N×C×H×W"),
        (np.full((2, 1, 3, 4), np.nan, np.float32), np.zeros(2, int), "NaN"),
        (np.full((2, 1, 3, 4), -np.inf, np.float32), np.zeros(2, int), "infinity"),
        (np.zeros((2, 1, 3, 4), np.uint8), np.array([0, -1]), "label -1 is negative"),
        (np.zeros((2, 1, 3, 4), np.uint8), np.array([0, 2**24 + 1]), "label 16777217 is above"),
        (np.zeros((2, 1, 3, 4), np.uint8), np.zeros(2, np.float32), "float32, not integers"),
    ],
)
def test_arrays_that_are_no_examples_are_refused(
    tmp_path: Path, images: Any, labels: Any, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        write_lmdb(tmp_path / "db", [(images, labels)])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 4, 3), "uint8"), ((2, 3, 4), "uint8"), ((1, 3, 4), "float32")]
)
def test_examples_of_two_kinds_are_refused(
    tmp_path: Path, shape: tuple[int, int, int], dtype: str
) -> None:
    """Caffe takes the first record's shape for all."""
    with pytest.raises(DataError, match="a database holds one kind"):
        write_lmdb(tmp_path / "db", [examples(3, (1, 3, 4)), examples(2, shape, dtype)])


def test_what_the_examples_reader_raises_is_not_taken_for_a_writing_error(tmp_path: Path) -> None:
    def chunks() -> Iterator[Chunk]:
        yield examples(3, (1, 3, 4))
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        write_lmdb(tmp_path / "db", chunks())


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from data_prep.errors import DataError
from data_prep.lmdb_writer import write_lmdb

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
chunk = np.zeros((1000, 3, 32, 32), np.uint8), np.zeros(1000, int)
try:
    write_lmdb(Path(sys.argv[1]), [chunk], transaction_bytes=1 << 17)
except DataError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_told_in_one_line(tmp_path: Path) -> None:
    """A file that may not grow beyond 1 MiB stands for a full disk."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\S+/db: the LMDB cannot be written \(.*\); .*disk is full\n", done.stdout)


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
    write_lmdb(tmp_path / "ours", [(images, labels)], transaction_bytes=100 * 784)
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


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 8, 8), (1, 28, 28), (1, 44, 45), (1, 45, 46), (3, 32, 32), (3, 42, 42)]
)
def test_the_space_on_the_disk_is_known_beforehand(
    tmp_path: Path, shape: tuple[int, int, int], dtype: str
) -> None:
    """In pages of its own if a record takes half a page, which 44×45 does not and 45×46 does."""
    count = 3000
    images: Any = np.zeros((count, *shape), dtype)
    write_lmdb(tmp_path / "db", [(images, np.arange(count) % 10)])
    taken = (tmp_path / "db" / "data.mdb").stat().st_size
    assert taken <= disk_bytes(count, shape, dtype) <= 1.05 * taken + 20 * 4096 + 20 * count
