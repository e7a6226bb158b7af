"""Runs real pycaffe in its own process, writes small LMDBs, and runs both commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import lmdb
import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from numpy.typing import NDArray

from tests.conformance.commands import Command, Embedded, Run
from tests.conformance.commands import run_real as run_real_caffe

Arrays = Mapping[str, NDArray[np.float32]]
ENVIRONMENT = {**os.environ, "GLOG_logtostderr": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def pycaffe_run(
    pycaffe: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., dict[str, NDArray[np.float32]]]]:
    """Call `pycaffe_run.py`: (mode, prototxt, arrays, argument, resume, cwd) → arrays."""
    script = Path(__file__).with_name("pycaffe_run.py")
    log = tmp_path_factory.mktemp("pycaffe") / "log"
    servers: list[subprocess.Popen[str]] = []

    def server() -> subprocess.Popen[str]:
        """The running server; a new one where a fatal error ended the last."""
        if not servers or servers[-1].poll() is not None:
            with log.open("w") as file:
                servers.append(
                    subprocess.Popen(
                        [str(pycaffe), str(script)],
                        env=ENVIRONMENT,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=file,
                        text=True,
                    )
                )
        return servers[-1]

    def run(
        mode: str,
        prototxt: Path,
        arrays: Arrays,
        argument: str,
        resume: str = "",
        cwd: Path | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        folder = tmp_path_factory.mktemp("pycaffe")
        source, target = folder / "in.npz", folder / "out.npz"
        np.savez(source, **arrays)
        process = server()
        assert process.stdin is not None
        assert process.stdout is not None
        paths = [str(path) for path in (cwd or folder, prototxt, source, target)]
        process.stdin.write(json.dumps([mode, *paths, argument, resume]) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n", log.read_text()[-3000:]
        with np.load(target) as out:
            return dict(out)

    yield run
    for process in servers:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def run_ours() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run our command: (arguments, cwd) → the finished process."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "caffe_torch", *arguments]
        return subprocess.run(
            command, env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def run_real(real_caffe: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run real Caffe's command: (arguments, cwd) → the finished process."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(real_caffe), *arguments]
        return subprocess.run(
            command, env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run the embedded command in a fork of one process: (arguments, cwd) → the run."""
    command = Embedded(tmp_path_factory.mktemp("embedded"))
    yield command
    command.close()


@pytest.fixture(scope="session")
def real(real_caffe: Path) -> Command:
    """Run real Caffe's command: (arguments, cwd) → the run."""

    def run(*arguments: str, cwd: Path) -> Run:
        return run_real_caffe(real_caffe, *arguments, cwd=cwd)

    return run


@pytest.fixture(scope="session")
def write_lmdb() -> Callable[..., None]:
    """Write a learnable data set: (path, records, seed, noise), 10 noisy patterns 1×28×28."""

    def write(path: Path, records: int, seed: int, noise: float = 50) -> None:
        coarse = np.random.default_rng(0).integers(0, 256, (10, 7, 7))
        patterns = np.kron(coarse, np.ones((4, 4)))
        rng = np.random.default_rng(seed)
        with (
            lmdb.open(str(path), map_size=1 << 28) as environment,
            environment.begin(write=True) as transaction,
        ):
            for i in range(records):
                label = int(rng.integers(10))
                image = 0.6 * patterns[label] + rng.normal(50, noise, (28, 28))
                datum = caffe_pb2.Datum(
                    channels=1,
                    height=28,
                    width=28,
                    data=image.clip(0, 255).astype(np.uint8).tobytes(),
                    label=label,
                )
                transaction.put(f"{i:08d}".encode(), datum.SerializeToString())

    return write
