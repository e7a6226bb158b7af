"""The HDF5 files hold the examples, gapless over chunks and files; what Caffe cannot take, not."""

import re
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.hdf5_writer import disk_bytes, write_hdf5
from data_prep.lmdb_writer import Chunk

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def examples(count: int, shape: tuple[int, int, int], dtype: str = "uint8") -> Chunk:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, *shape)).astype(dtype), rng.integers(0, 10, count)


def read(folder: Path, files: list[str]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """data and label of each file, whose types and names are checked."""
    contents = []
    for name in files:
        with h5py.File(folder / name) as file:
            assert set(file) == {"data", "label"}
            assert file["data"].dtype == file["label"].dtype == np.dtype("<f4")
            contents.append((file["data"][:], file["label"][:]))
    return contents


@given(st.data())
def test_chunks_and_files_leave_no_trace(data: st.DataObject) -> None:
    """However the examples come and are divided, the files' contents are they, in order."""
    shape = data.draw(st.tuples(*[st.integers(1, size) for size in (12, 3, 4, 5)]))
    pixels = data.draw(
        st.one_of(hnp.arrays(np.uint8, shape), hnp.arrays(np.float32, shape, elements=FINITE))
    )
    count = len(pixels)
    labels = np.array(data.draw(st.lists(st.integers(0, 2**24), min_size=count, max_size=count)))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    per_file = data.draw(st.integers(1, 15))
    chunks = [(pixels[a:b], labels[a:b]) for a, b in pairwise([0, *cuts, count])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, total = write_hdf5(folder, "train", chunks, records_per_file=per_file)
        contents = read(folder, files)
        assert (folder / "train.txt").read_text() == "".join(f"{file}\n" for file in files)
        assert {path.name for path in folder.iterdir()} == {"train.txt", *files}
    assert files == [f"train-{number:04d}.h5" for number in range(-(-count // per_file))]
    assert [len(label) for _, label in contents[:-1]] == [per_file] * (len(files) - 1)
    assert total == count
    assert np.array_equal(np.concatenate([d for d, _ in contents]), pixels.astype(np.float32))
    assert np.array_equal(np.concatenate([label for _, label in contents]), labels)


@pytest.mark.parametrize(("limit", "sizes"), [(479, [9, 1]), (480, [10]), (47, [1] * 10)])
def test_files_hold_as_many_records_as_the_limit_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, sizes: list[int]
) -> None:
    """48 bytes each, as float32; one image beyond the limit still has a file."""
    monkeypatch.setattr("data_prep.hdf5_writer.FILE_BYTES", limit)
    files, _ = write_hdf5(tmp_path, "train", [examples(10, (3, 2, 2))])
    assert [len(label) for _, label in read(tmp_path, files)] == sizes


def test_the_same_examples_give_the_same_bytes(tmp_path: Path) -> None:
    images, labels = examples(20, (3, 8, 8))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_hdf5(tmp_path / name, "train", [(images, labels)])
    first, second = ((tmp_path / name / "train-0000.h5").read_bytes() for name in ("a", "b"))
    assert first == second


def test_the_prefix_is_put_before_each_name_of_the_list(tmp_path: Path) -> None:
    files, _ = write_hdf5(
        tmp_path, "val", [examples(3, (1, 2, 2))], records_per_file=2, prefix="/data/set/"
    )
    listed = (tmp_path / "val.txt").read_text()
    assert listed == "/data/set/val-0000.h5\n/data/set/val-0001.h5\n"
    assert files == ["val-0000.h5", "val-0001.h5"]


def test_memory_is_bounded_by_a_chunk_and_a_file(tmp_path: Path) -> None:
    """75 MB of examples pass through, 3 MB in each chunk and each file."""

    def chunks() -> Iterator[Chunk]:
        for _ in range(25):
            yield np.zeros((250, 3, 32, 32), np.float32), np.zeros(250, np.uint8)

    tracemalloc.start()
    try:
        assert write_hdf5(tmp_path, "train", chunks(), records_per_file=250)[1] == 6250
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.zeros((2, 3, 4), np.uint8), np.zeros(2, int), "N×C×H×W"),
        (np.zeros((2, 1, 3, 4), np.float64), np.zeros(2, int), "float64"),
        (np.full((2, 1, 3, 4), np.nan, np.float32), np.zeros(2, int), "NaN"),
        (np.zeros((2, 1, 3, 4), np.uint8), np.array([0, -1]), "label -1 is negative"),
        (np.zeros((2, 1, 3, 4), np.uint8), np.array([0, 2**24 + 1]), "label 16777217 is above"),
        (np.zeros((0, 1, 3, 4), np.uint8), np.zeros(0, int), "there is no example"),
    ],
)
def test_arrays_that_are_no_examples_are_refused(
    tmp_path: Path, images: Any, labels: Any, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        write_hdf5(tmp_path, "train", [(images, labels)])
    assert not list(tmp_path.iterdir())


def test_no_chunk_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no example"):
        write_hdf5(tmp_path, "train", [])


def test_examples_of_two_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a database holds one kind"):
        write_hdf5(tmp_path, "train", [examples(3, (1, 3, 4)), examples(2, (1, 4, 3))])


@pytest.mark.parametrize("existing", ["train.txt", "train-0000.h5", "train-0001.h5"])
def test_an_existing_file_is_not_touched(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("kept")
    with pytest.raises(DataError, match=rf"{existing} already exists"):
        write_hdf5(tmp_path, "train", [examples(3, (1, 2, 2))], records_per_file=2)
    assert (tmp_path / existing).read_text() == "kept"


def test_a_set_whose_name_begins_another_is_written_beside_it(tmp_path: Path) -> None:
    write_hdf5(tmp_path, "train-full", [examples(3, (1, 2, 2))])
    write_hdf5(tmp_path, "train", [examples(2, (1, 2, 2))])
    assert len(list(tmp_path.glob("*.h5"))) == 2


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("my set", ""), ("train", "/my data/"), ("a/b", ""), ("train\n", ""), ("", "")],
)
def test_names_that_the_list_cannot_hold_are_refused(
    tmp_path: Path, name: str, prefix: str
) -> None:
    """Caffe reads the list word by word."""
    with pytest.raises(DataError, match="white space"):
        write_hdf5(tmp_path, name, [examples(3, (1, 2, 2))], prefix=prefix)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("per_file", [0, -1, 2**31 // 12 + 1])
def test_files_of_a_size_that_caffe_cannot_load_are_refused(tmp_path: Path, per_file: int) -> None:
    with pytest.raises(DataError, match=rf"{per_file} records .* from 1 to {(2**31 - 1) // 12},"):
        write_hdf5(tmp_path, "train", [examples(3, (3, 2, 2))], records_per_file=per_file)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none/train-0000\.h5: cannot be written .*No such file"):
        write_hdf5(tmp_path / "none", "train", [examples(3, (1, 2, 2))])


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from data_prep.errors import DataError
from data_prep.hdf5_writer import write_hdf5

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
chunk = np.zeros((1000, 3, 32, 32), np.uint8), np.zeros(1000, int)
try:
    write_hdf5(Path(sys.argv[1]), "train", [chunk])
except DataError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_told_in_one_line(tmp_path: Path) -> None:
    """A file that may not grow beyond 1 MiB stands for a full disk; no list names what is half."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\S+0000\.h5: cannot be written \(.*\); .*disk is full\n", done.stdout)
    assert not (tmp_path / "train.txt").exists()


@pytest.mark.parametrize(("shape", "count"), [((1, 1, 1), 1), ((3, 32, 32), 6000), ((3, 5, 7), 9)])
def test_the_space_on_the_disk_is_known_beforehand(
    tmp_path: Path, shape: tuple[int, int, int], count: int
) -> None:
    images = np.zeros((count, *shape), np.uint8)
    write_hdf5(tmp_path, "set", [(images, np.arange(count))])
    taken = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert taken <= disk_bytes(count, shape) <= 1.01 * taken + 30_000
