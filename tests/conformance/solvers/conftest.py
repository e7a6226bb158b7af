"""One folder for all solvers: a small data set and a smooth net."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conformance.solvers.runs import RECORDS, SMOOTH


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Both programs compute with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, write_lmdb: Callable[..., None]) -> Path:
    """A folder with `train_lmdb` (noisy enough that no loss vanishes) and `net.prototxt`."""
    path = tmp_path_factory.mktemp("solvers")
    write_lmdb(path / "train_lmdb", RECORDS, 1, noise=110)
    (path / "net.prototxt").write_text(SMOOTH % (path / "train_lmdb"))
    return path
