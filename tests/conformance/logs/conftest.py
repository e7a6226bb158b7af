"""A folder for each program with the same files, and a run of one command in both."""

from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from tests.conformance.commands import Both, Command, Run

pytest.register_assert_rewrite("tests.conformance.logs.compare")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, write_lmdb: Callable[..., None]) -> Path:
    """Small LMDBs under the names that the prototxts use."""
    folder = tmp_path_factory.mktemp("data")
    write_lmdb(folder / "mnist_train_lmdb", 96, 1)
    write_lmdb(folder / "mnist_val_lmdb", 40, 2)
    with (
        lmdb.open(str(folder / "rand32_lmdb"), map_size=1 << 22) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i in range(4):
            pixels = np.random.default_rng(i).bytes(3072)
            datum = caffe_pb2.Datum(channels=3, height=32, width=32, data=pixels, label=i)
            transaction.put(f"{i:08d}".encode(), datum.SerializeToString())
    return folder


@pytest.fixture
def both(tmp_path: Path, data: Path, embedded: Command, real: Command) -> Both:
    """Run a command in both programs: (arguments, files: path → text or bytes) → both runs.

    Each has a folder of its own that lives as long as the test, with `data` and an empty `work`.
    """

    def run(*arguments: str, files: dict[str, str | bytes] | None = None) -> tuple[Run, Run]:
        runs = []
        for name, command in (("embedded", embedded), ("real", real)):
            folder = tmp_path / name
            (folder / "work").mkdir(parents=True, exist_ok=True)
            if not (folder / "data").exists():
                (folder / "data").symlink_to(data)
            for path, content in (files or {}).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                binary = content if isinstance(content, bytes) else content.encode()
                (folder / path).write_bytes(binary)
            runs.append(command(*arguments, cwd=folder))
        return runs[0], runs[1]

    return run
