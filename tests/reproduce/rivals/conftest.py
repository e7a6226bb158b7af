"""The authors' data, whole and as a slice that is fitted in a second."""

from pathlib import Path

import pytest

from reproduce.audit.authors_data.files import AuthorsData, read_authors_data
from reproduce.rivals.surrogate.data import TrainingData, training_data
from reproduce.rivals.surrogate.surrogate import Surrogate

ROWS = {"metaqnn_cifar10.csv": 300, "metaqnn_svhn.csv": 200, "replay_database.csv": 400}


@pytest.fixture(scope="session")
def authors(reference: Path) -> AuthorsData:
    return read_authors_data(reference / "authors-runs")


@pytest.fixture(scope="session")
def slice_folder(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of the authors' files, as a folder of such files."""
    folder = tmp_path_factory.mktemp("authors")
    for path in (reference / "authors-runs").iterdir():
        lines = path.read_text().splitlines(keepends=True)
        (folder / path.name).write_text("".join(lines[: 1 + ROWS.get(path.name, len(lines))]))
    return folder


@pytest.fixture(scope="session")
def cifar10(slice_folder: Path) -> TrainingData:
    return training_data(read_authors_data(slice_folder), "cifar10")


@pytest.fixture(scope="session")
def svhn(slice_folder: Path) -> TrainingData:
    return training_data(read_authors_data(slice_folder), "svhn")


@pytest.fixture(scope="session")
def surrogate(cifar10: TrainingData) -> Surrogate:
    """Of the CIFAR-10 slice, without failures."""
    return Surrogate.fit(cifar10, seed=0, failure_share=0.0)


@pytest.fixture(scope="session")
def failing(svhn: TrainingData) -> Surrogate:
    """Of the SVHN slice, its failures predicted."""
    return Surrogate.fit(svhn, seed=0)
