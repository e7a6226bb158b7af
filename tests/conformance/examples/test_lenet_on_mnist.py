"""Caffe's LeNet, its own prototxt and solver, on the real MNIST: both programs learn the same."""

import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_prep.datasets import locate
from data_prep.errors import DataError
from data_prep.prepare import prepare
from data_prep.recipes import Recipe

pytestmark = [pytest.mark.conformance, pytest.mark.slow, pytest.mark.timeout(3000)]

Command = Callable[..., subprocess.CompletedProcess[str]]
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "data"
SEEDS = range(1, 6)
ITERATIONS = 1000


@pytest.fixture
def lenet(caffe_doc: Path, tmp_path: Path) -> Path:
    """A folder with LeNet's net over prepared MNIST, and a solver for each seed."""
    try:
        files = locate("mnist", Recipe(), data_dir=None, cache=CACHE)
        manifest = prepare(files, Recipe(), tmp_path)
    except DataError as error:
        (pytest.fail if os.environ.get("REQUIRE_CAFFE") == "1" else pytest.skip)(
            f"MNIST cannot be fetched: {error}"
        )
    net = (caffe_doc / "examples/mnist/lenet_train_test.prototxt").read_text()
    solver = (caffe_doc / "examples/mnist/lenet_solver.prototxt").read_text()
    for part, base in (("train", "train_full"), ("test", "test")):
        place = tmp_path / manifest.folder / f"{base}.lmdb"
        net = net.replace(f"examples/mnist/mnist_{part}_lmdb", str(place))
    (tmp_path / "net.prototxt").write_text(net)
    changes = {
        "net": '"net.prototxt"',
        "max_iter": str(ITERATIONS),
        "test_interval": str(ITERATIONS),
        "snapshot_prefix": '"lenet"',
        "solver_mode": "CPU",
    }
    for name, value in changes.items():
        solver, found = re.subn(rf"(?m)^{name}:.*$", f"{name}: {value}", solver)
        assert found == 1, name
    solver += "\ntest_initialization: false snapshot_after_train: false\n"
    for seed in SEEDS:
        (tmp_path / f"{seed}.prototxt").write_text(f"{solver}random_seed: {seed}\n")
    return tmp_path


def _accuracies(run: Command, folder: Path) -> list[float]:
    """The accuracy on the 10,000 test images after training, for each seed."""
    found = []
    for seed in SEEDS:
        done = run("train", "-solver", f"{seed}.prototxt", cwd=folder)
        assert done.returncode == 0, done.stderr[-1000:]
        found.append(float(re.findall(r"accuracy = ([\d.]+)", done.stderr)[-1]))
    return found


def test_lenet_reaches_the_accuracy_of_real_caffe(
    lenet: Path, run_ours: Command, run_real: Command
) -> None:
    """1,000 iterations, five seeds each: the means differ by less than four standard errors.

    A tenth of a point is added for the few seeds' own error of that error. Both run at once, on
    a thread each.
    """
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(_accuracies, run, lenet) for run in (run_ours, run_real)]
        ours, real = (np.array(run.result()) for run in runs)
    print(f"ours {ours}, real Caffe {real}")
    assert ours.min() > 0.97
    assert real.min() > 0.97
    error = np.sqrt((ours.var(ddof=1) + real.var(ddof=1)) / len(SEEDS))
    assert abs(ours.mean() - real.mean()) < 4 * error + 0.001, f"ours {ours}, real {real}"
