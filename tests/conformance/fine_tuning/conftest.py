"""Runs a command in the embedded and in real Caffe, beside data and a pretrained model."""

from pathlib import Path

import pytest

from tests.conformance.commands import Both, Command, Run
from tests.conformance.fine_tuning.tasks import (
    MIXTURES,
    PATTERNS,
    SMOOTH,
    pretraining,
    write_lmdb,
)


@pytest.fixture(scope="session")
def pretrain(real: Command) -> Command:
    """Train a net in a folder with real Caffe: (name, net, iterations, folder) → the run."""

    def run(name: str, net: str, iterations: int, folder: Path) -> Run:
        (folder / f"{name}.prototxt").write_text(net)
        (folder / "pretraining.prototxt").write_text(pretraining(name, iterations))
        done = real("train", "-solver", "pretraining.prototxt", cwd=folder)
        assert done.status == 0, done.log[-2000:]
        return done

    return run


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, pretrain: Command) -> Path:
    """LMDBs of both tasks, and PRETRAINED: real Caffe's model of the first."""
    folder = tmp_path_factory.mktemp("fine_tuning")
    write_lmdb(folder / "patterns_lmdb", PATTERNS, 640, 1)
    write_lmdb(folder / "mixtures_lmdb", MIXTURES, 640, 2)
    pretrain("smooth", SMOOTH, 80, folder)
    return folder


@pytest.fixture
def both(work: Path, tmp_path: Path, embedded: Command, real: Command) -> Both:
    """Run a command in the embedded and in real Caffe: (arguments, files) → both runs.

    Each has a folder of its own, with links to everything in `work`, and the given files as
    `<name>.prototxt`.
    """

    def run(*arguments: str, **files: str) -> tuple[Run, Run]:
        runs = []
        for name, command in (("embedded", embedded), ("real", real)):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            for path in work.iterdir():
                if not (folder / path.name).exists():
                    (folder / path.name).symlink_to(path)
            for stem, text in files.items():
                (folder / f"{stem}.prototxt").write_text(text)
            runs.append(command(*arguments, cwd=folder))
        return runs[0], runs[1]

    return run
