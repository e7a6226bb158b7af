"""Runs a command in the embedded and in real Caffe, beside data and a pretrained model."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.fine_tuning.tasks import (
    MIXTURES,
    PATTERNS,
    SMOOTH,
    Both,
    Command,
    Run,
    pretraining,
    write_lmdb,
)

# One process imports PyTorch, and each command is a fork of it: seconds less for every run.
EMBEDDED = """
import json, os, sys
from caffe_torch import cli, solver
for line in sys.stdin:
    arguments, folder, log = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        file = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv[1:] = arguments
        cli.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOG_logtostderr": "1"}


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run the embedded command: (arguments, cwd) → the run."""
    server = subprocess.Popen(
        [sys.executable, "-c", EMBEDDED],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    stdin, stdout = server.stdin, server.stdout

    def run(*arguments: str, cwd: Path) -> Run:
        log = tmp_path_factory.mktemp("embedded") / "log"
        print(json.dumps([arguments, str(cwd), str(log)]), file=stdin, flush=True)
        return Run(int(stdout.readline()), log.read_text(), cwd)

    yield run
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def real(real_caffe: Path) -> Command:
    """Run real Caffe's command: (arguments, cwd) → the run."""

    def run(*arguments: str, cwd: Path) -> Run:
        done = subprocess.run(
            [str(real_caffe), *arguments],
            env=ENVIRONMENT,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stderr, cwd)

    return run


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
